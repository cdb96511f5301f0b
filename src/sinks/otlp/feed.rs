//! From events to spans, each event once. A batch that must be sent again consists of the same spans. Pure.
//!
//! ```text
//!  waiting    calls of sub-agents, until the call that started them is here, or 10 seconds are over
//!  prepared   calls whose spans the collector has not taken yet
//!  late       spans of turns that ended without a call
//! ```
//!
//! Events are taken in row order, but a call that waits lets others pass. So the sink's position stays before the oldest call that
//! waits. After a crash, those that have passed it are sent again.

use std::collections::VecDeque;

use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::call::Call;
use super::metrics::{Measured, Metrics};
use super::span::{self, Place};
use super::turns::{Placed, Turns};
use crate::config::Spans;
use crate::store::EventRow;

/// How long a sub-agent's call waits for the call that started it.
const PARENT_WITHIN_MS: i64 = 10_000;
/// The most calls that wait.
const WAITING_CALLS: usize = 64;
/// The most bytes of their events.
const WAITING_BYTES: usize = 16 << 20;

/// The state of a sink between batches.
pub(super) struct Feed {
    settings: Spans,
    turns: Turns,
    /// The sink's stored position, as far as this process knows it. `None`: not known.
    position: Option<i64>,
    /// The last row that was taken.
    seen: i64,
    waiting: Vec<Waiting>,
    prepared: VecDeque<Prepared>,
    /// How many of the prepared calls are in the current batch.
    in_flight: usize,
    late: Vec<Span>,
    /// What was measured of the calls that the sink has. `None`: not wanted.
    metrics: Option<Metrics>,
}

/// A call of a sub-agent whose parent is not known yet.
struct Waiting {
    row: EventRow,
    session: Option<String>,
    until_ms: i64,
}

struct Prepared {
    row: i64,
    /// Empty: the event is not for this sink.
    spans: Vec<Span>,
    measured: Option<Measured>,
}

/// The spans of some calls.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Batch {
    pub(super) spans: Vec<Span>,
    /// The events that they are of.
    pub(super) events: u64,
    /// Events that are not for this sink.
    pub(super) skipped: u64,
    /// With this batch, all rows up to this one are done.
    pub(super) up_to: i64,
}

impl Feed {
    /// `now`: in nanoseconds since 1970.
    pub(super) fn new(settings: Spans, now: u64) -> Self {
        let metrics = settings.metrics.then(|| Metrics::new(now, settings.compat));
        Self {
            turns: Turns::new(settings.content),
            settings,
            position: None,
            seen: 0,
            waiting: Vec::new(),
            prepared: VecDeque::new(),
            in_flight: 0,
            late: Vec::new(),
            metrics,
        }
    }

    /// Whether the calls before this position must be read again: this process has not sent them.
    pub(super) fn lacks(&self, position: i64) -> bool {
        self.position != Some(position)
    }

    /// Finds the open turns again, from the model calls up to this position. Nothing of them is sent again.
    pub(super) fn recall(&mut self, calls: &[EventRow], position: i64, now_ms: i64) {
        self.turns = Turns::new(self.settings.content);
        (self.position, self.seen, self.in_flight) = (Some(position), position, 0);
        self.waiting.clear();
        self.prepared.clear();
        self.late.clear();
        for call in in_order(calls) {
            self.turns.place(&call, &Place::of(&call), false);
        }
        self.turns.give_up(now_ms);
    }

    /// The row after which it takes further events. `None`: some of those that it has are not sent yet.
    pub(super) fn takes_after(&self) -> Option<i64> {
        self.prepared.is_empty().then_some(self.seen)
    }

