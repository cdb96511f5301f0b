//! The system's trust store: the steps that add our CA to it and remove it again.
//!
//! Steps are decided separately from taking them, so that `--dry-run` and tests see exactly the steps that are taken.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustls::pki_types::CertificateDer;

use super::{key_id, pem};

/// The trust store of a system, found by its folders and programs.
#[derive(Debug, PartialEq, Eq)]
pub struct SystemStore {
    /// The folder for additional certificates.
    anchors: PathBuf,
    /// Makes the system trust added certificates, and forget removed ones.
    take_up: Update,
    forget: Update,
}

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Update {
    program: PathBuf,
    arguments: &'static [&'static str],
}

/// One step. Its `Display` describes it for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write a certificate to a file.
    Write {
        /// The file.
        path: PathBuf,
        /// The certificate.
        pem: String,
    },
    /// Remove a file.
    Remove {
        /// The file.
        path: PathBuf,
    },
    /// Leave a file: it has our file name but other content.
    Leave {
        /// The file.
        path: PathBuf,
    },
    /// Run a program.
    Run {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: &'static [&'static str],
    },
}

/// Why the CA cannot be added to the system's store, or removed from it.
#[derive(Debug, thiserror::Error)]
pub enum SystemStoreError {
    /// The system has no store that we know.
    #[error(
        "this system has no trust store that otas-proxy knows (Debian's and Alpine's `update-ca-certificates`, Fedora's \
         `update-ca-trust`): install the package `ca-certificates`, or `otas-proxy ca export FILE` and add the file by hand"
    )]
    Unknown,
    /// A file with our file name holds another certificate.
    #[error("`{}` already exists and holds another certificate: move it away first", .0.display())]
    Taken(PathBuf),
    /// We lack the permission.
    #[error("cannot {act} `{}`: this needs root; run the command with `sudo`", path.display())]
    NotRoot {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: PathBuf,
    },
    /// A file could not be written or removed.
    #[error("cannot {act} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The system's own program failed.
    #[error("`{}` failed ({how}): run it yourself to see why", program.display())]
    Update {
        /// The program.
        program: PathBuf,
        /// How it failed.
        how: String,
    },
}

impl SystemStore {
    /// The store of the system whose root folder is `root`.
    ///
    /// # Errors
    /// [`SystemStoreError::Unknown`] when there is none that we know.
    pub fn find(root: &Path) -> Result<Self, SystemStoreError> {
        let program = |name: &str| {
            ["usr/sbin", "usr/bin", "sbin", "bin"]
                .map(|dir| root.join(dir).join(name))
                .into_iter()
                .find(|p| p.is_file())
        };
        let update = |program: &Path, arguments| Update { program: program.to_owned(), arguments };
        let fedora = root.join("etc/pki/ca-trust/source/anchors");
        if let Some(found) = program("update-ca-trust").filter(|_| fedora.is_dir()) {
            let extract = update(&found, &["extract"]);
            return Ok(Self { anchors: fedora, take_up: extract.clone(), forget: extract });
        }
        let debian = root.join("usr/local/share/ca-certificates");
        let known = debian.is_dir() || root.join("usr/share/ca-certificates").is_dir();
        let found = program("update-ca-certificates").filter(|_| known).ok_or(SystemStoreError::Unknown)?;
        // Debian's program leaves dangling links without `--fresh`; Alpine's removes them by itself.
        let alpine = root.join("etc/alpine-release").exists();
        let forget = update(&found, if alpine { &[] } else { &["--fresh"] });
        Ok(Self { anchors: debian, take_up: update(&found, &[]), forget })
    }

