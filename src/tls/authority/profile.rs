//! The content of a CA certificate.

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, SerialNumber};
use rustls::pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

const VALIDITY: Duration = Duration::days(825);
/// Certificates are valid from the past, because clocks in sandboxes differ from the host's.
pub(in crate::tls) const BACKDATE: Duration = Duration::hours(24);

/// Bytes of the key identifier that form the short name of a CA, in its subject and in file names.
const SHORT_ID_BYTES: usize = 4;

/// Satisfies Python 3.13's strict check, Apple's rules and all clients that we tested.
pub(super) fn profile(key: &KeyPair, now: OffsetDateTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    let id = params.key_identifier(key);
    params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(id.clone());
    params.distinguished_name = rcgen::DistinguishedName::new();
    // Unique for each installation, so that the names of two CAs never collide.
    params.distinguished_name.push(DnType::CommonName, format!("OTAS Proxy CA {}", short(&id)));
    params.distinguished_name.push(DnType::OrganizationName, "OTAS Proxy");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial());
    (params.not_before, params.not_after) = (now - BACKDATE, now + VALIDITY);
    Ok(params)
}

/// Twenty random bytes, positive (RFC 5280 4.1.2.2).
pub(in crate::tls) fn serial() -> SerialNumber {
    let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let mut bytes = [0u8; 20];
    bytes[..16].copy_from_slice(a.as_bytes());
    bytes[16..].copy_from_slice(&b.as_bytes()[..4]);
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// The short name of a CA certificate: the start of its subject key identifier, or of its hash if it has none (then it
/// is not ours).
pub fn key_id(der: &CertificateDer<'_>) -> String {
    let parsed = x509_parser::parse_x509_certificate(der).ok();
    let of = |cert: &X509Certificate<'_>| {
        cert.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(short(id.0)),
            _ => None,
        })
    };
    parsed.and_then(|(_, cert)| of(&cert)).unwrap_or_else(|| short(digest(&SHA256, der).as_ref()))
}

fn short(id: &[u8]) -> String {
    id.iter().take(SHORT_ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
}
