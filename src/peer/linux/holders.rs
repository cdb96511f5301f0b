//! Which process has a socket: only the descriptors of processes tell. A process that has called before is looked into
//! first, where its next descriptor is likely to be; then all, the youngest first.
//!
//! Several have it after a fork. Then it is that of the topmost of them: a socket goes down from parent to child, so its
//! ancestors' was it first, and a child that calls on its own makes its own.

use std::collections::VecDeque;
use std::time::Duration;

use super::entry::{self, Entry, Link};
use crate::deadline::Deadline;

/// The longest that a socket is looked for, in processor time: a machine that is busy with others finds it all the same.
const PATIENCE: Duration = Duration::from_millis(1000);
/// How many processes that have called are remembered.
const REMEMBERED: usize = 8;
/// Descriptors are given in order, the lowest that is free: so far above the last one the next is looked for.
const NEAR: u32 = 8;
/// Ancestors that are looked at, at most.
pub(super) const GENERATIONS: usize = 64;

/// The processes that have called lately, the last one first.
#[derive(Default)]
pub(super) struct Holders {
    callers: VecDeque<Caller>,
}

struct Caller {
    pid: u32,
    descriptor: u32,
}

impl Holders {
    /// The process that has the socket with this inode, made by this user.
    pub(super) fn find(&mut self, uid: u32, inode: u64) -> Option<Entry> {
        let (link, deadline) = (Link::of(inode), Deadline::after(PATIENCE));
        let (holder, descriptor) = self.remembered(&link).or_else(|| anywhere(uid, &link, deadline))?;
        self.callers.retain(|caller| caller.pid != holder.pid());
        self.callers.truncate(REMEMBERED - 1);
        self.callers.push_front(Caller { pid: holder.pid(), descriptor });
        Some(holder)
    }

    /// A process that called before this socket was made has not got it from its parent: no ancestor is asked.
    fn remembered(&mut self, link: &Link) -> Option<(Entry, u32)> {
        let mut entries = Vec::with_capacity(self.callers.len());
        self.callers.retain(|caller| Entry::open(caller.pid).map(|entry| entries.push(entry)).is_ok());
        for (caller, entry) in self.callers.iter().zip(&entries) {
            let likely = caller.descriptor..caller.descriptor + NEAR;
            if let Some(descriptor) = entry.descriptor_among(likely, link) {
                return Entry::open(entry.pid()).ok().map(|entry| (entry, descriptor));
            }
        }
        entries.into_iter().find_map(|entry| entry.descriptor(link).map(|descriptor| (entry, descriptor)))
    }
}

fn anywhere(uid: u32, link: &Link, deadline: Deadline) -> Option<(Entry, u32)> {
    let mut others = Vec::new();
    let theirs = entry::all().ok()?.into_iter().filter_map(|pid| {
        let entry = Entry::open(pid).ok()?;
        if entry.user() == Some(uid) {
            return Some(entry);
        }
        others.push(pid);
        None
    });
    let in_time = |_: &Entry| !deadline.is_over();
    let has = |entry: Entry| entry.descriptor(link).map(|descriptor| (entry, descriptor));
    let found = theirs.take_while(in_time).find_map(has);
    // Those that have changed their user since.
    let found = found
        .or_else(|| others.into_iter().filter_map(|pid| Entry::open(pid).ok()).take_while(in_time).find_map(has));
    found.map(|found| topmost(found, link))
}

/// Goes up while the parent has the socket, too.
fn topmost(mut found: (Entry, u32), link: &Link) -> (Entry, u32) {
    for _ in 0..GENERATIONS {
        let parent = found.0.stat().ok().and_then(|stat| Entry::open(u32::try_from(stat.ppid).ok()?).ok());
        match parent.and_then(|parent| parent.descriptor(link).map(|descriptor| (parent, descriptor))) {
            Some(above) => found = above,
            None => break,
        }
    }
    found
}
