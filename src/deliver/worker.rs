//! The loop: reads what is pending, posts it in order, judges the answers, and writes down what became of each event.
//!
//! One task owns all state, so nothing here is locked. Calls to OTAS are tasks of their own; the store is asked on the
//! blocking threads, once a turn: what is settled is written, counts are read, the window is filled. Nothing new is
//! posted while an acknowledgement is not yet written down.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, error, info, warn};

use super::backoff::{Backoff, random};
use super::client::{OtasClient, event_body};
use super::pace::{Pace, Permit, Ticket};
use super::queue::{Fate, Item, Queue};
use super::session::{KeyCheck, NotOpen, Opening, Session, check_key, open, refused_key};
use super::{
    Blame, DeliverError, DeliverOptions, Reply, SessionState, Signals, Status, TransportError, Verdict, verdict,
};
use crate::store::{Counts, Outcome, PendingEvent, SessionRow, Settlement, Store, StoreError};

/// How long posts under way may take when delivery is stopped.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How long to wait after the store failed (a full disk, say).
const STORE_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    store: Store,
    row: SessionRow,
    client: Arc<OtasClient>,
    /// `None`: there is no agent key.
    opening: Option<Opening>,
    backoff: Backoff,
    pace: Pace,
    queue: Queue,
    calls: JoinSet<Done>,
    /// Which call posts which row, should a call end without its item.
    posting: HashMap<Id, i64>,
    session: Option<Arc<Session>>,
    /// Rises with each session, so that a late refusal of an old token is told from one of the new.
    generation: u64,
    /// A token was refused, and no event has been taken since.
    renewing: bool,
    key_in_doubt: bool,
    /// What a person must put right.
    paused: Option<String>,
    unsettled: Vec<Settlement>,
    store_rests_until: Option<Instant>,
    /// Events that OTAS took from this worker.
    delivered: u64,
    /// Rows were appended, or settled, since counts were read.
    counts_are_stale: bool,
    shown: Status,
    status: watch::Sender<Status>,
}

/// The end of a call to OTAS.
enum Done {
    Posted { item: Item, generation: u64, ticket: Ticket, answer: Result<Reply, TransportError> },
    Opened { ticket: Ticket, opened: Result<Session, NotOpen> },
    KeyChecked { ticket: Ticket, check: KeyCheck },
}

/// What to do next, given that a call may start.
enum Step {
    Open,
    CheckKey,
    Post(Item, Arc<Session>),
    /// Nothing before this time, or before something happens.
    Wait(Option<Instant>),
}

impl Worker {
    pub(super) fn new(options: DeliverOptions, status: watch::Sender<Status>) -> Result<Self, DeliverError> {
        let DeliverOptions { store, session_row, otas, delivery, tls, meta } = options;
        let client = Arc::new(OtasClient::new(&otas, tls, delivery.attempt_timeout)?);
        let backoff = Backoff::new(delivery.backoff_min, delivery.backoff_max);
        let (token, project_id) = (otas.session_token, otas.project_id);
        Ok(Self {
            store,
            row: session_row,
            client,
            opening: otas.agent_key.map(|key| Opening { key, token, project_id, meta }),
            backoff,
            pace: Pace::new(delivery.max_in_flight, backoff),
            queue: Queue::new(),
            calls: JoinSet::new(),
            posting: HashMap::new(),
            session: None,
            generation: 0,
            renewing: false,
            key_in_doubt: false,
            paused: None,
            unsettled: Vec::new(),
            store_rests_until: None,
            delivered: 0,
            counts_are_stale: true,
            shown: Status::default(),
            status,
        })
    }

    /// Delivers until told to stop, or until the [`super::Deliverer`] is dropped.
    pub(super) async fn run(mut self, signals: Arc<Signals>, mut stop: oneshot::Receiver<()>) {
        if self.opening.is_none() {
            self.pause("there is no agent key: set `otas.agent_key_file` (or OTAS_AGENT_KEY)".to_owned());
        }
        loop {
            self.sync_store().await;
            let wake_at = self.start_calls(Instant::now());
            self.publish();
            tokio::select! {
                _ = &mut stop => break,
                Some(done) = self.calls.join_next_with_id() => self.finish_all(done),
                () = signals.appended.notified() => {
                    self.queue.appended();
                    self.counts_are_stale = true;
                }
                () = signals.hurry.notified() => self.pace.probe_at_once(Instant::now()),
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
            }
        }
        self.wind_up().await;
    }

