//! The disk's space.

use std::path::Path;

/// The space of a disk, in bytes.
pub(crate) struct Disk {
    /// Free for users without special rights.
    pub(crate) free: u64,
    pub(crate) all: u64,
}

/// The disk of a folder. `None`: the system does not tell.
pub(crate) fn of(folder: &Path) -> Option<Disk> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some(Disk { free: bytes(disk.f_bavail), all: bytes(disk.f_blocks) })
}

/// Whether this process has a file-size limit (`ulimit -f`).
pub(crate) fn has_file_size_limit() -> bool {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_some()
}
