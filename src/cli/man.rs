//! `otas-proxy man`: the manual pages.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Done, Usage, say};

/// Print a manual page in roff, for man
///
/// Without a command it is the page of otas-proxy itself, which lists the commands.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The command that the page is about, such as `run` or `ca rotate`
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// Write the pages of all commands into this folder instead
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    folder: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Done {
    let mut all = super::command()?;
    if let Some(folder) = &args.folder {
        // `help` repeats each command.
        clap_mangen::generate_to(all.disable_help_subcommand(true), folder)
            .map_err(|error| format!("cannot write the manual pages into `{}`: {error}", folder.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    // Gives each subcommand its full name and the options that all have.
    all.build();
    let mut page = &all;
    for name in &args.command {
        let found = page.find_subcommand(name);
        page =
            found.ok_or_else(|| Usage(format!("no such command: {name:?}; `otas-proxy help` lists the commands")))?;
    }
    let mut roff = Vec::new();
    clap_mangen::Man::new(page.clone()).render(&mut roff)?;
    say::raw(&String::from_utf8(roff)?)?;
    Ok(ExitCode::SUCCESS)
}
