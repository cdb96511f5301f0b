//! What became of a run's calls, and the progress of their delivery.

use serde_json::Value;

use crate::deliver::Status;
use crate::sinks;

/// What became of a run's calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// All calls.
    pub calls: u64,
    /// Those of them that ended with an error.
    pub errors: u64,
    /// Events that OTAS has.
    pub delivered: u64,
    /// Events that wait in the store.
    pub waiting: u64,
    /// Events that are lost: OTAS or the store refused them, there was no room, or the store vanished.
    pub failed: u64,
    /// The problem with delivery at the end, if there is one.
    pub trouble: Option<String>,
    /// Events that are not for OTAS (`otas.deliver = false`).
    pub kept: u64,
    /// The state of each sink.
    pub sinks: Vec<sinks::Status>,
}

/// The state of delivery and the sinks while the proxy waits for them.
pub struct Progress {
    /// Delivery to OTAS.
    pub delivery: Status,
    /// The sinks.
    pub sinks: Vec<sinks::Status>,
}

impl Progress {
    /// What is waited for, in words. `None`: nothing. `destination` is where the events for OTAS go.
    pub fn what_waits(&self, destination: &str) -> Option<String> {
        let events = |many: u64| if many == 1 { "1 event".to_owned() } else { format!("{many} events") };
        let otas = (self.delivery.counts.pending, destination);
        let sinks = self.sinks.iter().map(|sink| (sink.waiting, sink.name.as_str()));
        let waits = std::iter::once(otas).chain(sinks).filter(|(many, _)| *many > 0);
        let words: Vec<String> = waits.map(|(many, to)| format!("{} to reach {to}", events(many))).collect();
        (!words.is_empty()).then(|| words.join(" and "))
    }

    /// The reason for a long wait, if it is known.
    pub fn trouble(&self) -> Option<String> {
        let of_sinks = self.sinks.iter().filter(|sink| sink.waiting > 0).find_map(|sink| sink.trouble.clone());
        self.delivery.trouble.clone().or(of_sinks)
    }
}

impl Summary {
    /// For programs; `run_id` is as in every event's `metadata.proxy.run_id`.
    pub fn json(&self, run_id: &str) -> Value {
        let Self { calls, errors, delivered, waiting, failed, trouble, kept, sinks } = self;
        let sinks: Vec<Value> = sinks.iter().map(sinks::Status::json).collect();
        serde_json::json!({
            "run_id": run_id, "calls": calls, "errors": errors, "delivered": delivered, "waiting": waiting, "failed": failed, "trouble": trouble,
            "kept": kept, "sinks": sinks,
        })
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { calls, errors, delivered, waiting, failed, trouble, kept, sinks } = self;
        let word = if *calls == 1 { "call" } else { "calls" };
        write!(f, "otas-proxy: {calls} {word}, {errors} failed, {delivered} delivered, {waiting} waiting")?;
        if *failed > 0 {
            write!(f, ", {failed} given up")?;
        }
        if *kept > 0 {
            write!(f, ", {kept} not for OTAS")?;
        }
        if *waiting > 0 {
            write!(f, " (waiting events stay stored)")?;
        }
        match trouble {
            Some(trouble) if *waiting > 0 => write!(f, ": {trouble}")?,
            _ => {}
        }
        sinks.iter().try_for_each(|sink| write!(f, "\notas-proxy: {sink}"))
    }
}
