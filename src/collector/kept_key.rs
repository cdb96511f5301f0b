//! The embedded collector's one key, kept in a file: what one run leaves undelivered is delivered by the next, and runs side
//! by side are one agent.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::digest;
use uuid::Uuid;

use super::Agent;
use super::key::issue_key;
use crate::config::read_key_file;
use crate::secret::{Secret, only_ours};

/// The agent whose key is in this file, which is made (0600) if there is none.
///
/// # Errors
/// When the file cannot be made or read, or holds no key.
pub fn embedded_agent(key_file: &Path) -> io::Result<Agent> {
    if !key_file.exists() {
        make(key_file)?;
    }
    only_ours(key_file)?;
    let key = read_key_file(key_file)
        .map_err(|told| io::Error::new(io::ErrorKind::InvalidData, format!("{told}; remove it to have one made")))?;
    Ok(Agent { project_id: project_of(&key), key, name: "embedded".to_owned() })
}

/// Whole or not at all, and the first of several processes wins.
fn make(key_file: &Path) -> io::Result<()> {
    let key = issue_key().map_err(io::Error::other)?;
    let new = key_file.with_extension(format!("new-{}", Uuid::new_v4()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = writeln!(file, "{}", key.expose());
    let made = written.and_then(|()| match fs::hard_link(&new, key_file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    fs::remove_file(&new)?;
    made
}

/// The project that the key belongs to, the same at each start.
fn project_of(key: &Secret) -> Uuid {
    let hash = digest::digest(&digest::SHA256, key.expose().as_bytes());
    Uuid::new_v8(hash.as_ref().first_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn all_that_start_together_are_one_agent_and_so_are_those_that_come_later() {
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
    fn a_file_that_holds_no_key_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.key");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = embedded_agent(&path).err().unwrap().to_string();
        assert!(error.contains("holds no agent key") && error.contains("remove it"), "{error}");
    }
}
