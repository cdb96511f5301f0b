//! The token with which programs read the page. It also signs the codes that open the page in a browser (`code`). It is kept
//! beside the store and survives restarts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::private_file;
use crate::secret::{Secret, only_ours};

/// The name of the file beside the store.
const FILE: &str = "admin.token";

/// Minimum length of a token.
const SHORTEST: usize = 32;

/// Where the token for this store is kept.
pub fn token_file(store: &Path) -> PathBuf {
    store.with_file_name(FILE)
}

/// Reads the token from `file` (0600), or creates it. Processes that start together get the same token.
///
/// # Errors
/// When the file cannot be read or created, or does not hold a token.
pub fn load_or_make(file: &Path) -> io::Result<Secret> {
    private_file::create_if_absent(file, || Ok(format!("{}\n", Secret::random()?.expose()).into_bytes()))?;
    only_ours(file)?;
    let token = Secret::new(&fs::read_to_string(file)?);
    let fine = token.expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if token.expose().len() < SHORTEST || !fine {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file holds no token; remove it, and a new one is made",
        ));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_and_only_its_owner_can_read_it() {
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
    fn a_file_that_holds_no_token_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        fs::write(&file, "short\n").unwrap();
        let Err(error) = load_or_make(&file) else { panic!("it is not a token") };
        assert!(error.to_string().contains("remove it"), "{error}");
    }
}
