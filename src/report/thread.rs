//! The reporting thread: takes what was handed off, appends it in groups, and looks after the store in between.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::handoff::Next;
use super::linking::Linking;
use super::open::OpenNotes;
use super::searchers::{Job, JobKind, Made, MadeKind, Searchers, Turn, turn_of};
use super::unsearched::Unsearched;
use super::{Facts, Handoff, Stop, Tally, gap};
use crate::callers::{CallerSession, Callers};
use crate::capture::{Exchange, Finished, Recording, Unlogged};
use crate::event::{self, Context, Event, Links, Llm};
use crate::known_agents;
use crate::secret::Secret;
use crate::store::{NewEvent, SessionRow, Store, StoreError, Writer};

/// Events that one transaction holds at most.
const GROUP: usize = 512;
/// Bytes of events that are held while a transaction is made ready: what SQLite keeps in memory. With more, pages are written
/// twice.
const GROUP_BYTES: usize = 1 << 20;
/// Up to so many at once there is time to let calls go first now and then: where they have no other processor, they would else
/// wait until all events are made.
const UNHURRIED: usize = 256;
/// Events after which they are.
const STRETCH: usize = 8;
/// A call with so few bytes to search has its event made here: handing it to another thread would cost as much.
pub(super) const SMALL_BYTES: usize = 16 << 10;
/// Bytes of larger calls that are searched here all the same, between two looks at the queue. What is more is searched beside.
pub(super) const ALLOWANCE_BYTES: usize = 512 << 10;
/// How often the queue is looked at while something is searched beside: so late at most a call is noted.
const LOOK_BESIDE: Duration = Duration::from_millis(10);
/// How long to wait before a store that refused a group is tried again.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// How often a store is tried again when the proxy is stopping and waiting is over.
const LAST_TRIES: u32 = 4;
/// How often the store is looked after.
const LOOK_AFTER: Duration = Duration::from_millis(500);
/// Steps of making room that are taken at once, while nothing is in want of it.
const STEPS: u32 = 8;

pub(super) struct Reporting {
    recording: Arc<Recording>,
    handoff: Handoff,
    store: Store,
    writer: Writer,
    facts: Arc<Facts>,
    tally: Arc<Tally>,
    appended: Box<dyn Fn() + Send>,
    open: OpenNotes,
    linking: Arc<Linking>,
    searchers: Searchers,
    /// Calls at the searchers, by caller. Until they are stored, all later calls of that caller go there too: so its events are
    /// stored in their order.
    beside: HashMap<Turn, usize>,
    unsearched: Unsearched,
    stop: Arc<Stop>,
    looked_after: Instant,
}

/// Events on their way into one transaction.
#[derive(Default)]
struct Group {
    events: Vec<(SessionRow, u64, Event)>,
    /// All calls that were taken for it.
    calls: u64,
    /// Calls that have no event here.
    unlogged: Vec<Uuid>,
    bytes: usize,
    waiters: Vec<oneshot::Sender<()>>,
}

impl Reporting {
    pub(super) fn new(
        recording: Arc<Recording>,
        handoff: Handoff,
        (store, writer): (Store, Writer),
        facts: Facts,
        (tally, stop): (Arc<Tally>, Arc<Stop>),
        appended: Box<dyn Fn() + Send>,
    ) -> io::Result<Self> {
        let (facts, linking) = (Arc::new(facts), Arc::new(Linking::new()));
        let searchers = Searchers::start(facts.clone(), linking.clone(), handoff.clone())?;
        let (open, unsearched, looked_after) = (OpenNotes::default(), Unsearched::default(), Instant::now());
        Ok(Self {
            recording,
            handoff,
            store,
            writer,
            facts,
            tally,
            appended,
            open,
            linking,
            searchers,
            beside: HashMap::new(),
            unsearched,
            stop,
            looked_after,
        })
    }

