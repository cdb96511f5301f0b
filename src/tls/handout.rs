//! A folder with what agents need to trust us, for agents that must not see the CA's folder: those of other users and of other
//! containers (`tls.agent_dir`). It never holds a key. Names in it are stable, because agents know them before it is written.

use std::fs::{self, DirBuilder};
use std::io;
use std::path::Path;

use super::bundle::{self, AgentFiles, BUNDLE_FILE};
use super::{CA_CERT_FILE, CertAuthority, pem, system_roots, trust_store};
use crate::system::files::{self, DirBuilderExt as _};

impl AgentFiles {
    /// Where they are in the folder for agents.
    pub fn handed_out(dir: &Path) -> Self {
        Self {
            added: dir.join(CA_CERT_FILE),
            bundle: dir.join(BUNDLE_FILE),
            trust_store: dir.join("truststore.p12"),
            php_dir: dir.join("php"),
            wgetrc: dir.join("wgetrc"),
        }
    }
}

/// Writes the files into the folder for agents. What is right already is not touched. Everybody may read them, whatever the
/// process's umask is.
///
/// # Errors
/// When the folder or a file cannot be written.
pub fn hand_out(authority: &CertAuthority, dir: &Path) -> io::Result<AgentFiles> {
    let files = AgentFiles::handed_out(dir);
    for folder in [dir, &files.php_dir] {
        readable_folder(folder)?;
    }
    let roots = bundle::bundle(authority, &system_roots(), &[]);
    hand_out_file(&files.added, authority.trusted_pem().as_bytes())?;
    hand_out_file(&files.bundle, roots.as_bytes())?;
    let certificates = pem::decode(roots.as_bytes()).map_err(io::Error::other)?;
    let there = fs::read(&files.trust_store).ok().and_then(|bytes| trust_store::decode(&bytes));
    // Its bytes differ each time because of salts.
    if there
        .is_none_or(|there| there.len() != certificates.len() || certificates.iter().any(|der| !there.contains(der)))
    {
        hand_out_file(&files.trust_store, &trust_store::encode(&certificates)?)?;
    }
    hand_out_file(&files.php_dir.join(bundle::PHP_INI), bundle::php_ini(&files.bundle).as_bytes())?;
    hand_out_file(&files.wgetrc, bundle::wgetrc(&files.bundle).as_bytes())?;
    Ok(files)
}

/// Writes a file that everybody may read, atomically.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn hand_out_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    bundle::write(path, bytes)?;
    make_readable(path, 0o644)
}

fn readable_folder(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(dir) {
        // It may be another user's, such as a volume's root.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => make_readable(dir, 0o755),
    }
}

/// Lets everybody read a file or a folder of ours.
///
/// # Errors
/// When its mode cannot be changed.
pub(crate) fn make_readable(path: &Path, mode: u32) -> io::Result<()> {
    if files::mode(&fs::metadata(path)?).is_none_or(|there| there & mode == mode) {
        return Ok(());
    }
    files::set_mode(path, mode)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn everybody_can_read_it_and_it_holds_no_key() {
        let tmp = tempfile::tempdir().unwrap();
        let authority = CertAuthority::load_or_create(&tmp.path().join("ca")).unwrap();
        let dir = tmp.path().join("agent");
        let files = hand_out(&authority, &dir).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for folder in [&dir, &files.php_dir] {
            assert_eq!(mode(folder), 0o755);
        }
        let before = fs::read(&files.trust_store).unwrap();
        for file in [&files.added, &files.bundle, &files.trust_store, &files.wgetrc] {
            assert_eq!(mode(file), 0o644);
            assert!(!String::from_utf8_lossy(&fs::read(file).unwrap()).contains("PRIVATE KEY"), "{}", file.display());
            fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        }
        assert_eq!(fs::read_to_string(&files.added).unwrap(), authority.trusted_pem());
        hand_out(&authority, &dir).unwrap();
        assert_eq!(fs::read(&files.trust_store).unwrap(), before);
        assert_eq!(mode(&files.bundle), 0o644);
    }
}
