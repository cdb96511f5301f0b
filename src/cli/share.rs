//! `otas-proxy share`: one HTML file of a call or of a run.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{About, Done, output, say};
use crate::admin::page::share;
use crate::config::Flags;
use crate::store::{CommandError, Store};

/// Write one HTML file of a call or of a run, to be shared
///
/// The file needs nothing else: no script, no connection. It holds what the store holds, so secrets that were found are masked. Read it
/// before you share it. Only its owner may read it.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The number of a call in `events`; or a run: the agent's id of its session or the beginning of it, the run's id, `session:NUMBER`
    #[arg(value_name = "ID|RUN")]
    what: String,
    /// The file to write (`-`: stdout)
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Overwrite an existing file
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    output::keep(&args.output, args.force)?;
    let store = Store::open_to_read(&super::led(&args.flags, About::Store)?.loaded.config.store.path)?;
    let (viewer, what) = (store.viewer(), args.what.trim());
    let made = match what.parse::<i64>() {
        Ok(id) => share::call_file(&viewer, id)?.ok_or(CommandError::NoEvent(id))?,
        Err(_) => {
            let named = what.strip_prefix("session:").unwrap_or(what);
            share::run_file(&viewer, named)?
                .ok_or_else(|| format!("no run, or more than one, is named `{what}`: `otas-proxy runs` lists them"))?
        }
    };
    let file = &args.output;
    output::write(file, |out| Ok(out.write_all(made.as_bytes())?))?;
    if file.as_os_str() != "-" {
        say::err(&format!("otas-proxy: written to {}: read it before you share it", file.display()));
    }
    Ok(ExitCode::SUCCESS)
}
