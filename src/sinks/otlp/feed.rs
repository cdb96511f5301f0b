//! From events to spans, in row order, each event once. A batch that must be sent again consists of the same spans.

use std::collections::VecDeque;

use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::call::Call;
use super::metrics::{Measured, Metrics};
use super::span;
use super::turns::Turns;
use crate::config::Spans;
use crate::store::EventRow;

/// The state of a sink between batches.
pub(super) struct Feed {
    settings: Spans,
    turns: Turns,
    /// The row up to which the sink has all events. `None`: not known.
    position: Option<i64>,
    /// The last row that was converted.
    seen: i64,
    /// Spans of rows that the sink has not accepted yet.
    prepared: VecDeque<Prepared>,
    /// Spans of turns that were given up.
    late: Vec<Span>,
    /// What was measured of the calls that the sink has. `None`: not wanted.
    metrics: Option<Metrics>,
}

struct Prepared {
    row: i64,
    /// Empty: the event is not for this sink.
    spans: Vec<Span>,
    measured: Option<Measured>,
}

/// The spans of a batch.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) spans: Vec<Span>,
    /// Events that are not for this sink.
    pub(super) skipped: u64,
}

impl Feed {
    /// `now`: in nanoseconds since 1970.
    pub(super) fn new(settings: Spans, now: u64) -> Self {
        let turns = Turns::new(settings.content);
        let metrics = settings.metrics.then(|| Metrics::new(now, settings.compat));
        Self { settings, turns, position: None, seen: 0, prepared: VecDeque::new(), late: Vec::new(), metrics }
    }

    /// Whether the calls before this position must be read again: this process has not sent them, or its last batch was not
    /// recorded.
    pub(super) fn lacks(&self, position: i64) -> bool {
        self.position != Some(position)
    }

    /// Finds the open turns again, from the model calls up to this position. Nothing of them is sent again.
    pub(super) fn recall(&mut self, calls: &[EventRow], position: i64, now_ms: i64) {
        self.turns = Turns::new(self.settings.content);
        (self.position, self.seen) = (Some(position), position);
        self.prepared.clear();
        self.late.clear();
        for call in in_order(calls) {
            self.turns.place(&call, &span::of(&call, &self.settings));
        }
        self.turns.give_up(now_ms);
    }

    /// The spans of these events.
    pub(super) fn take(&mut self, events: &[EventRow], now_ms: i64) -> Batch {
        let seen = self.seen;
        let newest = events.iter().map(|event| event.id).max().unwrap_or(seen);
        let new: Vec<&EventRow> = events.iter().filter(|event| event.id > seen).collect();
        for call in in_order(new) {
            let spans = self.spans(&call);
            let measured = self.metrics.as_ref().and_then(|_| Measured::of(&call));
            self.prepared.push_back(Prepared { row: call.row.id, spans, measured });
        }
        self.seen = seen.max(newest);
        self.late.extend(self.turns.give_up(now_ms));
        let mut batch = Batch { spans: self.late.clone(), skipped: 0 };
        for prepared in self.prepared.iter().filter(|prepared| prepared.row <= newest) {
            batch.skipped += u64::from(prepared.spans.is_empty());
            batch.spans.extend(prepared.spans.iter().cloned());
        }
        batch
    }

    /// Spans of turns that are over although no call came.
    pub(super) fn take_late(&mut self, now_ms: i64) -> Vec<Span> {
        self.late.extend(self.turns.give_up(now_ms));
        self.late.clone()
    }

    /// Ends all turns, and gives their spans.
    pub(super) fn stop(&mut self) -> Vec<Span> {
        self.position = None;
        self.late.extend(self.turns.stop());
        std::mem::take(&mut self.late)
    }

    /// The sink has everything up to this row, or nothing more to do with it.
    pub(super) fn done(&mut self, up_to: i64) {
        self.position = Some(up_to);
        for measured in
            self.prepared.iter().filter(|prepared| prepared.row <= up_to).filter_map(|it| it.measured.as_ref())
        {
            if let Some(metrics) = &mut self.metrics {
                metrics.add(measured);
            }
        }
        self.prepared.retain(|prepared| prepared.row > up_to);
        self.late.clear();
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

    /// The late spans are sent.
    pub(super) fn done_late(&mut self) {
        self.late.clear();
    }

    fn spans(&mut self, call: &Call<'_>) -> Vec<Span> {
        if !call.is_for(self.settings.only) {
            return Vec::new();
        }
        let mut span = span::of(call, &self.settings);
        let placed = self.turns.place(call, &span);
        // A call with a `traceparent` keeps its place.
        if let (Some((trace, parent)), true) = (placed.under, span.parent_span_id.is_empty()) {
            (span.trace_id, span.parent_span_id) = (trace, parent);
        }
        std::iter::once(span).chain(placed.over).collect()
    }
}

/// Calls in the order in which they began. A large one may be stored after one that began later.
fn in_order<'e>(events: impl IntoIterator<Item = &'e EventRow>) -> Vec<Call<'e>> {
    let mut events: Vec<&EventRow> = events.into_iter().collect();
    events.sort_by_key(|event| event.started_at_ms);
    events.into_iter().map(Call::of).collect()
}
