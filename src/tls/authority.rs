//! Our certificate authority: made on first use, never overwritten, refused when anything about it is wrong.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};

/// The CA certificate's file in `tls.ca_dir`; also what "add" variables such as `NODE_EXTRA_CA_CERTS` point at.
pub const CA_CERT_FILE: &str = "ca.pem";
/// The CA key's file in `tls.ca_dir`, mode 0600.
pub const CA_KEY_FILE: &str = "ca.key";

const VALIDITY: Duration = Duration::days(825);
/// Sandboxes' clocks differ from their host's: nothing is minted to be valid from this very second.
pub(super) const BACKDATE: Duration = Duration::hours(24);

/// Our CA, loaded and checked: certificate and key fit, it may sign, and it is valid now.
pub struct CertAuthority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
    dir: PathBuf,
    not_after: OffsetDateTime,
}

/// Why the CA cannot be used. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file or the folder could not be read or written.
    #[error("cannot {act} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// One of the two files is there without the other.
    #[error("`{}` is there but `{}` is missing: restore it, or move both away to have a new CA made", present.display(), missing.display())]
    Half {
        /// The file that exists.
        present: PathBuf,
        /// The file that does not.
        missing: PathBuf,
    },
    /// A file's content is not what it should be.
    #[error("`{}` {problem}: restore it, or move `ca.pem` and `ca.key` away to have a new CA made", path.display())]
    Bad {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Others than the owner may read the key.
    #[error("`{}` has mode {mode:04o}, so others may read the CA key: run `chmod {wanted:04o} '{}'`", path.display(), path.display())]
    TooOpen {
        /// The key or its folder.
        path: PathBuf,
        /// Its present mode.
        mode: u32,
        /// The mode that it must not exceed.
        wanted: u32,
    },
    /// The certificate could not be made.
    #[error("cannot make the CA certificate: {0}")]
    Mint(#[from] rcgen::Error),
}

impl CertAuthority {
    /// Loads the CA in `dir`, or makes one when there is none yet. Never overwrites.
    ///
    /// # Errors
    /// [`AuthorityError`] when the folder or a file cannot be used, the two files do not fit each other, the
    /// certificate is not a CA or not valid now, or the key is readable by others.
    pub fn load_or_create(dir: &Path) -> Result<Self, AuthorityError> {
        create_dir(dir)?;
        if !exists(&dir.join(CA_CERT_FILE))? && !exists(&dir.join(CA_KEY_FILE))? {
            match create(dir) {
                // Another process was first: what it made is loaded below.
                Err(AuthorityError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                    wait_for_the_other(dir);
                }
                other => other?,
            }
        }
        Self::load(dir)
    }

    /// Loads the CA in `dir`.
    ///
    /// # Errors
    /// As [`CertAuthority::load_or_create`], and when there is none.
    pub fn load(dir: &Path) -> Result<Self, AuthorityError> {
        let (cert_path, key_path) = (dir.join(CA_CERT_FILE), dir.join(CA_KEY_FILE));
        match (exists(&cert_path)?, exists(&key_path)?) {
            (true, false) => return Err(AuthorityError::Half { present: cert_path, missing: key_path }),
            (false, true) => return Err(AuthorityError::Half { present: key_path, missing: cert_path }),
            _ => {}
        }
        let pem = read(&cert_path)?;
        refuse_open_mode(dir, 0o700)?;
        refuse_open_mode(&key_path, 0o600)?;
        let key = KeyPair::from_pem(&read(&key_path)?)
            .map_err(|e| bad(&key_path, format!("is not a usable private key ({e})")))?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|e| bad(&cert_path, format!("is not a PEM certificate ({e:?})")))?;
        let not_after = check(&cert_path, &der, &key)?;
        let issuer = Issuer::from_ca_cert_der(&der, key)
            .map_err(|e| bad(&cert_path, format!("cannot be used as a CA certificate ({e})")))?;
        Ok(Self { issuer, der, pem, dir: dir.to_owned(), not_after })
    }

    /// The certificate as PEM text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate as DER bytes.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The folder it lives in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The end of its validity.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }
}

fn create(dir: &Path) -> Result<(), AuthorityError> {
    let key = KeyPair::generate()?;
    let cert = profile(&key)?.self_signed(&key)?;
    // The key first and exclusively: whoever creates it owns the making of this CA.
    write_new(&dir.join(CA_KEY_FILE), key.serialize_pem().as_bytes(), 0o600)?;
    write_new(&dir.join(CA_CERT_FILE), cert.pem().as_bytes(), 0o644)
}

