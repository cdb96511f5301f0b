//! `otas-proxy page`: a new link to the page.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use super::{About, Done, admin_call, running, say};
use crate::admin;
use crate::config::Flags;
use crate::secret::Secret;

/// The status of a link that the proxy does not know.
const UNAUTHORIZED: u16 = 401;

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
    if !knows(at, &token)? {
        return Err(format!(
            "the proxy on {at} uses another store than `{}`, so a link would not open its page: name its store with --store-path",
            config.store.path.display()
        )
        .into());
    }
    say::out(&admin::link(at, &token)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the proxy has this token. It is asked by a link of its own, because another program may have the port by now, and must
/// not see the token.
fn knows(at: SocketAddr, token: &Secret) -> io::Result<bool> {
    let link = admin::link(at, token)?;
    let path = link.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map(|(_, path)| path);
    let answer = admin_call::get(at, &format!("/{}", path.unwrap_or_default()))?;
    Ok(answer.status != Some(UNAUTHORIZED))
}
