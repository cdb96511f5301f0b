//! `otas-proxy relay`: delivers the events of a fleet, one file a task.

mod init;
mod serve;
mod status;

use clap::Subcommand;

use super::{Done, Failure};
use crate::config::{Config, Flags};

/// Deliver the events of a fleet from its queue to OTAS
///
/// Proxies with `queue.nats_url` put their events into a stream of NATS JetStream. A relay takes them out and delivers them at the
/// pace of OTAS, with the keys of agents in `relay.keys_dir`. Several relays may run: one delivers, and another one takes over within
/// seconds if it dies. SIGINT (Ctrl-C) or SIGTERM ends it.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Subcommand)]
enum Command {
    // Described where their arguments are.
    Init(init::Args),
    Status(status::Args),
}

pub(super) fn run(args: &Args) -> Done {
    match &args.command {
        Some(Command::Init(args)) => init::run(args),
        Some(Command::Status(args)) => status::run(args),
        None => serve::run(&args.flags),
    }
}

/// The settings of a relay: with a queue. `serves`: also with keys.
fn settings(flags: &Flags, serves: bool) -> Result<Config, Failure> {
    let loaded = super::load(flags)?;
    if !loaded.config.queue.is_used() {
        return Err(loaded.refuse("queue.nats_url", "a relay needs a queue; set the servers of NATS").into());
    }
    if serves && loaded.config.queue.keys_dir.is_none() {
        let message = "a relay needs the keys of agents; set a folder with a file `<agent_id>.key` for each";
        return Err(loaded.refuse("relay.keys_dir", message).into());
    }
    Ok(loaded.config)
}
