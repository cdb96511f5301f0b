//! The settings file: which one, its text, and positions in it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::flags::Flags;
use super::folders;
use super::source::Source;

const NAME: &str = "proxy.toml";
const VARIABLE: &str = "OTAS_PROXY_CONFIG";

/// A settings file that was read.
pub(super) struct SettingsFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    shown: String,
    /// Nobody named it, and it is not the user's own: it happened to lie in the working folder.
    merely_found: bool,
}

impl SettingsFile {
    /// Finds and reads the file: `--config`, else `OTAS_PROXY_CONFIG`, else (only if they exist) `proxy.toml` in
    /// `cwd` or in the user's configuration folder.
    ///
    /// # Errors
    /// [`ConfigError::Read`] when a named file does not exist, or one that exists cannot be read.
    pub(super) fn find(
        flags: &Flags,
        env: &dyn Fn(&str) -> Option<String>,
        cwd: &Path,
    ) -> Result<Option<Self>, ConfigError> {
        if let Some(path) = &flags.config {
            return Self::read(&cwd.join(path), "named by flag --config", cwd).map(Some);
        }
        if let Some(path) = env(VARIABLE) {
            return Self::read(&cwd.join(path), "named by environment OTAS_PROXY_CONFIG", cwd).map(Some);
        }
        let user = folders::config(env).map(|folder| (folder.join(NAME), "found in the user's configuration folder"));
        let own = user.as_ref().map(|(path, _)| path.clone());
        for (path, found_by) in [(cwd.join(NAME), "found in the working folder")].into_iter().chain(user) {
            match Self::read(&path, found_by, cwd) {
                Err(ConfigError::Read { source, .. })
                    if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                read => return Ok(Some(Self { merely_found: Some(path) != own, ..read? })),
            }
        }
        Ok(None)
    }

    /// The folder that it was merely found in: it is not certain that whoever starts us wrote it.
    pub(super) fn merely_found_in(&self) -> Option<&Path> {
        self.path.parent().filter(|_| self.merely_found)
    }

    /// Where the byte at `offset` stands.
    pub(super) fn place(&self, offset: usize) -> Source {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Source::File {
            path: self.shown.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    fn read(path: &Path, found_by: &'static str, cwd: &Path) -> Result<Self, ConfigError> {
        let shown = path.strip_prefix(cwd).unwrap_or(path).display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => {
                // Editors of another system put a byte order mark first; columns are counted without it.
                let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
                Ok(Self { path: path.to_owned(), text, shown, merely_found: false })
            }
            Err(source) => Err(ConfigError::Read { path: shown, found_by, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let file = SettingsFile {
            path: PathBuf::from("/x/proxy.toml"),
            text: "a = 1\r\né = \"ü\" # x\n".to_owned(),
            shown: NAME.to_owned(),
            merely_found: false,
        };
        let at = |needle: char| match file.place(file.text.find(needle).unwrap()) {
            Source::File { path, line, column } => (path, line, column),
            other => panic!("{other:?}"),
        };
        assert_eq!(at('a'), (NAME.to_owned(), 1, 1));
        assert_eq!(at('é'), (NAME.to_owned(), 2, 1));
        assert_eq!(at('x'), (NAME.to_owned(), 2, 11));
        assert!(matches!(file.place(file.text.len()), Source::File { line: 3, column: 1, .. }));
        assert!(matches!(file.place(usize::MAX), Source::File { line: 3, column: 1, .. }));
    }
}
