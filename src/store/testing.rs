//! For tests: an empty store, and text that fills it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::Store;

/// A store in a folder that is removed with the first value.
pub(super) fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("events.db")).unwrap();
    (folder, store)
}

/// A text that takes about so many bytes once it is compressed. The same for the same size.
pub(super) fn text_that_takes(bytes: usize) -> String {
    // Each of these 91 characters carries six and a half bits.
    let mut state = 1_u64;
    let chars = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'#' + u8::try_from((state >> 33) % 91).unwrap())
    });
    chars.filter(|char| *char != '\\').take(bytes + bytes / 5).collect()
}
