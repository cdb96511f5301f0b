//! The loop: takes the delivery lock, reads the backlog, posts it in order, judges the replies, and records the results.
//!
//! One task owns all state, so nothing is locked. Calls to OTAS are separate tasks. The disk is visited on blocking threads,
//! once per turn (`disk`): settlements are written, counts are read, the queue is filled. No new post starts while a settlement
//! is unwritten. `choice` chooses the next call, `ends` handles the ends of calls.

mod choice;
mod disk;
mod ends;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::error;

use self::choice::Step;
use self::disk::Note;
use super::backoff::Backoff;
use super::bodies;
use super::client::OtasClient;
use super::credentials::{Credentials, KeyFile};
use super::pace::{Lane, Pace, Permit, Slip};
use super::queue::{Item, Queue};
use super::seal::Seal;
use super::session::Identity;
use super::sessions::{Sessions, Token};
use super::{
    Adjustment, DeliverError, DeliverOptions, Reply, STOP_GRACE, SessionState, Signals, Status, TransportError,
};
use crate::config::Order;
use crate::event;
use crate::secret::Secret;
use crate::store::{DataVersion, DeliveryLock, Fate, SessionRow, Settlement, Store};

/// [`STOP_GRACE`] in a hurry. A reply that is about to arrive is still recorded, so that its event is not posted twice.
const HURRIED_GRACE: Duration = Duration::from_millis(100);

pub(super) struct Worker {
    store: Store,
    /// This process's own session, if its state is shown.
    own: Option<SessionRow>,
    /// The first session that this process began. `None`: it only delivers events of other processes.
    process: Option<SessionRow>,
    client: Arc<OtasClient>,
    /// `None`: there is no agent key.
    credentials: Option<Credentials>,
    key_file: Option<KeyFile>,
    /// The key file has a new key.
    next_key: Option<Secret>,
    /// Ids of the keys that this process had before. Sessions may still be added under them.
    former_keys: Vec<String>,
    /// OTAS has accepted the current key.
    key_was_good: bool,
    /// Since when UASAM has refused a key that it had accepted.
    key_refused_since: Option<Instant>,
    /// `otas.session_token`, until OTAS has refused it.
    session_token: Option<Secret>,
    /// `otas.project_id`.
    project_id: Option<String>,
    order: Order,
    /// With [`Order::Adaptive`]: sessions that have several posts in flight at once.
    rushed: HashSet<SessionRow>,
    /// The delivery lock. `None`: another process has it, or nothing can be delivered.
    lock: Option<DeliveryLock>,
    /// When to try the lock again.
    lock_not_before: Option<Instant>,
    /// The store's salt and the seals of this process's keys; the last one belongs to the current key.
    salt: Option<Vec<u8>>,
    seals: Vec<Seal>,
    seal_is_current: bool,
    /// Tokens sealed under a former key. They are stored again once the current key is known to belong to the same agent.
    sealed_anew: Vec<Note>,
    identity: Option<Identity>,
    /// OTAS's id of the agent that owns this process's events.
    own_agent: Option<String>,
    backoff: Backoff,
    pace: Lane,
    queue: Queue,
    sessions: Sessions,
    /// Sessions that must be opened even without events.
    wanted: Vec<SessionRow>,
    calls: JoinSet<FinishedCall>,
    /// The row that each call posts, or the session that it opens, in case the call panics.
    under_way: HashMap<Id, Call>,
    key_in_doubt: bool,
    /// When UASAM last verified a key that Brain had refused.
    key_cleared_at: Option<Instant>,
    /// What an operator must fix before anything of this key is delivered.
    paused: Option<String>,
    /// The lock is released once no call is in flight, because another process may have better settings.
    lets_others_try: bool,
    /// Why OTAS accepts no events.
    trouble: Option<String>,
    /// Sessions of a replaced key are still being delivered with it: when to ask for them again.
    adopt_at: Option<Instant>,
    unsettled: Vec<Settlement>,
    notes: Vec<Note>,
    store_rests_until: Option<Instant>,
    next_poll: Instant,
    next_look_at_key_file: Instant,
    data_version: Option<DataVersion>,
    /// The counts must be read anew at once, and not with the next turn to the disk.
    counts_are_wanted: bool,
    /// Events that OTAS accepted from this worker.
    delivered: u64,
    shown: Status,
    status: watch::Sender<Status>,
    /// Gets what was settled for good.
    settled: Option<mpsc::UnboundedSender<Vec<Fate>>>,
    /// For it: not recorded yet.
    fates: Vec<Fate>,
}

