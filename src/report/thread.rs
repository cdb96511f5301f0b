//! The reporting thread: takes finished exchanges, appends their events in groups, and maintains the store in between.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::events::{ALLOWANCE_BYTES, SMALL_BYTES, agent_program, build, context, is_searched_here, named_token};
use super::handoff::Next;
use super::linking::Linking;
use super::open::OpenNotes;
use super::searchers::{Job, JobKind, Made, MadeKind, Searchers, Turn, turn_of};
use super::unsearched::Unsearched;
use super::{Facts, Handoff, LiveFacts, Stop, Tally, gap};
use crate::callers::{CallerSession, Callers};
use crate::capture::{Exchange, Finished, Recording, Unlogged};
use crate::event::{self, Event, Links};
use crate::store::{NewEvent, Pace, Patrol, SessionRow, Store, StoreError, Writer};

/// The most events in one transaction.
const GROUP: usize = 512;
/// The most bytes of events in one transaction: SQLite keeps this much in memory. With more, it writes pages twice.
const GROUP_BYTES: usize = 1 << 20;
/// In batches up to this size the thread yields now and then. Otherwise calls would wait until all events are made, if they have
/// no other processor.
const UNHURRIED: usize = 256;
/// Events built between two yields.
const STRETCH: usize = 8;
/// How often the queue is checked while searchers are busy. A call is noted at most this late.
const CHECK_WHILE_SEARCHING: Duration = Duration::from_millis(10);
/// The pause before a failed append is retried.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// Retries of an append while the proxy is stopping.
const LAST_TRIES: u32 = 4;
/// The time between two rounds of maintenance.
const MAINTENANCE: Duration = Duration::from_millis(500);
/// Retention steps in one round of maintenance.
const STEPS: u32 = 8;

pub(super) struct Reporting {
    recording: Arc<Recording>,
    handoff: Handoff,
    store: Store,
    writer: Writer,
    live: LiveFacts,
    /// Those in force, looked up for each batch.
    facts: Arc<Facts>,
    tally: Arc<Tally>,
    appended: Box<dyn Fn() + Send>,
    open: OpenNotes,
    linking: Arc<Linking>,
    searchers: Searchers,
    /// Calls at the searchers, by caller. Until they are stored, all later calls of that caller go there as well, so its events are
    /// stored in order.
    searching: HashMap<Turn, usize>,
    unsearched: Unsearched,
    stop: Arc<Stop>,
    maintained_at: Instant,
    patrol: Patrol,
}

/// Events for one transaction.
#[derive(Default)]
struct Group {
    events: Vec<(SessionRow, u64, Event)>,
    /// The calls that were taken for it, including those without an event.
    calls: u64,
    /// Calls that get no event.
    unlogged: Vec<Uuid>,
    bytes: usize,
    waiters: Vec<oneshot::Sender<()>>,
    /// Whether few events wait, so that the thread may yield between them.
    unhurried: bool,
}

impl Reporting {
    pub(super) fn new(
        recording: Arc<Recording>,
        handoff: Handoff,
        (store, writer): (Store, Writer),
        live: LiveFacts,
        (tally, stop): (Arc<Tally>, Arc<Stop>),
        appended: Box<dyn Fn() + Send>,
    ) -> io::Result<Self> {
        let (facts, linking) = (live.load_full(), Arc::new(Linking::new()));
        let searchers = Searchers::start(live.clone(), linking.clone(), handoff.clone())?;
        let (open, unsearched, maintained_at) = (OpenNotes::default(), Unsearched::default(), Instant::now());
        let patrol = store.patrol();
        Ok(Self {
            recording,
            handoff,
            store,
            writer,
            live,
            facts,
            tally,
            appended,
            open,
            linking,
            searchers,
            searching: HashMap::new(),
            unsearched,
            stop,
            maintained_at,
            patrol,
        })
    }

    pub(super) fn run(mut self) {
        loop {
            let patience = if self.searchers.is_idle() { MAINTENANCE } else { CHECK_WHILE_SEARCHING };
            let next = self.handoff.next_batch(patience);
            self.follow_settings();
            match next {
                Next::Batch(batch) => {
                    let unhurried = batch.len() <= UNHURRIED;
                    let mut batch = batch.into_iter().peekable();
                    let mut allowance = ALLOWANCE_BYTES;
                    while batch.peek().is_some() {
                        let group = self.group(&mut batch, unhurried, &mut allowance);
                        if group.calls > 0 {
                            self.append(group);
                        }
                    }
                }
                Next::Nothing => {}
                Next::Closed if self.searchers.is_idle() => break,
                Next::Closed => {
                    if self.stop.hurries() {
                        self.searchers.hurry();
                    }
                    self.searchers.wait(CHECK_WHILE_SEARCHING);
                }
            }
            self.take_made();
            self.unsearched.note(&mut self.open, &mut self.writer, &self.facts);
            if self.maintained_at.elapsed() >= MAINTENANCE {
                self.maintain();
            }
        }
        self.report_gaps(true);
        self.searchers.end();
    }