    /// Starts as many calls as may start. Tells when to look again, should nothing happen before.
    fn start_calls(&mut self, now: Instant) -> Option<Instant> {
        loop {
            if let Some(until) = self.store_rests_until {
                return Some(until);
            }
            match self.pace.permit(now, self.calls.len()) {
                Permit::Now => {}
                Permit::After(due) => return Some(due),
                Permit::Full => return None,
            }
            match self.next_step(now) {
                Step::Wait(until) => return until,
                step => self.start(step),
            }
        }
    }

    /// Sessions are opened and keys checked while nothing else is under way: then there is one of them at a time, and
    /// no post is judged by a key or token that is just being replaced.
    fn next_step(&mut self, now: Instant) -> Step {
        let alone = self.calls.is_empty();
        let Some(session) = self.session.clone() else {
            return if alone && self.opening.is_some() { Step::Open } else { Step::Wait(None) };
        };
        if self.key_in_doubt {
            return if alone { Step::CheckKey } else { Step::Wait(None) };
        }
        if self.queue.to_load(now).is_some() {
            return Step::Wait(Some(now));
        }
        match self.queue.take(now) {
            Some(item) => Step::Post(item, session),
            None => Step::Wait(self.queue.next_due()),
        }
    }

    fn start(&mut self, step: Step) {
        let Some(opening) = self.opening.clone() else { return };
        let client = self.client.clone();
        let now = Instant::now();
        match step {
            Step::Wait(_) => {}
            Step::Open => {
                let ticket = self.pace.begin(now, self.calls.len());
                self.calls.spawn(async move { Done::Opened { ticket, opened: open(&client, &opening).await } });
            }
            Step::CheckKey => {
                let ticket = self.pace.begin(now, self.calls.len());
                self.calls
                    .spawn(async move { Done::KeyChecked { ticket, check: check_key(&client, &opening.key).await } });
            }
            Step::Post(item, session) => {
                let body = item.json.as_deref().and_then(|json| event_body(&session.project_id, json));
                let Some(body) = body else {
                    self.bury(item, "what is stored is no JSON object".to_owned());
                    return;
                };
                let (row, generation) = (item.id, self.generation);
                let ticket = self.pace.begin(now, self.calls.len());
                let call = self.calls.spawn(async move {
                    let answer = client.log_event(&opening.key, &session.token, body).await;
                    Done::Posted { item, generation, ticket, answer }
                });
                self.posting.insert(call.id(), row);
            }
        }
    }

    /// Takes in a finished call, and all others that have finished meanwhile: they are settled together.
    fn finish_all(&mut self, first: Result<(Id, Done), JoinError>) {
        let mut next = Some(first);
        while let Some(done) = next {
            self.finish(done);
            next = self.calls.try_join_next_with_id();
        }
    }

    fn finish(&mut self, done: Result<(Id, Done), JoinError>) {
        let row = self.posting.remove(&done.as_ref().map_or_else(JoinError::id, |(id, _)| *id));
        match done {
            Ok((_, Done::Posted { item, generation, ticket, answer })) => {
                self.posted(item, generation, ticket, &answer);
            }
            Ok((_, Done::Opened { ticket, opened })) => self.opened(ticket, opened),
            Ok((_, Done::KeyChecked { ticket, check })) => self.key_checked(ticket, check),
            Err(error) => {
                error!(%error, "a call to OTAS ended in a panic");
                let ticket = self.pace.begin(Instant::now(), self.calls.len());
                self.failed(ticket, "an internal error".to_owned(), None);
                if let Some(row) = row {
                    self.queue.lost(row);
                }
            }
        }
    }

    fn posted(&mut self, mut item: Item, generation: u64, ticket: Ticket, answer: &Result<Reply, TransportError>) {
        let retry_after = answer.as_ref().ok().and_then(|reply| reply.retry_after);
        item.attempts = item.attempts.saturating_add(1);
        if answer.as_ref().is_err_and(TransportError::answer_lost) {
            self.shown.lost_answers += 1;
        }
        match verdict(answer) {
            Verdict::Delivered { event_id } => self.taken(&item, ticket, event_id),
            Verdict::Retry { reason } => {
                self.failed(ticket, reason.clone(), retry_after);
                self.again(item, reason);
            }
            Verdict::CheckKey => {
                self.key_in_doubt = true;
                let reason = "the key was refused, or OTAS was too busy to check it".to_owned();
                self.failed(ticket, reason.clone(), retry_after);
                self.again(item, reason);
            }
            Verdict::RenewSession => {
                self.token_refused(generation);
                self.again(item, "the session token was refused".to_owned());
            }
            Verdict::Pause { reason, advice } => {
                self.pace.slow_down(Instant::now());
                self.pause(format!("OTAS {reason}; {advice}"));
                self.again(item, reason);
            }
            Verdict::Refused { reason, blame } => self.refused(item, ticket, reason, blame),
        }
    }

