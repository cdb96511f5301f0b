//! `otas-proxy ca`: the certificate that agents must trust.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::Done;
use crate::config::Flags;
use crate::tls::{CA_CERT_FILE, CertAuthority};

/// Shows or exports the CA certificate; one is made if there is none yet.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the certificate's subject, validity and file
    Show {
        #[command(flatten)]
        flags: Flags,
    },
    /// Write the certificate (PEM) to FILE, or to stdout with `-`; never the key
    Export {
        #[command(flatten)]
        flags: Flags,
        /// Where to; an existing file is not overwritten
        file: PathBuf,
    },
}

pub(super) fn run(args: Args) -> Done {
    match args.command {
        Command::Show { flags } => show(&authority(&flags)?),
        Command::Export { flags, file } => export(&authority(&flags)?, &file),
    }
}

fn authority(flags: &Flags) -> Result<CertAuthority, Box<dyn std::error::Error + Send + Sync>> {
    Ok(CertAuthority::load_or_create(&super::load(flags)?.config.tls.ca_dir)?)
}

fn show(authority: &CertAuthority) -> Done {
    let (_, cert) = x509_parser::parse_x509_certificate(authority.der())?;
    println!("file       {}", authority.dir().join(CA_CERT_FILE).display());
    println!("subject    {}", cert.subject());
    println!("serial     {}", cert.raw_serial_as_string());
    println!("not before {}", cert.validity().not_before);
    println!("not after  {}", cert.validity().not_after);
    print!("{}", authority.pem());
    Ok(ExitCode::SUCCESS)
}

fn export(authority: &CertAuthority, file: &std::path::Path) -> Done {
    if file.as_os_str() == "-" {
        print!("{}", authority.pem());
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .map_err(|e| format!("cannot create `{}`: {e}", file.display()))?;
    out.write_all(authority.pem().as_bytes()).map_err(|e| format!("cannot write `{}`: {e}", file.display()))?;
    println!("wrote {}", file.display());
    Ok(ExitCode::SUCCESS)
}
