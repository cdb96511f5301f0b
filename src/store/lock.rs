//! The delivery lock: of all processes that share a store, one delivers the events of each agent key.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::Store;
use super::files::{beside, try_lock};
use super::link::FileId;

/// The right to deliver the events of one agent key. The system releases the lock when it is dropped or the process ends.
#[derive(Debug, Clone)]
pub struct DeliveryLock {
    file: Arc<File>,
    path: PathBuf,
}

impl DeliveryLock {
    /// Whether it still excludes other processes. After the store's folder was renamed or deleted, other processes lock a new
    /// file in its place. Blocks.
    pub fn stands(&self) -> bool {
        FileId::of_open(&self.file).is_some_and(|held| FileId::of(&self.path) == Some(held))
    }
}

impl Store {
    /// Takes the right to deliver the events of an agent key ([`super::key_id`]), unless another process has it. The lock is a
    /// file beside the store (0600). It is never removed: otherwise two processes could take the lock.
    ///
    /// # Errors
    /// When the file cannot be created or its file system has no locks.
    pub fn try_lock_delivery(&self, key_id: &str) -> io::Result<Option<DeliveryLock>> {
        let path = beside(self.path(), &format!(".deliver-{key_id}.lock"));
        Ok(try_lock(&path)?.map(|file| DeliveryLock { file: Arc::new(file), path }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_key_has_one_holder_until_it_is_released() {
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
    fn a_lock_is_void_once_its_folder_was_renamed() {
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
    fn a_link_to_the_store_leads_to_the_same_private_lock() {
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
