//! The pending events that are in memory (pure): those to publish, and those that wait for a verdict.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::Instant;
use uuid::Uuid;

use crate::nats::Decision;
use crate::store::SessionRow;

/// Events to publish that are held in memory. Of each only the row and the session are known.
const WINDOW: usize = 512;

/// A relay tells a verdict once, to who listens: it may be lost on its way without a loss of the connection.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_MAX: Duration = Duration::from_secs(4 * 3_600);

struct Oldest {
    row: i64,
    ask_at: Instant,
    patience: Duration,
}

#[derive(Default)]
pub(super) struct Waiting {
    /// To be published, in row order.
    rows: BTreeMap<i64, SessionRow>,
    /// Being published.
    under_way: HashMap<i64, SessionRow>,
    /// Sessions that have an event being published.
    busy: HashSet<SessionRow>,
    /// In the stream, without a verdict.
    sent: BTreeMap<i64, Uuid>,
    by_event: HashMap<Uuid, i64>,
    /// Events that are published under another id, because the server ignores the first one: how often.
    again: HashMap<i64, u32>,
    /// Verdicts on these may have been missed.
    to_ask: BTreeSet<i64>,
    asked: Vec<i64>,
    /// The event that has waited longest for its verdict.
    oldest: Option<Oldest>,
    /// All rows up to this one were read from the store.
    read_to: i64,
    all_read: bool,
    /// Verdicts on events of sessions that began before this one, and that are found in the store, may have been missed.
    missed_before: Option<i64>,
}

impl Waiting {
    /// Of a process that began with this session. Without one, all events may have been published by another process.
    pub(super) fn of(process: Option<SessionRow>) -> Self {
        Self { missed_before: Some(process.map_or(i64::MAX, SessionRow::id)), ..Self::default() }
    }

    /// There may be rows that were not read yet.
    pub(super) fn stale(&mut self) {
        self.all_read = false;
    }

    /// After which row to read the next ones, and how many.
    pub(super) fn wants(&self) -> Option<(i64, usize)> {
        (!self.all_read && self.rows.len() < WINDOW / 2).then_some((self.read_to, WINDOW))
    }

    /// Takes the rows that the store returned for [`Waiting::wants`].
    pub(super) fn read(&mut self, found: &[(i64, SessionRow)], limit: usize) {
        for &(row, session) in found {
            self.read_to = self.read_to.max(row);
            if self.missed_before.is_some_and(|first| session.id() < first) {
                self.to_ask.insert(row);
            }
            if !self.under_way.contains_key(&row) && !self.sent.contains_key(&row) {
                self.rows.insert(row, session);
            }
        }
        self.all_read = found.len() < limit;
        if self.all_read {
            self.missed_before = None;
        }
    }

    /// Everything that has no verdict is published again, in order.
    pub(super) fn again(&mut self) {
        self.rows.clear();
        self.sent.clear();
        self.by_event.clear();
        self.to_ask.clear();
        self.asked.clear();
        (self.read_to, self.all_read, self.missed_before) = (0, false, Some(i64::MAX));
    }

    /// The next event to publish. Of a session, one at a time.
    pub(super) fn take(&mut self) -> Option<(i64, SessionRow)> {
        let (&row, &session) = self.rows.iter().find(|(_, session)| !self.busy.contains(session))?;
        self.rows.remove(&row);
        self.under_way.insert(row, session);
        self.busy.insert(session);
        Some((row, session))
    }

    /// How often this event is published anew, under another id.
    pub(super) fn is_again(&self, row: i64) -> u32 {
        self.again.get(&row).copied().unwrap_or(0)
    }

    /// It was not published.
    pub(super) fn put_back(&mut self, row: i64, session: SessionRow) {
        self.ended(row);
        self.rows.insert(row, session);
    }

    /// The stream has it.
    pub(super) fn sent(&mut self, row: i64, event: Uuid) {
        self.ended(row);
        self.sent.insert(row, event);
        self.by_event.insert(event, row);
    }

