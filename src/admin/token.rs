//! The token by which programs look at the page, and which signs the codes that open it in a browser (`code`). Kept beside the
//! store, it stays the same over restarts.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::secret::{Secret, only_ours};

/// The name of the file beside the store.
const FILE: &str = "admin.token";

/// Fewer characters than this are no token of ours.
const SHORTEST: usize = 32;

/// Where the token of this store's processes is kept.
pub fn token_file(store: &Path) -> PathBuf {
    store.with_file_name(FILE)
}

/// The token in `file` (0600), made if there is none. All processes that start together get the same one.
///
/// # Errors
/// When the file cannot be read or made, or holds something else.
pub fn load_or_make(file: &Path) -> io::Result<Secret> {
    if !file.exists() {
        make(file)?;
    }
    only_ours(file)?;
    let token = Secret::new(&fs::read_to_string(file)?);
    let fine = token.expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if token.expose().len() < SHORTEST || !fine {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no token; remove it to have one made"));
    }
    Ok(token)
}

/// Whole or not at all, and the first of several processes wins.
fn make(file: &Path) -> io::Result<()> {
    let token = Secret::random()?;
    let new = file.with_extension(format!("new-{}", Uuid::new_v4()));
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = writeln!(out, "{}", token.expose());
    let made = written.and_then(|()| match fs::hard_link(&new, file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    fs::remove_file(&new)?;
    made
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = token_file(&folder.path().join("events.db"));
        let tokens: Vec<Secret> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| load_or_make(&file).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(tokens.iter().all(|token| *token == tokens[0]) && tokens[0].expose().len() == 43);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_holds_something_else_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        fs::write(&file, "short\n").unwrap();
        let Err(error) = load_or_make(&file) else { panic!("it is no token") };
        assert!(error.to_string().contains("remove it"), "{error}");
    }
}
