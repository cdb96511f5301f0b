//! Which process has a socket: only the descriptors of processes tell. Looking through all of a process's descriptors costs
//! some milliseconds where there are thousands, so it is done once for a process, and rarely again:
//!
//! 1. Processes that have called before: where the last look saw the socket, where their next descriptors are likely to be.
//! 2. Processes that were not looked at yet, the youngest first.
//! 3. All again, but only for a small share of the time ([`Allowance`]). Beyond it the process stays unknown.
//!
//! Whatever is remembered, only the descriptor itself says that the process has the socket.
//!
//! Several have it after a fork. Then it is that of the topmost of them: a socket goes down from parent to child, so its
//! ancestors' was it first, and a child that calls on its own makes its own.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::entry::{self, Descriptors, Entry, Link};
use crate::deadline::{Deadline, worked};

/// The longest that a socket is looked for, in processor time: a machine that is busy with others finds it all the same.
const PATIENCE: Duration = Duration::from_millis(1000);
/// How many processes that have called are remembered.
const REMEMBERED: usize = 8;
/// Descriptors are given in order, the lowest that is free: so far above the last one the next is looked for.
const NEAR: u32 = 8;
/// How many descriptors of earlier connections are remembered of a process: it uses them again.
const RECENT: usize = 32;
/// How many descriptors that were free are tried.
const FREE: usize = 32;
/// Ancestors that are looked at, at most.
pub(super) const GENERATIONS: usize = 64;

/// The processes that have called lately, the last one first.
#[derive(Default)]
pub(super) struct Holders {
    callers: VecDeque<Caller>,
    /// Those of which all descriptors were looked at.
    seen: HashSet<u32>,
    allowance: Allowance,
    /// Whether something was not looked at in the last search, to save time.
    gave_up: bool,
}

/// A process that has called.
struct Caller {
    pid: u32,
    /// The descriptors of its last connections, the last one first.
    recent: VecDeque<u32>,
    /// Its sockets, each with its descriptor, and what was free, when all its descriptors were looked at.
    looked: Descriptors,
}

/// Who has the socket.
struct Found {
    entry: Entry,
    descriptor: u32,
    /// All its descriptors, if they were looked at.
    looked: Option<Descriptors>,
}

impl Caller {
    /// Where it has the socket, if the last look at all its descriptors saw that, or it is near the last one.
    fn likely(&self, entry: &Entry, link: &Link) -> Option<u32> {
        let known = self.looked.sockets.get(&link.inode()).copied();
        let near = self.recent.front().map_or(0..0, |last| *last..*last + NEAR);
        entry.descriptor_among(known.into_iter().chain(near), link)
    }

    /// Where it has the socket, if it is at a descriptor that was used before or was free.
    fn less_likely(&self, entry: &Entry, link: &Link) -> Option<u32> {
        let free = self.looked.free.iter().take(FREE).copied();
        let above = self.looked.above..self.looked.above + NEAR;
        entry.descriptor_among(self.recent.iter().copied().chain(free).chain(above), link)
    }
}

impl Holders {
    /// The process that has the socket with this inode, made by this user.
    pub(super) fn find(&mut self, uid: u32, inode: u64) -> Option<Entry> {
        let (link, deadline) = (Link::of(inode), Deadline::after(PATIENCE));
        self.gave_up = false;
        let found = self.remembered(&link);
        let found = found.or_else(|| self.elsewhere(Some(uid), &link, deadline, false));
        // Those that have changed their user since, and those that did not call when they were looked at.
        let found = found.or_else(|| self.elsewhere(None, &link, deadline, false));
        let found = found.or_else(|| self.again(uid, &link, deadline))?;
        Some(self.remember(found))
    }

    /// Whether the last search ended early, to save time.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// A process that called before this socket was made has not got it from its parent: no ancestor is asked.
    fn remembered(&mut self, link: &Link) -> Option<Found> {
        let mut entries = Vec::with_capacity(self.callers.len());
        self.callers.retain(|caller| Entry::open(caller.pid).map(|entry| entries.push(entry)).is_ok());
        let all = || self.callers.iter().zip(&entries);
        let at = all().position(|(caller, entry)| caller.likely(entry, link).is_some());
        let at = at.or_else(|| all().position(|(caller, entry)| caller.less_likely(entry, link).is_some()))?;
        let (caller, entry) = (self.callers.get(at)?, entries.swap_remove(at));
        let descriptor = caller.likely(&entry, link).or_else(|| caller.less_likely(&entry, link))?;
        Some(Found { entry, descriptor, looked: None })
    }

    /// Looks at all descriptors of processes: at those of this user (of all, if there is none) that were not looked at yet, or
    /// else at those that were, as far as that is allowed.
    fn elsewhere(&mut self, uid: Option<u32>, link: &Link, deadline: Deadline, again: bool) -> Option<Found> {
        let all = entry::all().ok()?;
        self.seen.retain(|pid| all.binary_search_by(|other| pid.cmp(other)).is_ok());
        let wanted: Vec<u32> = all.into_iter().filter(|pid| self.seen.contains(pid) == again).collect();
        for pid in wanted {
            let Ok(entry) = Entry::open(pid) else { continue };
            if uid.is_some_and(|uid| entry.user() != Some(uid)) {
                continue;
            }
            if deadline.is_over() || (again && !self.allowance.has_some()) {
                self.gave_up = true;
                return None;
            }
            if let Some(found) = self.look(entry, link, deadline) {
                return Some(self.topmost(found, link, deadline));
            }
        }
        None
    }