    /// It has its verdict, or is no longer pending.
    pub(super) fn settled(&mut self, row: i64) {
        self.ended(row);
        self.rows.remove(&row);
        self.again.remove(&row);
        self.to_ask.remove(&row);
        if let Some(event) = self.sent.remove(&row) {
            self.by_event.remove(&event);
        }
    }

    fn ended(&mut self, row: i64) {
        if let Some(session) = self.under_way.remove(&row) {
            self.busy.remove(&session);
        }
    }

    /// The row of an event that waits for its verdict.
    pub(super) fn row_of(&self, event: Uuid) -> Option<i64> {
        self.by_event.get(&event).copied()
    }

    /// The server does not have it any more: it is read and published again, under another id.
    pub(super) fn lost(&mut self, row: i64) {
        if let Some(event) = self.sent.remove(&row) {
            self.by_event.remove(&event);
        }
        *self.again.entry(row).or_default() += 1;
        (self.read_to, self.all_read) = (self.read_to.min(row - 1), false);
    }

    /// Events whose verdict may have been missed, the oldest first. Empty as long as some are not published yet.
    pub(super) fn take_to_ask(&mut self, limit: usize) -> Vec<Uuid> {
        if !self.rows.is_empty() || !self.all_read {
            return Vec::new();
        }
        self.asked = std::iter::from_fn(|| self.to_ask.pop_first()).take(limit).collect();
        self.asked.iter().filter_map(|row| self.sent.get(row)).copied().collect()
    }

    /// Whether a verdict may have been missed, because the oldest event has waited for long. Relays are asked again after twice the time
    /// each time: an event may just as well wait for OTAS.
    pub(super) fn doubts(&mut self, now: Instant) -> bool {
        let Some(&row) = self.sent.keys().next() else {
            self.oldest = None;
            return false;
        };
        match &mut self.oldest {
            Some(oldest) if oldest.row == row => {
                if now < oldest.ask_at {
                    return false;
                }
                oldest.patience = PATIENCE_MAX.min(oldest.patience * 2);
                oldest.ask_at = now + oldest.patience;
                self.to_ask.extend(self.sent.keys());
                true
            }
            _ => {
                self.oldest = Some(Oldest { row, ask_at: now + PATIENCE, patience: PATIENCE });
                false
            }
        }
    }

    /// The last question did not reach the stream.
    pub(super) fn not_asked(&mut self) {
        self.to_ask.extend(self.asked.drain(..));
    }

    pub(super) fn sent_count(&self) -> u64 {
        self.sent.len() as u64
    }
}

/// Verdicts on events that are not known to be in the stream, the newest ones.
#[derive(Default)]
pub(super) struct Early {
    verdicts: HashMap<Uuid, Decision>,
    order: VecDeque<Uuid>,
}

/// More than can be told between a message and its acknowledgement.
const EARLY: usize = 4 << 10;

impl Early {
    pub(super) fn note(&mut self, event: Uuid, decision: Decision) {
        if self.verdicts.insert(event, decision).is_none() {
            self.order.push_back(event);
        }
        if self.order.len() > EARLY
            && let Some(oldest) = self.order.pop_front()
        {
            self.verdicts.remove(&oldest);
        }
    }

    pub(super) fn take(&mut self, event: Uuid) -> Option<Decision> {
        self.verdicts.remove(&event)
    }
}

