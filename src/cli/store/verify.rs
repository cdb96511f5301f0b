//! `store verify`: whether all that is stored can be read.

use std::process::ExitCode;

use super::super::{Done, say};
use super::number_of;
use crate::config::Flags;
use crate::store::{Fault, Inspector, Verified};

/// Read everything in the store and report what is damaged
///
/// Each chunk of a body is compared with its checksum and its hash, counts with what they count. Events whose bodies cannot be
/// read whole are named. Exit code 1: there are faults. The command only reads the store, so it may run beside a proxy.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let store = Inspector::open(&super::path(&args.flags)?)?;
    let mut unwritten = None;
    let seen = store.verify(&mut |fault: &Fault| {
        // Each at once: a damaged store may have very many.
        if unwritten.is_none() {
            unwritten = say::out(&fault.to_string()).err();
        }
    })?;
    if let Some(error) = unwritten {
        return Err(error.into());
    }
    say::out(&format!("{}: {}", store.path().display(), summary(&seen)))?;
    Ok(ExitCode::from(u8::from(seen.faults > 0)))
}

fn summary(seen: &Verified) -> String {
    let Verified { events, chunks, faults } = seen;
    let read = format!("{} and {} read", number_of(*events, "event"), number_of(*chunks, "chunk"));
    match faults {
        0 => format!("{read}, no faults"),
        _ => format!(
            "{read}, {}. Check the disk. Damaged bodies have a mark in their place; events that are not named are intact",
            number_of(*faults, "fault")
        ),
    }
}
