//! The CA folder: its modes, and writing files so that a crash leaves either the old file or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::error::{AuthorityError, io_error};
use crate::private_file;
use crate::private_folder::{self, Writers};
use crate::system::files::{self, DirBuilderExt as _, OpenOptionsExt as _};

/// The lock file of those that make or rotate a CA.
const LOCK_FILE: &str = "ca.lock";

pub(super) fn create_dir(dir: &Path) -> Result<(), AuthorityError> {
    if exists(dir)? {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(|source| io_error("create", parent, source))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(io_error("create", dir, source)),
        _ => Ok(()),
    }
}

/// Allows one process at a time to make or rotate a CA. The lock is released when the file is dropped or its process ends.
pub(super) fn lock(dir: &Path) -> Result<File, AuthorityError> {
    let path = dir.join(LOCK_FILE);
    // Windows locks only what can be read.
    let open = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&path);
    let file = open.map_err(|source| io_error("create", &path, source))?;
    file.lock().map_err(|source| io_error("lock", &path, source))?;
    Ok(file)
}

/// Refuses a key that others may read or write.
pub(super) fn refuse_open_key(path: &Path) -> Result<(), AuthorityError> {
    let found = fs::metadata(path).map_err(|source| io_error("look at", path, source))?;
    let mode = files::mode(&found).unwrap_or_default() & 0o777;
    match mode & private_file::OTHERS_MAY {
        0 => Ok(()),
        _ => Err(AuthorityError::TooOpen { path: path.to_owned(), mode }),
    }
}

/// Refuses a folder in which others can replace the CA's files. Others may read it: the key has its own mode.
pub(super) fn refuse_open_folder(dir: &Path) -> Result<(), AuthorityError> {
    match private_folder::writers(dir).map_err(|source| io_error("look at", dir, source))? {
        Writers::Others { mode, is_ours } => {
            let mode = mode & 0o777;
            Err(AuthorityError::OpenFolder { path: dir.to_owned(), mode, is_ours })
        }
        Writers::NoOthers | Writers::Shared => Ok(()),
    }
}

/// Refuses a file that another user has put into the folder for us to use.
pub(super) fn refuse_file_of_another_user(path: &Path) -> Result<(), AuthorityError> {
    private_folder::refuse_file_of_another_user(path).map_err(|source| io_error("use", path, source))
}

/// Writes a file that must not exist yet.
pub(super) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), AuthorityError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|source| io_error("create", path, source))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|source| io_error("write", path, source))
}

/// Writes a file atomically, replacing one that may exist.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), AuthorityError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
    write_new(&beside, bytes, mode)?;
    rename(&beside, path)
}

/// Renames a file and syncs the folder, so that the rename survives a crash.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), AuthorityError> {
    fs::rename(from, to).map_err(|source| io_error("replace", to, source))?;
    let dir = to.parent().unwrap_or(Path::new("."));
    files::sync_folder(dir).map_err(|source| io_error("write", dir, source))
}

pub(super) fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|source| io_error("read", path, source))
}

pub(super) fn exists(path: &Path) -> Result<bool, AuthorityError> {
    path.try_exists().map_err(|source| io_error("look at", path, source))
}
