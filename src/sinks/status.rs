//! The status of a sink.

use serde_json::{Value, json};

use crate::store::SinkPlace;

/// The status of a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Its name: kind and destination.
    pub name: String,
    /// Whether this process sends to it. If not, another one that shares the store may.
    pub feeding: bool,
    /// The last row that is known to be done.
    pub up_to: i64,
    /// Its backlog, as last counted.
    pub waiting: u64,
    /// What this process sent.
    pub fed: SinkCounts,
    /// Events that were dropped from the store before the sink got them, for all processes.
    pub missed: u64,
    /// Why it accepts no events at the moment. `None`: it does.
    pub trouble: Option<String>,
    /// The last reason it gave for a refusal.
    pub refusal: Option<String>,
}

/// Events that a process has sent to a sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinkCounts {
    /// Accepted.
    pub sent: u64,
    /// Refused for good.
    pub refused: u64,
    /// Not for this sink, by its settings.
    pub skipped: u64,
}

impl Status {
    /// The status of a sink that has not started.
    pub(super) fn of(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    /// Takes over its position from the store.
    pub(super) fn at(&mut self, place: SinkPlace) {
        self.up_to = self.up_to.max(place.position);
        self.missed = place.missed;
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let Self { name, feeding, waiting, fed, missed, trouble, refusal, .. } = self;
        json!({
            "name": name, "feeding": feeding, "waiting": waiting, "sent": fed.sent, "refused": fed.refused,
            "skipped": fed.skipped, "missed": missed, "trouble": trouble, "refusal": refusal,
        })
    }
}

/// One line for people.
impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, waiting, fed, missed, trouble, refusal, .. } = self;
        write!(f, "{name}: {} sent, {waiting} waiting", fed.sent)?;
        if fed.refused > 0 {
            write!(f, ", {} refused ({})", fed.refused, refusal.as_deref().unwrap_or("no reason was given"))?;
        }
        if *missed > 0 {
            write!(f, ", {missed} missed")?;
        }
        match trouble {
            Some(trouble) if *waiting > 0 => write!(f, ": {trouble}"),
            _ => Ok(()),
        }
    }
}
