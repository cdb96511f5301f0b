//! `store compact`: gives unused space back to the disk.

use std::process::ExitCode;

use super::super::{Done, say};
use crate::admin::page::format::bytes;
use crate::config::Flags;
use crate::store::Store;

/// Make the store's file as small as its content
///
/// A proxy reuses the space of removed events, so this is only needed to give it back to the disk. SQLite writes the whole content
/// again (VACUUM). This takes as long as copying it three times, needs its size again in the store's folder and in the folder for
/// temporary files (SQLITE_TMPDIR), and may be interrupted: the file then stays as it was. No proxy may use the store. One that
/// starts meanwhile fails after five seconds.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let store = Store::open_existing(&super::path(&args.flags)?)?;
    let size_bytes = || store.viewer().sizes().map(|sizes| sizes.file_bytes + sizes.log_bytes);
    let before = size_bytes()?;
    store.compact()?;
    say::note(&format!("{}: {} before, {} now", store.path().display(), bytes(before), bytes(size_bytes()?)));
    Ok(ExitCode::SUCCESS)
}
