//! `otas-proxy config`: the effective configuration.

use std::process::ExitCode;

use super::{Done, table};
use crate::config::Flags;

/// Prints each setting, secrets masked, and where its value came from.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: Args) -> Done {
    let loaded = super::load(&args.flags)?;
    match &loaded.file {
        Some(file) => println!("# file: {}", file.display()),
        None => println!("# no configuration file"),
    }
    let rows =
        loaded.report().into_iter().map(|s| vec![s.key.to_string(), s.value.to_string(), s.source.to_string()]);
    print!("{}", table::render(&["key", "value", "from"], &rows.collect::<Vec<_>>()));
    Ok(ExitCode::SUCCESS)
}