    /// The steps that add these certificates to the store; none if they are in it.
    ///
    /// # Errors
    /// When a file that we would write exists with other content, or cannot be read.
    pub fn install(&self, certificates: &[CertificateDer<'static>]) -> Result<Vec<Step>, SystemStoreError> {
        let mut steps = Vec::new();
        for der in certificates {
            let path = self.file(&key_id(der));
            match self.holds(&path)? {
                Some(there) if there == [der.clone()] => {}
                Some(_) => return Err(SystemStoreError::Taken(path)),
                // The systems' programs require one certificate in each file.
                None => steps.push(Step::Write { path, pem: pem::encode([der]) }),
            }
        }
        Ok(Self::with(steps, &self.take_up))
    }

    /// The steps that remove the CAs of these short names ([`key_id`]) from the store; none if they are not in it.
    ///
    /// # Errors
    /// When a file of that name cannot be read.
    pub fn uninstall(&self, key_ids: &[String]) -> Result<Vec<Step>, SystemStoreError> {
        let mut steps = Vec::new();
        for id in key_ids {
            let path = self.file(id);
            match self.holds(&path)?.as_deref() {
                Some([der]) if key_id(der) == *id => steps.push(Step::Remove { path }),
                Some(_) => steps.push(Step::Leave { path }),
                None => {}
            }
        }
        Ok(Self::with(steps, &self.forget))
    }

    /// The CAs of two installations have different file names.
    fn file(&self, key_id: &str) -> PathBuf {
        self.anchors.join(format!("otas-proxy-{key_id}.crt"))
    }

    /// The certificates in a file; empty if it holds something else. `None`: there is no such file.
    fn holds(&self, path: &Path) -> Result<Option<Vec<CertificateDer<'static>>>, SystemStoreError> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(pem::decode(&bytes).unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", path, error)),
        }
    }

    fn with(mut steps: Vec<Step>, update: &Update) -> Vec<Step> {
        if steps.iter().any(|step| !matches!(step, Step::Leave { .. })) {
            steps.push(Step::Run { program: update.program.clone(), arguments: update.arguments });
        }
        steps
    }
}

