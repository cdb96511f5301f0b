//! The files that make agents trust us: for variables that *replace* a client's roots (the system's roots and our CA in
//! one file), for those that *add* to them, and for clients that read neither (Java, PHP, wget).
//!
//! They are beside the CA, on stable paths, because tools read them after a run, too. Certificates that the parent's
//! own variables name are merged into separate files, which are named after their content.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::roots::system_roots;
use super::{CertAuthority, pem, trust_store};
use crate::system::files::{DirBuilderExt as _, OpenOptionsExt as _};

/// The bundle in `tls.ca_dir` when nothing is merged in.
pub const BUNDLE_FILE: &str = "bundle.pem";

/// The files that agents are pointed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentFiles {
    /// Our CA, and certificates that the parent adds to its clients' roots.
    pub added: PathBuf,
    /// The system's roots, the parent's replacements for them, and our CA.
    pub bundle: PathBuf,
    /// The same for Java (PKCS#12, [`super::TRUST_STORE_PASSWORD`]).
    pub trust_store: PathBuf,
    /// A folder with an ini file for PHP.
    pub php_dir: PathBuf,
    /// A startup file for wget.
    pub wgetrc: PathBuf,
}

/// Bundles that the parent's environment variables name.
#[derive(Debug, Clone, Default)]
pub struct ParentBundles {
    /// From variables that replace a client's roots.
    pub replacing: Vec<PathBuf>,
    /// From variables that add to them.
    pub adding: Vec<PathBuf>,
}

/// Writes the bundle of the `system`'s roots and our CA, without anything merged in, and returns its path. See
/// [`write_agent_files`].
///
/// # Errors
/// When the file cannot be written.
pub fn write_bundle(authority: &CertAuthority, system: &[CertificateDer<'_>]) -> io::Result<PathBuf> {
    let path = authority.dir().join(BUNDLE_FILE);
    write(&path, bundle(authority, system, &[]).as_bytes())?;
    Ok(path)
}

/// Writes all files beside the CA. A file that is right already is not touched, so that processes that read it are not
/// disturbed. A parent's bundle that cannot be read is skipped with a warning.
///
/// # Errors
/// When a file cannot be written.
pub fn write_agent_files(authority: &CertAuthority, parent: &ParentBundles) -> io::Result<AgentFiles> {
    let dir = authority.dir();
    let (replacing, adding) = (certificates(dir, &parent.replacing), certificates(dir, &parent.adding));
    let roots = bundle(authority, &system_roots(), &replacing);
    let ours = authority.trusted();
    let more = pem::encode(adding.iter().filter(|der| !ours.contains(der)));
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
            let text = more + &authority.trusted_pem();
            let path = dir.join(format!("added-{}.pem", short_hash(&text)));
            write(&path, text.as_bytes())?;
            path
        }
    };
    let trust_store = dir.join(format!("truststore-{}.p12", short_hash(&roots)));
    if !trust_store.exists() {
        // Its bytes differ each time because of salts, so it is made once for each content.
        let certificates = pem::decode(roots.as_bytes()).map_err(io::Error::other)?;
        write(&trust_store, &trust_store::encode(&certificates)?)?;
    }
    let php_dir = dir.join(format!("php{suffix}"));
    match fs::DirBuilder::new().mode(0o755).create(&php_dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    write(&php_dir.join(PHP_INI), php_ini(&bundle).as_bytes())?;
    let wgetrc = dir.join(format!("wgetrc{suffix}"));
    write(&wgetrc, self::wgetrc(&bundle).as_bytes())?;
    Ok(AgentFiles { added, bundle, trust_store, php_dir, wgetrc })
}

/// Updates all existing files: adds our certificates and removes those in `gone`. So an agent that was started before a
/// rotation, and reads the file again, trusts the CA in force.
pub(super) fn refresh(authority: &CertAuthority, gone: &[CertificateDer<'static>]) -> io::Result<()> {
    for entry in fs::read_dir(authority.dir())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is = |start: &str, end: &str| name.starts_with(start) && name.ends_with(end);
        if is("bundle", ".pem") || is("added-", ".pem") {
            if let Ok(there) = pem::decode(&fs::read(&path)?) {
                write(&path, pem::encode(&in_step(&there, authority, gone)).as_bytes())?;
            }
        } else if is("truststore-", ".p12")
            && let Some(there) = trust_store::decode(&fs::read(&path)?)
        {
            let wanted = in_step(&there, authority, gone);
            if wanted.len() != there.len() || wanted.iter().any(|der| !there.contains(der)) {
                write(&path, &trust_store::encode(&wanted)?)?;
            }
        }
    }
    Ok(())
}

/// The new content of a file that holds the certificates `there`.
fn in_step(
    there: &[CertificateDer<'static>],
    authority: &CertAuthority,
    gone: &[CertificateDer<'static>],
) -> Vec<CertificateDer<'static>> {
    let ours = authority.trusted();
    there.iter().filter(|der| !gone.contains(der) && !ours.contains(der)).chain(&ours).cloned().collect()
}

/// The certificates in these files, except in our own files.
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
                "cannot read a CA file that an environment variable names; agents will not trust its certificates"
            ),
        }
    }
    all
}

/// Writes a file atomically. A file that is right already is not touched.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    // Readers must never see half of it: it is written under another name, then renamed.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside)?;
    file.write_all(bytes)?;
    fs::rename(&beside, path)
}

/// The name of the file in PHP's folder.
pub(super) const PHP_INI: &str = "otas-proxy.ini";

/// PHP's settings that name the bundle.
pub(super) fn php_ini(bundle: &Path) -> String {
    let at = bundle.display();
    format!("; Written by otas-proxy.\ncurl.cainfo=\"{at}\"\nopenssl.cafile=\"{at}\"\n")
}

/// wget's settings that name the bundle.
pub(super) fn wgetrc(bundle: &Path) -> String {
    format!("# Written by otas-proxy.\nca_certificate = {}\n", bundle.display())
}

/// The `system`'s roots, `more` and our CA as PEM text.
pub(super) fn bundle(
    authority: &CertAuthority,
    system: &[CertificateDer<'_>],
    more: &[CertificateDer<'_>],
) -> String {
    let ours = authority.trusted();
    let more = more.iter().filter(|der| !system.contains(der));
    let mut text = String::new();
    for der in system.iter().chain(more).filter(|der| !ours.contains(der)).chain(&ours) {
        pem::push(&mut text, der);
    }
    text
}

/// A short hash that distinguishes contents.
fn short_hash(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
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
        let path = write_bundle(&ca, &system_roots()).unwrap();
        let certs = read(&path);
        assert_eq!(certs.len(), system_roots().len() + 1);
        assert_eq!(certs.last(), Some(ca.der()));
        let files = write_agent_files(&ca, &ParentBundles::default()).unwrap();
        assert_eq!((&files.bundle, &files.added), (&path, &ca.dir().join("ca.pem")));
        assert!(fs::read_to_string(&files.wgetrc).unwrap().contains("bundle.pem"));
        assert!(fs::read_to_string(files.php_dir.join("otas-proxy.ini")).unwrap().contains("curl.cainfo="));
    }

    #[test]
    fn the_parents_certificates_are_merged_in_once_and_our_own_files_are_not() {
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
