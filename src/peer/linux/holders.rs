//! Finds the process that holds a socket. Only the descriptors of processes show that. Listing all descriptors of a
//! process takes milliseconds if there are thousands, so it is done once for each process and rarely again:
//!
//! 1. Processes that have called before: first the descriptor where the last listing showed the socket, then those likely
//!    to be next. A new socket takes the lowest free descriptor, so descriptors of connections that have ended come first.
//! 2. Processes that were not listed yet, the youngest first.
//! 3. All again, but only for a small share of the time ([`Allowance`]). Beyond it, the process stays unknown.
//!
//! Memory only gives hints: a process is taken only if one of its descriptors is the socket now. Looking at one descriptor
//! takes some ten microseconds, so the order of the hints is what a search costs.
//!
//! After a fork several processes hold the socket. It belongs to the topmost of them, because a socket is passed from
//! parent to child; a child that calls on its own opens its own socket.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::entry::{self, Descriptors, Entry, Files, SOCKETS_KEPT, unix_session};
use crate::deadline::{Deadline, worked};
use crate::peer::Process;
use crate::peer::lookup::OpenConnection;

/// The longest search for one socket, in processor time, so that a busy machine does not shorten it.
const PATIENCE: Duration = Duration::from_millis(1000);
/// Processes that have called and are remembered.
const REMEMBERED: usize = 8;
/// New descriptors are the lowest free ones, so the next one is likely within this distance above the last one.
const NEAR: u32 = 8;
/// Descriptors of earlier connections that are remembered for a process, because it reuses them.
const RECENT: usize = 32;
/// Descriptors of ended connections that are tried first.
const FREED: usize = 4;
/// The latest callers that are looked at at once.
const RECALLED: usize = 2;
/// Descriptors of the oldest connections that are tried next.
const OLDEST: usize = 8;
/// Free descriptors that are tried.
const FREE: usize = 32;
/// The most ancestors that are followed.
pub(super) const GENERATIONS: usize = 64;

/// The processes that have called recently, the latest first.
#[derive(Default)]
pub(super) struct Holders {
    callers: VecDeque<Caller>,
    /// Processes whose descriptors were all listed.
    seen: HashSet<u32>,
    allowance: Allowance,
    /// Whether the last search skipped something to save time.
    gave_up: bool,
}

/// A process that has called. Its files stay open, so a later process with the same id is not taken for it.
struct Caller {
    entry: Arc<Entry>,
    files: Files,
    /// Its recent connections, the latest first.
    recent: VecDeque<Recent>,
    /// Its sockets and its free descriptors at the last full listing.
    looked: Descriptors,
    /// What was found out about it.
    process: Option<Introduced>,
}

/// A connection of a process.
struct Recent {
    descriptor: u32,
    connection: Weak<OpenConnection>,
}

/// What is known of a process, and what shows that it still holds.
struct Introduced {
    process: Arc<Process>,
    name: Vec<u8>,
}

/// The process that holds a socket.
pub(super) enum Holder {
    /// It called before, and has run the same program in the same Unix session since.
    Known(Arc<Process>),
    /// It must be looked at.
    Entry(Arc<Entry>),
}

/// The process that holds the socket.
struct Found {
    entry: Arc<Entry>,
    descriptor: u32,
    /// All its descriptors, if they were listed.
    looked: Option<Descriptors>,
}

impl Caller {
    /// The descriptor of the socket, if the last listing showed it, or if it is likely: that of a connection that has ended, the next
    /// one, or that of a connection that is about to end.
    fn likely(&mut self, inode: u64) -> Option<u32> {
        let last = self.recent.front().map(|last| last.descriptor);
        let oldest = self.recent.iter().rev().take(OLDEST).map(|recent| recent.descriptor);
        let likely = self.known(inode).chain(self.freed()).chain(self.next()).chain(last).chain(oldest).collect();
        self.look_at(likely, inode)
    }

    /// The same, with a few looks only.
    fn most_likely(&mut self, inode: u64) -> Option<u32> {
        let oldest = self.recent.back().map(|oldest| oldest.descriptor);
        let likely = self.known(inode).chain(self.freed().take(2)).chain(self.next()).chain(oldest).collect();
        self.look_at(likely, inode)
    }

    /// The descriptor of the socket, if it is close to the last one, or was used before, or was free.
    fn less_likely(&mut self, inode: u64) -> Option<u32> {
        let near = self.recent.front().map_or(0..0, |last| last.descriptor..last.descriptor.saturating_add(NEAR));
        let used = self.recent.iter().map(|recent| recent.descriptor);
        let free = self.looked.free.iter().take(FREE).copied();
        let above = self.looked.above..self.looked.above.saturating_add(NEAR);
        let likely = near.chain(used).chain(free).chain(above).collect();
        self.look_at(likely, inode)
    }

    /// Where the socket was seen.
    fn known(&self, inode: u64) -> impl Iterator<Item = u32> + use<> {
        self.looked.sockets.get(&inode).copied().into_iter()
    }

