//! The agent key, and the key file, which may change while we run.

use std::path::PathBuf;

use crate::config::{self, read_key_file};
use crate::secret::Secret;
use crate::store::{KeySource, key_id};
use crate::system::files::{Stamp, stamp};

/// An agent key.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) key: Secret,
    /// The key's short name.
    pub(super) key_id: String,
    pub(super) source: KeySource,
}

impl Credentials {
    /// The key from the settings, if there is one.
    pub(super) fn configured(otas: &config::Otas) -> Option<Self> {
        let key = otas.agent_key.clone()?;
        Some(Self { key_id: key_id(&key), key, source: KeySource::of(otas.agent_key_file.as_deref()) })
    }

    /// Another key from the same source.
    pub(super) fn replaced_by(&self, key: Secret) -> Self {
        Self { key_id: key_id(&key), key, source: self.source.clone() }
    }

    pub(super) fn are_from_file(&self) -> bool {
        matches!(self.source, KeySource::File(_))
    }
}

/// A key file and its last known state.
#[derive(Clone)]
pub(super) struct KeyFile {
    path: PathBuf,
    seen: Option<Stamp>,
}

impl KeyFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// The file's key, if the file has changed since the last call. A missing file counts as unchanged, because it may be in
    /// the middle of a replacement. Blocks.
    pub(super) fn look(&mut self) -> Option<Result<Secret, String>> {
        let stamp = stamp(&self.path)?;
        if self.seen.replace(stamp) == Some(stamp) {
            return None;
        }
        Some(read_key_file(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_only_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.key");
        let mut file = KeyFile::new(path.clone());
        assert!(file.look().is_none());
        fs::write(&path, "agent_a_one\n").unwrap();
        assert!(file.look().unwrap() == Ok(Secret::new("agent_a_one")));
        assert!(file.look().is_none());
        let new = folder.path().join("new");
        fs::write(&new, "agent_a_two").unwrap();
        fs::rename(&new, &path).unwrap();
        assert!(file.look().unwrap() == Ok(Secret::new("agent_a_two")));
        fs::remove_file(&path).unwrap();
        assert!(file.look().is_none());
        fs::write(&path, "").unwrap();
        assert!(file.look().unwrap().is_err_and(|told| told.contains("holds no agent key")));
    }
}