    /// New settings may have come while this thread waited.
    fn follow_settings(&mut self) {
        self.facts = self.live.load_full();
        let syncs = self.handoff.guarantees().strict;
        if syncs != self.writer.syncs_commits()
            && let Err(error) = self.writer.sync_commits(syncs)
        {
            tracing::warn!(%error, "cannot apply `store.durability` yet");
        }
    }

    /// Makes the next events, as many as fit one transaction. Calls with much to search go to the searchers instead.
    fn group(&mut self, batch: &mut impl Iterator<Item = Finished>, unhurried: bool, allowance: &mut usize) -> Group {
        let mut group = Group { unhurried, ..Group::default() };
        while group.events.len() < GROUP && group.bytes < GROUP_BYTES {
            let Some(mut finished) = batch.next() else { break };
            if !is_logged(&finished.exchange) {
                group.calls += 1;
                group.waiters.extend(finished.stored.take());
                self.tally.unlogged.fetch_add(1, Ordering::Relaxed);
                notice(&self.facts.callers, &finished.exchange);
                group.unlogged.push(finished.exchange.id);
                continue;
            }
            let Some(session) = self.session_of(&finished.exchange) else {
                group.calls += 1;
                self.tally.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let seq = session.next_seq();
            let follows = !self.searching.is_empty() && self.searching.contains_key(&turn_of(&finished.exchange));
            if follows || !is_searched_here(&finished.exchange, &self.facts, allowance) {
                self.hand_to_searchers(finished, session, seq);
                continue;
            }
            group.calls += 1;
            group.waiters.extend(finished.stored.take());
            finished.exchange.join_bodies();
            // Releases the exchange's memory: from here on only the event is held.
            let event = build(&finished.exchange, &self.facts, &session, seq, &self.linking);
            group.bytes += event.bytes();
            group.events.push((session.row, seq, event));
            if unhurried && group.events.len().is_multiple_of(STRETCH) {
                thread::yield_now();
            }
        }
        group
    }

    fn hand_to_searchers(&mut self, finished: Finished, session: Arc<CallerSession>, seq: u64) {
        let Finished { exchange, reservation, stored } = finished;
        let is_small = event::searched_bytes(&exchange, self.facts.text_max_bytes) <= SMALL_BYTES;
        self.unsearched.add(&exchange, is_small, session.clone(), seq);
        *self.searching.entry(turn_of(&exchange)).or_default() += 1;
        self.searchers.take(Job { exchange, session, kind: JobKind::Event { seq, reservation, stored } });
    }

    /// Appends the events that the searchers have made.
    fn take_made(&mut self) {
        let mut made = self.searchers.made().into_iter().peekable();
        while made.peek().is_some() {
            let mut group = Group::default();
            while group.events.len() < GROUP && group.bytes < GROUP_BYTES {
                let Some(Made { turn, session, id, event, kind }) = made.next() else { break };
                match (kind, event) {
                    (MadeKind::Event { seq, stored }, event) => {
                        group.calls += 1;
                        self.unsearched.remove(id);
                        self.searched_call_stored(turn);
                        let Some(event) = event else {
                            tracing::error!("cannot make the event of a call: it is counted as lost");
                            self.tally.lost.fetch_add(1, Ordering::Relaxed);
                            group.unlogged.push(id);
                            continue;
                        };
                        group.waiters.extend(stored);
                        group.bytes += event.bytes();
                        group.events.push((session.row, seq, event));
                    }
                    (MadeKind::Note, event) => self.open.made(id, session.row, event, &mut self.writer),
                }
            }
            if group.calls > 0 {
                self.append(group);
            }
        }
    }

    fn searched_call_stored(&mut self, turn: Turn) {
        if let Entry::Occupied(mut calls) = self.searching.entry(turn) {
            *calls.get_mut() -= 1;
            if *calls.get() == 0 {
                calls.remove();
            }
        }
    }

    /// The session of a call. Retries while the store fails; gives up only when the proxy is stopping.
    fn session_of(&self, exchange: &Exchange) -> Option<Arc<CallerSession>> {
        let named = named_token(exchange);
        let agent = agent_program(exchange);
        let mut tries = 0;
        loop {
            match self.facts.callers.of_agent(&exchange.caller, named.as_ref(), agent) {
                Ok(session) => return Some(session),
                Err(error) => {
                    let why = error.in_words();
                    tracing::error!(error = why, "cannot add a session to the store: its events wait in memory");
                    self.handoff.set_store_trouble(Some(why));
                }
            }
            self.handoff.set_store_accepts(false);
            tries += 1;
            if self.handoff.is_closed() && tries >= LAST_TRIES {
                return None;
            }
            thread::sleep(STORE_RETRY);
        }
    }

    /// Appends a group. Retries while the store fails; gives up only when the proxy is stopping.
    fn append(&mut self, mut group: Group) {
        // Groups the events by session, in order.
        group.events.sort_by_key(|(session, seq, _)| (*session, *seq));
        let rows: Vec<NewEvent<'_>> = group.events.iter().map(|(_, seq, event)| NewEvent::of(*seq, event)).collect();
        let noted = self.open.ended(rows.iter().map(|row| row.event_id).chain(group.unlogged));
        let mut groups: Vec<(SessionRow, &[NewEvent<'_>])> = Vec::new();
        let mut rest = &rows[..];
        for same in group.events.chunk_by(|(one, ..), (other, ..)| one == other) {
            let (of_one, others) = rest.split_at(same.len());
            groups.push((same[0].0, of_one));
            rest = others;
        }
        let pace = if group.unhurried { Pace::InSteps } else { Pace::AtOnce };
        let mut tries = 0;
        while let Err(error) = self.try_append(&groups, &noted, group.bytes as u64, pace) {
            self.handoff.set_store_accepts(false);
            self.writer.shrink_log();
            let why = error.in_words();
            if tries == 0 {
                tracing::error!(error = why, "the store accepts no events: they wait in memory and are retried");
            }
            self.handoff.set_store_trouble(Some(why));
            tries += 1;
            if self.handoff.is_closed() && tries >= LAST_TRIES {
                self.tally.lost.fetch_add(rows.len() as u64, Ordering::Relaxed);
                self.handoff.release(group.calls);
                return;
            }
            thread::sleep(STORE_RETRY);
        }
        if tries > 0 {
            tracing::warn!("the store accepts events again");
        }
        self.handoff.set_store_trouble(None);
        self.handoff.release(group.calls);
        self.tally.stored.fetch_add(rows.len() as u64, Ordering::Relaxed);
        let with_error = rows.iter().filter(|row| !row.error.is_empty()).count();
        self.tally.with_error.fetch_add(with_error as u64, Ordering::Relaxed);
        for waiter in group.waiters {
            // Fails only when the response no longer waits.
            let _ = waiter.send(());
        }
        (self.appended)();
    }

    fn try_append(
        &mut self,
        groups: &[(SessionRow, &[NewEvent<'_>])],
        noted: &[Uuid],
        bytes: u64,
        pace: Pace,
    ) -> Result<(), StoreError> {
        let bounds = self.facts.bounds;
        loop {
            let tidied = self.writer.make_room(&bounds, bytes)?;
            self.handoff.set_store_accepts(tidied.room);
            // With `store.on_full = "refuse"` nothing may be dropped. Calls that were made are stored in any case; new ones are refused.
            if tidied.room || !tidied.more {
                break;
            }
        }
        self.writer.append_ended(groups, noted, pace)
    }

    /// Appends an event for each gap that has ended, or for all gaps.
    fn report_gaps(&mut self, all: bool) {
        if let Some(gap) = self.handoff.take_gap() {
            self.store.health().record_loss(gap);
        }
        let gaps = self.store.health().take_gaps(all);
        let mut unreported = Vec::new();
        for missing in gaps {
            let own = self.facts.callers.own();
            let seq = own.next_seq();
            let event = gap::event(&missing, &context(&self.facts, own, seq, Links::default()));
            match self.writer.append(own.row, &[NewEvent::of(seq, &event)]) {
                Ok(()) => (self.appended)(),
                Err(_) => unreported.push(missing),
            }
        }
        self.store.health().put_back(unreported);
    }

    /// One round of maintenance: retention, gaps, notes of calls in flight, the calls of processes that were killed, and a look at
    /// some of the stored chunks.
    fn maintain(&mut self) {
        self.maintained_at = Instant::now();
        for _ in 0..STEPS {
            match self.writer.tidy(&self.facts.bounds, 0) {
                Ok(tidied) => {
                    self.handoff.set_store_accepts(tidied.room);
                    if !tidied.more {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot maintain the store now");
                    self.handoff.set_store_accepts(false);
                    break;
                }
            }
        }
        self.report_gaps(false);
        self.open.note(&self.recording, &mut self.writer, &self.facts, &self.searchers);
        self.facts.callers.tidy();
        match self.store.recover_interrupted() {
            Ok(0) => {}
            Ok(calls) => {
                tracing::warn!(calls, "recorded the interrupted calls of a process that was killed");
                (self.appended)();
            }
            Err(error) => tracing::debug!(%error, "cannot look for interrupted calls now"),
        }
        if let Err(error) = self.patrol.step() {
            tracing::debug!(%error, "cannot check the store's chunks now");
        }
    }
}

/// Whether a call gets an event. A call into the project's domain gets one if it was never forwarded, because then no server
/// there has logged it.
fn is_logged(exchange: &Exchange) -> bool {
    match exchange.unlogged {
        None => true,
        Some(Unlogged::InDomain) => exchange.timings.wait.is_none(),
        Some(Unlogged::Otas) => false,
    }
}

/// Remembers the session that an agent opened at OTAS, or posted an event in: its later calls belong to it.
fn notice(callers: &Callers, exchange: &Exchange) {
    if exchange.unlogged != Some(Unlogged::Otas) {
        return;
    }
    let used = || named_token(exchange).filter(|_| event::posted_event(exchange));
    if let Some(token) = event::opened_session(exchange).or_else(used) {
        callers.adopt(&exchange.caller, &token);
    }
}
