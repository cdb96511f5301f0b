//! What a sink tells about itself.

use serde_json::{Value, json};

use crate::store::SinkPlace;

/// How a sink goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// What it is called: its kind and its destination.
    pub name: String,
    /// This process feeds it; if not, another one that shares the store may.
    pub feeding: bool,
    /// The last row that it is known to be done with.
    pub up_to: i64,
    /// Events that it has not had yet, as last counted.
    pub waiting: u64,
    /// What this process did.
    pub fed: Fed,
    /// Events that were gone before it could have them, over all processes.
    pub missed: u64,
    /// Why it takes no events at the moment. `None`: it does.
    pub trouble: Option<String>,
    /// What it said of events that it refused, last.
    pub refusal: Option<String>,
}

/// Events that a process has handed to a sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fed {
    /// Taken.
    pub sent: u64,
    /// Refused for good.
    pub refused: u64,
}

impl Status {
    /// That of a sink which has not begun.
    pub(super) fn of(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    /// What the store says of its place.
    pub(super) fn at(&mut self, place: SinkPlace) {
        self.up_to = self.up_to.max(place.position);
        self.missed = place.missed;
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let Self { name, feeding, waiting, fed, missed, trouble, refusal, .. } = self;
        json!({
            "name": name, "feeding": feeding, "waiting": waiting, "sent": fed.sent, "refused": fed.refused,
            "missed": missed, "trouble": trouble, "refusal": refusal,
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
