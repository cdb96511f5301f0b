//! Certificates as a PKCS#12 trust store, the format that Java reads.

use std::io;

use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use rustls::pki_types::CertificateDer;

/// The password of the trust store: Java's default. It protects nothing, because the certificates are public.
pub const TRUST_STORE_PASSWORD: &str = "changeit";

/// Encodes a trust store with [`TRUST_STORE_PASSWORD`]. Its bytes differ each time because of salts.
///
/// # Errors
/// When encoding fails.
pub fn encode(certificates: &[CertificateDer<'_>]) -> io::Result<Vec<u8>> {
    let mut store = KeyStore::new();
    for (nth, der) in certificates.iter().enumerate() {
        // A certificate that this library cannot read is skipped. Java could not read it either.
        if let Ok(certificate) = Certificate::from_der(der) {
            store.add_entry(&format!("root-{nth:03}"), KeyStoreEntry::Certificate(certificate));
        }
    }
    // The password is public, so many iterations would gain nothing.
    let writer = store.writer(TRUST_STORE_PASSWORD).encryption_iterations(1).mac_iterations(1);
    writer.write().map_err(io::Error::other)
}

/// The certificates in a trust store of ours. `None`: it is not one.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let store = KeyStore::from_pkcs12(bytes, TRUST_STORE_PASSWORD, Pkcs12ImportPolicy::Relaxed).ok()?;
    let certificate = |entry: &KeyStoreEntry| match entry {
        KeyStoreEntry::Certificate(certificate) => Some(CertificateDer::from(certificate.as_der().to_vec())),
        _ => None,
    };
    Some(store.entries().filter_map(|(_, entry)| certificate(entry)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::CertAuthority;

    #[test]
    fn a_written_trust_store_can_be_read() {
        let tmp = tempfile::tempdir().unwrap();
        let ca = CertAuthority::load_or_create(&tmp.path().join("ca")).unwrap();
        let written = encode(&ca.trusted()).unwrap();
        assert_eq!(decode(&written), Some(ca.trusted()));
        assert_eq!(decode(b"no store"), None);
    }
}
