//! `otas-proxy ca`: the certificate that agents must trust, one file a task.

mod export;
mod rotate;
mod show;
mod store;

use std::path::PathBuf;

use clap::Subcommand;

use super::{About, Done, chosen};
use crate::config::Flags;
use crate::tls::CertAuthority;

/// Show, export, install or replace the CA certificate that agents must trust
///
/// If there is no CA yet, it is made.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the certificates that agents must trust: file, subject, validity, PEM
    Show {
        #[command(flatten)]
        flags: Flags,
    },
    /// Write the certificates that agents must trust to a file, or to stdout (`-`); never the key
    Export(export::Args),
    /// Add the CA to the system's trust store (Debian, Fedora, Alpine and the like); needs root
    Install(store::Args),
    /// Remove the CA and those that it replaced from the system's trust store; needs root
    Uninstall(store::Args),
    // Described where its arguments are.
    Rotate(rotate::Args),
}

pub(super) fn run(args: Args) -> Done {
    match args.command {
        Command::Show { flags } => show::run(&authority(&flags)?),
        Command::Export(args) => export::run(&args),
        Command::Install(args) => store::install(&args),
        Command::Uninstall(args) => store::uninstall(&args),
        Command::Rotate(args) => rotate::run(&args),
    }
}

fn authority(flags: &Flags) -> Result<CertAuthority, Box<dyn std::error::Error + Send + Sync>> {
    Ok(CertAuthority::load_or_create(&folder(flags)?)?)
}

/// The CA's folder: that of the running proxy, unless the user named another one.
fn folder(flags: &Flags) -> Result<PathBuf, Box<dyn std::error::Error + Send + Sync>> {
    let led = super::led(flags, About::Ca)?;
    chosen::no_second_ca(&led)?;
    Ok(led.loaded.config.tls.ca_dir)
}
