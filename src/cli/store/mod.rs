//! `otas-proxy store`: the store's file, one file a task.

mod clear;
mod compact;
mod info;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;

use super::{About, Done};
use crate::config::Flags;

/// Measure, verify, compact or clear the store that events are in
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    // Described where their arguments are.
    Info(info::Args),
    Verify(verify::Args),
    Compact(compact::Args),
    Clear(Box<clear::Args>),
}

pub(super) fn run(args: &Args) -> Done {
    match &args.command {
        Command::Info(args) => info::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Compact(args) => compact::run(args),
        Command::Clear(args) => clear::run(args),
    }
}

/// A number of things, in words.
fn number_of(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The store's file: that of the running proxy, unless the user named another one.
fn path(flags: &Flags) -> Result<PathBuf, Box<dyn std::error::Error + Send + Sync>> {
    Ok(super::led(flags, About::Store)?.loaded.config.store.path)
}
