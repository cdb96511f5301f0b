//! The record of one exchange in flight. Clones of it ride with the request body, the response body and the code that
//! forwards. When the last of them is dropped, the exchange is over and is handed off: exactly once, even after an
//! error, a disconnect from either side, or a shutdown.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use http::Version;
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::Uuid;

use super::arrivals::Arrivals;
use super::budget::{Budget, Reservation};
use super::conclude::conclude;
use super::delivery::Flushes;
use super::keeper::{Keeper, Kept, Limits};
use super::model::{self, ModelTap, Reading};
use super::shared::Shared;
use super::sink::{Finished, Sink};
use super::state::State;
use super::text_type;
use super::{BodyEnd, Caller, Captured, Exchange, Failure, Kind, Origin, Outcome, RequestFacts, Side, Timings};
use crate::llm;
use crate::peer::ProcessLookup;

/// The exchanges of a process: those in progress, and where finished ones go.
pub struct Recording {
    shared: Arc<Shared>,
    open: TaskTracker,
    /// Exchanges in progress, for inspection from outside.
    in_progress: Mutex<Slab<Weak<InProgress>>>,
}

impl Recording {
    /// Recorders made from this hand their exchanges to `sink`.
    pub fn new(sink: impl Sink, limits: Limits, budget: Arc<Budget>) -> Arc<Self> {
        let open = TaskTracker::new();
        open.close();
        Arc::new(Self { shared: Arc::new(Shared::new(sink, limits, budget)), open, in_progress: Mutex::default() })
    }

    /// From now on, an exchange that is cut off was cut off by our own shutdown.
    pub fn shutting_down(&self) {
        self.shared.shut_down();
    }

    /// Waits until every exchange that was begun has been handed off.
    pub async fn all_handed_off(&self) {
        self.open.wait().await;
    }

    /// Whether a call may go out now.
    pub fn admits(&self) -> bool {
        self.shared.sink().admits()
    }

    /// Whether the end of a response is held back until its event is stored.
    pub fn holds_ends(&self) -> bool {
        self.shared.sink().holds_ends()
    }

    /// The exchanges that have been in progress for longer than `age`.
    pub fn in_progress(&self, age: Duration) -> Vec<Recorder> {
        let now = Instant::now();
        let found: Vec<_> = self.in_progress.lock().iter().filter_map(|(_, weak)| weak.upgrade()).collect();
        // Handles are dropped outside the lock: dropping the last handle of an exchange takes the lock.
        found.into_iter().filter(|it| now.duration_since(it.began) > age).map(Recorder).collect()
    }

    /// Every exchange in progress on this agent's connection fails for the same reason.
    pub fn all_failed(&self, agent: SocketAddr, failure: &Failure) {
        for recorder in self.in_progress(Duration::ZERO) {
            if recorder.look(|s| s.exchange.agent == agent) == Some(true) {
                recorder.failed(failure.clone());
            }
        }
    }

    /// How many exchanges are in progress.
    pub fn count_in_progress(&self) -> usize {
        self.in_progress.lock().len()
    }

    /// From now on, exchanges begin with these limits for their bodies.
    pub fn limit_to(&self, limits: Limits) {
        self.shared.limit_to(limits);
    }

    /// The memory that all captures share.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        self.shared.budget()
    }
}

/// One exchange in progress. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(Arc<InProgress>);

struct InProgress {
    recording: Arc<Recording>,
    /// How much of each body is kept.
    limits: Limits,
    began: Instant,
    host: Arc<str>,
    state: Mutex<Option<State>>,
    /// Set when somebody wants a snapshot of the bodies.
    wanted: AtomicBool,
    /// Its key in [`Recording::in_progress`].
    place: usize,
    /// Dropped after the exchange is handed off.
    _open: TaskTrackerToken,
}

impl Recorder {
    /// Begins the record of a request whose head has just been read.
    pub fn begin(
        recording: &Arc<Recording>,
        kind: Kind,
        (agent, caller): (SocketAddr, Caller),
        origin: Origin,
        version: Version,
        request: RequestFacts,
    ) -> Self {
        let host = origin.host.clone();
        let exchange = Box::new(Exchange {
            id: Uuid::now_v7(),
            started_at: SystemTime::now(),
            kind,
            agent,
            caller,
            unlogged: None,
            process: ProcessLookup::none(),
            origin,
            peer: None,
            version,
            tls: None,
            names: None,
            blind: None,
            connection_reused: false,
            sent_again: 0,
            request,
            response: None,
            outcome: Outcome::Complete,
            timings: Timings::default(),
            websocket: None,
            llm: None,
        });
        let reservation = Reservation::none(recording.budget().clone());
        let call = if kind == Kind::Http { model::recognised(&exchange) } else { None };
        let state = State {
            exchange,
            forwarded: None,
            agent_took: Duration::ZERO,
            agent_awaited: None,
            request_ended: None,
            answered: None,
            last_byte: None,
            reservation,
            call,
            reading: None,
            turn: None,
            flushes: None,
            delivered_bytes: 0,
        };
        let mut places = recording.in_progress.lock();
        let place = places.vacant_entry();
        let recorder = Self(Arc::new(InProgress {
            recording: recording.clone(),
            limits: recording.shared.limits(),
            began: Instant::now(),
            host,
            state: Mutex::new(Some(state)),
            wanted: AtomicBool::new(false),
            place: place.key(),
            _open: recording.open.token(),
        }));
        place.insert(Arc::downgrade(&recorder.0));
        recorder
    }

