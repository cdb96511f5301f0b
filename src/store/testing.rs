//! For tests: an empty store.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::Store;

/// A store in a folder that is removed with the first value.
pub(super) fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("events.db")).unwrap();
    (folder, store)
}
