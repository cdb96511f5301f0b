//! Who delivers: of all processes that share a store, one for each agent key.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::Store;
use super::link::FileId;

/// The right to deliver the events of one agent key, until it is dropped or its process ends, however it ends: the
/// system releases the lock.
#[derive(Debug, Clone)]
pub struct DeliveryLock {
    file: Arc<File>,
    path: PathBuf,
}

impl DeliveryLock {
    /// Whether it still keeps others away. When the store's folder was renamed or deleted, its file has gone with it, and others
    /// lock the file that stands in its place. Blocks.
    pub fn stands(&self) -> bool {
        self.file.metadata().is_ok_and(|held| FileId::of(&self.path) == Some(FileId::of_open(&held)))
    }
}

impl Store {
    /// Takes the right to deliver the events of an agent key ([`super::key_id`]), unless somebody has it. It stands on a
    /// file beside the store (0600), which stays: removing it would let two take it.
    ///
    /// # Errors
    /// When the file cannot be made or its file system has no locks.
    pub fn try_lock_delivery(&self, key_id: &str) -> io::Result<Option<DeliveryLock>> {
        let path = self.lock_path(key_id);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(DeliveryLock { file: Arc::new(file), path })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The same file for all that share the store, by whatever links they come to it.
    fn lock_path(&self, key_id: &str) -> PathBuf {
        let store = fs::canonicalize(self.path()).unwrap_or_else(|_| self.path().into());
        let mut name = OsString::from(store);
        name.push(format!(".deliver-{key_id}.lock"));
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_holder_for_each_key_until_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        let (store, other) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
        let held = store.try_lock_delivery("a").unwrap();
        assert!(held.is_some());
        assert!(other.try_lock_delivery("a").unwrap().is_none());
        assert!(other.try_lock_delivery("b").unwrap().is_some());
        drop(held);
        assert!(other.try_lock_delivery("a").unwrap().is_some());
    }

    #[test]
    fn a_lock_that_has_gone_with_its_folder_stands_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let (data, old) = (folder.path().join("data"), folder.path().join("old"));
        let store = Store::open(&data.join("events.db")).unwrap();
        let held = store.try_lock_delivery("a").unwrap().unwrap();
        assert!(held.stands());
        fs::rename(&data, &old).unwrap();
        assert!(!held.stands());
        let other = Store::open(&data.join("events.db")).unwrap();
        let new = other.try_lock_delivery("a").unwrap().unwrap();
        assert!(new.stands() && !held.stands());
    }

    #[test]
    fn a_link_to_the_store_leads_to_the_same_lock_which_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("events.db"), folder.path().join("link.db"));
        let store = Store::open(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let _held = store.try_lock_delivery("a").unwrap().unwrap();
        assert!(Store::open(&link).unwrap().try_lock_delivery("a").unwrap().is_none());
        let mode = fs::metadata(folder.path().join("events.db.deliver-a.lock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