impl Step {
    /// Takes the step.
    ///
    /// # Errors
    /// When it fails, usually because of missing permissions.
    pub fn take(&self) -> Result<(), SystemStoreError> {
        match self {
            Self::Write { path, pem } => {
                let folder = path.parent().unwrap_or(Path::new("/"));
                fs::create_dir_all(folder).map_err(|error| failed("create", folder, error))?;
                fs::write(path, pem).map_err(|error| failed("write", path, error))
            }
            Self::Remove { path } => fs::remove_file(path).map_err(|error| failed("remove", path, error)),
            Self::Leave { .. } => Ok(()),
            Self::Run { program, arguments } => {
                let ended = Command::new(program).args(*arguments).output();
                let how = match ended {
                    Ok(done) if done.status.success() => return Ok(()),
                    Ok(done) => format!("{}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim()),
                    Err(error) => error.to_string(),
                };
                Err(SystemStoreError::Update { program: program.clone(), how })
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { path, .. } => write!(f, "write {}", path.display()),
            Self::Remove { path } => write!(f, "remove {}", path.display()),
            Self::Leave { path } => write!(f, "leave {}, which holds something else", path.display()),
            Self::Run { program, arguments } => {
                write!(f, "run {}", program.display())?;
                arguments.iter().try_for_each(|argument| write!(f, " {argument}"))
            }
        }
    }
}

fn failed(act: &'static str, path: &Path, source: io::Error) -> SystemStoreError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => SystemStoreError::NotRoot { act, path },
        _ => SystemStoreError::Io { act, path, source },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::CertAuthority;

    /// A system with these folders and this program, which writes its arguments to `ran`.
    fn system(program: &str, folders: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in folders.iter().chain(&["usr/sbin"]) {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let path = root.path().join("usr/sbin").join(program);
        fs::write(&path, format!("#!/bin/sh\necho \"ran $*\" >> {}/ran\n", root.path().display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        root
    }

    fn debian() -> tempfile::TempDir {
        system("update-ca-certificates", &["usr/local/share/ca-certificates", "usr/share/ca-certificates"])
    }

    fn ca(root: &tempfile::TempDir, name: &str) -> CertAuthority {
        CertAuthority::load_or_create(&root.path().join(name)).unwrap()
    }

    fn told(root: &tempfile::TempDir, steps: &[Step]) -> Vec<String> {
        let root = format!("{}/", root.path().display());
        steps.iter().map(|step| step.to_string().replace(&root, "/")).collect()
    }

    #[test]
    fn each_kind_of_system_has_its_folder_and_its_program() {
        let fedora = system("update-ca-trust", &["etc/pki/ca-trust/source/anchors"]);
        let alpine = system("update-ca-certificates", &["usr/share/ca-certificates", "etc"]);
        fs::write(alpine.path().join("etc/alpine-release"), "3.20").unwrap();
        for (root, folder, take_up, forget) in [
            (
                debian(),
                "/usr/local/share/ca-certificates",
                "update-ca-certificates",
                "update-ca-certificates --fresh",
            ),
            (fedora, "/etc/pki/ca-trust/source/anchors", "update-ca-trust extract", "update-ca-trust extract"),
            (alpine, "/usr/local/share/ca-certificates", "update-ca-certificates", "update-ca-certificates"),
        ] {
            let ca = ca(&root, "ca");
            let id = key_id(ca.der());
            let store = SystemStore::find(root.path()).unwrap();
            let steps = store.install(&ca.trusted()).unwrap();
            let file = format!("{folder}/otas-proxy-{id}.crt");
            assert_eq!(told(&root, &steps), [format!("write {file}"), format!("run /usr/sbin/{take_up}")]);
            steps.iter().for_each(|step| step.take().unwrap());
            assert!(store.install(&ca.trusted()).unwrap().is_empty(), "it is there");
            let steps = store.uninstall(std::slice::from_ref(&id)).unwrap();
            assert_eq!(told(&root, &steps), [format!("remove {file}"), format!("run /usr/sbin/{forget}")]);
        }
    }

    #[test]
    fn only_what_is_ours_is_removed_or_overwritten() {
        let root = debian();
        let (ours, theirs) = (ca(&root, "ours"), ca(&root, "theirs"));
        let store = SystemStore::find(root.path()).unwrap();
        for ca in [&ours, &theirs] {
            store.install(&ca.trusted()).unwrap().iter().for_each(|step| step.take().unwrap());
        }
        let steps = store.uninstall(&ours.all_key_ids().unwrap()).unwrap();
        steps.iter().for_each(|step| step.take().unwrap());
        let left: Vec<_> = fs::read_dir(&store.anchors).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [store.file(&key_id(theirs.der()))]);
        assert_eq!(fs::read_to_string(root.path().join("ran")).unwrap(), "ran \nran \nran --fresh\n");

        fs::write(store.file(&key_id(ours.der())), "something else").unwrap();
        assert!(matches!(store.install(&ours.trusted()), Err(SystemStoreError::Taken(_))));
        let steps = store.uninstall(&ours.all_key_ids().unwrap()).unwrap();
        assert!(matches!(&steps[..], [Step::Leave { .. }]), "{steps:?}");
    }

    #[test]
    fn an_unknown_system_and_a_failing_program_are_reported_with_what_to_do() {
        let empty = tempfile::tempdir().unwrap();
        let error = SystemStore::find(empty.path()).unwrap_err().to_string();
        assert!(error.contains("ca-certificates") && error.contains("ca export"), "{error}");
        let root = debian();
        fs::write(root.path().join("usr/sbin/update-ca-certificates"), "#!/bin/sh\necho no >&2; exit 3\n").unwrap();
        let store = SystemStore::find(root.path()).unwrap();
        let steps = store.install(&ca(&root, "ca").trusted()).unwrap();
        let error = steps.last().unwrap().take().unwrap_err().to_string();
        assert!(error.contains("exit status: 3: no"), "{error}");
        let denied = failed("write", Path::new("/x"), io::ErrorKind::PermissionDenied.into());
        assert!(matches!(denied, SystemStoreError::NotRoot { .. }));
    }
}