/// A name that stays the same for a store, and says nothing about it.
pub(super) fn proxy_name(salt: &[u8]) -> String {
    let hash = digest(&SHA256, &[b"otas-proxy in a fleet".as_slice(), salt].concat());
    hash.as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: fn() -> SessionRow = || SessionRow::of(1);
    const OTHER: fn() -> SessionRow = || SessionRow::of(2);

    fn waiting(rows: &[(i64, SessionRow)]) -> Waiting {
        let mut waiting = Waiting::of(Some(ONE()));
        waiting.read(rows, WINDOW);
        waiting
    }

    fn event(row: i64) -> Uuid {
        Uuid::from_u128(u128::from(row.unsigned_abs()))
    }

    #[test]
    fn of_a_session_one_event_is_published_at_a_time_and_one_that_failed_comes_first() {
        let mut waiting = waiting(&[(1, ONE()), (2, ONE()), (3, OTHER())]);
        assert_eq!([waiting.take(), waiting.take(), waiting.take()], [Some((1, ONE())), Some((3, OTHER())), None]);
        waiting.put_back(1, ONE());
        assert_eq!(waiting.take(), Some((1, ONE())));
        waiting.sent(1, event(1));
        assert_eq!(waiting.take(), Some((2, ONE())));
    }

    #[test]
    fn only_verdicts_that_may_have_been_missed_are_asked_for() {
        let mut waiting = waiting(&[(1, ONE())]);
        waiting.take();
        waiting.sent(1, event(1));
        assert!(waiting.take_to_ask(10).is_empty(), "this process has listened from the start");
        waiting.again();
        assert_eq!(waiting.wants(), Some((0, WINDOW)));
        waiting.read(&[(1, ONE()), (2, ONE())], WINDOW);
        assert!(waiting.take_to_ask(10).is_empty(), "they are published again first");
        for row in [1, 2] {
            assert_eq!(waiting.take(), Some((row, ONE())));
            waiting.sent(row, event(row));
        }
        assert_eq!(waiting.take_to_ask(1), [event(1)]);
        waiting.not_asked();
        assert_eq!(waiting.take_to_ask(10), [event(1), event(2)]);
        assert!(waiting.take_to_ask(10).is_empty());
        assert_eq!(waiting.sent_count(), 2);
        waiting.settled(1);
        assert_eq!((waiting.row_of(event(1)), waiting.row_of(event(2))), (None, Some(2)));
    }

    #[test]
    fn relays_are_asked_about_an_event_that_waits_for_long_and_less_often_each_time() {
        let (mut waiting, began) = (waiting(&[(1, ONE()), (2, ONE())]), Instant::now());
        assert!(!waiting.doubts(began), "none is in the stream");
        for row in [1, 2] {
            waiting.take();
            waiting.sent(row, event(row));
        }
        assert_eq!([waiting.doubts(began), waiting.doubts(began + PATIENCE / 2)], [false, false]);
        assert!(waiting.doubts(began + PATIENCE));
        assert_eq!(waiting.take_to_ask(10), [event(1), event(2)]);
        assert_eq!([PATIENCE * 2, PATIENCE * 3].map(|later| waiting.doubts(began + later)), [false, true]);
        waiting.settled(1);
        assert_eq!([PATIENCE * 9, PATIENCE * 10].map(|later| waiting.doubts(began + later)), [false, true]);
    }

    #[test]
    fn an_event_that_the_server_lost_is_published_under_another_id() {
        let mut waiting = waiting(&[(4, ONE()), (5, ONE())]);
        waiting.take();
        waiting.sent(4, event(4));
        waiting.lost(4);
        assert_eq!(waiting.wants(), Some((3, WINDOW)));
        waiting.read(&[(4, ONE()), (5, ONE())], WINDOW);
        assert_eq!((waiting.take(), waiting.is_again(4), waiting.is_again(5)), (Some((4, ONE())), 1, 0));
    }

    #[test]
    fn a_verdict_that_comes_first_is_kept_for_a_while() {
        let mut early = Early::default();
        for row in 0..=i64::try_from(EARLY).unwrap() {
            early.note(event(row), Decision::Unknown);
        }
        assert_eq!((early.take(event(0)), early.take(event(1))), (None, Some(Decision::Unknown)));
        assert_eq!(early.take(event(1)), None);
    }

    #[test]
    fn a_store_has_one_name() {
        assert_eq!(proxy_name(b"salt"), proxy_name(b"salt"));
        assert_ne!(proxy_name(b"salt"), proxy_name(b"other"));
        assert_eq!(proxy_name(b"salt").len(), 24);
    }
}