    fn taken(&mut self, item: &Item, ticket: Ticket, event_id: String) {
        self.delivered += 1;
        self.renewing = false;
        self.settle(item, Outcome::Delivered { otas_event_id: event_id });
        self.queue.settled(item.id);
        if self.pace.success(&ticket, Instant::now()) {
            info!("OTAS takes events again");
            self.queue.release();
            self.resume();
        }
    }

    fn refused(&mut self, mut item: Item, ticket: Ticket, reason: String, blame: Blame) {
        let now = Instant::now();
        let fate = item.refused(blame, self.delivered);
        let aside_until = now + self.backoff.delay(item.refusals(), random());
        match fate {
            Fate::Dead => {
                self.pace.probe_at_once(now);
                self.bury(item, reason);
            }
            Fate::First => {
                self.failed(ticket, reason.clone(), None);
                self.again(item, reason);
            }
            Fate::Aside { suspect } => {
                if suspect {
                    // The others need not wait for this one.
                    self.pace.probe_at_once(now);
                } else {
                    self.failed(ticket, reason.clone(), None);
                }
                self.settle_again(&item, reason, aside_until);
                self.queue.set_aside(item, aside_until);
            }
        }
    }

    /// A token is renewed once; when the new one is refused too, renewing it is no cure.
    fn token_refused(&mut self, generation: u64) {
        if generation != self.generation || self.session.is_none() {
            return;
        }
        self.session = None;
        if let Some(opening) = &mut self.opening {
            if opening.token.take().is_some() {
                warn!("OTAS refused the configured session token: opening a session with the agent key instead");
            } else {
                info!("OTAS refused the session token: renewing the session");
            }
        }
        if self.renewing {
            self.pace.slow_down(Instant::now());
            self.pause(
                "OTAS refuses a session token that it has only just issued: UASAM and Brain must share one JWT secret \
                 and the same time; check `otas.uasam_url` and `otas.brain_url` belong to one OTAS"
                    .to_owned(),
            );
        }
        self.renewing = true;
    }

    fn opened(&mut self, ticket: Ticket, opened: Result<Session, NotOpen>) {
        match opened {
            Ok(session) => {
                let otas_session_id = session.otas_session_id.as_deref();
                info!(session = otas_session_id, project = %session.project_id, "OTAS session open");
                if let Some(opening) = &mut self.opening {
                    opening.project_id = Some(session.project_id.clone());
                }
                self.note_session(otas_session_id);
                self.session = Some(Arc::new(session));
                self.generation += 1;
                self.pace.probe_at_once(Instant::now());
                // A renewed session must first prove itself.
                if !self.renewing {
                    self.resume();
                }
            }
            Err(NotOpen::Retry { reason }) => self.failed(ticket, reason, None),
            Err(NotOpen::Pause { reason }) => {
                self.pace.slow_down(Instant::now());
                self.pause(reason);
            }
        }
    }

    fn key_checked(&mut self, ticket: Ticket, check: KeyCheck) {
        match check {
            KeyCheck::Good { .. } => {
                debug!("the agent key is good: OTAS was too busy to check it");
                self.key_in_doubt = false;
                self.paused = None;
                self.pace.probe_at_once(Instant::now());
            }
            KeyCheck::Refused => {
                self.pace.slow_down(Instant::now());
                if let Some(opening) = &self.opening {
                    self.pause(refused_key(&opening.key));
                }
            }
            KeyCheck::Unclear { reason } => self.failed(ticket, reason, None),
        }
    }

    /// A call failed in a way that is not one event's fault.
    fn failed(&mut self, ticket: Ticket, reason: String, retry_after: Option<Duration>) {
        let now = Instant::now();
        let news = self.pace.failure(&ticket, now, random(), retry_after);
        let next_in = self.pace.next_at(now) - now;
        if news {
            warn!(%reason, ?next_in, "OTAS takes no events: keeping them");
        } else {
            debug!(%reason, ?next_in, "OTAS still takes no events");
        }
        self.shown.trouble = Some(reason);
    }

    fn pause(&mut self, reason: String) {
        if self.paused.as_ref() != Some(&reason) {
            error!(%reason, "delivery is paused, events are kept");
        }
        self.shown.trouble = Some(reason.clone());
        self.paused = Some(reason);
    }

    fn resume(&mut self) {
        self.paused = None;
        self.shown.trouble = None;
    }

    fn again(&mut self, item: Item, reason: String) {
        self.settle_again(&item, reason, self.pace.next_at(Instant::now()));
        self.queue.put_back(item);
    }

