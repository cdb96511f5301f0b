//! A process's folder in `/proc`, held open: all that is read through it is of one process, also when its number is given to
//! another meanwhile.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use procfs_core::FromRead;
use procfs_core::process::Stat;
use rustix::fs::{CWD, Mode, OFlags, RawDir, fstat, openat, readlinkat, readlinkat_raw};

use crate::deadline::Deadline;

/// The most of a command line that is looked at.
const COMMAND_LINE_MAX_BYTES: u64 = 4096;
/// A socket's link is shorter.
const LINK_BYTES: usize = 64;
/// The most sockets of one process that are remembered.
const SOCKETS_KEPT: usize = 8192;
/// The most free descriptors that are.
const FREE_KEPT: usize = 64;
/// The clock is looked at after so many descriptors.
const DESCRIPTORS_BETWEEN: u32 = 256;
/// Room for some hundred names of a folder.
const NAMES_BYTES: usize = 8192;

/// The folder.
pub(super) struct Entry {
    pid: u32,
    folder: OwnedFd,
}

/// A socket's link as `/proc/PID/fd` shows it.
pub(super) struct Link {
    inode: u64,
    text: String,
}

impl Link {
    pub(super) fn of(inode: u64) -> Self {
        Self { inode, text: format!("socket:[{inode}]") }
    }

    pub(super) fn inode(&self) -> u64 {
        self.inode
    }
}

/// The descriptors of a process, at one time.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    /// Its sockets by their inodes. Of a process that has very many, not all.
    pub(super) sockets: HashMap<u64, u32>,
    /// The lowest that were free.
    pub(super) free: Vec<u32>,
    /// The first above all that were taken.
    pub(super) above: u32,
}

impl Entry {
    /// Opens the folder of the process that has this number now.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        let folder =
            openat(CWD, format!("/proc/{pid}"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { pid, folder })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// The user that it runs as. Root also for those that nobody may look into.
    pub(super) fn user(&self) -> Option<u32> {
        fstat(&self.folder).ok().map(|folder| folder.st_uid)
    }

    /// Looks at all its descriptors. `None`: it may not be looked into, has ended, or `deadline` is over.
    pub(super) fn look(&self, deadline: Deadline) -> Option<Descriptors> {
        let folder = self.descriptors().ok()?;
        let mut buffer = [MaybeUninit::uninit(); NAMES_BYTES];
        let mut names = RawDir::new(&folder, &mut buffer);
        let (mut found, mut looked) = (Descriptors::default(), 0_u32);
        while let Some(Ok(entry)) = names.next() {
            // The names of the folder itself and of its parent are no numbers.
            let Some(descriptor) = entry.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // They come in their order.
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

    /// The descriptor by which it has a socket, if it is one of these.
    pub(super) fn descriptor_among(&self, likely: impl IntoIterator<Item = u32>, link: &Link) -> Option<u32> {
        let folder = self.descriptors().ok()?;
        likely.into_iter().find(|descriptor| is_link(folder.as_fd(), descriptor.to_string().as_str(), link))
    }

    /// Its numbers.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn stat(&self) -> io::Result<Stat> {
        Stat::from_read(self.file("stat")?).map_err(io::Error::other)
    }

    /// The file that it runs, if that may be known.
    pub(super) fn exe(&self) -> Option<String> {
        let exe = readlinkat(&self.folder, "exe", Vec::new()).ok()?;
        Some(exe.to_string_lossy().into_owned())
    }

    /// The words of its command line; none when it has ended.
    pub(super) fn command_line(&self) -> Vec<String> {
        let mut bytes = Vec::new();
        if let Ok(file) = self.file("cmdline") {
            // What was read before an error is still of it.
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

/// The numbers of all processes, the youngest first as a rule.
///
/// # Errors
/// Where there is no `/proc`.
pub(super) fn all() -> io::Result<Vec<u32>> {
    let names = std::fs::read_dir(Path::new("/proc"))?;
    let mut all: Vec<u32> = names.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    Ok(all)
}

fn is_link(folder: BorrowedFd<'_>, name: impl rustix::path::Arg, wanted: &Link) -> bool {
    let mut buffer = [MaybeUninit::<u8>::uninit(); LINK_BYTES];
    matches!(readlinkat_raw(folder, name, &mut buffer), Ok((link, _)) if &*link == wanted.text.as_bytes())
}

/// The inode of a socket, if the descriptor is one.
fn socket(folder: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Option<u64> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); LINK_BYTES];
    let (link, _) = readlinkat_raw(folder, name, &mut buffer).ok()?;
    str::from_utf8(link).ok()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}
