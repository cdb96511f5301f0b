//! The embedded collector's key, kept in a file. So a later run delivers what an earlier one left, and parallel runs are the
//! same agent.

use std::io;
use std::path::Path;

use aws_lc_rs::digest;
use uuid::Uuid;

use super::Agent;
use super::key::issue_key;
use crate::config::read_key_file;
use crate::private_file;
use crate::secret::{Secret, only_ours};

/// The agent whose key is in this file. The file is created (0600) if it does not exist.
///
/// # Errors
/// When the file cannot be created or read, or holds no key.
pub fn embedded_agent(key_file: &Path) -> io::Result<Agent> {
    private_file::create_if_absent(key_file, || {
        let key = issue_key().map_err(io::Error::other)?;
        Ok(format!("{}\n", key.expose()).into_bytes())
    })?;
    only_ours(key_file)?;
    let key = read_key_file(key_file).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{error}; remove the file, and a new one is made"))
    })?;
    Ok(Agent { project_id: project_of(&key), key, name: "embedded".to_owned() })
}

/// The project of the key, the same at each start.
fn project_of(key: &Secret) -> Uuid {
    let hash = digest::digest(&digest::SHA256, key.expose().as_bytes());
    Uuid::new_v8(hash.as_ref().first_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn parallel_and_later_starts_are_the_same_agent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.key");
        let agents: Vec<Agent> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| embedded_agent(&path).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let later = embedded_agent(&path).unwrap();
        assert!(agents.iter().all(|agent| agent.key == later.key && agent.project_id == later.project_id));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_holds_no_key_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.key");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = embedded_agent(&path).err().unwrap().to_string();
        assert!(error.contains("holds no agent key") && error.contains("remove the file"), "{error}");
    }
}
