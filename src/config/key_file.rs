//! The file of `otas.agent_key_file`.

use std::path::Path;

use super::given;
use crate::secret::Secret;

/// Reads the agent key that a file holds, and nothing else.
///
/// # Errors
/// Why there is none, for people, without repeating what the file holds.
pub fn read_key_file(path: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    given::secret(&text).map_err(|reason| format!("{} holds no agent key: {reason}", path.display()))
}
