//! `otas-proxy page`: a new link to the page.

use std::process::ExitCode;

use super::{About, Done, running, say};
use crate::admin;
use crate::config::Flags;

/// Print a link that opens the page of a running proxy in a browser
///
/// The link works once, within ten minutes. The proxy is the one on `listen.admin` of these settings. The proxy of a `run` prints
/// its own link when it starts.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let led = super::led(&args.flags, About::Page)?;
    let config = led.loaded.config;
    if config.listen.admin.port() == 0 {
        return Err("`listen.admin` has port 0, so the page's address is unknown: name it with --listen-admin".into());
    }
    let file = admin::token_file(&config.store.path);
    if !file.exists() {
        return Err(format!(
            "no proxy has used the store `{}` yet, so there is no page to open",
            config.store.path.display()
        )
        .into());
    }
    let at = config.listen.admin;
    if led.running.is_none() && !matches!(running::run_id_at(at), Ok(Some(_))) {
        return Err(format!(
            "no proxy answers on {at}: start `otas-proxy serve`, or name the page's address with --listen-admin"
        )
        .into());
    }
    let token = admin::load_or_make_token(&file)
        .map_err(|error| format!("cannot use the page's token in `{}`: {error}", file.display()))?;
    say::out(&admin::link(at, &token)?)?;
    Ok(ExitCode::SUCCESS)
}
