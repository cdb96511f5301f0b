//! `otas-proxy config`: the effective configuration.

use std::process::ExitCode;

use super::{Done, say, table};
use crate::config::Flags;

/// Print the settings in force and where each value came from
///
/// Secrets are masked.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: Args) -> Done {
    let loaded = super::load(&args.flags)?;
    for file in &loaded.files {
        say::out(&format!("# file: {}", file.display()))?;
    }
    if loaded.files.is_empty() {
        say::out("# no configuration file")?;
    }
    let prices: Vec<&str> = loaded.config.event.prices.versions().collect();
    say::out(&format!("# prices: {}", prices.join(", ")))?;
    let rows =
        loaded.report().into_iter().map(|s| vec![s.key.to_string(), s.value.to_string(), s.source.to_string()]);
    say::raw(&table::render(&["key", "value", "from"], &rows.collect::<Vec<_>>()))?;
    Ok(ExitCode::SUCCESS)
}
