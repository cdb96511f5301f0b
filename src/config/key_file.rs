//! Files that hold a secret and nothing else.

use std::path::Path;

use super::given;
use crate::secret::Secret;

/// Reads the agent key that a file holds, and nothing else.
///
/// # Errors
/// Why there is none, for people, without repeating what the file holds.
pub fn read_key_file(path: &Path) -> Result<Secret, String> {
    read_secret_file(path, "agent key")
}

/// The same for another kind of secret.
pub(super) fn read_secret_file(path: &Path, what: &str) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    given::secret(&text).map_err(|reason| format!("{} holds no {what}: {reason}", path.display()))
}
