//! `ca show`: what agents are to trust.

use std::process::ExitCode;

use x509_parser::time::ASN1Time;

use super::super::Done;
use crate::tls::{CA_CERT_FILE, CertAuthority, Standing};

pub(super) fn run(authority: &CertAuthority) -> Done {
    println!("file       {}", authority.dir().join(CA_CERT_FILE).display());
    for (der, (_, standing)) in authority.trusted().iter().zip(authority.standings()?) {
        let (_, cert) = x509_parser::parse_x509_certificate(der)?;
        println!("subject    {}", cert.subject());
        println!("serial     {}", cert.raw_serial_as_string());
        println!("not before {}", cert.validity().not_before);
        println!("not after  {}", cert.validity().not_after);
        match standing {
            Standing::InForce => println!("state      in force"),
            Standing::Next(at) => println!("state      takes over at {}", ASN1Time::from(at)),
            Standing::Replaced(until) => println!("state      replaced, trusted until {}", ASN1Time::from(until)),
            Standing::Added => println!("state      added by hand"),
        }
    }
    print!("{}", authority.trusted_pem());
    Ok(ExitCode::SUCCESS)
}
