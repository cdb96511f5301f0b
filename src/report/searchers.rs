//! The threads that make events of calls with large bodies, beside the reporting thread: to search a body for secrets takes as
//! long as the body is large, and nobody else's event waits for it. Callers are served in turn ([`Turns`]).
//!
//! Memory: a call that waits here still holds its part of the capture budget. Events that are made wait for the reporting thread
//! within [`MADE_MAX_BYTES`]; beyond that the threads pause.

use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::events::{build, context};
use super::linking::Linking;
use super::{Handoff, LiveFacts};
use crate::callers::CallerSession;
use crate::capture::{Caller, Exchange, Reservation};
use crate::event::{self, Event, Links};

/// Events that wait for the reporting thread come to so many bytes, and then the threads pause.
const MADE_MAX_BYTES: usize = 8 << 20;
/// Threads at most. At least two, so that one caller never has them all: each has one at a time.
const THREADS_MAX: usize = 8;

/// Who shares a turn: calls of one caller from one address.
pub(super) type Turn = (Caller, IpAddr);
type Turns = super::turns::Turns<Turn, Job>;

/// The turn of a call.
pub(super) fn turn_of(exchange: &Exchange) -> Turn {
    (exchange.caller.clone(), exchange.agent.ip())
}

/// What is to be made.
pub(super) struct Job {
    pub(super) exchange: Box<Exchange>,
    pub(super) session: Arc<CallerSession>,
    pub(super) kind: JobKind,
}

/// What for.
pub(super) enum JobKind {
    /// The event of a call that has ended, with its place in its session.
    Event { seq: u64, reservation: Reservation, stored: Option<oneshot::Sender<()>> },
    /// The note of a call that is under way.
    Note,
}

/// What came of a job.
pub(super) struct Made {
    pub(super) turn: Turn,
    pub(super) session: Arc<CallerSession>,
    /// The call.
    pub(super) id: uuid::Uuid,
    /// `None`: a fault of ours.
    pub(super) event: Option<Event>,
    pub(super) kind: MadeKind,
}

/// What it is.
pub(super) enum MadeKind {
    Event { seq: u64, stored: Option<oneshot::Sender<()>> },
    Note,
}

/// The threads.
pub(super) struct Searchers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// There is a job, or room, or the end.
    changed: Condvar,
    /// Something was made.
    made: Condvar,
    facts: LiveFacts,
    linking: Arc<Linking>,
    handoff: Handoff,
}

struct State {
    turns: Turns,
    made: Vec<Made>,
    made_bytes: usize,
    /// From now on bodies are not searched any more: they are withheld.
    hurried: bool,
    closed: bool,
}

impl State {
    /// Whether the threads may go on: see [`MADE_MAX_BYTES`].
    fn has_room(&self) -> bool {
        self.made_bytes < MADE_MAX_BYTES
    }
}

impl Searchers {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(facts: LiveFacts, linking: Arc<Linking>, handoff: Handoff) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = cores.clamp(2, THREADS_MAX);
        let turns = Turns::new();
        let state = State { turns, made: Vec::new(), made_bytes: 0, hurried: false, closed: false };
        let (state, changed, made) = (Mutex::new(state), Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { state, changed, made, facts, linking, handoff });
        let thread = |n| {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("searcher-{n}")).spawn(move || shared.work())
        };
        let threads = (0..threads).map(thread).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { shared, threads })
    }

    /// Takes a job.
    pub(super) fn take(&self, job: Job) {
        let turn = turn_of(&job.exchange);
        self.shared.lock().turns.push(turn, job);
        self.shared.changed.notify_one();
    }

    /// Whether nothing is under way here, nor made and not taken.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.turns.is_empty() && state.made.is_empty()
    }

    /// What was made since this was asked last.
    pub(super) fn made(&self) -> Vec<Made> {
        let mut state = self.shared.lock();
        let paused = !state.has_room();
        state.made_bytes = 0;
        let made = std::mem::take(&mut state.made);
        drop(state);
        // Asked after each batch: threads that wait for jobs need not wake for it.
        if paused {
            self.shared.changed.notify_all();
        }
        made
    }

    /// Waits until something was made, for so long at most.
    pub(super) fn wait(&self, patience: Duration) {
        let mut state = self.shared.lock();
        if state.made.is_empty() {
            self.shared.made.wait_for(&mut state, patience);
        }
    }

    /// Bodies that still wait are not searched any more. Their events say so.
    pub(super) fn hurry(&self) {
        self.shared.lock().hurried = true;
    }

    /// Ends the threads. To be called when they are idle.
    pub(super) fn end(self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        for thread in self.threads {
            // A job's panic ends in `Shared::make`.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self) {
        while let Some((turn, job, hurried)) = self.next() {
            let made = self.make(turn.clone(), job, hurried);
            let mut state = self.lock();
            state.turns.ended(&turn);
            state.made_bytes += made.event.as_ref().map_or(0, |event| event.bytes());
            state.made.push(made);
            drop(state);
            self.changed.notify_all();
            self.made.notify_all();
            self.handoff.wake();
        }
    }

    fn next(&self) -> Option<(Turn, Job, bool)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if state.has_room()
                && let Some((turn, job)) = state.turns.start()
            {
                return Some((turn, job, state.hurried));
            }
            self.changed.wait(&mut state);
        }
    }

    fn make(&self, turn: Turn, job: Job, hurried: bool) -> Made {
        let Job { mut exchange, session, kind } = job;
        // What is withheld need not be copied.
        if !hurried {
            exchange.join_bodies();
        }
        let seq = match &kind {
            JobKind::Event { seq, .. } => *seq,
            JobKind::Note => 0,
        };
        let facts = self.facts.load_full();
        let unlinked = || context(&facts, &session, seq, Links::default());
        let withheld = || event::without_texts(&exchange, &unlinked());
        let searched = || match &kind {
            _ if hurried => withheld(),
            JobKind::Note => event::build(&exchange, &unlinked()),
            JobKind::Event { .. } => build(&exchange, &facts, &session, seq, &self.linking),
        };
        // A fault must cost the bodies, or at worst this event, not the thread.
        let event =
            catch_unwind(AssertUnwindSafe(searched)).or_else(|_| catch_unwind(AssertUnwindSafe(withheld))).ok();
        let id = exchange.id;
        drop(exchange);
        let kind = match kind {
            // The exchange's memory is given back here: from now on only the event is held.
            JobKind::Event { seq, reservation, stored } => {
                drop(reservation);
                MadeKind::Event { seq, stored }
            }
            JobKind::Note => MadeKind::Note,
        };
        Made { turn, session, id, event, kind }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
