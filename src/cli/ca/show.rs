//! `ca show`: what agents are to trust.

use std::process::ExitCode;

use x509_parser::time::ASN1Time;

use super::super::{Done, say};
use crate::tls::{CA_CERT_FILE, CertAuthority, Standing};

pub(super) fn run(authority: &CertAuthority) -> Done {
    say::out(&format!("file       {}", authority.dir().join(CA_CERT_FILE).display()))?;
    for (der, (_, standing)) in authority.trusted().iter().zip(authority.standings()?) {
        let (_, cert) = x509_parser::parse_x509_certificate(der)?;
        say::out(&format!("subject    {}", cert.subject()))?;
        say::out(&format!("serial     {}", cert.raw_serial_as_string()))?;
        say::out(&format!("not before {}", cert.validity().not_before))?;
        say::out(&format!("not after  {}", cert.validity().not_after))?;
        match standing {
            Standing::InForce => say::out("state      in force")?,
            Standing::Next(at) => say::out(&format!("state      takes over at {}", ASN1Time::from(at)))?,
            Standing::Replaced(until) => {
                say::out(&format!("state      replaced, trusted until {}", ASN1Time::from(until)))?
            }
            Standing::Added => say::out("state      added by hand")?,
        }
    }
    say::raw(&authority.trusted_pem())?;
    Ok(ExitCode::SUCCESS)
}
