//! Files that commands write.

use std::fs::File;
use std::path::Path;

use super::Failure;
use crate::private_file;

/// Refuses to write over a file, unless that is wanted.
pub(super) fn keep(file: &Path, force: bool) -> Result<(), Failure> {
    let is_file = std::fs::metadata(file).is_ok_and(|found| found.is_file());
    match is_file && !force && file.as_os_str() != "-" {
        true => {
            Err(format!("`{}` exists already: choose another name, or overwrite it with --force", file.display())
                .into())
        }
        false => Ok(()),
    }
}

/// Creates a file for its owner alone, or truncates it.
pub(super) fn create(file: &Path) -> Result<File, Failure> {
    private_file::create(file).map_err(|error| unwritable(file, &error))
}

/// Why a file cannot be written, and what to do.
pub(super) fn unwritable(file: &Path, error: &std::io::Error) -> Failure {
    format!("cannot write `{}`: {error}. Name a file in a folder that this user can write", file.display()).into()
}
