//! From a socket to its process, the ancestors of that, and the leader of its Unix session. Facts about a process are
//! cached, and hold as long as it is the same process and runs the same program.

use std::sync::{Arc, Weak};

use procfs_core::process::Stat;
use quick_cache::unsync::Cache;

use super::entry::Entry;
use super::holders::{GENERATIONS, Holder, Holders};
use crate::peer::command::shown;
use crate::peer::lookup::OpenConnection;
use crate::peer::process::leader;
use crate::peer::{Facts, Process};

/// Processes in each cache.
const KEPT: usize = 1024;

/// Finds processes.
pub(in crate::peer) struct Processes {
    holders: Holders,
    /// Processes that called, as they were when first seen.
    callers: Cache<u32, Arc<Process>>,
    facts: Cache<u32, Arc<Facts>>,
}

impl Default for Processes {
    fn default() -> Self {
        Self { holders: Holders::default(), callers: Cache::new(KEPT), facts: Cache::new(KEPT) }
    }
}

impl Processes {
    /// The process that holds the socket with this inode, if it called before and the socket is where it is expected. Takes some
    /// microseconds.
    pub(in crate::peer) fn recall(&mut self, inode: u64, connection: &Weak<OpenConnection>) -> Option<Arc<Process>> {
        self.holders.recall(inode, connection)
    }

    /// The process that holds the socket with this inode, which this user created. `connection`: ends with the connection. Blocks.
    pub(in crate::peer) fn find(
        &mut self,
        uid: u32,
        inode: u64,
        connection: Weak<OpenConnection>,
    ) -> Option<Arc<Process>> {
        let entry = match self.holders.find(uid, inode, connection)? {
            Holder::Known(process) => return Some(process),
            Holder::Entry(entry) => entry,
        };
        let stat = entry.stat().ok()?;
        if let Some(known) = self.callers.get(&entry.pid()).filter(|known| is_of(&known.facts, &stat)) {
            self.holders.introduce(known);
            return Some(known.clone());
        }
        let facts = self.facts_of(&entry, &stat);
        let ancestors = self.ancestors(&facts);
        let leader = leader(&facts, &ancestors, |pid| {
            let entry = Entry::open(pid).ok()?;
            entry.stat().ok().map(|stat| self.facts_of(&entry, &stat))
        });
        let process = Arc::new(Process { facts, ancestors, leader });
        self.callers.insert(entry.pid(), process.clone());
        self.holders.introduce(&process);
        Some(process)
    }

    /// Whether the last search ended early, to save time.
    pub(in crate::peer) fn gave_up(&self) -> bool {
        self.holders.gave_up()
    }

    fn ancestors(&mut self, child: &Facts) -> Vec<Arc<Facts>> {
        let mut ancestors: Vec<Arc<Facts>> = Vec::new();
        let mut next = child.parent;
        while ancestors.len() < GENERATIONS && next != 0 && next != std::process::id() {
            let Ok(entry) = Entry::open(next) else { break };
            let Ok(stat) = entry.stat() else { break };
            let facts = self.facts_of(&entry, &stat);
            ancestors.push(facts.clone());
            // This ancestor called, too: its own ancestors are cached, including those that have ended since.
            if let Some(known) = self.callers.get(&next).filter(|known| is_of(&known.facts, &stat)) {
                ancestors.extend(known.ancestors.iter().cloned());
                break;
            }
            next = facts.parent;
        }
        ancestors
    }

    fn facts_of(&mut self, entry: &Entry, stat: &Stat) -> Arc<Facts> {
        let number = |number: i32| u32::try_from(number).unwrap_or(0);
        let known = self.facts.get(&entry.pid());
        if let Some(known) = known.filter(|known| is_of(known, stat) && known.parent == number(stat.ppid)) {
            return known.clone();
        }
        let command = shown(entry.command_line().iter().map(String::as_str));
        let facts = Arc::new(Facts {
            pid: entry.pid(),
            start_ticks: stat.starttime,
            parent: number(stat.ppid),
            unix_session: number(stat.session),
            name: stat.comm.as_str().into(),
            exe: entry.exe().map(Into::into),
            command: command.line.into(),
            script: command.script.map(Into::into),
        });
        self.facts.insert(entry.pid(), facts.clone());
        facts
    }
}

/// Whether it is still the same process, in the same Unix session and, judging by its name, with the same program.
fn is_of(facts: &Facts, stat: &Stat) -> bool {
    facts.start_ticks == stat.starttime
        && *facts.name == *stat.comm
        && u32::try_from(stat.session).is_ok_and(|session| session == facts.unix_session)
}