    fn bury(&mut self, item: Item, reason: String) {
        error!(row = item.id, attempts = item.attempts, %reason, "OTAS will not take this event: it is kept as dead");
        self.settle(&item, Outcome::Dead { verdict: reason });
        self.queue.settled(item.id);
    }

    fn settle_again(&mut self, item: &Item, verdict: String, next_try: Instant) {
        let wait = next_try.saturating_duration_since(Instant::now());
        self.settle(item, Outcome::Again { verdict, next_try_at_ms: unix_ms(SystemTime::now() + wait) });
    }

    fn settle(&mut self, item: &Item, outcome: Outcome) {
        self.unsettled.push(Settlement { id: item.id, attempts: item.attempts, outcome });
        self.counts_are_stale = true;
    }

    /// A note for people, which nothing waits for.
    fn note_session(&self, otas_session_id: Option<&str>) {
        let Some(otas_session_id) = otas_session_id.map(str::to_owned) else { return };
        let (store, row) = (self.store.clone(), self.row);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.set_otas_session(row, &otas_session_id) {
                warn!(error = &error as &dyn std::error::Error, "the OTAS session's id is not noted");
            }
        });
    }

    /// Writes what is settled, then reads counts and the next events. When the store fails, all of it waits.
    async fn sync_store(&mut self) {
        let now = Instant::now();
        if self.store_rests_until.is_some_and(|until| now < until) {
            return;
        }
        self.store_rests_until = None;
        let room = self.pace.limit() * 2;
        let request = StoreTurn {
            row: self.row,
            settlements: self.unsettled.clone(),
            read_from: self.queue.wants(room),
            room,
            load: self.queue.to_load(now),
        };
        if !self.counts_are_stale && request.is_idle() {
            return;
        }
        let store = self.store.clone();
        let turn = tokio::task::spawn_blocking(move || {
            let result = request.run(&store);
            (request, result)
        });
        let Ok((request, result)) = turn.await else {
            error!("a turn of the store ended in a panic");
            self.store_rests_until = Some(now + STORE_PAUSE);
            return;
        };
        match result {
            Ok(found) => {
                self.unsettled.clear();
                self.counts_are_stale = false;
                self.shown.counts = found.counts;
                if let Some(id) = request.load {
                    self.queue.loaded(id, found.loaded);
                }
                if request.read_from.is_some() {
                    self.queue.fetched(found.pending, room);
                }
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "the store failed: delivery waits for it");
                self.store_rests_until = Some(now + STORE_PAUSE);
            }
        }
    }

    fn publish(&mut self) {
        self.shown.in_flight = self.calls.len();
        self.shown.session = match (&self.paused, &self.session) {
            (Some(reason), _) => SessionState::Paused { reason: reason.clone() },
            (None, Some(session)) => SessionState::Open { otas_session_id: session.otas_session_id.clone() },
            (None, None) => SessionState::Opening,
        };
        let shown = &self.shown;
        self.status.send_if_modified(|status| {
            let news = status != shown;
            if news {
                status.clone_from(shown);
            }
            news
        });
    }

    async fn wind_up(mut self) {
        let deadline = Instant::now() + STOP_GRACE;
        while let Ok(Some(done)) = timeout_at(deadline, self.calls.join_next_with_id()).await {
            self.finish(done);
        }
        self.calls.shutdown().await;
        self.store_rests_until = None;
        self.sync_store().await;
        if !self.unsettled.is_empty() {
            error!(events = self.unsettled.len(), "what became of the last events could not be written down");
        }
        self.publish();
    }
}

/// What is asked of the store at once.
struct StoreTurn {
    row: SessionRow,
    settlements: Vec<Settlement>,
    read_from: Option<i64>,
    room: usize,
    load: Option<i64>,
}

/// What the store says to it.
struct StoreAnswer {
    counts: Counts,
    pending: Vec<PendingEvent>,
    loaded: Option<PendingEvent>,
}

impl StoreTurn {
    fn is_idle(&self) -> bool {
        self.settlements.is_empty() && self.read_from.is_none() && self.load.is_none()
    }

    fn run(&self, store: &Store) -> Result<StoreAnswer, StoreError> {
        if !self.settlements.is_empty() {
            store.settle(&self.settlements)?;
        }
        let pending = match self.read_from {
            Some(after_id) => store.pending(self.row, after_id, self.room)?,
            None => Vec::new(),
        };
        let loaded = match self.load {
            Some(id) => store.pending_event(id)?,
            None => None,
        };
        Ok(StoreAnswer { counts: store.counts(Some(self.row))?, pending, loaded })
    }
}

fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
