//! `ca rotate`: a new CA beside the old one, and then in its place.

use std::process::ExitCode;
use std::time::Duration;

use time::OffsetDateTime;
use x509_parser::time::ASN1Time;

use super::super::{Done, say};
use crate::config::Flags;
use crate::tls::{DEFAULT_OVERLAP, finish_rotation, rotate};

/// Replace the CA by a new one, after a time in which agents learn to trust it
///
/// The old CA signs until the new one takes over. Agents that are started from now on trust both. Afterwards the old CA is
/// trusted for as long again. A running `serve` follows by itself; a `run` stays with the CA that it was started with.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The time before the new CA takes over, such as 7d or 12h; both are trusted for as long again
    ///
    /// With 0s it takes over at once, and running agents must be restarted.
    #[arg(long, value_name = "DURATION", value_parser = super::super::duration, conflicts_with = "finish",
          default_value = "7d")]
    overlap: Duration,
    /// Let a new CA that is waiting take over now
    #[arg(long)]
    finish: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let dir = super::folder(&args.flags)?;
    let now = OffsetDateTime::now_utc();
    if args.finish {
        finish_rotation(&dir, now)?;
        say::note("the new CA signs now; the old one stays trusted for the overlap");
        return Ok(ExitCode::SUCCESS);
    }
    let overlap = time::Duration::try_from(args.overlap).unwrap_or(DEFAULT_OVERLAP);
    let at = rotate(&dir, now, overlap)?;
    if at <= now {
        say::note("the new CA signs now: restart running agents that do not trust it");
    } else {
        say::note(&format!(
            "a new CA was made and takes over at {}; agents that start from now on trust both",
            ASN1Time::from(at)
        ));
    }
    say::note("if the CA was installed or copied (`ca install`, `ca export`), do that again");
    Ok(ExitCode::SUCCESS)
}
