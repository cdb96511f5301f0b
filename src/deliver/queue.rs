//! The part of the backlog that is in memory, and the number of attempts before an event is dead.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::Blame;
use crate::store::{PendingEvent, SessionRow};

/// The first pending events of all sessions, in row order. Their JSON is read just before they are posted, so memory stays
/// small however large the backlog and its events are.
#[derive(Default)]
pub(super) struct Queue {
    waiting: BTreeMap<i64, Item>,
    posted: HashMap<i64, SessionRow>,
    all_read: bool,
}

/// An event that is pending in memory or being posted.
pub(super) struct Item {
    /// Its row.
    pub(super) id: i64,
    /// The exchange's id. Known once its JSON is read.
    pub(super) event_id: Uuid,
    /// Its session.
    pub(super) session: SessionRow,
    /// Posts so far, by any process. Known once its JSON is read.
    pub(super) attempts: u32,
    /// `None`: it must be read before it is posted.
    pub(super) json: Option<Vec<u8>>,
    refusals: u32,
    strikes: u32,
    malformed: bool,
    delivered_when_refused: Option<u64>,
    not_before: Option<Instant>,
    /// With ordered delivery, later events of its session wait for it until then.
    holds_back_until: Option<Instant>,
}

/// The consequence of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays first in line and blocks the others: OTAS may be at fault.
    First,
    /// Others may pass it. `suspect`: others were accepted lately, so the event is probably at fault.
    Aside { suspect: bool },
    /// It has used up its attempts.
    Dead,
}

/// Events held in memory, without their JSON, in addition to those set aside.
const WINDOW: usize = 256;

/// Refusals for which an event stays first in line, so that a short fault of OTAS does not change the order.
const FIRST_TRIES: u32 = 3;

/// With ordered delivery, an event that was set aside blocks later ones of its session for this long: OTAS's database may be
/// down for all. After that they pass it, because only their success shows that the event is at fault.
const HELD_BACK: Duration = Duration::from_secs(60);

/// Attempts for an event that OTAS found malformed.
const MALFORMED_TRIES: u32 = 3;

/// Refusals after which an event is dead, if others were accepted between them.
const STRIKES: u32 = 5;

/// The minimum number of attempts before `STRIKES` applies.
const UNCLEAR_TRIES: u32 = 8;

impl Queue {
    /// There may be rows that were not read yet.
    pub(super) fn stale(&mut self) {
        self.all_read = false;
    }

    /// Drops everything that is pending in memory. It is read from the store again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Drops what is pending of one session.
    pub(super) fn forget_session(&mut self, session: SessionRow) {
        self.waiting.retain(|_, item| item.session != session);
        self.all_read = false;
    }

    /// How many of the first pending rows to read, if few are in memory and there may be more.
    pub(super) fn wants(&self) -> Option<usize> {
        let at_hand = self.waiting.values().filter(|item| item.not_before.is_none()).count();
        (!self.all_read && at_hand < WINDOW / 2).then_some(self.waiting.len() + self.posted.len() + WINDOW)
    }

    /// Takes the rows that the store returned for [`Queue::wants`], with that `limit`.
    pub(super) fn read(&mut self, rows: &[(i64, SessionRow)], limit: usize) {
        self.all_read = rows.len() < limit;
        let last = if self.all_read { i64::MAX } else { rows.last().map_or(0, |(id, _)| *id) };
        let read: HashSet<i64> = rows.iter().map(|(id, _)| *id).collect();
        // No longer pending: another process settled it, or its session is held.
        self.waiting.retain(|id, _| *id > last || read.contains(id));
        for &(id, session) in rows {
            if !self.posted.contains_key(&id) {
                self.waiting.entry(id).or_insert_with(|| Item::new(id, session));
            }
        }
    }