enum Call {
    Post(i64),
    Open(SessionRow),
    CheckKey,
}

/// The end of a call to OTAS.
enum FinishedCall {
    Posted { item: Item, token: Arc<Token>, ticket: Slip, answer: Result<Reply, TransportError> },
    Opened { session: SessionRow, ticket: Slip, answer: Result<Reply, TransportError> },
    KeyChecked { ticket: Slip, answer: Result<Reply, TransportError> },
}

impl Worker {
    pub(super) fn new(options: DeliverOptions, status: watch::Sender<Status>) -> Result<Self, DeliverError> {
        let DeliverOptions { store, session_row, process, otas, delivery, tls, fleet } = options;
        let client = Arc::new(OtasClient::new(&otas, tls, delivery.attempt_timeout)?);
        let backoff = Backoff::new(delivery.backoff_min, delivery.backoff_max);
        let credentials = Credentials::configured(&otas);
        let notes = match (&credentials, session_row) {
            (Some(credentials), Some(own)) => vec![Note::KeySource(own, credentials.source.clone())],
            _ => Vec::new(),
        };
        let now = Instant::now();
        Ok(Self {
            store,
            own: session_row,
            process,
            client,
            key_file: otas.agent_key_file.clone().filter(|_| credentials.is_some()).map(KeyFile::new),
            credentials,
            next_key: None,
            former_keys: Vec::new(),
            key_was_good: false,
            key_refused_since: None,
            session_token: otas.session_token,
            project_id: otas.project_id,
            order: delivery.order,
            rushed: HashSet::new(),
            lock: None,
            lock_not_before: None,
            salt: None,
            seals: Vec::new(),
            seal_is_current: false,
            sealed_anew: Vec::new(),
            identity: None,
            own_agent: None,
            backoff,
            pace: Lane::new(Pace::new(delivery.max_in_flight, backoff), fleet.ceiling),
            settled: fleet.settled,
            queue: Queue::default(),
            sessions: Sessions::default(),
            wanted: Vec::new(),
            calls: JoinSet::new(),
            under_way: HashMap::new(),
            key_in_doubt: false,
            key_cleared_at: None,
            paused: None,
            lets_others_try: false,
            trouble: None,
            adopt_at: None,
            fates: Vec::new(),
            unsettled: Vec::new(),
            notes,
            store_rests_until: None,
            next_poll: now,
            next_look_at_key_file: now,
            data_version: None,
            counts_are_wanted: true,
            delivered: 0,
            shown: Status::default(),
            status,
        })
    }

    /// Delivers until told to stop, or until the [`super::Deliverer`] is dropped.
    pub(super) async fn run(mut self, signals: Arc<Signals>, mut stop: oneshot::Receiver<CancellationToken>) {
        if self.credentials.is_none() {
            self.pause("there is no agent key: set `otas.agent_key_file` (or OTAS_AGENT_KEY)".to_owned());
        }
        let (mut asking, freed) = (Vec::new(), self.pace.freed());
        let hurry = loop {
            let adjustment = signals.adjustment.lock().take();
            adjustment.into_iter().for_each(|new| self.adjust(new));
            asking.extend(signals.asking());
            self.counts_are_wanted |= !asking.is_empty();
            self.change_hands();
            self.rush(Instant::now());
            self.turn_to_disk().await;
            let wake_at = self.start_calls(Instant::now());
            self.publish();
            if !self.counts_are_wanted {
                for asking in asking.drain(..) {
                    // The receiver may have given up waiting.
                    let _ = asking.send(());
                }
            }
            let wake_at = wake_at.map_or(self.next_poll, |at| at.min(self.next_poll));
            tokio::select! {
                hurry = &mut stop => break hurry.unwrap_or_default(),
                Some(done) = self.calls.join_next_with_id() => self.finish_all(done),
                () = signals.appended.notified() => self.queue.stale(),
                () = signals.hurry.notified() => self.hurry(Instant::now()),
                () = freed.notified() => {}
                () = sleep_until(wake_at) => {}
            }
        };
        self.wind_up(&hurry).await;
    }

