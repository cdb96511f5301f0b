//! The settings file: which one, its text, and positions in it.

use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Problem};
use super::flags::Flags;
use super::source::Source;
use super::{folders, within};

const NAME: &str = "proxy.toml";
/// What to do about a file that nobody named.
pub(super) const NAME_IT: &str = "if you mean it, name the file: --config ./proxy.toml";
/// The largest file that is read, in bytes: far more than all settings take.
const MAX_BYTES: u64 = 1 << 20;
pub(super) const VARIABLE: &str = "OTAS_PROXY_CONFIG";

/// A settings file that was read.
pub(super) struct SettingsFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    shown: String,
    /// Nobody named it, and it is not the user's own: it was in the working folder.
    merely_found: bool,
}

impl SettingsFile {
    /// The files that [`Self::find`] looks for, whether they exist or not.
    pub(super) fn places(flags: &Flags, env: &dyn Fn(&str) -> Option<String>, cwd: &Path) -> Vec<PathBuf> {
        let named = flags.config.clone().or_else(|| env(VARIABLE).map(PathBuf::from));
        match named {
            Some(path) => vec![cwd.join(path)],
            None => {
                folders::config(env).map(|folder| folder.join(NAME)).into_iter().chain([cwd.join(NAME)]).collect()
            }
        }
    }

    /// Finds and reads the files, the weakest first. Either the one that `--config` or else `OTAS_PROXY_CONFIG` names; or, as far as
    /// they exist, `proxy.toml` in the user's configuration folder and over it the one in `cwd`. So a file that somebody put there
    /// cannot remove what the user's own file sets.
    ///
    /// # Errors
    /// [`ConfigError::Read`] when a named file does not exist, or one that exists cannot be read; [`ConfigError::Invalid`] when
    /// the one in `cwd` is a link to a file elsewhere, or not a regular file.
    pub(super) fn find(
        flags: &Flags,
        env: &dyn Fn(&str) -> Option<String>,
        cwd: &Path,
    ) -> Result<Vec<Self>, ConfigError> {
        if let Some(path) = &flags.config {
            return Self::read(&cwd.join(path), "named by the flag --config", cwd).map(|file| vec![file]);
        }
        if let Some(path) = env(VARIABLE) {
            return Self::read(&cwd.join(path), "named by the environment variable OTAS_PROXY_CONFIG", cwd)
                .map(|file| vec![file]);
        }
        let own = folders::config(env).map(|folder| folder.join(NAME));
        let users =
            own.as_ref().map(|path| Self::read_if_there(path, "found in the user's configuration folder", cwd));
        let users = users.transpose()?.flatten();
        let here = cwd.join(NAME);
        let found = match own.as_ref() == Some(&here) {
            true => None,
            false => Self::merely_found(&here, cwd)?,
        };
        Ok(users.into_iter().chain(found).collect())
    }

    /// The folder that it was merely found in. Somebody else may have written it.
    pub(super) fn merely_found_in(&self) -> Option<&Path> {
        self.path.parent().filter(|_| self.merely_found)
    }

    /// Whether a value came from this file.
    pub(super) fn has_set(&self, source: &Source) -> bool {
        matches!(source, Source::File { path, .. } if *path == self.shown)
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

    /// Reads the file that lies in the working folder, if there is one.
    fn merely_found(path: &Path, cwd: &Path) -> Result<Option<Self>, ConfigError> {
        if path.is_symlink() && path.exists() && !within::is_within(path, cwd) {
            let source = Source::File { path: NAME.to_owned(), line: 1, column: 1 };
            let message = format!("is a link to a file outside of its folder, which is not read; {}", NAME_IT);
            return Err(ConfigError::Invalid(vec![Problem { source, key: None, message }]));
        }
        if std::fs::metadata(path).is_ok_and(|file| !file.is_file() && !file.is_dir()) {
            let source = Source::File { path: NAME.to_owned(), line: 1, column: 1 };
            let message = format!("is not a regular file, so it is not read; {}", NAME_IT);
            return Err(ConfigError::Invalid(vec![Problem { source, key: None, message }]));
        }
        let read = Self::read_if_there(path, "found in the working folder", cwd)?;
        Ok(read.map(|file| Self { merely_found: true, ..file }))
    }

    fn read_if_there(path: &Path, found_by: &'static str, cwd: &Path) -> Result<Option<Self>, ConfigError> {
        match Self::read(path, found_by, cwd) {
            Err(ConfigError::Read { source, .. })
                if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    fn read(path: &Path, found_by: &'static str, cwd: &Path) -> Result<Self, ConfigError> {
        let shown = path.strip_prefix(cwd).unwrap_or(path).display().to_string();
        match text_of(path) {
            Ok(text) => {
                // Some editors write a byte order mark; columns are counted without it.
                let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
                Ok(Self { path: path.to_owned(), text, shown, merely_found: false })
            }
            Err(source) => Err(ConfigError::Read { path: shown, found_by, source }),
        }
    }
}

/// The text of a file of bounded size. A pipe that somebody left in the working folder must not block every command. One that the
/// user names (`--config <(...)`) ends with its writer.
fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    match text.len() as u64 > MAX_BYTES {
        true => Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is larger than {MAX_BYTES} bytes"))),
        false => Ok(text),
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
