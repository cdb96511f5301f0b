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
    let Verified { events, chunks, faults, is_cut_short } = seen;
    let read = format!("{} and {} read", number_of(*events, "event"), number_of(*chunks, "chunk"));
    match faults {
        0 => format!("{read}, no faults"),
        _ if *is_cut_short => format!(
            "{read}, {}. The damage ended the check, so nothing is known of what was not read. Check the disk; the next start of the \
             proxy (`serve`, `run`) moves the file aside and keeps what can be read",
            number_of(*faults, "fault")
        ),
        _ => format!(
            "{read}, {}. Check the disk. Damaged bodies have a mark in their place; events that are not named are intact",
            number_of(*faults, "fault")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_read_is_said_to_be_intact() {
        let seen = |events, is_cut_short| summary(&Verified { events, chunks: 1, faults: 1, is_cut_short });
        assert!(seen(3, false).contains("are intact"));
        let cut_short = seen(0, true);
        assert!(
            cut_short.starts_with("0 events and 1 chunk read, 1 fault. The damage ended the check"),
            "{cut_short}"
        );
        assert!(!cut_short.contains("intact"), "{cut_short}");
    }
}