    /// What is pending, in order.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &Item> {
        self.waiting.values()
    }

    /// The number of pending events of each session in memory.
    pub(super) fn waiting_by_session(&self) -> HashMap<SessionRow, usize> {
        let mut sessions = HashMap::new();
        self.waiting.values().for_each(|item| *sessions.entry(item.session).or_default() += 1);
        sessions
    }

    /// The JSON of an event.
    pub(super) fn loaded(&mut self, id: i64, event: Option<PendingEvent>) {
        match (event, self.waiting.get_mut(&id)) {
            (Some(event), Some(item)) => {
                (item.event_id, item.attempts, item.json) = (event.event_id, event.attempts, Some(event.json));
            }
            // No longer pending: another process settled it.
            (None, Some(_)) => drop(self.waiting.remove(&id)),
            (_, None) => {}
        }
    }

    /// Takes an event for posting.
    pub(super) fn take(&mut self, id: i64) -> Option<Item> {
        let item = self.waiting.remove(&id)?;
        self.posted.insert(id, item.session);
        Some(item)
    }

    /// Whether an event of a session is being posted.
    pub(super) fn is_posting(&self, session: SessionRow) -> bool {
        self.posted.values().any(|posting| *posting == session)
    }

    /// Whether anything of a session is in memory.
    pub(super) fn has(&self, session: SessionRow) -> bool {
        self.is_posting(session) || self.waiting.values().any(|item| item.session == session)
    }

    /// When the first event that was set aside is due, or lets others pass.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let times = self.waiting.values().flat_map(|item| [item.not_before, item.holds_back_until]);
        times.flatten().filter(|at| *at > now).min()
    }

    /// Puts a posted event back in its place.
    pub(super) fn put_back(&mut self, item: Item) {
        self.posted.remove(&item.id);
        self.waiting.insert(item.id, Item { json: None, ..item });
    }

    /// Puts a posted event back, to be posted no earlier than then.
    pub(super) fn set_aside(&mut self, item: Item, now: Instant, until: Instant) {
        let holds_back_until = Some(item.holds_back_until.unwrap_or(now + HELD_BACK));
        self.put_back(Item { not_before: Some(until), holds_back_until, ..item });
    }

    /// Removes a posted event: it is settled, or will be read again.
    pub(super) fn settled(&mut self, id: i64) {
        self.posted.remove(&id);
    }

    /// OTAS accepts events again, so refusals during its outage were not the events' fault.
    pub(super) fn release(&mut self) {
        for item in self.waiting.values_mut().filter(|item| item.strikes == 0) {
            item.not_before = None;
        }
    }
}

impl Item {
    fn new(id: i64, session: SessionRow) -> Self {
        Self {
            id,
            event_id: Uuid::nil(),
            session,
            attempts: 0,
            json: None,
            refusals: 0,
            strikes: 0,
            malformed: false,
            delivered_when_refused: None,
            not_before: None,
            holds_back_until: None,
        }
    }

    /// Whether OTAS may be refusing the bodies: it refused the event and accepted others.
    pub(super) fn leaves_bodies_out(&self) -> bool {
        self.malformed || self.strikes > 0
    }

    /// Records that OTAS refused this event, at a time when it had accepted `delivered` events in all.
    pub(super) fn refused(&mut self, blame: Blame, delivered: u64) -> Fate {
        let before = self.delivered_when_refused.replace(delivered);
        let others_passed = before.is_some_and(|before| before < delivered);
        self.refusals += 1;
        self.strikes += u32::from(others_passed);
        self.malformed |= blame == Blame::Event;
        match blame {
            Blame::Event if self.refusals >= MALFORMED_TRIES => Fate::Dead,
            Blame::Event => Fate::Aside { suspect: true },
            Blame::Unclear if self.strikes >= STRIKES && self.refusals >= UNCLEAR_TRIES => Fate::Dead,
            Blame::Unclear if self.refusals < FIRST_TRIES && !others_passed => Fate::First,
            Blame::Unclear => Fate::Aside { suspect: others_passed },
        }
    }

    /// How often OTAS refused it in this process.
    pub(super) fn refusals(&self) -> u32 {
        self.refusals
    }

