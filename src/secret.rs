//! A value that must never be shown: no `Debug`, no `Display`, no log line; and the files of ours that hold one.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// An agent key, a session token or the like. Deliberately has neither `Debug` nor `Display`, so that a struct that
/// holds one cannot be printed by accident either.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a value; surrounding white space (a file's last newline) is not part of a secret.
    ///
    /// From then on it is masked wherever it turns up (see [`crate::redact::register`]).
    pub fn new(value: &str) -> Self {
        crate::redact::register(value);
        Self(value.trim().into())
    }

    /// Wraps what somebody else says is a secret. It is not registered: whoever can say many would have anything masked.
    pub fn told(value: &str) -> Self {
        Self(value.trim().into())
    }

    /// A new one: 256 random bits, as they stand in a URL.
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

    /// What may be shown to people: the last four characters of a value long enough not to be given away by them.
    pub fn masked(&self) -> String {
        match self.0.char_indices().rev().nth(3) {
            Some((at, _)) if self.0.len() >= 20 => format!("****{}", &self.0[at..]),
            _ => "****".to_owned(),
        }
    }
}

/// Refuses a file of ours that others may read: what it holds is no secret, or it is not we who made it (a repository that is
/// cloned may bring a file of that name, but not with these modes).
///
/// # Errors
/// When it can't be looked at, or others may read or write it.
pub(crate) fn only_ours(file: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(file)?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let told = format!(
        "{} has mode {mode:04o}, so others may know what it holds: remove it to have one made, or run `chmod 0600 '{0}'`",
        file.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_may_read_holds_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "k").unwrap();
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o644, false), (0o602, false)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let told = only_ours(&file).map_err(|error| error.to_string());
            assert_eq!(told.is_ok(), fine, "{mode:o}");
            assert!(told.err().is_none_or(|told| told.contains("chmod 0600")));
        }
    }

    #[test]
    fn short_secrets_show_nothing_and_long_ones_their_last_four_characters() {
        assert_eq!(Secret::new("short").masked(), "****");
        assert_eq!(Secret::new("agent_abcdefgh_ijklmnop1234\n").masked(), "****1234");
        assert_eq!(Secret::new("ééééééééééééééé").masked(), "****éééé");
    }
}
