//! Files. Windows has access lists in place of modes and owners' ids: a file gets that of its folder, and we leave it so.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;

use winapi_util::file::{Information, information};

pub(crate) const LIST: char = ';';

/// Opens the link itself, not what it leads to (`FILE_FLAG_OPEN_REPARSE_POINT`).
const THE_LINK_ITSELF: u32 = 0x0020_0000;

/// The mode of a new file, which Windows does not have.
pub(crate) trait OpenOptionsExt {
    fn mode(&mut self, mode: u32) -> &mut Self;
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, _: u32) -> &mut Self {
        self
    }
}

/// The mode of a new folder, which Windows does not have.
pub(crate) trait DirBuilderExt {
    fn mode(&mut self, mode: u32) -> &mut Self;
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, _: u32) -> &mut Self {
        self
    }
}

/// What tells one state of a file from another: volume, index, size, and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stamp(u64, u64, u64, Option<u64>, Option<u64>);

pub(crate) fn mode(_: &Metadata) -> Option<u32> {
    None
}

pub(crate) fn set_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

pub(crate) fn owner(_: &Metadata) -> Option<u32> {
    None
}

pub(crate) fn may_write(file: &Path) -> bool {
    file.metadata().is_ok_and(|found| !found.permissions().readonly())
}

pub(crate) fn open_no_link(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(THE_LINK_ITSELF).open(path)?;
    match file.metadata()?.is_symlink() {
        true => Err(io::ErrorKind::InvalidInput.into()),
        false => Ok(file),
    }
}

pub(crate) fn id(path: &Path) -> Option<(u64, u64)> {
    id_of_open(&File::open(path).ok()?)
}

pub(crate) fn id_of_open(file: &File) -> Option<(u64, u64)> {
    information(file).ok().map(|found| id_in(&found))
}

fn id_in(found: &Information) -> (u64, u64) {
    (found.volume_serial_number(), found.file_index())
}

pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    let found = information(&File::open(path).ok()?).ok()?;
    let (volume, index) = id_in(&found);
    Some(Stamp(volume, index, found.file_size(), found.last_write_time(), found.creation_time()))
}

/// NTFS keeps names in its journal, and folders cannot be synced.
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
