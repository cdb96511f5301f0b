//! Our certificate authority: made on first use, replaced only by a rotation, refused when anything is wrong with it.
//!
//! In `tls.ca_dir`, `ca.key` is the signing key, and `ca.pem` holds all our certificates that agents must trust: first
//! that of `ca.key`, and during a rotation also the next one and the old one. The key alone decides which CA is in
//! force. So renaming one key file is the whole switch, and a crash leaves either the old CA or the new one.

mod error;
mod files;
mod profile;
mod record;
mod rotation;

use std::path::{Path, PathBuf};

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::time::ASN1Time;

pub use error::AuthorityError;
pub use profile::key_id;
pub(super) use profile::{BACKDATE, serial};
pub(super) use rotation::{Change, begin, due, finish, settle};
pub use rotation::{DEFAULT_OVERLAP, Standing};

use super::pem;
use error::bad;
use record::Record;

/// The file in `tls.ca_dir` with all our certificates that agents must trust, the one in force first. Variables that
/// add roots, such as `NODE_EXTRA_CA_CERTS`, point at it.
pub const CA_CERT_FILE: &str = "ca.pem";
/// The file of the CA key in `tls.ca_dir`, mode 0600.
pub const CA_KEY_FILE: &str = "ca.key";

/// Our CA, loaded and checked: certificate and key match, it may sign, and it is valid now.
pub struct CertAuthority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    /// Other certificates that agents must trust.
    others: Vec<CertificateDer<'static>>,
    dir: PathBuf,
    not_after: OffsetDateTime,
}

impl CertAuthority {
    /// Loads the CA in `dir`, or makes one if there is none. Never overwrites a file.
    ///
    /// # Errors
    /// [`AuthorityError`] when the folder or a file cannot be used, certificate and key do not match, the certificate
    /// is not a CA certificate or not valid now, or the key is readable by others.
    pub fn load_or_create(dir: &Path) -> Result<Self, AuthorityError> {
        files::create_dir(dir)?;
        let now = OffsetDateTime::now_utc();
        // Looked at before locking: a complete CA may be in a folder that we cannot write to.
        if !is_complete(dir)? {
            make(dir, now)?;
        }
        Self::load_at(dir, now)
    }

    /// Loads the CA in `dir`.
    ///
    /// # Errors
    /// As [`CertAuthority::load_or_create`], and when there is none.
    pub fn load(dir: &Path) -> Result<Self, AuthorityError> {
        Self::load_at(dir, OffsetDateTime::now_utc())
    }

    /// Loads the CA as of a given time.
    pub(super) fn load_at(dir: &Path, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let loaded = Self::load_at_any_time(dir, now)?;
        let (_, cert) = parse(&dir.join(CA_CERT_FILE), &loaded.der)?;
        let validity = cert.validity();
        if !validity.is_valid_at(asn1(now)) {
            let (from, to) = (validity.not_before.to_string(), validity.not_after.to_string());
            return Err(AuthorityError::NotValidNow { path: dir.join(CA_CERT_FILE), from, to });
        }
        Ok(loaded)
    }

    /// Loads the CA even if its certificate has expired, for a rotation.
    fn load_at_any_time(dir: &Path, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let (cert_path, key_path) = (dir.join(CA_CERT_FILE), dir.join(CA_KEY_FILE));
        match (files::exists(&cert_path)?, files::exists(&key_path)?) {
            (true, false) => return Err(AuthorityError::Half { present: cert_path, missing: key_path }),
            (false, true) => return Err(AuthorityError::Half { present: key_path, missing: cert_path }),
            _ => {}
        }
        for path in [&cert_path, &key_path] {
            files::refuse_file_of_another_user(path)?;
        }
        let text = files::read(&cert_path)?;
        files::refuse_open_folder(dir)?;
        files::refuse_open_key(&key_path)?;
        let key = files::read(&key_path)?;
        crate::secret::register_pem(&key);
        let key =
            KeyPair::from_pem(&key).map_err(|e| bad(&key_path, format!("is not a usable private key ({e})")))?;
        let mut others =
            pem::decode(text.as_bytes()).map_err(|e| bad(&cert_path, format!("is not a PEM certificate ({e})")))?;
        let mut belonging = None;
        for (at, der) in others.iter().enumerate() {
            if belongs(&cert_path, der, &key)? {
                belonging.get_or_insert(at);
            }
        }
        let at =
            belonging.ok_or_else(|| bad(&cert_path, format!("does not belong to the key in `{CA_KEY_FILE}`")))?;
        let der = others.remove(at);
        let not_after = check(&cert_path, &der)?;
        let record = Record::read(dir)?;
        others.retain(|other| is_trusted(other, &record, now));
        let issuer = Issuer::from_ca_cert_der(&der, key)
            .map_err(|e| bad(&cert_path, format!("cannot be used as a CA certificate ({e})")))?;
        Ok(Self { issuer, der, others, dir: dir.to_owned(), not_after })
    }