    /// The recording that this belongs to.
    pub fn recording(&self) -> &Arc<Recording> {
        &self.0.recording
    }

    /// The host that is called.
    pub fn host(&self) -> Arc<str> {
        self.0.host.clone()
    }

    /// A turn on this exchange, which is a WebSocket, as a call to a model.
    pub(super) fn model_turn(&self) -> llm::Call {
        let of = |state: &State| (state.exchange.request.path.clone(), state.exchange.request.query.clone());
        let (path, query) = self.look(of).unwrap_or_default();
        llm::Call::turn(&self.0.host, &path, query.as_deref().unwrap_or_default())
    }

    /// A copy of a body: of a text all of it, by the `Content-Type`. `bytes`: its size, if it is known already.
    pub(super) fn keeper(&self, side: Side, bytes: Option<u64>) -> Keeper {
        if bytes.is_some_and(|bytes| !self.0.limits.keeps_whole(bytes)) {
            return self.plain_keeper();
        }
        let is_text = self.look(|s| match side {
            Side::Request => text_type::is_of_text(&s.exchange.request.headers),
            Side::Response => s.exchange.response.as_ref().is_some_and(|it| text_type::is_of_text(&it.headers)),
        });
        if is_text == Some(true) { self.text_keeper() } else { self.plain_keeper() }
    }

    /// A copy of one body's first and last bytes, within the limits.
    pub(crate) fn plain_keeper(&self) -> Keeper {
        Keeper::new(self.0.limits, self.0.recording.budget().clone())
    }

    /// A copy of a text, whole within the limits.
    pub(super) fn text_keeper(&self) -> Keeper {
        Keeper::of_text(self.0.limits, self.0.recording.budget().clone())
    }

    /// Returns the tap for this body, if the call is read as a model call.
    pub(super) fn tap(&self, side: Side) -> Option<ModelTap> {
        let mut state = self.0.state.lock();
        let state = state.as_mut()?;
        if side == Side::Request {
            let (reading, tap) = Reading::begin(*state.call.take()?, &self.0.recording.shared)?;
            state.reading = Some(reading);
            return Some(tap);
        }
        let response = state.exchange.response.as_ref()?;
        let asked = state.forwarded.map(|at| at + state.agent_took);
        state.reading.as_mut()?.answered(response.status, &response.headers, asked)
    }

    /// Sets the flush counter of the agent's connection.
    pub fn answered_through(&self, flushes: &Flushes) {
        self.with(|s| s.flushes = Some(flushes.clone()));
    }

    /// The flush counter of the agent's connection.
    pub(super) fn flushes(&self) -> Option<Flushes> {
        self.0.state.lock().as_ref().and_then(|s| s.flushes.clone())
    }

    /// This many bytes of the response body were written to the agent.
    pub(super) fn delivered(&self, bytes: u64) {
        self.with(|s| s.delivered_bytes = bytes);
    }

    /// Returns what notes the arrival of pieces, if the response is an event stream.
    pub(super) fn arrivals(&self) -> Option<Arrivals> {
        self.0.state.lock().as_ref().and_then(|s| Arrivals::of(&s.exchange.response.as_ref()?.headers))
    }

    /// Records the arrivals.
    pub(super) fn arrived(&self, arrivals: &Arrivals) {
        self.with(|s| {
            if let Some(response) = &mut s.exchange.response {
                response.arrivals = arrivals.noted().to_vec();
            }
        });
    }

    /// Sets the failure, unless there is one. The first failure is the cause, later ones are consequences.
    pub fn failed(&self, failure: Failure) {
        self.with(|s| {
            if s.exchange.outcome == Outcome::Complete {
                s.exchange.outcome = Outcome::Failed(failure);
            }
        });
    }

    /// Whether the agent aborted its request body.
    pub fn request_broken(&self) -> bool {
        let state = self.0.state.lock();
        state.as_ref().is_some_and(|s| s.exchange.request.body.end == BodyEnd::SenderFailed)
    }

    /// When the last byte of the request was sent. `None`: not yet.
    pub fn request_sent(&self) -> Option<Instant> {
        let state = self.0.state.lock();
        let state = state.as_ref()?;
        state.forwarded.zip(state.request_ended).map(|(forwarded, ended)| forwarded.max(ended))
    }

