//! The files by which agents trust us: for variables that *replace* a client's roots (the system's roots and our CA in one
//! file), for those that *add* to them, and for clients that read neither (Java, PHP, wget).
//!
//! They lie beside the CA, on stable paths: tools look at them after a run as well. What the parent's own variables name is
//! merged in, in files of their own, called after their content.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::CertAuthority;
use super::roots::system_roots;

/// The bundle's file in `tls.ca_dir`, when nothing is merged in.
pub const BUNDLE_FILE: &str = "bundle.pem";

/// The password of the Java trust store, which protects nothing: it holds public certificates. Java's own default.
pub const TRUST_STORE_PASSWORD: &str = "changeit";

/// What agents are pointed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentFiles {
    /// Our CA, and what the parent adds to its clients' roots.
    pub added: PathBuf,
    /// The system's roots, what the parent put in their place, and our CA.
    pub bundle: PathBuf,
    /// The same for Java (PKCS#12, [`TRUST_STORE_PASSWORD`]).
    pub trust_store: PathBuf,
    /// A folder with an ini file for PHP.
    pub php_dir: PathBuf,
    /// A startup file for wget.
    pub wgetrc: PathBuf,
}

/// Bundles that the parent's variables name.
#[derive(Debug, Clone, Default)]
pub struct ParentBundles {
    /// By variables that replace a client's roots.
    pub replacing: Vec<PathBuf>,
    /// By variables that add to them.
    pub adding: Vec<PathBuf>,
}

/// Writes the bundle without anything merged in, and returns its path. See [`write_agent_files`].
///
/// # Errors
/// When the file cannot be written.
pub fn write_bundle(authority: &CertAuthority) -> io::Result<PathBuf> {
    let path = authority.dir().join(BUNDLE_FILE);
    write(&path, bundle(authority, &[]).as_bytes())?;
    Ok(path)
}

/// Writes all files beside the CA. What is right already is left alone, so that a process that reads it now is not disturbed.
/// A bundle of the parent that cannot be read is left out, with a warning.
///
/// # Errors
/// When a file cannot be written.
pub fn write_agent_files(authority: &CertAuthority, parent: &ParentBundles) -> io::Result<AgentFiles> {
    let dir = authority.dir();
    let (replacing, adding) = (certificates(dir, &parent.replacing), certificates(dir, &parent.adding));
    let roots = bundle(authority, &replacing);
    let mut more = String::new();
    adding.iter().filter(|der| *der != authority.der()).for_each(|der| push_pem(&mut more, der));
    let mark = |extra: &[CertificateDer<'_>], text: &str| match extra.is_empty() {
        true => String::new(),
        false => format!("-{}", short_hash(text)),
    };
    let suffix = mark(&replacing, &roots);

    let bundle = dir.join(format!("bundle{suffix}.pem"));
    write(&bundle, roots.as_bytes())?;
    let added = match adding.is_empty() {
        true => dir.join(super::CA_CERT_FILE),
        false => {
            let text = more + authority.pem();
            let path = dir.join(format!("added-{}.pem", short_hash(&text)));
            write(&path, text.as_bytes())?;
            path
        }
    };
    let trust_store = dir.join(format!("truststore-{}.p12", short_hash(&roots)));
    if !trust_store.exists() {
        // Its bytes differ each time (salts), so it is made once for each content.
        write(&trust_store, &java_trust_store(&roots)?)?;
    }
    let php_dir = dir.join(format!("php{suffix}"));
    match fs::DirBuilder::new().mode(0o755).create(&php_dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let at = bundle.display();
    let ini = format!("; Written by otas-proxy.\ncurl.cainfo=\"{at}\"\nopenssl.cafile=\"{at}\"\n");
    write(&php_dir.join("otas-proxy.ini"), ini.as_bytes())?;
    let wgetrc = dir.join(format!("wgetrc{suffix}"));
    write(&wgetrc, format!("# Written by otas-proxy.\nca_certificate = {at}\n").as_bytes())?;
    Ok(AgentFiles { added, bundle, trust_store, php_dir, wgetrc })
}

/// The certificates in these files, but for files of our own.
fn certificates(own_dir: &Path, files: &[PathBuf]) -> Vec<CertificateDer<'static>> {
    let mut all: Vec<CertificateDer<'static>> = Vec::new();
    for file in files.iter().filter(|file| file.parent() != Some(own_dir)) {
        match CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
            Ok(found) => found.into_iter().for_each(|der| {
                if !all.contains(&der) {
                    all.push(der);
                }
            }),
            Err(error) => tracing::warn!(
                file = %file.display(), %error,
                "a CA file that a variable names cannot be read; what it trusts, agents will not"
            ),
        }
    }
    all
}