    /// New settings.
    fn adjust(&mut self, new: Adjustment) {
        let Adjustment { project_id, delivery, tls } = new;
        match self.client.with(tls, delivery.attempt_timeout) {
            Ok(client) => self.client = Arc::new(client),
            Err(error) => error!(%error, "cannot use the new settings for calls to OTAS; the old ones stay"),
        }
        self.backoff = Backoff::new(delivery.backoff_min, delivery.backoff_max);
        self.pace.adjust(delivery.max_in_flight, self.backoff);
        self.order = delivery.order;
        if self.project_id != project_id {
            // Whether the key belongs to it is asked before the next post.
            (self.project_id, self.identity) = (project_id, None);
            self.resume();
            self.pace.probe_at_once(Instant::now());
        }
    }

    /// A caller is waiting: everything that is delayed is tried now.
    fn hurry(&mut self, now: Instant) {
        self.pace.probe_at_once(now);
        self.lock_not_before = None;
        self.next_poll = now;
        self.next_look_at_key_file = now;
        if self.sessions.release(now + self.backoff.slowest()) {
            self.queue.stale();
        }
    }

    /// Between calls, with everything recorded: switches to a new key, and lets another process deliver while an operator is
    /// needed here.
    fn change_hands(&mut self) {
        if !self.calls.is_empty() || !self.unsettled.is_empty() || !self.notes.is_empty() {
            return;
        }
        if let (Some(key), Some(old)) = (self.next_key.take(), &self.credentials) {
            let new = old.replaced_by(key);
            self.former_keys.retain(|former| *former != new.key_id);
            self.former_keys.push(old.key_id.clone());
            self.credentials = Some(new);
            (self.key_was_good, self.key_refused_since) = (false, None);
            self.let_go();
            self.seal_is_current = false;
            self.lock_not_before = None;
            self.resume();
            self.pace.probe_at_once(Instant::now());
        }
        if std::mem::take(&mut self.lets_others_try) && self.lock.is_some() {
            self.let_go();
            self.lock_not_before = Some(self.pace.next_at(Instant::now()));
        }
    }

    fn let_go(&mut self) {
        self.lock = None;
        self.identity = None;
        self.key_in_doubt = false;
        self.sealed_anew.clear();
        self.queue.forget();
        self.counts_are_wanted = true;
        self.next_poll = Instant::now();
    }

    /// Starts as many calls as allowed. Returns when to check again if nothing happens before.
    fn start_calls(&mut self, now: Instant) -> Option<Instant> {
        if self.sessions.release(now) {
            self.queue.stale();
        }
        loop {
            if self.lock.is_none() || self.next_key.is_some() {
                return None;
            }
            if let Some(until) = self.store_rests_until {
                return Some(until);
            }
            match self.pace.permit(now, self.calls.len()) {
                Permit::Now => {}
                Permit::After(due) => return Some(due),
                Permit::Full => return None,
            }
            match self.next_step(now) {
                Step::Wait(until) => {
                    self.pace.passes();
                    return until;
                }
                step => self.start(step, now),
            }
        }
    }