    /// The certificate as DER bytes.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// All our certificates that agents must trust, the one in force first. There are others only during a rotation.
    pub fn trusted(&self) -> Vec<CertificateDer<'static>> {
        std::iter::once(&self.der).chain(&self.others).cloned().collect()
    }

    /// The trusted certificates as PEM text.
    pub fn trusted_pem(&self) -> String {
        pem::encode(&self.trusted())
    }

    /// The folder of the CA.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The end of its validity.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }
}

fn create(dir: &Path, now: OffsetDateTime) -> Result<(), AuthorityError> {
    let key = KeyPair::generate()?;
    let cert = profile::profile(&key, now)?.self_signed(&key)?;
    files::write_new(&dir.join(CA_KEY_FILE), key.serialize_pem().as_bytes(), 0o600)?;
    // At once: other processes read it without the lock.
    files::replace(&dir.join(CA_CERT_FILE), cert.pem().as_bytes(), 0o644)
}

/// Makes a CA if there is none. One process at a time: the others wait here until the first has written both files.
fn make(dir: &Path, now: OffsetDateTime) -> Result<(), AuthorityError> {
    let lock = files::lock(dir);
    match is_missing(dir)? {
        true => lock.and_then(|_lock| create(dir, now)),
        // Another process has made it, or half of it is lost, which loading reports.
        false => Ok(()),
    }
}

/// Whether `dir` has no CA at all.
fn is_missing(dir: &Path) -> Result<bool, AuthorityError> {
    Ok(!files::exists(&dir.join(CA_CERT_FILE))? && !files::exists(&dir.join(CA_KEY_FILE))?)
}

/// Whether `dir` has both files.
fn is_complete(dir: &Path) -> Result<bool, AuthorityError> {
    Ok(files::exists(&dir.join(CA_CERT_FILE))? && files::exists(&dir.join(CA_KEY_FILE))?)
}

fn belongs(path: &Path, der: &CertificateDer<'_>, key: &KeyPair) -> Result<bool, AuthorityError> {
    let (_, cert) = parse(path, der)?;
    Ok(cert.public_key().subject_public_key.data.as_ref() == key.public_key_raw())
}

fn check(path: &Path, der: &CertificateDer<'_>) -> Result<OffsetDateTime, AuthorityError> {
    let (_, cert) = parse(path, der)?;
    if !cert.is_ca() {
        return Err(bad(path, "is not a CA certificate".to_owned()));
    }
    Ok(cert.validity().not_after.to_datetime())
}

/// Whether agents must trust this certificate beside the one in force.
fn is_trusted(der: &CertificateDer<'_>, record: &Record, now: OffsetDateTime) -> bool {
    let Ok((_, cert)) = x509_parser::parse_x509_certificate(der) else { return false };
    let until = record.until(&key_id(der));
    cert.validity().not_after > asn1(now) && until.is_none_or(|until| now < until)
}

fn parse<'a>(
    path: &Path,
    der: &'a CertificateDer<'_>,
) -> Result<(&'a [u8], x509_parser::certificate::X509Certificate<'a>), AuthorityError> {
    x509_parser::parse_x509_certificate(der).map_err(|e| bad(path, format!("is not an X.509 certificate ({e})")))
}