    pub(super) fn run(mut self) {
        loop {
            let patience = if self.searchers.is_idle() { LOOK_AFTER } else { LOOK_BESIDE };
            match self.handoff.next_batch(patience) {
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
                    self.searchers.wait(LOOK_BESIDE);
                }
            }
            self.take_made();
            self.unsearched.note(&mut self.open, &mut self.writer, &self.facts);
            if self.looked_after.elapsed() >= LOOK_AFTER {
                self.look_after();
            }
        }
        self.tell_gaps(true);
        self.searchers.end();
    }

    /// The next events, as many as fit one transaction. Calls with much to search go to the searchers instead.
    fn group(&mut self, batch: &mut impl Iterator<Item = Finished>, unhurried: bool, allowance: &mut usize) -> Group {
        let mut group = Group::default();
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
            let follows = !self.beside.is_empty() && self.beside.contains_key(&turn_of(&finished.exchange));
            if follows || !is_searched_here(&finished.exchange, allowance) {
                self.search_beside(finished, session, seq);
                continue;
            }
            group.calls += 1;
            group.waiters.extend(finished.stored.take());
            // The exchange's memory is given back here: from now on only the event is held.
            let event = build(&finished.exchange, &self.facts, &session, seq, &self.linking);
            group.bytes += event.json.len();
            group.events.push((session.row, seq, event));
            if unhurried && group.events.len().is_multiple_of(STRETCH) {
                thread::yield_now();
            }
        }
        group
    }

    fn search_beside(&mut self, finished: Finished, session: Arc<CallerSession>, seq: u64) {
        let Finished { exchange, reservation, stored } = finished;
        let exchange = Arc::<Exchange>::from(exchange);
        self.unsearched.add(&exchange, session.clone(), seq);
        *self.beside.entry(turn_of(&exchange)).or_default() += 1;
        self.searchers.take(Job { exchange, session, kind: JobKind::Event { seq, reservation, stored } });
    }

    /// Appends what the searchers have made.
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
                        self.stored_beside(turn);
                        let Some(event) = event else {
                            tracing::error!("a call's event cannot be made; it is counted as lost");
                            self.tally.lost.fetch_add(1, Ordering::Relaxed);
                            group.unlogged.push(id);
                            continue;
                        };
                        group.waiters.extend(stored);
                        group.bytes += event.json.len();
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

    fn stored_beside(&mut self, turn: Turn) {
        if let Entry::Occupied(mut calls) = self.beside.entry(turn) {
            *calls.get_mut() -= 1;
            if *calls.get() == 0 {
                calls.remove();
            }
        }
    }

    /// Tries until the session is noted, or until the proxy is stopping and the store has had its chances.
    fn session_of(&self, exchange: &Exchange) -> Option<Arc<CallerSession>> {
        let named = named_token(exchange);
        let agent = agent(exchange);
        let mut tries = 0;
        loop {
            match self.facts.callers.of_agent(&exchange.caller, named.as_ref(), agent) {
                Ok(session) => return Some(session),
                Err(error) => {
                    let why = error.in_words();
                    tracing::error!(error = why, "a caller's session cannot be noted; its events wait in memory");
                    self.handoff.store_trouble(Some(why));
                }
            }
            self.handoff.store_takes(false);
            tries += 1;
            if self.handoff.is_closed() && tries >= LAST_TRIES {
                return None;
            }
            thread::sleep(STORE_RETRY);
        }
    }

    /// Tries until the store has the group, or until the proxy is stopping and the store has had its chances.
    fn append(&mut self, mut group: Group) {
        // Events of one session stand together, in their order.
        group.events.sort_by_key(|(session, seq, _)| (*session, *seq));
        let rows: Vec<NewEvent<'_>> = group.events.iter().map(|(_, seq, event)| row(*seq, event)).collect();
        let noted = self.open.ended(rows.iter().map(|row| row.event_id).chain(group.unlogged));
        let mut groups: Vec<(SessionRow, &[NewEvent<'_>])> = Vec::new();
        let mut rest = &rows[..];
        for same in group.events.chunk_by(|(one, ..), (other, ..)| one == other) {
            let (of_one, others) = rest.split_at(same.len());
            groups.push((same[0].0, of_one));
            rest = others;
        }
        let mut tries = 0;
        while let Err(error) = self.try_append(&groups, &noted, group.bytes as u64) {
            self.handoff.store_takes(false);
            self.writer.shrink_log();
            let why = error.in_words();
            if tries == 0 {
                tracing::error!(error = why, "the store takes no events; they wait in memory and are tried again");
            }
            self.handoff.store_trouble(Some(why));
            tries += 1;
            if self.handoff.is_closed() && tries >= LAST_TRIES {
                self.tally.lost.fetch_add(rows.len() as u64, Ordering::Relaxed);
                self.handoff.let_go(group.calls);
                return;
            }
            thread::sleep(STORE_RETRY);
        }
        if tries > 0 {
            tracing::warn!("the store takes events again");
        }
        self.handoff.store_trouble(None);
        self.handoff.let_go(group.calls);
        self.tally.stored.fetch_add(rows.len() as u64, Ordering::Relaxed);
        let with_error = rows.iter().filter(|row| !row.error.is_empty()).count();
        self.tally.with_error.fetch_add(with_error as u64, Ordering::Relaxed);
        for waiter in group.waiters {
            // Fails only when nobody waits any longer.
            let _ = waiter.send(());
        }
        (self.appended)();
    }

    fn try_append(
        &mut self,
        groups: &[(SessionRow, &[NewEvent<'_>])],
        noted: &[Uuid],
        bytes: u64,
    ) -> Result<(), StoreError> {
        let bounds = self.facts.bounds;
        loop {
            let tidied = self.writer.make_room(&bounds, bytes)?;
            self.handoff.store_takes(tidied.room);
            // Without the right to drop, what went out already is stored all the same; no more goes out.
            if tidied.room || !tidied.more {
                break;
            }
        }
        self.writer.append_ended(groups, noted)
    }

    /// Tells what is missing: what is over, or all.
    fn tell_gaps(&mut self, all: bool) {
        if let Some(gap) = self.handoff.take_gap() {
            self.store.health().record_loss(gap);
        }
        let gaps = self.store.health().take_gaps(all);
        let mut untold = Vec::new();
        for missing in gaps {
            let own = self.facts.callers.own();
            let seq = own.next_seq();
            let event = gap::event(&missing, &context(&self.facts, own, seq, Links::default()));
            match self.writer.append(own.row, &[row(seq, &event)]) {
                Ok(()) => (self.appended)(),
                Err(_) => untold.push(missing),
            }
        }
        self.store.health().put_back(untold);
    }

    /// Bounds, what is missing, what has been under way for long, what other processes left when they were killed.
    fn look_after(&mut self) {
        self.looked_after = Instant::now();
        for _ in 0..STEPS {
            match self.writer.tidy(&self.facts.bounds, 0) {
                Ok(tidied) => {
                    self.handoff.store_takes(tidied.room);
                    if !tidied.more {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "the store cannot be looked after now");
                    self.handoff.store_takes(false);
                    break;
                }
            }
        }
        self.tell_gaps(false);
        self.open.note(&self.recording, &mut self.writer, &self.facts, &self.searchers);
        self.facts.callers.tidy();
        match self.store.recover_interrupted() {
            Ok(0) => {}
            Ok(calls) => {
                tracing::warn!(calls, "calls of a process that was killed are recorded as interrupted");
                (self.appended)();
            }
            Err(error) => tracing::debug!(%error, "interrupted calls cannot be looked for now"),
        }
    }
}

/// Whether a call's event is made by the reporting thread itself: it has little to search, or there is allowance left.
pub(super) fn is_searched_here(exchange: &Exchange, allowance: &mut usize) -> bool {
    let bytes = event::searched_bytes(exchange);
    if bytes <= SMALL_BYTES {
        return true;
    }
    let left = allowance.checked_sub(bytes);
    *allowance = left.unwrap_or(*allowance);
    left.is_some()
}

/// The event of a call that has ended, linked.
pub(super) fn build(
    exchange: &Exchange,
    facts: &Facts,
    session: &CallerSession,
    seq: u64,
    linking: &Linking,
) -> Event {
    let links = linking.links(exchange);
    let continues = |llm: &Llm| linking.continues(llm);
    let event = event::build(exchange, &Context { continues: &continues, ..context(facts, session, seq, links) });
    linking.note(&event, &links);
    event
}

pub(super) fn context<'a>(facts: &'a Facts, session: &CallerSession, seq: u64, links: Links) -> Context<'a> {
    let Facts { run_id, error_from_status, properties, prices, redactor, .. } = facts;
    let (error_from_status, prices) = (*error_from_status, prices.as_ref());
    let continues = &|_: &Llm| None;
    Context { seq, run_id, rule: session.rule, error_from_status, properties, prices, links, continues, redactor }
}

/// The field that an agent names its own session in.
const TOKEN_FIELD: &str = "x-otas-agent-session-token";

/// A call into the project's domain that never got there was logged by nobody there.
pub(super) fn is_logged(exchange: &Exchange) -> bool {
    match exchange.unlogged {
        None => true,
        Some(Unlogged::InDomain) => exchange.timings.wait.is_none(),
        Some(Unlogged::Otas) => false,
    }
}

/// The session that an agent says its call belongs to, if it names just one.
pub(super) fn named_token(exchange: &Exchange) -> Option<Secret> {
    let mut all = exchange.request.headers.get_all(TOKEN_FIELD);
    let (one, none) = (all.next()?, all.next());
    // It is the agent's word only: see `Secret::told`.
    none.is_none().then(|| str::from_utf8(one).ok().map(Secret::told)).flatten()
}

/// An agent that opens a session at OTAS, or has an event taken there, has told what its calls belong to.
fn notice(callers: &Callers, exchange: &Exchange) {
    if exchange.unlogged != Some(Unlogged::Otas) {
        return;
    }
    let used = || named_token(exchange).filter(|_| event::posted_event(exchange));
    if let Some(token) = event::opened_session(exchange).or_else(used) {
        callers.adopt(&exchange.caller, &token);
    }
}

/// The agent that a request says it comes from.
fn agent(exchange: &Exchange) -> Option<&'static str> {
    let value = exchange.request.headers.get(http::header::USER_AGENT.as_str())?;
    known_agents::of_user_agent(std::str::from_utf8(value).ok()?)
}

/// An event as the store takes it.
pub(super) fn row(seq: u64, event: &Event) -> NewEvent<'_> {
    NewEvent {
        event_id: event.id,
        seq,
        started_at_ms: event.started_at_ms,
        method: &event.method,
        host: &event.host,
        path: &event.path,
        status_code: event.status_code,
        latency_ms: event.latency_ms,
        request_bytes: event.request_bytes,
        response_bytes: event.response_bytes,
        error: &event.error,
        outline: &event.outline,
        llm: &event.llm,
        json: &event.json,
    }
}