    /// Whether calls wait for others.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes events. `may_wait`: calls of sub-agents may wait for the call that started them.
    pub(super) fn take(&mut self, events: &[EventRow], now_ms: i64, may_wait: bool) {
        let new: Vec<Call<'_>> = events.iter().filter(|event| event.id > self.seen).map(Call::of).collect();
        self.seen = events.iter().map(|event| event.id).fold(self.seen, i64::max);
        let is_due = |waiting: &Waiting| {
            !may_wait
                || waiting.until_ms <= now_ms
                || new.iter().any(|call| session(call) == waiting.session.as_deref())
        };
        let (due, still): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().partition(is_due);
        self.waiting = still;
        let waited = due.iter().map(|waiting| (Call::of(&waiting.row), waiting.until_ms));
        let new = new.into_iter().map(|call| (call, now_ms.saturating_add(PARENT_WITHIN_MS)));
        let mut calls: Vec<(Call<'_>, i64)> = waited.chain(new).collect();
        calls.sort_by_key(|(call, _)| call.row.started_at_ms);
        for (call, until_ms) in calls {
            match self.spans(&call, may_wait && until_ms > now_ms && self.has_room(call.row)) {
                Some(spans) => {
                    let measured = self.metrics.as_ref().and_then(|_| Measured::of(&call));
                    self.prepared.push_back(Prepared { row: call.row.id, spans, measured });
                }
                None => {
                    let session = session(&call).map(str::to_owned);
                    self.waiting.push(Waiting { row: call.row.clone(), session, until_ms });
                }
            }
        }
    }

    /// The spans of at most so many calls.
    pub(super) fn batch(&mut self, most: usize) -> Batch {
        self.in_flight = self.prepared.len().min(most);
        let mut batch = Batch::default();
        for prepared in self.prepared.iter().take(self.in_flight) {
            let count = if prepared.spans.is_empty() { &mut batch.skipped } else { &mut batch.events };
            *count += 1;
            batch.spans.extend(prepared.spans.iter().cloned());
        }
        let left = self.prepared.iter().skip(self.in_flight).map(|prepared| prepared.row);
        let oldest = left.chain(self.waiting.iter().map(|waiting| waiting.row.id)).min();
        batch.up_to = oldest.map_or(self.seen, |oldest| oldest - 1);
        batch
    }

    /// The sink has the current batch, or nothing more to do with it. `up_to`: as [`Batch::up_to`].
    pub(super) fn done(&mut self, up_to: i64) {
        (self.position, self.seen) = (Some(up_to), self.seen.max(up_to));
        for prepared in self.prepared.drain(..std::mem::take(&mut self.in_flight)) {
            if let (Some(metrics), Some(measured)) = (&mut self.metrics, &prepared.measured) {
                metrics.add(measured);
            }
        }
    }

    /// At most so many spans of turns that are over although no call came.
    pub(super) fn late(&mut self, now_ms: i64, most: usize) -> Vec<Span> {
        self.late.extend(self.turns.give_up(now_ms));
        self.late.iter().take(most).cloned().collect()
    }

    /// The sink has the first ones of them, or nothing more to do with them.
    pub(super) fn done_late(&mut self, count: usize) {
        self.late.drain(..count.min(self.late.len()));
    }

    /// Ends all turns, and gives their spans.
    pub(super) fn stop(&mut self) -> Vec<Span> {
        self.position = None;
        self.late.extend(self.turns.stop());
        std::mem::take(&mut self.late)
    }

    /// The metrics, if they have changed. `now`: in nanoseconds since 1970.
    pub(super) fn metrics(&self, now: u64) -> Vec<Metric> {
        self.metrics.as_ref().map(|metrics| metrics.now(now)).unwrap_or_default()
    }

    /// The metrics are sent.
    pub(super) fn done_metrics(&mut self) {
        if let Some(metrics) = &mut self.metrics {
            metrics.sent();
        }
    }

    fn has_room(&self, row: &EventRow) -> bool {
        let bytes: usize = self.waiting.iter().map(|waiting| waiting.row.json.len()).sum();
        self.waiting.len() < WAITING_CALLS && bytes + row.json.len() <= WAITING_BYTES
    }

    /// The spans of a call. `None`: it waits for the call that started its agent.
    fn spans(&mut self, call: &Call<'_>, may_wait: bool) -> Option<Vec<Span>> {
        if !call.is_for(self.settings.only) {
            return Some(Vec::new());
        }
        let mut place = Place::of(call);
        let over = match self.turns.place(call, &place, may_wait) {
            Placed::Orphan => return None,
            Placed::Beside => Vec::new(),
            Placed::In { trace, span, over } => {
                // A call with a `traceparent` keeps its place.
                if !place.is_foreign {
                    (place.trace, place.parent) = (trace, span);
                }
                over
            }
        };
        Some(std::iter::once(span::of(call, place, &self.settings)).chain(over).collect())
    }
}

/// The session of the agent that made a call.
fn session<'c>(call: &'c Call<'_>) -> Option<&'c str> {
    call.llm.as_ref().and_then(|facts| facts.session())
}

/// Calls in the order in which they began. A large one may be stored after one that began later.
fn in_order(events: &[EventRow]) -> Vec<Call<'_>> {
    let mut events: Vec<&EventRow> = events.iter().collect();
    events.sort_by_key(|event| event.started_at_ms);
    events.into_iter().map(Call::of).collect()
}

#[cfg(test)]
mod tests;