fn asn1(at: OffsetDateTime) -> ASN1Time {
    ASN1Time::from(at)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use time::Duration;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn processes_that_start_together_have_one_ca() {
        let made = folder();
        CertAuthority::load_or_create(made.path()).unwrap();
        let dir = folder();
        let copy = |name| fs::copy(made.path().join(name), dir.path().join(name)).unwrap();
        // Another process has written the first of its files.
        let lock = files::lock(dir.path()).unwrap();
        copy(CA_KEY_FILE);
        let loaded = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| CertAuthority::load_or_create(dir.path()).map(|ca| ca.der));
            copy(CA_CERT_FILE);
            drop(lock);
            waiting.join().unwrap()
        });
        assert_eq!(loaded.unwrap(), CertAuthority::load(made.path()).unwrap().der);

        let dir = folder();
        let load = || CertAuthority::load_or_create(dir.path()).unwrap().der;
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..20).map(|_| scope.spawn(load)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|der| *der == all[0]));
    }

    #[test]
    fn it_is_made_once_with_tight_modes_and_then_loaded() {
        let tmp = folder();
        let dir = tmp.path().join("deep/ca");
        let first = CertAuthority::load_or_create(&dir).unwrap();
        let again = CertAuthority::load_or_create(&dir).unwrap();
        assert_eq!(first.der(), again.der());
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join(CA_KEY_FILE)), 0o600);
    }

    #[test]
    fn its_certificate_has_the_profile_that_strict_clients_ask_for() {
        let tmp = folder();
        let ca = CertAuthority::load_or_create(&tmp.path().join("ca")).unwrap();
        let (_, cert) = x509_parser::parse_x509_certificate(ca.der()).unwrap();
        let constraints = cert.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let usage = cert.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
        assert!(cert.subject().to_string().contains("OTAS Proxy CA "));
        let (mut ski, mut aki) = (None, None);
        for extension in cert.extensions() {
            match extension.parsed_extension() {
                x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => ski = Some(id.0.to_vec()),
                x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => {
                    aki = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                _ => {}
            }
        }
        assert!(ski.is_some());
        assert_eq!(ski, aki);
        assert_eq!(cert.raw_serial().len(), 20);
    }

    #[test]
    fn each_damage_stops_the_start_with_its_own_message_and_nothing_is_overwritten() {
        type Damage = fn(&Path);
        let damage: [(&str, Damage); 6] = [
            ("is missing", |d| fs::remove_file(d.join(CA_KEY_FILE)).unwrap()),
            ("is missing", |d| fs::remove_file(d.join(CA_CERT_FILE)).unwrap()),
            ("not a usable private key", |d| fs::write(d.join(CA_KEY_FILE), "x").unwrap()),
            ("not a PEM certificate", |d| fs::write(d.join(CA_CERT_FILE), "x").unwrap()),
            ("chmod 0600", |d| {
                fs::set_permissions(d.join(CA_KEY_FILE), fs::Permissions::from_mode(0o644)).unwrap();
            }),
            ("does not belong to the key", |d| {
                let key = KeyPair::generate().unwrap();
                fs::write(
                    d.join(CA_CERT_FILE),
                    profile::profile(&key, OffsetDateTime::now_utc()).unwrap().self_signed(&key).unwrap().pem(),
                )
                .unwrap();
            }),
        ];
        for (expected, act) in damage {
            let tmp = folder();
            let dir = tmp.path().join("ca");
            CertAuthority::load_or_create(&dir).unwrap();
            act(&dir);
            let before: Vec<_> = [CA_CERT_FILE, CA_KEY_FILE].map(|f| fs::read(dir.join(f)).ok()).into();
            let error = CertAuthority::load_or_create(&dir).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
            let after: Vec<_> = [CA_CERT_FILE, CA_KEY_FILE].map(|f| fs::read(dir.join(f)).ok()).into();
            assert_eq!(before, after);
        }
    }

    #[test]
    fn an_expired_ca_stops_the_start() {
        let tmp = folder();
        let dir = tmp.path().join("ca");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = profile::profile(&key, OffsetDateTime::now_utc()).unwrap();
        params.not_before = OffsetDateTime::now_utc() - Duration::days(20);
        params.not_after = OffsetDateTime::now_utc() - Duration::days(10);
        files::write_new(&dir.join(CA_KEY_FILE), key.serialize_pem().as_bytes(), 0o600).unwrap();
        files::write_new(&dir.join(CA_CERT_FILE), params.self_signed(&key).unwrap().pem().as_bytes(), 0o644).unwrap();
        let error = CertAuthority::load_or_create(&dir).err().unwrap().to_string();
        assert!(error.contains("not valid now"), "{error}");
    }
}