    /// Looks at all descriptors again: first of those that have called, then of all.
    fn again(&mut self, uid: u32, link: &Link, deadline: Deadline) -> Option<Found> {
        let callers: Vec<u32> = self.callers.iter().map(|caller| caller.pid).collect();
        for pid in callers {
            let Ok(entry) = Entry::open(pid) else { continue };
            if !self.allowance.has_some() {
                self.gave_up = true;
                return None;
            }
            if let Some(found) = self.look(entry, link, deadline) {
                return Some(found);
            }
        }
        self.elsewhere(Some(uid), link, deadline, true)
    }

    /// Looks at all descriptors of one process.
    fn look(&mut self, entry: Entry, link: &Link, deadline: Deadline) -> Option<Found> {
        let began = worked();
        let looked = entry.look(deadline);
        self.allowance.spend(worked().saturating_sub(began));
        self.seen.insert(entry.pid());
        let looked = looked?;
        let descriptor = looked.sockets.get(&link.inode()).copied();
        match descriptor {
            Some(descriptor) => Some(Found { entry, descriptor, looked: Some(looked) }),
            None => {
                // What it has now is known, which helps with its next connection.
                if let Some(caller) = self.callers.iter_mut().find(|caller| caller.pid == entry.pid()) {
                    caller.looked = looked;
                }
                None
            }
        }
    }

    /// Goes up while the parent has the socket, too: mostly by the same descriptor, for that is what a fork leaves.
    fn topmost(&mut self, mut found: Found, link: &Link, deadline: Deadline) -> Found {
        for _ in 0..GENERATIONS {
            let parent = found.entry.stat().ok().and_then(|stat| Entry::open(u32::try_from(stat.ppid).ok()?).ok());
            let Some(parent) = parent else { break };
            let above = match parent.descriptor_among([found.descriptor], link) {
                Some(descriptor) => Some(Found { entry: parent, descriptor, looked: None }),
                None if !self.seen.contains(&parent.pid()) || self.allowance.has_some() => {
                    self.look(parent, link, deadline)
                }
                None => None,
            };
            match above {
                Some(above) => found = above,
                None => break,
            }
        }
        found
    }

    fn remember(&mut self, Found { entry, descriptor, looked }: Found) -> Entry {
        let known = self.callers.iter().position(|caller| caller.pid == entry.pid());
        let mut caller = known.and_then(|at| self.callers.remove(at)).unwrap_or_else(|| Caller {
            pid: entry.pid(),
            recent: VecDeque::new(),
            looked: Descriptors::default(),
        });
        caller.recent.retain(|other| *other != descriptor);
        caller.recent.truncate(RECENT - 1);
        caller.recent.push_front(descriptor);
        if let Some(looked) = looked {
            caller.looked = looked;
        }
        self.callers.truncate(REMEMBERED - 1);
        self.callers.push_front(caller);
        entry
    }
}

/// How much processor time may go into looking again at what was looked at: a fiftieth of all time, some of it saved up.
struct Allowance {
    left: Duration,
    at: Instant,
}

impl Allowance {
    /// What can be saved up.
    const MOST: Duration = Duration::from_millis(200);
    /// One part in so many.
    const SHARE: u32 = 50;

    fn has_some(&mut self) -> bool {
        let now = Instant::now();
        self.left = (self.left + now.saturating_duration_since(self.at) / Self::SHARE).min(Self::MOST);
        self.at = now;
        !self.left.is_zero()
    }

    fn spend(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: Self::MOST, at: Instant::now() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn inode(socket: &TcpStream) -> u64 {
        File::from(socket.as_fd().try_clone_to_owned().unwrap()).metadata().unwrap().ino()
    }

    /// The mean processor time of doing something.
    fn cost(times: u32, mut one: impl FnMut()) -> Duration {
        let began = worked();
        (0..times).for_each(|_| one());
        (worked() - began) / times
    }

    #[test]
    fn a_process_with_thousands_of_descriptors_is_looked_through_once() {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1024);
        let many = usize::try_from(limit).unwrap().min(6000) / 2;
        let _held: Vec<File> = (0..many).map(|_| File::open("/dev/null").unwrap()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        // So that the queue of the listener never fills.
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let connect = || TcpStream::connect(at).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let mut holders = Holders::default();
        let found = |holders: &mut Holders, socket: &TcpStream| {
            holders.find(uid, inode(socket)).is_some_and(|entry| entry.pid() == std::process::id())
        };
        let all = connect();
        let whole = cost(1, || assert!(found(&mut holders, &all)));
        // Connections of a pool that come and go, beside files that do, too.
        let mut pool: VecDeque<TcpStream> = (0..20).map(|_| connect()).collect();
        let mut missed = 0;
        let each = cost(200, || {
            let (_file, next) = (File::open("/dev/null").unwrap(), connect());
            missed += u32::from(!found(&mut holders, &next));
            pool.push_back(next);
            pool.pop_front();
        });
        println!("{many} descriptors: the first search {whole:?}, each later one {each:?}, {missed} missed");
        assert!(missed <= 20, "{missed} of 200 were not found");
        assert!(each * 4 < whole, "{each:?} each, {whole:?} for all");
        // All that were open at the last look are known, wherever they are.
        let burst: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
        assert!(burst.iter().rev().filter(|socket| found(&mut holders, socket)).count() >= 90);
        assert!(burst[0].as_raw_fd() > 0);
    }

    #[test]
    fn looking_again_has_an_allowance() {
        let mut allowance = Allowance::default();
        assert!(allowance.has_some());
        allowance.spend(Duration::from_secs(1));
        assert_eq!(allowance.left, Duration::ZERO);
        allowance.at -= Duration::from_secs(5);
        assert!(allowance.has_some() && allowance.left >= Duration::from_millis(100));
        allowance.at -= Duration::from_secs(500);
        assert!(allowance.has_some() && allowance.left == Allowance::MOST);
    }
}
