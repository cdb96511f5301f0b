//! Certificates as PEM text, and back.

use base64::Engine as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Encodes certificates.
pub(super) fn encode<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> String {
    let mut text = String::new();
    certificates.into_iter().for_each(|der| push(&mut text, der));
    text
}

/// Appends one certificate.
pub(super) fn push(text: &mut String, der: &CertificateDer<'_>) {
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

/// All certificates in `text`.
///
/// # Errors
/// The problem, for people.
pub(super) fn decode(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(|e| format!("{e:?}"))?;
    if found.is_empty() { Err("it contains no certificate".to_owned()) } else { Ok(found) }
}
