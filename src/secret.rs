//! Values that must never be shown: no `Debug`, no `Display`, no log line. Also the list of our own secrets, and the check of
//! the files that hold one.

pub(crate) mod buffers;
mod coded;
pub(crate) mod digits;
pub(crate) mod escapes;
mod hidden;
mod needles;
mod plain;
pub(crate) mod registry;
pub(crate) mod undone;

use std::io;
use std::path::Path;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub(crate) use self::registry::{register, register_pem};

use crate::system::files::mode;

/// What is shown in place of a secret.
pub(crate) const MASK: &str = "****";

/// An agent key, a session token or the like. Deliberately has neither `Debug` nor `Display`, so that a struct that
/// holds one cannot be printed by accident either.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a secret of ours and registers it, so that it is masked everywhere (see `registry`). Surrounding white space,
    /// such as a file's last newline, is not part of it.
    pub fn new(value: &str) -> Self {
        register(value);
        Self(value.trim().into())
    }

    /// Wraps a value that an agent says is a secret. It is not registered: otherwise an agent could have any word masked.
    pub fn told(value: &str) -> Self {
        Self(value.trim().into())
    }

    /// Generates a secret: 256 random bits in URL-safe base64.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gave no random bytes"))?;
        Ok(Self::new(&URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What may be shown to people: the last four characters if the value is long enough, otherwise none.
    pub fn masked(&self) -> String {
        match self.0.char_indices().rev().nth(3) {
            Some((at, _)) if self.0.len() >= 20 => format!("{MASK}{}", &self.0[at..]),
            _ => MASK.to_owned(),
        }
    }
}

/// Refuses a file with a secret of ours that others may read or write, or may have put there. Such a file is not secret, or we did not make it: a
/// cloned repository may contain a file of that name, but not with these modes.
///
/// # Errors
/// When the file's mode cannot be read, others may read or write the file, or another user put it into a shared folder.
pub(crate) fn only_ours(file: &Path) -> io::Result<()> {
    crate::private_folder::refuse_file_of_another_user(file)?;
    let mode = mode(&std::fs::metadata(file)?).unwrap_or_default() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let message = format!(
        "`{}` has mode {mode:04o}, so others may know the secret in it: remove it, and a new secret is made",
        file.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "k").unwrap();
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o644, false), (0o602, false)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let checked = only_ours(&file).map_err(|error| error.to_string());
            assert_eq!(checked.is_ok(), fine, "{mode:o}");
            assert!(checked.err().is_none_or(|message| message.contains("remove it")));
        }
    }

    #[test]
    fn long_secrets_show_their_last_four_characters_and_short_ones_nothing() {
        assert_eq!(Secret::new("short").masked(), "****");
        assert_eq!(Secret::new("agent_abcdefgh_ijklmnop1234\n").masked(), "****1234");
        assert_eq!(Secret::new("ééééééééééééééé").masked(), "****éééé");
    }
}
