//! `otas-proxy page`: a new link to the page.

use std::process::ExitCode;

use super::{About, Done, say};
use crate::admin;
use crate::config::Flags;

/// Prints an address that opens the page of a proxy that runs, in a browser. It works once and for ten minutes. The proxy is the one
/// that listens on `listen.admin` of these settings; that of a `run` prints its own address when it starts.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let config = super::led(&args.flags, About::Store)?.loaded.config;
    if config.listen.admin.port() == 0 {
        return Err(
            "`listen.admin` has port 0, so where the proxy's page is, is not known: name it by --listen-admin".into(),
        );
    }
    let file = admin::token_file(&config.store.path);
    if !file.exists() {
        return Err(format!(
            "no proxy has used the store `{}` yet: there is no page to open",
            config.store.path.display()
        )
        .into());
    }
    let token = admin::load_or_make_token(&file)
        .map_err(|error| format!("cannot use the page's token in `{}`: {error}", file.display()))?;
    say::out(&admin::link(config.listen.admin, &token)?)?;
    Ok(ExitCode::SUCCESS)
}
