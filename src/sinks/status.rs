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
    /// In batches that were accepted.
    pub sent: u64,
    /// In batches that were refused for good.
    pub refused: u64,
    /// Not for this sink, by its settings.
    pub skipped: u64,
    /// Spans (not events) that were rejected from batches that were accepted otherwise, and those of turns that were refused.
    pub rejected_spans: u64,
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
            "skipped": fed.skipped, "rejected_spans": fed.rejected_spans, "missed": missed, "trouble": trouble, "refusal": refusal,
        })
    }
}

/// One line for people.
impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, waiting, fed, missed, trouble, refusal, .. } = self;
        write!(f, "{name}: {} sent, {waiting} waiting", fed.sent)?;
        let reason = refusal.as_deref().filter(|said| !said.is_empty()).unwrap_or("no reason was given");
        match (fed.refused, fed.rejected_spans) {
            (0, 0) => {}
            (refused, 0) => write!(f, ", {refused} refused ({reason})")?,
            (0, spans) => write!(f, ", {spans} {} rejected ({reason})", plural(spans))?,
            (refused, spans) => write!(f, ", {refused} refused, {spans} {} rejected ({reason})", plural(spans))?,
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

fn plural(spans: u64) -> &'static str {
    if spans == 1 { "span" } else { "spans" }
}