    fn start(&mut self, step: Step, now: Instant) {
        let (Some(credentials), in_flight) = (&self.credentials, self.calls.len()) else { return };
        let (client, key) = (self.client.clone(), credentials.key.clone());
        let (call, handle) = match step {
            Step::Wait(_) => return,
            Step::CheckKey => {
                let ticket = self.pace.begin(now, in_flight);
                let check = async move { FinishedCall::KeyChecked { ticket, answer: client.verify_key(&key).await } };
                (Call::CheckKey, self.calls.spawn(check))
            }
            Step::Open(session) => {
                let ticket = self.pace.begin(now, in_flight);
                let meta = self.sessions.opening(session);
                let opening = async move {
                    let answer = client.create_session(&key, &meta).await;
                    FinishedCall::Opened { session, ticket, answer }
                };
                (Call::Open(session), self.calls.spawn(opening))
            }
            Step::Post(row, token) => {
                let Some(mut item) = self.queue.take(row) else { return };
                let Some(body) = self.body(&item) else {
                    self.mark_dead(item, "the stored event is not a JSON object".to_owned());
                    return;
                };
                // It is read again if needed, so that events in flight are held only once.
                item.json = None;
                let ticket = self.pace.begin(now, in_flight);
                let posting = async move {
                    let answer = match ticket.stands(Instant::now()) {
                        true => client.log_event(&key, &token.secret, body).await,
                        false => Err(TransportError::not_begun()),
                    };
                    FinishedCall::Posted { item, token, ticket, answer }
                };
                (Call::Post(row), self.calls.spawn(posting))
            }
        };
        self.under_way.insert(handle.id(), call);
    }

    fn body(&self, item: &Item) -> Option<Vec<u8>> {
        let (project_id, json) = (&self.identity.as_ref()?.project_id, item.json.as_deref()?);
        if item.leaves_bodies_out() {
            bodies::without_bodies(project_id, json)
        } else {
            event::with_project_id(json, project_id)
        }
    }

    /// Handles a finished call, and all others that have finished meanwhile. They are settled together.
    fn finish_all(&mut self, first: Result<(Id, FinishedCall), JoinError>) {
        let mut next = Some(first);
        while let Some(done) = next {
            let call = self.under_way.remove(&done.as_ref().map_or_else(JoinError::id, |(id, _)| *id));
            self.finish(done.map(|(_, done)| done), call);
            next = self.calls.try_join_next_with_id();
        }
    }

    fn publish(&mut self) {
        let shown = &mut self.shown;
        shown.delivering = self.lock.is_some();
        shown.in_flight = self.calls.len();
        shown.limit = self.pace.limit();
        let held = self.own.and_then(|own| self.sessions.held_for(own));
        shown.trouble = self.paused.as_deref().or(self.trouble.as_deref()).or(held).map(str::to_owned);
        match (&self.paused, held, self.own) {
            (Some(reason), _, _) => shown.session = SessionState::Paused { reason: reason.clone() },
            (None, Some(reason), _) => shown.session = SessionState::Paused { reason: reason.to_owned() },
            (None, None, own) if self.lock.is_some() => {
                shown.session = match own.and_then(|own| self.sessions.open_as(own)) {
                    Some(id) => SessionState::Open { otas_session_id: id.map(str::to_owned) },
                    None if self.identity.is_some() && self.key_was_good => SessionState::Ready,
                    None if self.identity.is_some() => SessionState::Unchecked,
                    None => SessionState::Opening,
                };
            }
            // Another process is opening it; the store will tell.
            (None, None, _) => {}
        }
        self.shown.tell(&self.status);
    }

    async fn wind_up(mut self, hurry: &CancellationToken) {
        let over = async {
            tokio::select! {
                () = sleep(STOP_GRACE) => {}
                () = async { hurry.cancelled().await; sleep(HURRIED_GRACE).await } => {}
            }
        };
        tokio::pin!(over);
        // The key check is not awaited: nothing depends on it any more.
        while self.under_way.values().any(|call| !matches!(call, Call::CheckKey)) {
            tokio::select! {
                Some(done) = self.calls.join_next_with_id() => self.finish_all(done),
                () = &mut over => break,
            }
        }
        self.calls.shutdown().await;
        self.store_rests_until = None;
        self.counts_are_wanted = true;
        self.turn_to_disk().await;
        if !self.unsettled.is_empty() {
            error!(events = self.unsettled.len(), "the results of the last posts could not be recorded");
        }
        self.publish();
    }
}
