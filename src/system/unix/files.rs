//! Files: modes, owners, and what tells files apart.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, OFlags};

pub(crate) use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

/// Between the folders of a list, as in `PATH`.
pub(crate) const LIST: char = ':';

/// What tells one state of a file from another: device, inode, size, and times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stamp(u64, u64, u64, i128, i128);

/// The permissions. `None`: the system has none of this kind.
pub(crate) fn mode(found: &Metadata) -> Option<u32> {
    Some(found.permissions().mode() & 0o7777)
}

/// Changes the permissions.
pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// The owner's user id. `None`: the system has no such ids.
pub(crate) fn owner(found: &Metadata) -> Option<u32> {
    Some(found.uid())
}

/// Whether this user may read and write a file. Checked without opening it: closing it again would release this process's locks on
/// it (fcntl(2)).
pub(crate) fn may_write(file: &Path) -> bool {
    rustix::fs::accessat(CWD, file, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// Opens a file, unless its name is a symbolic link.
pub(crate) fn open_no_link(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)
}

/// Device and inode of the file that has this name. They identify it whatever its name.
pub(crate) fn id(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// The same for an open file.
pub(crate) fn id_of_open(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// The state of a file, which changes whenever it is written or replaced. `None`: there is no such file. Links are followed.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    let ns = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    fs::metadata(path).ok().map(|found| {
        let (modified, changed) = (ns(found.mtime(), found.mtime_nsec()), ns(found.ctime(), found.ctime_nsec()));
        Stamp(found.dev(), found.ino(), found.size(), modified, changed)
    })
}

/// Makes the names in a folder survive a crash.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
