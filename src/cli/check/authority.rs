//! Our CA: its files, its validity, and what strict clients ask of its certificate.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::ParsedExtension;
use x509_parser::time::ASN1Time;

use super::line::Line;
use crate::tls::{AuthorityError, CertAuthority};

const WHAT: &str = "ca";

pub(super) fn line(dir: &Path, authority: Result<&CertAuthority, &AuthorityError>) -> Line {
    let authority = match authority {
        Ok(authority) => authority,
        Err(error) => return unusable(dir, error),
    };
    let missing = missing(authority.der());
    if !missing.is_empty() {
        let detail =
            format!("its certificate has no {}: strict clients (Python 3.13) refuse it", missing.join(" and no "));
        return Line::warn(WHAT, detail, "`otas-proxy ca rotate --overlap 0s` makes one that they accept");
    }
    let until = ASN1Time::from(authority.not_after());
    Line::ok(WHAT, format!("`{}` holds a CA that may sign until {until}", dir.display()))
}

fn unusable(dir: &Path, error: &AuthorityError) -> Line {
    let cure = match error {
        AuthorityError::TooOpen { path, .. } => format!("`chmod 0600 '{}'`", path.display()),
        AuthorityError::OpenFolder { path, is_ours: true, .. } => format!("`chmod go-w '{}'`", path.display()),
        AuthorityError::OpenFolder { is_ours: false, .. } => {
            "Choose a folder of this user (`tls.ca_dir`, --ca-dir)".to_owned()
        }
        AuthorityError::NotValidNow { .. } => {
            "`otas-proxy ca rotate`; if the dates are right, set this machine's clock".to_owned()
        }
        AuthorityError::Io { .. } => format!(
            "Let this user read and write `{}`, or choose another folder (`tls.ca_dir`, --ca-dir)",
            dir.display()
        ),
        _ => "Restore the file; or move `ca.pem` and `ca.key` away, and a new CA is made".to_owned(),
    };
    let detail = match error {
        AuthorityError::TooOpen { path, mode, .. } => {
            format!("`{}` has mode {mode:04o}: others may use the CA's key", path.display())
        }
        AuthorityError::OpenFolder { path, mode, .. } => {
            format!("`{}` has mode {mode:04o}: others can replace the CA in it", path.display())
        }
        AuthorityError::Io { act, path, source } => format!("cannot {act} `{}`: {source}", path.display()),
        error => error.to_string(),
    };
    Line::fail(WHAT, detail, cure)
}

/// What the certificate of a CA lacks.
fn missing(der: &CertificateDer<'_>) -> Vec<&'static str> {
    let Ok((_, cert)) = x509_parser::parse_x509_certificate(der) else { return vec!["readable content"] };
    let constrained = cert.basic_constraints().ok().flatten().is_some_and(|it| it.critical && it.value.ca);
    let signs = cert.key_usage().ok().flatten().is_some_and(|it| it.value.key_cert_sign());
    let named =
        cert.extensions().iter().any(|it| matches!(it.parsed_extension(), ParsedExtension::SubjectKeyIdentifier(_)));
    [
        (constrained, "critical basic constraints"),
        (signs, "key usage that lets it sign"),
        (named, "subject key identifier"),
    ]
    .into_iter()
    .filter_map(|(there, what)| (!there).then_some(what))
    .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::super::line::State;
    use super::*;
    use crate::tls::{CA_CERT_FILE, CA_KEY_FILE};

    fn found(dir: &Path) -> Line {
        line(dir, CertAuthority::load_or_create(dir).as_ref())
    }

    #[test]
    fn a_good_one_an_open_key_and_one_of_other_making() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("ca");
        assert_eq!(found(&dir).state, State::Ok);
        let key_file = dir.join(CA_KEY_FILE);
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o644)).unwrap();
        let open = found(&dir);
        assert!(open.state == State::Fail && open.cure.unwrap().starts_with("`chmod 0600 "));
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();

        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(dir.join(CA_CERT_FILE), params.self_signed(&key).unwrap().pem()).unwrap();
        let other = found(&dir);
        assert!(other.state == State::Fail && other.detail.contains("does not belong"), "{other:?}");
        fs::write(&key_file, key.serialize_pem()).unwrap();
        let lax = found(&dir);
        assert!(lax.state == State::Warn && lax.detail.contains("key usage"), "{lax:?}");
    }
}
