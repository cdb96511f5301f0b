//! `otas-proxy note`: a person's note on a call.

use std::process::ExitCode;

use super::{About, Done, filter};
use crate::app::redactor;
use crate::config::Flags;
use crate::store::Store;

/// Write a note on a call, or remove it
///
/// The note is kept beside the call in the store: the page, `show` and shared files have it, and `note:TEXT` finds it. It is not
/// sent to OTAS, and it goes with the call. Secrets that are found in it are masked.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The number of the call in `events`
    #[arg(value_parser = filter::event_number)]
    id: i64,
    /// The note, at most 4 KiB, in place of the one before; an empty one (`""`) removes that
    #[arg(value_name = "TEXT", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let config = super::led(&args.flags, About::Store)?.loaded.config;
    let store = Store::open_existing(&config.store.path)?;
    let redactor = redactor(&config.redact, &config.capture.rules, store.path())?;
    store.note(args.id, &args.words.join(" "), &redactor)?;
    Ok(ExitCode::SUCCESS)
}
