//! `otas-proxy retry`: makes dead events pending again.

use std::process::ExitCode;

use super::{About, Done, filter, say};
use crate::config::Flags;
use crate::store::Store;

/// Make dead events pending again, so that they are delivered
///
/// Each gets all its tries again. The next `run`, `serve` or `flush` delivers them.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Numbers of dead events, as in `otas-proxy events --state dead`; if one of them is not dead, nothing is changed
    #[arg(value_name = "ID", value_parser = filter::event_number, required_unless_present = "dead", conflicts_with = "dead")]
    ids: Vec<i64>,
    /// Retry all dead events
    #[arg(long)]
    dead: bool,
    /// With --dead: only those of this session (its number, its run id or its id in OTAS)
    #[arg(long, value_name = "SESSION", requires = "dead", conflicts_with = "ids")]
    session: Option<String>,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: Args) -> Done {
    let store = Store::open_existing(&super::led(&args.flags, About::Store)?.loaded.config.store.path)?;
    let count = if args.dead {
        let session = args.session.as_deref().map(|name| store.session_named(name)).transpose()?;
        store.retry_dead(session)?
    } else {
        store.retry(&args.ids)?
    };
    match count {
        0 => say::out("no dead event found; nothing to retry")?,
        1 => say::out("1 event is pending again")?,
        many => say::out(&format!("{many} events are pending again"))?,
    }
    Ok(ExitCode::SUCCESS)
}
