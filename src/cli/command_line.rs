//! A command line that may be shown: its secrets are masked.

use crate::redact::Redactor;

/// The words of a command without their secrets.
pub(super) struct CommandLine(Vec<String>);

impl CommandLine {
    /// Masks the secrets of `command`.
    pub(super) fn masked(command: &[String], redactor: &Redactor) -> Self {
        Self(redactor.masking("", 0, "").command(command))
    }

    /// All words in one line.
    pub(super) fn line(&self) -> String {
        self.0.join(" ")
    }

    /// The same, quoted for a shell.
    pub(super) fn for_shell(&self) -> String {
        let plain =
            |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./=:,@%+*".contains(c));
        let quoted = |word: &String| match plain(word) {
            true => word.clone(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        };
        self.0.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }
}
