//! What may be wrong with a store, in words.

use std::fmt;

use uuid::Uuid;

/// A fault of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The file's structure is damaged, in SQLite's words.
    File(String),
    /// The file was replaced while it was read.
    Replaced,
    /// A chunk does not match its checksum or its hash.
    Damaged {
        /// Its number.
        chunk: i64,
    },
    /// The bodies of an event cannot be read whole.
    Bodies {
        /// The event's row.
        event: i64,
        /// The exchange's id.
        event_id: Uuid,
        /// Its chunks that are damaged.
        damaged: u64,
        /// Its chunks that are not there.
        missing: u64,
    },
    /// The row of an event cannot be read: its JSON or the list of its chunks is damaged.
    Event {
        /// The event's row.
        event: i64,
        /// The exchange's id.
        event_id: Uuid,
    },
    /// The references of a chunk are not counted correctly.
    Count {
        /// Its number.
        chunk: i64,
        /// The references by events.
        references: u64,
        /// The stored count.
        counted: i64,
    },
    /// No event refers to a chunk.
    Unreferenced {
        /// Its number.
        chunk: i64,
    },
    /// References are counted for a chunk that is not there.
    CountWithoutChunk {
        /// Its number.
        chunk: i64,
    },
    /// A sum that is kept differs from the rows.
    Tally {
        /// What is summed.
        what: &'static str,
        /// The sum that is kept.
        kept: i64,
        /// The sum of the rows.
        found: i64,
    },
    /// A session counts its events incorrectly.
    Session {
        /// The session's row.
        session: i64,
        /// Which events.
        what: &'static str,
        /// Its own count.
        kept: i64,
        /// The number of events.
        found: i64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(words) => write!(f, "file damaged: {words}"),
            Self::Replaced => f.write_str("file replaced or written while it was read: verify again"),
            Self::Damaged { chunk } => {
                write!(f, "chunk {chunk} is damaged: it does not match its checksum and its hash")
            }
            Self::Bodies { event, event_id, damaged, missing } => write!(
                f,
                "event {event} ({event_id}): its bodies cannot be read whole: damaged chunks: {damaged}, missing chunks: {missing}"
            ),
            Self::Event { event, event_id } => {
                write!(f, "event {event} ({event_id}): its row is damaged")
            }
            Self::Count { chunk, references, counted } => {
                write!(f, "chunk {chunk} has {references} references, but {counted} are counted")
            }
            Self::Unreferenced { chunk } => write!(f, "chunk {chunk} has no reference"),
            Self::CountWithoutChunk { chunk } => {
                write!(f, "chunk {chunk} does not exist, but references to it are counted")
            }
            Self::Tally { what, kept, found } => write!(f, "{what}: the store says {kept}, its rows have {found}"),
            Self::Session { session, what, kept, found } => {
                write!(f, "session {session}: it counts {kept} {what} events, but has {found}")
            }
        }
    }
}

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Events.
    pub events: u64,
    /// Chunks.
    pub chunks: u64,
    /// Faults.
    pub faults: u64,
    /// Damage of the file ended the check, so the rest was not read.
    pub is_cut_short: bool,
}

/// Counts what was read, and passes faults on.
pub(super) struct Report<'a> {
    pub(super) seen: Verified,
    pub(super) found: &'a mut dyn FnMut(&Fault),
}

impl Report<'_> {
    pub(super) fn add(&mut self, fault: &Fault) {
        self.seen.faults += 1;
        (self.found)(fault);
    }
}
