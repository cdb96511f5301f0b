//! A process's folder in `/proc`, held open. Everything read through it is about that process, even if its process id
//! is reused meanwhile.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::unistd::{Pid, getsid};
use procfs_core::FromRead;
use procfs_core::process::Stat;
use rustix::fs::{CWD, Mode, OFlags, RawDir, fstat, openat, readlinkat, readlinkat_raw};
use rustix::io::pread;

use crate::deadline::Deadline;

/// The most of a command line that is read.
const COMMAND_LINE_MAX_BYTES: u64 = 4096;
/// Longer than any socket's link.
const LINK_BYTES: usize = 64;
/// Longer than any name of a process in the system.
const NAME_BYTES: usize = 64;
/// Sockets of one process that are remembered.
pub(super) const SOCKETS_KEPT: usize = 8192;
/// Free descriptors of one process that are remembered.
const FREE_KEPT: usize = 64;
/// The deadline is checked after this many descriptors.
const DESCRIPTORS_BETWEEN: u32 = 256;
/// Room for a few hundred file names.
const NAMES_BYTES: usize = 8192;

/// An open process folder.
pub(super) struct Entry {
    pid: u32,
    folder: OwnedFd,
}

/// Files of a process that stay open, so that reading them again is cheap. When the process ends, reading them fails.
pub(super) struct Files {
    descriptors: OwnedFd,
    name: OwnedFd,
}

/// The descriptors of a process at one moment.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    /// Its sockets by inode; not all, if it has very many.
    pub(super) sockets: HashMap<u64, u32>,
    /// The lowest free descriptors.
    pub(super) free: Vec<u32>,
    /// The first descriptor above all used ones.
    pub(super) above: u32,
}

impl Entry {
    /// Opens the folder of the process that has this id now.
    ///
    /// # Errors
    /// When there is no such process.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        let folder =
            openat(CWD, format!("/proc/{pid}"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { pid, folder })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// The user that it runs as. Root also owns the folders of processes that nobody may inspect.
    pub(super) fn user(&self) -> Option<u32> {
        fstat(&self.folder).ok().map(|folder| folder.st_uid)
    }

    /// Lists all its descriptors. `None`: we may not inspect it, it has ended, or `deadline` has passed.
    pub(super) fn look(&self, deadline: Deadline) -> Option<Descriptors> {
        let folder = self.descriptors().ok()?;
        let mut buffer = [MaybeUninit::uninit(); NAMES_BYTES];
        let mut names = RawDir::new(&folder, &mut buffer);
        let (mut found, mut looked) = (Descriptors::default(), 0_u32);
        while let Some(Ok(entry)) = names.next() {
            // `.` and `..` are not numbers.
            let Some(descriptor) = entry.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // The kernel lists them in ascending order.
            let skipped = found.above..descriptor;
            found.free.extend(skipped.take(FREE_KEPT.saturating_sub(found.free.len())));
            found.above = found.above.max(descriptor.saturating_add(1));
            if found.sockets.len() < SOCKETS_KEPT
                && let Some(inode) = socket(folder.as_fd(), entry.file_name())
            {
                found.sockets.insert(inode, descriptor);
            }
            looked += 1;
            if looked % DESCRIPTORS_BETWEEN == 0 && deadline.is_over() {
                return None;
            }
        }
        Some(found)
    }

    /// The descriptor among `likely` that is this socket.
    pub(super) fn descriptor_among(&self, likely: impl IntoIterator<Item = u32>, inode: u64) -> Option<u32> {
        descriptor_among(self.descriptors().ok()?.as_fd(), likely, inode, |_, _| {})
    }

    /// Opens what is read again and again.
    ///
    /// # Errors
    /// When it has ended, or we may not inspect it.
    pub(super) fn files(&self) -> io::Result<Files> {
        let name = openat(&self.folder, "comm", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Files { descriptors: self.descriptors()?, name })
    }

    /// The fields of its `stat` file.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn stat(&self) -> io::Result<Stat> {
        Stat::from_read(self.file("stat")?).map_err(io::Error::other)
    }

    /// Its executable, if we may know it.
    pub(super) fn exe(&self) -> Option<String> {
        let exe = readlinkat(&self.folder, "exe", Vec::new()).ok()?;
        Some(exe.to_string_lossy().into_owned())
    }

    /// The words of its command line; empty when it has ended.
    pub(super) fn command_line(&self) -> Vec<String> {
        let mut bytes = Vec::new();
        if let Ok(file) = self.file("cmdline") {
            // What was read before an error still counts.
            let _ = file.take(COMMAND_LINE_MAX_BYTES).read_to_end(&mut bytes);
        }
        let words = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
        words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    fn descriptors(&self) -> rustix::io::Result<OwnedFd> {
        openat(&self.folder, "fd", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }

    fn file(&self, name: &str) -> io::Result<File> {
        Ok(openat(&self.folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
    }
}

impl Files {
    /// The descriptor among `likely` that is this socket. `other` is called for each other socket seen, with its inode.
    pub(super) fn descriptor_among(
        &self,
        likely: impl IntoIterator<Item = u32>,
        inode: u64,
        other: impl FnMut(u32, u64),
    ) -> Option<u32> {
        descriptor_among(self.descriptors.as_fd(), likely, inode, other)
    }

    /// Its name in the system, and a line end.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn name(&self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; NAME_BYTES];
        let read = pread(&self.name, &mut buffer[..], 0)?;
        Ok(buffer[..read].to_vec())
    }
}

/// The process id of the leader of its Unix session, as we see it: 0 if the leader is outside our pid namespace.
pub(super) fn unix_session(pid: u32) -> Option<u32> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?);
    u32::try_from(getsid(Some(pid)).ok()?.as_raw()).ok()
}

/// The ids of all processes, usually the youngest first.
///
/// # Errors
/// When there is no `/proc`.
pub(super) fn all() -> io::Result<Vec<u32>> {
    let names = std::fs::read_dir(Path::new("/proc"))?;
    let mut all: Vec<u32> = names.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    Ok(all)
}

/// `other` is called for each other socket seen, with its inode.
fn descriptor_among(
    folder: BorrowedFd<'_>,
    likely: impl IntoIterator<Item = u32>,
    inode: u64,
    mut other: impl FnMut(u32, u64),
) -> Option<u32> {
    likely.into_iter().find(|descriptor| match socket(folder, descriptor.to_string().as_str()) {
        Some(found) if found == inode => true,
        Some(found) => {
            other(*descriptor, found);
            false
        }
        None => false,
    })
}

/// The inode of a socket, if the descriptor is one.
fn socket(folder: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Option<u64> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); LINK_BYTES];
    let (link, _) = readlinkat_raw(folder, name, &mut buffer).ok()?;
    str::from_utf8(link).ok()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}