/// What Python 3.13's strict check, Apple's rules and all clients that were measured ask of a CA certificate.
fn profile(key: &KeyPair) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    let id = params.key_identifier(key);
    params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(id.clone());
    let short: String = id.iter().take(4).map(|b| format!("{b:02x}")).collect();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // Unique for each installation, so that two CAs never collide by name.
    params.distinguished_name.push(DnType::CommonName, format!("OTAS Proxy CA {short}"));
    params.distinguished_name.push(DnType::OrganizationName, "OTAS Proxy");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial());
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - BACKDATE, now + VALIDITY);
    Ok(params)
}

/// Twenty random bytes, positive (RFC 5280 4.1.2.2).
pub(super) fn serial() -> SerialNumber {
    let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let mut bytes = [0u8; 20];
    bytes[..16].copy_from_slice(a.as_bytes());
    bytes[16..].copy_from_slice(&b.as_bytes()[..4]);
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn check(path: &Path, der: &CertificateDer<'_>, key: &KeyPair) -> Result<OffsetDateTime, AuthorityError> {
    let (_, cert) = x509_parser::parse_x509_certificate(der)
        .map_err(|e| bad(path, format!("is not an X.509 certificate ({e})")))?;
    if cert.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        return Err(bad(path, format!("does not belong to the key in `{CA_KEY_FILE}`")));
    }
    if !cert.is_ca() {
        return Err(bad(path, "is not a CA certificate".to_owned()));
    }
    let validity = cert.validity();
    if !validity.is_valid() {
        let (from, to) = (validity.not_before, validity.not_after);
        return Err(bad(path, format!("is not valid now (only from {from} to {to})")));
    }
    Ok(validity.not_after.to_datetime())
}

fn create_dir(dir: &Path) -> Result<(), AuthorityError> {
    if exists(dir)? {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(|source| io_error("create", parent, source))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(io_error("create", dir, source)),
        _ => Ok(()),
    }
}

/// Another process created the key a moment ago and writes the certificate next: give it that moment.
fn wait_for_the_other(dir: &Path) {
    for _ in 0..100 {
        if fs::read(dir.join(CA_CERT_FILE)).is_ok_and(|pem| pem.ends_with(b"-----\n") || pem.ends_with(b"-----\r\n"))
        {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn refuse_open_mode(path: &Path, wanted: u32) -> Result<(), AuthorityError> {
    let mode = fs::metadata(path).map_err(|source| io_error("look at", path, source))?.permissions().mode() & 0o777;
    // A folder that others may list does no harm as long as they can't write to it: the key has its own mode.
    let harmful = if wanted == 0o700 { 0o022 } else { 0o077 };
    if mode & harmful != 0 {
        return Err(AuthorityError::TooOpen { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), AuthorityError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|source| io_error("create", path, source))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|source| io_error("write", path, source))
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|source| io_error("read", path, source))
}

fn exists(path: &Path) -> Result<bool, AuthorityError> {
    path.try_exists().map_err(|source| io_error("look at", path, source))
}

fn io_error(act: &'static str, path: &Path, source: io::Error) -> AuthorityError {
    AuthorityError::Io { act, path: path.to_owned(), source }
}

fn bad(path: &Path, problem: String) -> AuthorityError {
    AuthorityError::Bad { path: path.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn it_is_made_once_with_tight_modes_and_then_loaded() {
        let tmp = folder();
        let dir = tmp.path().join("deep/ca");
        let first = CertAuthority::load_or_create(&dir).unwrap();
        let again = CertAuthority::load_or_create(&dir).unwrap();
        assert_eq!(first.pem(), again.pem());
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
                fs::write(d.join(CA_CERT_FILE), profile(&key).unwrap().self_signed(&key).unwrap().pem()).unwrap();
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
        let mut params = profile(&key).unwrap();
        params.not_before = OffsetDateTime::now_utc() - Duration::days(20);
        params.not_after = OffsetDateTime::now_utc() - Duration::days(10);
        write_new(&dir.join(CA_KEY_FILE), key.serialize_pem().as_bytes(), 0o600).unwrap();
        write_new(&dir.join(CA_CERT_FILE), params.self_signed(&key).unwrap().pem().as_bytes(), 0o644).unwrap();
        let error = CertAuthority::load_or_create(&dir).err().unwrap().to_string();
        assert!(error.contains("not valid now"), "{error}");
    }
}
