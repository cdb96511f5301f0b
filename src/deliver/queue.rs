//! The part of the backlog that is in memory, and how often an event is tried before it is dead.

use std::collections::{BTreeMap, HashSet};

use tokio::time::Instant;

use super::Blame;
use crate::store::PendingEvent;

/// Pending events in the order of their rows: a window that moves through the store. Events that were set aside keep
/// their place but not their JSON, so that however many they are, memory stays small.
#[derive(Default)]
pub(super) struct Queue {
    waiting: BTreeMap<i64, Item>,
    posted: HashSet<i64>,
    after_id: i64,
    more: bool,
}

/// An event that waits, or is being posted.
pub(super) struct Item {
    /// Its row.
    pub(super) id: i64,
    /// Posts so far, by any run.
    pub(super) attempts: u32,
    /// `None`: to be read again before it is posted.
    pub(super) json: Option<Vec<u8>>,
    refusals: u32,
    strikes: u32,
    delivered_when_refused: Option<u64>,
    not_before: Option<Instant>,
}

/// What follows from a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays first in line, and nothing passes it: OTAS may be at fault.
    First,
    /// Others may pass it. `suspect`: others got through lately, so the fault is likely its own.
    Aside { suspect: bool },
    /// It has had its tries.
    Dead,
}

/// Refusals for which an event keeps its place at the head, so that a short fault of OTAS's does not change the order.
const FIRST_TRIES: u32 = 3;

/// Tries of an event that OTAS found malformed.
const MALFORMED_TRIES: u32 = 3;

/// Refusals in between which others got through, after which an event is dead.
const STRIKES: u32 = 5;

/// Tries that an event has had at the least before `STRIKES` count.
const UNCLEAR_TRIES: u32 = 8;

impl Queue {
    pub(super) fn new() -> Self {
        Self { more: true, ..Self::default() }
    }

    /// Rows were appended.
    pub(super) fn appended(&mut self) {
        self.more = true;
    }

    /// What became of a posted event is not known, and its item is lost: it is read from the store again.
    pub(super) fn lost(&mut self, id: i64) {
        self.posted.remove(&id);
        (self.after_id, self.more) = (0, true);
    }

    /// Where to read on, when fewer than `room` events are at hand and there may be more.
    pub(super) fn wants(&self, room: usize) -> Option<i64> {
        let at_hand = self.waiting.values().filter(|item| item.json.is_some()).count();
        (self.more && at_hand < room).then_some(self.after_id)
    }

    /// What the store gave for [`Queue::wants`], asked for `limit`.
    pub(super) fn fetched(&mut self, events: Vec<PendingEvent>, limit: usize) {
        self.more = events.len() >= limit;
        for event in events {
            self.after_id = self.after_id.max(event.id);
            if !self.posted.contains(&event.id) {
                self.waiting.entry(event.id).or_insert_with(|| Item::new(event));
            }
        }
    }

    /// The event that is next, when its JSON must be read again.
    pub(super) fn to_load(&self, now: Instant) -> Option<i64> {
        self.waiting.values().find(|item| item.is_due(now)).filter(|item| item.json.is_none()).map(|item| item.id)
    }

    /// What the store gave for [`Queue::to_load`].
    pub(super) fn loaded(&mut self, id: i64, event: Option<PendingEvent>) {
        match (event, self.waiting.get_mut(&id)) {
            (Some(event), Some(item)) => item.json = Some(event.json),
            // Pending no more: somebody else settled it.
            (None, Some(_)) => drop(self.waiting.remove(&id)),
            (_, None) => {}
        }
    }

    /// Takes the next event to post: the first that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<Item> {
        let id = self.waiting.values().find(|item| item.is_due(now)).filter(|item| item.json.is_some())?.id;
        self.posted.insert(id);
        self.waiting.remove(&id)
    }

    /// When the first event that is set aside is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.values().filter_map(|item| item.not_before).min()
    }

    /// Puts a posted event back to its place.
    pub(super) fn put_back(&mut self, item: Item) {
        self.posted.remove(&item.id);
        self.waiting.insert(item.id, item);
    }

    /// Puts a posted event back, not to be posted before then.
    pub(super) fn set_aside(&mut self, item: Item, until: Instant) {
        self.put_back(Item { json: None, not_before: Some(until), ..item });
    }

    /// Forgets a posted event: it is settled.
    pub(super) fn settled(&mut self, id: i64) {
        self.posted.remove(&id);
    }

    /// OTAS takes events again: what it refused when it took none was not at fault.
    pub(super) fn release(&mut self) {
        for item in self.waiting.values_mut().filter(|item| item.strikes == 0) {
            item.not_before = None;
        }
    }
}

impl Item {
    fn new(event: PendingEvent) -> Self {
        Self {
            id: event.id,
            attempts: event.attempts,
            json: Some(event.json),
            refusals: 0,
            strikes: 0,
            delivered_when_refused: None,
            not_before: None,
        }
    }

    /// Notes that OTAS refused this event, at a time when it had taken `delivered` events in all.
    pub(super) fn refused(&mut self, blame: Blame, delivered: u64) -> Fate {
        let before = self.delivered_when_refused.replace(delivered);
        let others_passed = before.is_some_and(|before| before < delivered);
        self.refusals += 1;
        self.strikes += u32::from(others_passed);
        match blame {
            Blame::Event if self.refusals >= MALFORMED_TRIES => Fate::Dead,
            Blame::Event => Fate::Aside { suspect: true },
            Blame::Unclear if self.strikes >= STRIKES && self.refusals >= UNCLEAR_TRIES => Fate::Dead,
            Blame::Unclear if self.refusals < FIRST_TRIES && !others_passed => Fate::First,
            Blame::Unclear => Fate::Aside { suspect: others_passed },
        }
    }

