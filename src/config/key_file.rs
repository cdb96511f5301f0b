//! Secrets in settings, and files that hold one and nothing else.

use std::path::Path;

use crate::secret::Secret;

/// Reads a file that holds an agent key and nothing else.
///
/// # Errors
/// Why it cannot be used, without repeating what the file holds.
pub fn read_key_file(path: &Path) -> Result<Secret, String> {
    read_secret_file(path, "agent key")
}

/// The same for another kind of secret.
pub(super) fn read_secret_file(path: &Path, what: &str) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    secret(&text).map_err(|reason| format!("{} holds no {what}: {reason}", path.display()))
}

/// Checks that a key or token can travel in an HTTP header; white space around it is not part of it.
///
/// # Errors
/// Why not, without repeating it.
pub(super) fn secret(text: &str) -> Result<Secret, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        Err("it is empty")
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("it contains a space, a line break or another character that no key or token has")
    } else {
        Ok(Secret::new(text))
    }
}
