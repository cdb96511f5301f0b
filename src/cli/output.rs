//! Files that commands write.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::{Failure, say};
use crate::private_file;

/// Refuses to write over a file, unless that is wanted.
pub(super) fn keep(file: &Path, force: bool) -> Result<(), Failure> {
    let is_file = fs::metadata(file).is_ok_and(|found| found.is_file());
    match is_file && !force && file.as_os_str() != "-" {
        true => {
            Err(format!("`{}` exists already: choose another name, or overwrite it with --force", file.display())
                .into())
        }
        false => Ok(()),
    }
}

/// Writes a file for its owner alone, or stdout if it is `-`. The file is there whole or not at all: an existing one stays as it is
/// until the new one is complete.
///
/// # Errors
/// When it cannot be written, which names the file; or when `contents` fails.
pub(super) fn write<T>(
    file: &Path,
    contents: impl FnOnce(&mut dyn Write) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if file.as_os_str() == "-" {
        let mut out = say::stdout();
        let made = contents(&mut out)?;
        out.flush()?;
        return Ok(made);
    }
    private_file::replace(file, |out| filled(out, contents)).map_err(|error| match error.downcast::<io::Error>() {
        Ok(error) => unwritable(file, &error),
        Err(other) => other,
    })
}

fn filled<T>(out: &File, contents: impl FnOnce(&mut dyn Write) -> Result<T, Failure>) -> Result<T, Failure> {
    let mut out = BufWriter::new(out);
    let made = contents(&mut out)?;
    out.flush()?;
    Ok(made)
}

/// Why a file cannot be written, and what to do.
pub(super) fn unwritable(file: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem => {
            ". Name a file in a folder that this user can write"
        }
        _ => "",
    };
    format!("cannot write `{}`: {error}{advice}", file.display()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_whole_leaves_the_old_one_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out.har");
        fs::write(&file, "old").unwrap();
        let full = |out: &mut dyn Write| -> Result<(), Failure> {
            out.write_all(b"half")?;
            Err(io::Error::from(io::ErrorKind::StorageFull).into())
        };
        let error = write(&file, full).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot write `{}`: ", file.display())), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        write(&file, |out| Ok(out.write_all(b"new")?)).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        let missing = write(&folder.path().join("none/x"), |_| Ok(())).unwrap_err().to_string();
        assert!(missing.contains("Name a file in a folder"), "{missing}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_named() {
        let error = write(Path::new("/dev/full"), |out| Ok(out.write_all(b"x")?)).unwrap_err().to_string();
        assert!(error.starts_with("cannot write `/dev/full`: "), "{error}");
    }
}