    /// Whether it may be posted now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|due| due <= now)
    }

    /// Whether it is set aside and blocks later events of its session.
    pub(super) fn holds_others_back(&self, now: Instant) -> bool {
        !self.is_due(now) && self.holds_back_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::store::Store;

    /// Two fixed sessions.
    fn sessions() -> (SessionRow, SessionRow) {
        static SESSIONS: LazyLock<(SessionRow, SessionRow)> = LazyLock::new(|| {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(&folder.path().join("events.db")).unwrap();
            (store.begin_session("a", "k", "{}").unwrap(), store.begin_session("b", "k", "{}").unwrap())
        });
        *SESSIONS
    }

    fn queue(ids: &[i64]) -> Queue {
        let mut queue = Queue::default();
        let session = sessions().0;
        queue.read(&ids.iter().map(|id| (*id, session)).collect::<Vec<_>>(), 100);
        queue
    }

    fn due(queue: &Queue, now: Instant) -> Vec<i64> {
        queue.in_order().filter(|item| item.is_due(now)).map(|item| item.id).collect()
    }

    fn event(id: i64) -> PendingEvent {
        PendingEvent { id, event_id: Uuid::nil(), session: sessions().0, attempts: 3, json: b"{}".to_vec() }
    }

    #[test]
    fn events_come_in_order_and_those_put_back_come_first() {
        let (mut queue, now) = (queue(&[3, 1, 2]), Instant::now());
        assert_eq!(due(&queue, now), [1, 2, 3]);
        let first = queue.take(1).unwrap();
        assert_eq!(due(&queue, now), [2, 3]);
        queue.put_back(first);
        assert_eq!(due(&queue, now), [1, 2, 3]);
        assert!(queue.take(9).is_none());
    }

    #[test]
    fn an_event_set_aside_lets_others_pass_and_is_read_again_when_due() {
        let (mut queue, now) = (queue(&[1, 2]), Instant::now());
        let later = now + Duration::from_secs(1);
        queue.loaded(1, Some(event(1)));
        let first = queue.take(1).unwrap();
        assert_eq!((first.attempts, first.json.as_deref()), (3, Some(&b"{}"[..])));
        queue.set_aside(first, now, later);
        assert_eq!(queue.next_due(now), Some(later));
        assert_eq!(due(&queue, now), [2]);
        assert_eq!(due(&queue, later), [1, 2]);
        assert!(queue.in_order().all(|item| item.json.is_none()));
        let held_back = |at: Instant| queue.in_order().any(|item| item.holds_others_back(at));
        assert!(held_back(now) && !held_back(later), "only while it is aside");
        assert_eq!(queue.next_due(later), Some(now + HELD_BACK));
    }

    #[test]
    fn an_event_settled_by_another_process_is_dropped() {
        let (mut queue, now) = (queue(&[1, 2, 3]), Instant::now());
        queue.loaded(1, None);
        assert_eq!(due(&queue, now), [2, 3]);
        let session = sessions().0;
        queue.read(&[(3, session)], 100);
        assert_eq!(due(&queue, now), [3]);
    }

    #[test]
    fn it_reads_more_only_while_there_are_rows_and_room() {
        let session = sessions().0;
        let mut queue = Queue::default();
        assert_eq!(queue.wants(), Some(WINDOW));
        let rows: Vec<_> = (1..=WINDOW as i64).map(|id| (id, session)).collect();
        queue.read(&rows, WINDOW);
        assert_eq!(queue.wants(), None);
        for id in 1..=WINDOW as i64 - 100 {
            queue.take(id).unwrap();
            queue.settled(id);
        }
        assert_eq!(queue.wants(), Some(WINDOW + 100));
        queue.read(&rows[WINDOW - 100..], WINDOW + 100);
        assert_eq!(queue.wants(), None);
        queue.stale();
        assert_eq!(queue.wants(), Some(WINDOW + 100));
    }

    #[test]
    fn events_in_flight_are_not_read_again() {
        let (mut queue, now, session) = (queue(&[1, 2]), Instant::now(), sessions().0);
        queue.take(1).unwrap();
        assert!(queue.is_posting(session) && queue.has(session));
        queue.read(&[(1, session), (2, session), (3, session)], 100);
        assert_eq!(due(&queue, now), [2, 3]);
        queue.settled(1);
        queue.read(&[(1, session), (2, session)], 100);
        assert_eq!(due(&queue, now), [1, 2]);
    }

    #[test]
    fn one_session_can_be_dropped() {
        let (one, other) = sessions();
        let mut queue = Queue::default();
        queue.read(&[(1, one), (2, other)], 100);
        queue.forget_session(one);
        assert_eq!(due(&queue, Instant::now()), [2]);
        assert!(!queue.has(one) && queue.wants().is_some());
        queue.forget();
        assert_eq!(due(&queue, Instant::now()), [0; 0]);
    }

    fn item() -> Item {
        Item::new(1, sessions().0)
    }

    #[test]
    fn refusals_never_kill_an_event_while_none_is_accepted() {
        let mut item = item();
        let fates: Vec<Fate> = (0..100).map(|_| item.refused(Blame::Unclear, 7)).collect();
        assert_eq!(fates[..3], [Fate::First, Fate::First, Fate::Aside { suspect: false }]);
        assert!(fates[3..].iter().all(|fate| *fate == Fate::Aside { suspect: false }));
        assert!(!item.leaves_bodies_out());
    }

    #[test]
    fn fault_07_an_event_that_alone_is_refused_is_tried_without_bodies_and_dead_after_eight_attempts() {
        let mut item = item();
        let mut fates = Vec::new();
        for delivered in 0..8 {
            fates.push(item.refused(Blame::Unclear, delivered));
            assert_eq!(item.leaves_bodies_out(), delivered > 0);
        }
        assert_eq!(fates.last(), Some(&Fate::Dead));
        assert!(fates[1..7].iter().all(|fate| *fate == Fate::Aside { suspect: true }), "{fates:?}");
    }

    #[test]
    fn fault_07_a_malformed_event_is_tried_without_bodies_and_dead_after_three_attempts() {
        let mut item = item();
        assert!(!item.leaves_bodies_out());
        let fates = [(); 3].map(|()| item.refused(Blame::Event, 0));
        assert_eq!(fates, [Fate::Aside { suspect: true }, Fate::Aside { suspect: true }, Fate::Dead]);
        assert!(item.leaves_bodies_out());
    }

    #[test]
    fn recovery_releases_events_refused_during_an_outage() {
        let (mut queue, now) = (queue(&[1, 2]), Instant::now());
        let later = now + Duration::from_secs(60);
        let mut innocent = queue.take(1).unwrap();
        innocent.refused(Blame::Unclear, 0);
        let mut suspect = queue.take(2).unwrap();
        suspect.refused(Blame::Unclear, 0);
        suspect.refused(Blame::Unclear, 1);
        queue.set_aside(innocent, now, later);
        queue.set_aside(suspect, now, later);
        queue.release();
        assert_eq!(due(&queue, now), [1]);
    }
}