    /// The lowest descriptors of connections that have ended.
    fn freed(&self) -> impl Iterator<Item = u32> + use<> {
        let mut freed: Vec<u32> = self.recent.iter().filter(|r| r.has_ended()).map(|r| r.descriptor).collect();
        freed.sort_unstable();
        freed.into_iter().take(FREED)
    }

    fn next(&self) -> Option<u32> {
        self.recent.front().map(|last| last.descriptor.saturating_add(1))
    }

    /// Looks at each of these once. Other sockets that are seen may be asked for next.
    fn look_at(&mut self, likely: Vec<u32>, inode: u64) -> Option<u32> {
        let mut tried = HashSet::with_capacity(likely.len());
        let once = likely.into_iter().filter(|descriptor| tried.insert(*descriptor));
        let sockets = &mut self.looked.sockets;
        self.files.descriptor_among(once, inode, |descriptor, other| {
            if sockets.len() >= SOCKETS_KEPT {
                sockets.clear();
            }
            sockets.insert(other, descriptor);
        })
    }

    /// What was found out about it, if that still holds.
    fn unchanged(&self) -> Option<Arc<Process>> {
        let Introduced { process, name } = self.process.as_ref()?;
        let same_session = unix_session(self.entry.pid()) == Some(process.facts.unix_session);
        (same_session && self.files.name().is_ok_and(|now| now == *name)).then(|| process.clone())
    }
}

impl Recent {
    fn has_ended(&self) -> bool {
        self.connection.strong_count() == 0
    }
}

impl Holders {
    /// The process that holds the socket with this inode, which this user created. `connection`: ends with the connection.
    pub(super) fn find(&mut self, uid: u32, inode: u64, connection: Weak<OpenConnection>) -> Option<Holder> {
        let deadline = Deadline::after(PATIENCE);
        self.gave_up = false;
        if let Some((at, descriptor)) = self.remembered(inode) {
            return self.calls_again(at, Recent { descriptor, connection });
        }
        let found = self.elsewhere(Some(uid), inode, deadline, false);
        // Then processes that changed their user since, and those that had not called when they were listed.
        let found = found.or_else(|| self.elsewhere(None, inode, deadline, false));
        let found = found.or_else(|| self.again(uid, inode, deadline))?;
        Some(Holder::Entry(self.remember(found, connection)))
    }

    /// The process that holds the socket with this inode, if it called before and the socket is where it is expected.
    pub(super) fn recall(&mut self, inode: u64, connection: &Weak<OpenConnection>) -> Option<Arc<Process>> {
        let mut latest = self.callers.iter_mut().take(RECALLED).enumerate();
        let (at, descriptor) = latest.find_map(|(at, caller)| Some((at, caller.most_likely(inode)?)))?;
        match self.calls_again(at, Recent { descriptor, connection: connection.clone() })? {
            Holder::Known(process) => Some(process),
            Holder::Entry(_) => None,
        }
    }

    /// Keeps what was found out about a process that called, for its next call.
    pub(super) fn introduce(&mut self, process: &Arc<Process>) {
        let pid = process.facts.pid;
        let Some(caller) = self.callers.iter_mut().find(|caller| caller.entry.pid() == pid) else { return };
        let Ok(name) = caller.files.name() else { return };
        // If the system names it differently here, its later calls are looked at again.
        if name.strip_suffix(b"\n") == Some(process.facts.name.as_bytes()) {
            caller.process = Some(Introduced { process: process.clone(), name });
        }
    }

    /// Whether the last search ended early, to save time.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// Which remembered process holds the socket, and at which descriptor. A process that called before this socket existed did not
    /// inherit it, so no ancestor is checked.
    fn remembered(&mut self, inode: u64) -> Option<(usize, u32)> {
        let likely = self.callers.iter_mut().enumerate().find_map(|(at, caller)| Some((at, caller.likely(inode)?)));
        if likely.is_some() {
            return likely;
        }
        self.callers.retain(|caller| caller.files.name().is_ok());
        self.callers.iter_mut().enumerate().find_map(|(at, caller)| Some((at, caller.less_likely(inode)?)))
    }

    /// Notes another connection of a remembered process.
    fn calls_again(&mut self, at: usize, recent: Recent) -> Option<Holder> {
        let mut caller = self.callers.remove(at)?;
        caller.note(recent);
        let holder = caller.unchanged().map_or_else(|| Holder::Entry(caller.entry.clone()), Holder::Known);
        self.callers.push_front(caller);
        Some(holder)
    }