    /// Records the end of a body.
    pub fn body_ended(&self, side: Side, kept: Kept, end: BodyEnd) {
        let now = Instant::now();
        let end = match end {
            BodyEnd::ReceiverLeft if self.0.recording.shared.is_shutting_down() => BodyEnd::ShutDown,
            other => other,
        };
        self.with(|s| {
            s.reservation.absorb(kept.reservation);
            let captured = Captured { head: kept.head, tail: kept.tail, total_bytes: kept.total_bytes, end };
            match side {
                Side::Request => {
                    s.request_ended = Some(now);
                    s.exchange.request.body = captured;
                    s.exchange.timings.send = s.forwarded.map(|at| now - at);
                }
                Side::Response => {
                    s.last_byte = Some(now);
                    if let Some(response) = &mut s.exchange.response {
                        response.body = captured;
                    }
                }
            }
        });
    }

    /// Records a body that was only counted.
    pub fn counted(&self, side: Side, total_bytes: u64, end: BodyEnd) {
        let reservation = Reservation::none(self.0.recording.budget().clone());
        self.body_ended(side, Kept { head: Vec::new(), tail: Vec::new(), total_bytes, reservation }, end);
    }

    /// Hands the exchange off now, before its last clone is dropped. The receiver is notified when its event is stored.
    /// `None`: it was handed off already.
    pub fn hand_off(&self) -> Option<oneshot::Receiver<()>> {
        let state = self.0.state.lock().take()?;
        let (stored, notified) = oneshot::channel();
        self.0.end(state, Some(stored));
        Some(notified)
    }

    /// A snapshot in case the proxy is killed: an interrupted exchange. Its bodies are as of the last request for a
    /// snapshot; this call also requests the next one. Of long texts it has both ends, because it is stored again and again.
    /// `None`: the exchange has ended.
    pub fn so_far(&self) -> Option<Exchange> {
        self.0.wanted.store(true, Ordering::Relaxed);
        let state = self.0.state.lock();
        let state = state.as_ref()?;
        let mut exchange = Exchange::clone(&state.exchange);
        exchange.bodies_mut().for_each(|body| self.0.limits.shorten(body));
        let now = Instant::now();
        exchange.timings.wait = state.forwarded.zip(state.answered).map(|(from, to)| to - from);
        exchange.timings.latency =
            (now - state.forwarded.unwrap_or(self.0.began)).saturating_sub(state.agent_took(now));
        exchange.timings.total = now - self.0.began;
        let detail =
            "the proxy ended while this call was in flight; the event holds what was known shortly before".to_owned();
        exchange.outcome = Outcome::Failed(Failure { id: "proxy_interrupted", detail });
        exchange.llm = state.reading.as_ref().and_then(Reading::so_far);
        if let Some(turn) = &state.turn {
            exchange.llm = turn.lock().facts().map(Box::new);
        }
        Some(exchange)
    }

    /// The exchange's id. `None`: it was handed off.
    pub fn id(&self) -> Option<Uuid> {
        self.0.state.lock().as_ref().map(|state| state.exchange.id)
    }

    /// Whether a snapshot of the bodies is wanted. True once for each request; answered with [`Recorder::body_so_far`].
    pub(super) fn wants_body(&self) -> bool {
        self.0.wanted.load(Ordering::Relaxed) && self.0.wanted.swap(false, Ordering::Relaxed)
    }

    /// Sets the snapshot of a body.
    pub(super) fn body_so_far(&self, side: Side, so_far: Captured) {
        self.with(|s| match side {
            Side::Request => s.exchange.request.body = so_far,
            Side::Response => {
                if let Some(response) = &mut s.exchange.response {
                    response.body = so_far;
                }
            }
        });
    }

    /// Drops the record without an exchange. For a CONNECT whose content is served: each request in it has its own
    /// exchange.
    pub fn discard(&self) {
        self.0.state.lock().take();
    }

    /// Reads the state. `None`: it was handed off.
    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> Option<T> {
        self.0.state.lock().as_ref().map(look)
    }

    pub(super) fn with(&self, change: impl FnOnce(&mut State)) {
        if let Some(state) = self.0.state.lock().as_mut() {
            change(state);
        }
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.recording.in_progress.lock().try_remove(self.place);
        let Some(state) = self.state.lock().take() else { return };
        self.end(state, None);
    }
}

impl InProgress {
    /// Hands the exchange off: now, or when its reading is done.
    fn end(&self, mut state: State, stored: Option<oneshot::Sender<()>>) {
        let (reading, turn, delivered_bytes) = (state.reading.take(), state.turn.take(), state.delivered_bytes);
        let shutting_down = self.recording.shared.is_shutting_down();
        let mut finished = Finished { stored, ..conclude(state, self.began, shutting_down) };
        if let Some(turn) = turn {
            model::attach(&mut finished.exchange, &mut turn.lock(), delivered_bytes);
        }
        match reading {
            Some(reading) => {
                reading.over(finished, delivered_bytes, &self.recording.shared, self.recording.open.token());
            }
            None => self.recording.shared.hand_over(finished),
        }
    }
}
