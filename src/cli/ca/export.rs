//! `ca export`: what agents are to trust, in the form that a client asks for.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use super::super::{Done, say};
use crate::config::Flags;
use crate::tls::{CertAuthority, TRUST_STORE_PASSWORD, trust_store};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The form to write
    #[arg(long, value_enum, default_value_t = Format::Pem)]
    format: Format,
    /// The file to write, or `-`; an existing file is not overwritten
    file: PathBuf,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text; during a rotation both certificates
    Pem,
    /// Binary; only the certificate in force
    Der,
    /// A PKCS#12 trust store for Java (password: changeit)
    P12,
}

pub(super) fn run(args: &Args) -> Done {
    let authority = super::authority(&args.flags)?;
    let bytes = encoded(&authority, args.format)?;
    if args.file.as_os_str() == "-" {
        let mut out = say::stdout();
        out.write_all(&bytes)?;
        out.flush()?;
    } else {
        let file = args.file.display();
        let mut out = std::fs::File::create_new(&args.file).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("`{file}` exists already: choose another name, or remove it first")
            }
            _ => format!("cannot create `{file}`: {error}. Name a file in a folder that this user can write"),
        })?;
        out.write_all(&bytes).map_err(|e| format!("cannot write `{file}`: {e}"))?;
        say::out(&format!("wrote {file}"))?;
    }
    if args.format == Format::P12 {
        say::err(&format!("otas-proxy: the trust store's password is {TRUST_STORE_PASSWORD}"));
    }
    if args.format == Format::Der && authority.trusted().len() > 1 {
        say::err(
            "otas-proxy: a rotation is in progress, and DER holds one certificate only; the other forms hold all",
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn encoded(authority: &CertAuthority, format: Format) -> std::io::Result<Vec<u8>> {
    match format {
        Format::Pem => Ok(authority.trusted_pem().into_bytes()),
        Format::Der => Ok(authority.der().to_vec()),
        Format::P12 => trust_store(&authority.trusted()),
    }
}
