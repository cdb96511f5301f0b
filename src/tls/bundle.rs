//! The bundle for variables that *replace* a client's roots: the system's roots and our CA in one file.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use base64::Engine as _;
use rustls::pki_types::CertificateDer;

use super::CertAuthority;
use super::roots::system_roots;

/// The bundle's file in `tls.ca_dir`: a stable path, for tools that look at it after a run as well.
pub const BUNDLE_FILE: &str = "bundle.pem";

/// Writes the bundle beside the CA (the system's roots, Mozilla's where there are none, then our CA) and returns its
/// path. A bundle that is already right is left alone, so that a process that reads it now is not disturbed.
///
/// # Errors
/// When the file cannot be written.
pub fn write_bundle(authority: &CertAuthority) -> io::Result<PathBuf> {
    let path = authority.dir().join(BUNDLE_FILE);
    let text = bundle(authority);
    if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(path);
    }
    // Readers must never see half of it: write beside, then rename.
    let beside = authority.dir().join(format!(".{BUNDLE_FILE}.{}", uuid::Uuid::new_v4().simple()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&beside)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&beside, &path)?;
    Ok(path)
}

fn bundle(authority: &CertAuthority) -> String {
    let mut text = String::new();
    for der in system_roots().iter().filter(|der| *der != authority.der()) {
        push_pem(&mut text, der);
    }
    text.push_str(authority.pem());
    text
}

fn push_pem(text: &mut String, der: &CertificateDer<'_>) {
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, left) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = left;
    }
    text.push_str("-----END CERTIFICATE-----\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn the_bundle_holds_the_systems_roots_and_our_ca() {
        let tmp = tempfile::tempdir().unwrap();
        let ca = CertAuthority::load_or_create(&tmp.path().join("ca")).unwrap();
        let path = write_bundle(&ca).unwrap();
        let certs: Vec<_> = CertificateDer::pem_file_iter(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(certs.len(), system_roots().len() + 1);
        assert_eq!(certs.last(), Some(ca.der()));
        assert_eq!(write_bundle(&ca).unwrap(), path);
    }
}