    /// Lists all descriptors of processes of this user (of all users, if `None`): of those not listed yet, or with
    /// `again` of those that were, within the allowance.
    fn elsewhere(&mut self, uid: Option<u32>, inode: u64, deadline: Deadline, again: bool) -> Option<Found> {
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
            if let Some(found) = self.look(Arc::new(entry), inode, deadline) {
                return Some(self.topmost(found, inode, deadline));
            }
        }
        None
    }

    /// Lists all descriptors again: first of processes that have called, then of all.
    fn again(&mut self, uid: u32, inode: u64, deadline: Deadline) -> Option<Found> {
        let callers: Vec<Arc<Entry>> = self.callers.iter().map(|caller| caller.entry.clone()).collect();
        for entry in callers {
            if !self.allowance.has_some() {
                self.gave_up = true;
                return None;
            }
            if let Some(found) = self.look(entry, inode, deadline) {
                return Some(found);
            }
        }
        self.elsewhere(Some(uid), inode, deadline, true)
    }

    /// Lists all descriptors of one process.
    fn look(&mut self, entry: Arc<Entry>, inode: u64, deadline: Deadline) -> Option<Found> {
        let began = worked();
        let looked = entry.look(deadline);
        self.allowance.spend(worked().saturating_sub(began));
        self.seen.insert(entry.pid());
        let looked = looked?;
        let descriptor = looked.sockets.get(&inode).copied();
        match descriptor {
            Some(descriptor) => Some(Found { entry, descriptor, looked: Some(looked) }),
            None => {
                // The new listing helps with its next connection.
                if let Some(caller) = self.callers.iter_mut().find(|caller| caller.entry.pid() == entry.pid()) {
                    caller.looked = looked;
                }
                None
            }
        }
    }

    /// Goes up while the parent holds the socket, too: mostly at the same descriptor, as a fork leaves it.
    fn topmost(&mut self, mut found: Found, inode: u64, deadline: Deadline) -> Found {
        for _ in 0..GENERATIONS {
            let parent = found.entry.stat().ok().and_then(|stat| Entry::open(u32::try_from(stat.ppid).ok()?).ok());
            let Some(parent) = parent else { break };
            let above = match parent.descriptor_among([found.descriptor], inode) {
                Some(descriptor) => Some(Found { entry: Arc::new(parent), descriptor, looked: None }),
                None if !self.seen.contains(&parent.pid()) || self.allowance.has_some() => {
                    self.look(Arc::new(parent), inode, deadline)
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

    fn remember(
        &mut self,
        Found { entry, descriptor, looked }: Found,
        connection: Weak<OpenConnection>,
    ) -> Arc<Entry> {
        let known = self.callers.iter().position(|caller| caller.entry.pid() == entry.pid());
        let known = known.and_then(|at| self.callers.remove(at)).filter(|caller| caller.files.name().is_ok());
        let mut caller = match (known, entry.files()) {
            (Some(caller), _) => caller,
            (None, Ok(files)) => Caller {
                entry: entry.clone(),
                files,
                recent: VecDeque::new(),
                looked: Descriptors::default(),
                process: None,
            },
            // It has ended meanwhile.
            (None, Err(_)) => return entry,
        };
        caller.note(Recent { descriptor, connection });
        if let Some(looked) = looked {
            caller.looked = looked;
        }
        self.callers.truncate(REMEMBERED - 1);
        self.callers.push_front(caller);
        entry
    }
}

impl Caller {
    fn note(&mut self, latest: Recent) {
        self.recent.retain(|other| other.descriptor != latest.descriptor);
        self.recent.truncate(RECENT - 1);
        self.recent.push_front(latest);
    }
}

/// The processor time allowed for listing processes again: a fiftieth of all time, some of which can be saved up.
struct Allowance {
    left: Duration,
    at: Instant,
}

impl Allowance {
    /// The most that can be saved up.
    const MOST: Duration = Duration::from_millis(200);
    /// One part in this many.
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

    /// The mean processor time of an action.
    fn cost(times: u32, mut one: impl FnMut()) -> Duration {
        let began = worked();
        (0..times).for_each(|_| one());
        (worked() - began) / times
    }

    #[test]
    fn a_process_with_thousands_of_descriptors_is_listed_once() {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1024);
        let many = usize::try_from(limit).unwrap().min(6000) / 2;
        let _held: Vec<File> = (0..many).map(|_| File::open("/dev/null").unwrap()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        // Accepted, so that the listener's queue never fills.
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let connect = || TcpStream::connect(at).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let (mut holders, open) = (Holders::default(), Arc::new(OpenConnection));
        let found = |holders: &mut Holders, socket: &TcpStream| {
            let found = holders.find(uid, inode(socket), Arc::downgrade(&open));
            matches!(found, Some(Holder::Entry(entry)) if entry.pid() == std::process::id())
        };
        let all = connect();
        let whole = cost(1, || assert!(found(&mut holders, &all)));
        // A pool of connections that come and go, and files that do, too.
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
        // All sockets of the last listing are known, whatever their descriptor.
        let burst: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
        assert!(burst.iter().rev().filter(|socket| found(&mut holders, socket)).count() >= 90);
        assert!(burst[0].as_raw_fd() > 0);
    }

    #[test]
    fn listing_again_has_an_allowance() {
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
