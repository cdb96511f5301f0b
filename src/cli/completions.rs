//! `otas-proxy completions`: a script that completes the command line in a shell.

use std::process::ExitCode;

use clap_complete::Shell;

use super::{Done, say};

/// Print a script that completes otas-proxy's command line in a shell
#[derive(clap::Args)]
pub(super) struct Args {
    /// The shell that will read the script
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command()?, "otas-proxy", &mut script);
    say::raw(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}
