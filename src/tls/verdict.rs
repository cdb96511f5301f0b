//! Why rustls refused an origin's certificate, in words that people can act on.

use rustls::CertificateError;

/// The stable identifier of the failure, and a sentence for people that says which check failed.
pub fn certificate_failure(error: &CertificateError) -> (&'static str, String) {
    use CertificateError as E;
    match error {
        E::Expired => ("tls_certificate_expired", "its certificate has expired".to_owned()),
        E::ExpiredContext { not_after, .. } => {
            ("tls_certificate_expired", format!("its certificate expired on {}", day(not_after.as_secs())))
        }
        E::NotValidYet => ("tls_certificate_not_yet_valid", "its certificate is not valid yet".to_owned()),
        E::NotValidYetContext { not_before, .. } => (
            "tls_certificate_not_yet_valid",
            format!("its certificate is only valid from {}", day(not_before.as_secs())),
        ),
        E::UnknownIssuer => (
            "tls_certificate_unknown_issuer",
            "its certificate is self-signed or from an issuer that is not trusted (if it is a private CA of yours, \
             name its file in tls.origin_ca_file)"
                .to_owned(),
        ),
        E::NotValidForName => ("tls_certificate_wrong_name", "its certificate is for another name".to_owned()),
        E::NotValidForNameContext { presented, .. } => {
            // webpki writes a name as `DnsName("x")`.
            let names: Vec<&str> = presented
                .iter()
                .map(|n| {
                    n.split_once('(').map_or(n.as_str(), |(_, rest)| rest.trim_end_matches(')')).trim_matches('"')
                })
                .collect();
            ("tls_certificate_wrong_name", format!("its certificate is for another name ({})", names.join(", ")))
        }
        E::Revoked => ("tls_certificate_revoked", "its certificate has been revoked".to_owned()),
        E::BadSignature => {
            ("tls_certificate_bad_signature", "the signature of its certificate is invalid".to_owned())
        }
        E::BadEncoding => ("tls_certificate_malformed", "its certificate is malformed".to_owned()),
        E::ApplicationVerificationFailure => {
            ("tls_certificate_not_pinned", "its certificate is not the one that tls.pinned names for it".to_owned())
        }
        // webpki has no error of its own for a CA certificate that a server presents as its own. That is typical of
        // self-signed ones.
        E::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            "tls_certificate_unknown_issuer",
            "its certificate is self-signed (a CA certificate used as a server's)".to_owned(),
        ),
        other => ("tls_certificate_invalid", format!("its certificate was refused ({other})")),
    }
}

fn day(unix_seconds: u64) -> String {
    i64::try_from(unix_seconds)
        .ok()
        .and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok())
        .map_or_else(|| "an unknown day".to_owned(), |t| t.date().to_string())
}