    /// How often OTAS refused it, in this run.
    pub(super) fn refusals(&self) -> u32 {
        self.refusals
    }

    fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event(id: i64) -> PendingEvent {
        PendingEvent { id, attempts: 0, json: b"{}".to_vec() }
    }

    fn queue(ids: &[i64]) -> Queue {
        let mut queue = Queue::new();
        queue.fetched(ids.iter().copied().map(event).collect(), 100);
        queue
    }

    fn take(queue: &mut Queue, now: Instant) -> Option<i64> {
        queue.take(now).map(|item| item.id)
    }

    #[test]
    fn events_come_in_order_and_those_put_back_come_first() {
        let (mut queue, now) = (queue(&[1, 2, 3]), Instant::now());
        let first = queue.take(now).unwrap();
        assert_eq!(take(&mut queue, now), Some(2));
        queue.put_back(first);
        assert_eq!([take(&mut queue, now), take(&mut queue, now), take(&mut queue, now)], [Some(1), Some(3), None]);
    }

    #[test]
    fn an_event_set_aside_lets_others_pass_and_is_read_again_when_due() {
        let (mut queue, now) = (queue(&[1, 2]), Instant::now());
        let later = now + Duration::from_secs(1);
        let first = queue.take(now).unwrap();
        queue.set_aside(first, later);
        assert_eq!(queue.next_due(), Some(later));
        assert_eq!(take(&mut queue, now), Some(2));
        assert_eq!(queue.to_load(now), None);
        assert_eq!(queue.to_load(later), Some(1));
        assert_eq!(take(&mut queue, later), None);
        queue.loaded(1, Some(event(1)));
        assert_eq!(take(&mut queue, later), Some(1));
    }

    #[test]
    fn an_event_settled_by_somebody_else_is_forgotten() {
        let (mut queue, now) = (queue(&[1]), Instant::now());
        let first = queue.take(now).unwrap();
        queue.set_aside(first, now);
        queue.loaded(1, None);
        assert_eq!(queue.to_load(now), None);
    }

    #[test]
    fn it_reads_on_only_while_there_is_more_and_room() {
        let mut queue = Queue::new();
        assert_eq!(queue.wants(2), Some(0));
        queue.fetched(vec![event(4), event(5)], 2);
        assert_eq!(queue.wants(2), None);
        queue.take(Instant::now());
        assert_eq!(queue.wants(2), Some(5));
        queue.fetched(Vec::new(), 1);
        assert_eq!(queue.wants(2), None);
        queue.appended();
        assert_eq!(queue.wants(2), Some(5));
    }

    #[test]
    fn a_lost_event_is_read_again_and_no_other_is_doubled() {
        let (mut queue, now) = (queue(&[1, 2, 3]), Instant::now());
        assert_eq!([take(&mut queue, now), take(&mut queue, now)], [Some(1), Some(2)]);
        queue.lost(1);
        assert_eq!(queue.wants(2), Some(0));
        queue.fetched(vec![event(1), event(2), event(3)], 100);
        assert_eq!([take(&mut queue, now), take(&mut queue, now), take(&mut queue, now)], [Some(1), Some(3), None]);
    }

    #[test]
    fn no_number_of_refusals_kills_an_event_while_nothing_gets_through() {
        let mut item = Item::new(event(1));
        let fates: Vec<Fate> = (0..100).map(|_| item.refused(Blame::Unclear, 7)).collect();
        assert_eq!(fates[..3], [Fate::First, Fate::First, Fate::Aside { suspect: false }]);
        assert!(fates[3..].iter().all(|fate| *fate == Fate::Aside { suspect: false }));
    }

    #[test]
    fn an_event_that_alone_is_refused_is_dead_after_eight_tries() {
        let mut item = Item::new(event(1));
        let fates: Vec<Fate> = (0..8).map(|delivered| item.refused(Blame::Unclear, delivered)).collect();
        assert_eq!(fates.last(), Some(&Fate::Dead));
        assert!(fates[1..7].iter().all(|fate| *fate == Fate::Aside { suspect: true }), "{fates:?}");
    }

    #[test]
    fn a_malformed_event_is_dead_after_three_tries() {
        let mut item = Item::new(event(1));
        let fates = [(); 3].map(|()| item.refused(Blame::Event, 0));
        assert_eq!(fates, [Fate::Aside { suspect: true }, Fate::Aside { suspect: true }, Fate::Dead]);
    }

    #[test]
    fn recovery_releases_those_that_were_refused_with_all_the_others() {
        let (mut queue, now) = (queue(&[1, 2]), Instant::now());
        let later = now + Duration::from_secs(60);
        let mut innocent = queue.take(now).unwrap();
        innocent.refused(Blame::Unclear, 0);
        let mut suspect = queue.take(now).unwrap();
        suspect.refused(Blame::Unclear, 0);
        suspect.refused(Blame::Unclear, 1);
        queue.set_aside(innocent, later);
        queue.set_aside(suspect, later);
        queue.release();
        assert_eq!(queue.to_load(now), Some(1));
        queue.loaded(1, Some(event(1)));
        assert_eq!([take(&mut queue, now), take(&mut queue, now)], [Some(1), None]);
    }
}