/// Writes a file that others read, whole; what is right already is left alone.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    // Readers must never see half of it: write beside, then rename.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside)?;
    file.write_all(bytes)?;
    fs::rename(&beside, path)
}

fn bundle(authority: &CertAuthority, more: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    let system = system_roots();
    let more = more.iter().filter(|der| !system.contains(der));
    for der in system.iter().chain(more).filter(|der| *der != authority.der()) {
        push_pem(&mut text, der);
    }
    text.push_str(authority.pem());
    text
}

fn java_trust_store(pem: &str) -> io::Result<Vec<u8>> {
    let mut store = KeyStore::new();
    for (nth, der) in CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).enumerate() {
        // Java could not read it either.
        if let Ok(certificate) = Certificate::from_der(&der) {
            store.add_entry(&format!("root-{nth}"), KeyStoreEntry::Certificate(certificate));
        }
    }
    // The password is public, so nothing is gained by making it slow to guess.
    let writer = store.writer(TRUST_STORE_PASSWORD).encryption_iterations(1).mac_iterations(1);
    writer.write().map_err(io::Error::other)
}

/// Enough to tell contents apart.
fn short_hash(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
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

    fn read(path: &Path) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn the_bundle_holds_the_systems_roots_and_our_ca() {
        let tmp = tempfile::tempdir().unwrap();
        let ca = CertAuthority::load_or_create(&tmp.path().join("ca")).unwrap();
        let path = write_bundle(&ca).unwrap();
        let certs = read(&path);
        assert_eq!(certs.len(), system_roots().len() + 1);
        assert_eq!(certs.last(), Some(ca.der()));
        let files = write_agent_files(&ca, &ParentBundles::default()).unwrap();
        assert_eq!((&files.bundle, &files.added), (&path, &ca.dir().join("ca.pem")));
        assert!(fs::read_to_string(&files.wgetrc).unwrap().contains("bundle.pem"));
        assert!(fs::read_to_string(files.php_dir.join("otas-proxy.ini")).unwrap().contains("curl.cainfo="));
    }

    #[test]
    fn what_the_parent_trusts_is_merged_in_once_and_our_own_files_are_not() {
        let tmp = tempfile::tempdir().unwrap();
        let ca = CertAuthority::load_or_create(&tmp.path().join("ca")).unwrap();
        let other = CertAuthority::load_or_create(&tmp.path().join("other")).unwrap();
        let theirs = other.dir().join("ca.pem");
        let plain = write_agent_files(&ca, &ParentBundles::default()).unwrap();
        let parent = ParentBundles {
            replacing: vec![theirs.clone(), plain.bundle.clone(), tmp.path().join("missing.pem")],
            adding: vec![theirs.clone(), theirs],
        };
        let files = write_agent_files(&ca, &parent).unwrap();
        assert_ne!(files.bundle, plain.bundle);
        let certs = read(&files.bundle);
        assert_eq!(certs.len(), system_roots().len() + 2);
        assert!(certs.contains(other.der()) && certs.last() == Some(ca.der()));
        assert_eq!(read(&files.added), [other.der().clone(), ca.der().clone()]);
        assert_eq!(write_agent_files(&ca, &parent).unwrap(), files);
        assert!(files.trust_store.exists() && files.trust_store != plain.trust_store);
    }
}
