//! Files that commands write.

use std::path::Path;

use super::Failure;

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
