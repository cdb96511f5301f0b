//! The loop: takes the right to deliver, reads what is pending, posts it in order, judges the answers, and writes down what
//! became of each event.
//!
//! One task owns all state, so nothing here is locked. Calls to OTAS are tasks of their own; the disk is asked on the
//! blocking threads, once a turn (`disk`): what is settled is written, counts are read, the window is filled. Nothing new is
//! posted while an acknowledgement is not yet written down. What the ends of calls mean is in `ends`.

mod disk;
mod ends;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::error;

use self::disk::Note;
use super::backoff::Backoff;
use super::bodies;
use super::client::OtasClient;
use super::credentials::{Credentials, KeyFile};
use super::pace::{Pace, Permit, Ticket};
use super::queue::{Item, Queue};
use super::seal::Seal;
use super::session::Identity;
use super::sessions::{Sessions, Standing, Token};
use super::{DeliverError, DeliverOptions, Reply, SessionState, Signals, Status, TransportError};
use crate::config::Order;
use crate::secret::Secret;
use crate::store::{DeliveryLock, SessionRow, Settlement, Store};

/// How long posts under way may take when delivery is stopped.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How often to see whether others have appended, or have let go of the right to deliver.
const POLL: Duration = Duration::from_millis(250);

pub(super) struct Worker {
    store: Store,
    /// This process's own session. `None`: it has none, and delivers those of others.
    own: Option<SessionRow>,
    client: Arc<OtasClient>,
    /// `None`: there is no agent key.
    credentials: Option<Credentials>,
    key_file: Option<KeyFile>,
    /// The key file holds another key.
    next_key: Option<Secret>,
    /// `otas.session_token`, until OTAS has refused it.
    session_token: Option<Secret>,
    /// `otas.project_id`.
    project_id: Option<String>,
    order: Order,
    /// The right to deliver. `None`: another process does, or nothing can be delivered.
    lock: Option<DeliveryLock>,
    /// Not to be asked for before then.
    lock_not_before: Option<Instant>,
    /// The store's salt, and with it the seals of the keys that this process has had; the last is the current one's.
    salt: Option<Vec<u8>>,
    seals: Vec<Seal>,
    seal_is_current: bool,
    /// Tokens that were under a former key's seal, to be kept once the current key is known to be the same agent's.
    sealed_anew: Vec<Note>,
    identity: Option<Identity>,
    /// OTAS's agent that this process's events belong to.
    own_agent: Option<String>,
    backoff: Backoff,
    pace: Pace,
    queue: Queue,
    sessions: Sessions,
    /// Sessions that are to be opened, events or not.
    wanted: Vec<SessionRow>,
    calls: JoinSet<Done>,
    /// Which call posts which row, or opens which session, should a call end without saying so.
    under_way: HashMap<Id, Call>,
    key_in_doubt: bool,
    /// When UASAM last cleared a key that Brain had refused.
    key_cleared_at: Option<Instant>,
    /// What a person must put right before anything of this key is delivered.
    paused: Option<String>,
    /// The right to deliver goes to others when what is under way has ended: their settings may be better.
    lets_others_try: bool,
    /// Why OTAS takes no events.
    trouble: Option<String>,
    /// Sessions of a replaced key are still being delivered with it: when to ask for them again.
    adopt_at: Option<Instant>,
    unsettled: Vec<Settlement>,
    notes: Vec<Note>,
    store_rests_until: Option<Instant>,
    next_poll: Instant,
    next_look_at_key_file: Instant,
    data_version: Option<i64>,
    counts_are_stale: bool,
    /// Events that OTAS took from this worker.
    delivered: u64,
    shown: Status,
    status: watch::Sender<Status>,
}

enum Call {
    Post(i64),
    Open(SessionRow),
    CheckKey,
}

/// The end of a call to OTAS.
enum Done {
    Posted { item: Item, token: Arc<Token>, ticket: Ticket, answer: Result<Reply, TransportError> },
    Opened { session: SessionRow, ticket: Ticket, answer: Result<Reply, TransportError> },
    KeyChecked { ticket: Ticket, answer: Result<Reply, TransportError> },
}

/// What to do next, given that a call may start.
enum Step {
    CheckKey,
    Open(SessionRow),
    Post(i64, Arc<Token>),
    /// Nothing before this time, or before something happens.
    Wait(Option<Instant>),
}

/// What the next due event needs.
enum Need {
    /// Its session, from the store.
    Read(SessionRow),
    /// Its session, at OTAS.
    Open(SessionRow),
    /// Its JSON, from the store.
    Load(i64),
    /// Nothing more.
    Post(i64, Arc<Token>),
}

impl Worker {
    pub(super) fn new(options: DeliverOptions, status: watch::Sender<Status>) -> Result<Self, DeliverError> {
        let DeliverOptions { store, session_row, otas, delivery, tls } = options;
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
            client,
            key_file: otas.agent_key_file.clone().filter(|_| credentials.is_some()).map(KeyFile::new),
            credentials,
            next_key: None,
            session_token: otas.session_token,
            project_id: otas.project_id,
            order: delivery.order,
            lock: None,
            lock_not_before: None,
            salt: None,
            seals: Vec::new(),
            seal_is_current: false,
            sealed_anew: Vec::new(),
            identity: None,
            own_agent: None,
            backoff,
            pace: Pace::new(delivery.max_in_flight, backoff),
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
            unsettled: Vec::new(),
            notes,
            store_rests_until: None,
            next_poll: now,
            next_look_at_key_file: now,
            data_version: None,
            counts_are_stale: true,
            delivered: 0,
            shown: Status::default(),
            status,
        })
    }

    /// Delivers until told to stop, or until the [`super::Deliverer`] is dropped.
    pub(super) async fn run(mut self, signals: Arc<Signals>, mut stop: oneshot::Receiver<()>) {
        if self.credentials.is_none() {
            self.pause("there is no agent key: set `otas.agent_key_file` (or OTAS_AGENT_KEY)".to_owned());
        }
        let mut asking = Vec::new();
        loop {
            asking.extend(signals.asking());
            self.counts_are_stale |= !asking.is_empty();
            self.change_hands();
            self.turn_to_disk().await;
            let wake_at = self.start_calls(Instant::now());
            self.publish();
            if !self.counts_are_stale {
                for asking in asking.drain(..) {
                    // Who has given up waiting need not be told.
                    let _ = asking.send(());
                }
            }
            let wake_at = wake_at.map_or(self.next_poll, |at| at.min(self.next_poll));
            tokio::select! {
                _ = &mut stop => break,
                Some(done) = self.calls.join_next_with_id() => self.finish_all(done),
                () = signals.appended.notified() => {
                    self.queue.stale();
                    self.counts_are_stale = true;
                }
                () = signals.hurry.notified() => self.hurry(Instant::now()),
                () = sleep_until(wake_at) => {}
            }
        }
        self.wind_up().await;
    }

    /// Somebody waits: whatever waits for its time is tried now.
    fn hurry(&mut self, now: Instant) {
        self.pace.probe_at_once(now);
        self.lock_not_before = None;
        self.next_poll = now;
        self.next_look_at_key_file = now;
        if self.sessions.release(now + self.backoff.slowest()) {
            self.queue.stale();
        }
    }

    /// Between calls, with everything written down: takes up a new key, and lets others deliver while only a person can
    /// help here.
    fn change_hands(&mut self) {
        if !self.calls.is_empty() || !self.unsettled.is_empty() || !self.notes.is_empty() {
            return;
        }
        if let (Some(key), Some(old)) = (self.next_key.take(), &self.credentials) {
            self.credentials = Some(old.replaced_by(key));
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
        self.counts_are_stale = true;
        self.next_poll = Instant::now();
    }

    /// Starts as many calls as may start. Tells when to look again, should nothing happen before.
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
                Step::Wait(until) => return until,
                step => self.start(step, now),
            }
        }
    }

    /// A key is checked while nothing else is under way: then there is one check at a time, and no post is judged by a key
    /// that is in doubt.
    fn next_step(&mut self, now: Instant) -> Step {
        let alone = self.calls.is_empty();
        if self.key_in_doubt {
            return if alone { Step::CheckKey } else { Step::Wait(None) };
        }
        let is_wanted = |session: &&SessionRow| matches!(self.sessions.standing(**session, now), Standing::Wanted);
        let need = match self.wanted.iter().find(is_wanted) {
            // An agent waits for it.
            Some(wanted) => Some(Need::Open(*wanted)),
            None => self.needs(now, 1).pop(),
        };
        let step = match need {
            Some(Need::Read(_) | Need::Load(_)) => return Step::Wait(Some(now)),
            Some(Need::Open(session)) => Step::Open(session),
            Some(Need::Post(row, token)) => Step::Post(row, token),
            None => match self.own.map(|own| (own, self.sessions.standing(own, now))) {
                // Opened before there is anything to deliver, so that a wrong key is told of at the start.
                Some((own, Standing::Wanted)) => Step::Open(own),
                Some((_, Standing::Unread)) => return Step::Wait(Some(now)),
                Some((_, Standing::Open(_))) if self.identity.is_none() && alone => return Step::CheckKey,
                _ => return Step::Wait(self.queue.next_due().into_iter().chain(self.sessions.held().1).min()),
            },
        };
        match self.identity {
            Some(_) => step,
            None if alone => Step::CheckKey,
            None => Step::Wait(None),
        }
    }

    /// What the first due events need, for at most so many of them.
    fn needs(&self, now: Instant, many: usize) -> Vec<Need> {
        let mut needs = Vec::new();
        let mut passed: Vec<SessionRow> = Vec::new();
        for item in self.queue.due(now) {
            if needs.len() >= many {
                break;
            }
            let in_turn = self.order == Order::Window || !self.queue.is_posting(item.session);
            if !in_turn || passed.contains(&item.session) {
                continue;
            }
            let need = match self.sessions.standing(item.session, now) {
                Standing::Opening | Standing::Held => None,
                Standing::Unread => Some(Need::Read(item.session)),
                Standing::Wanted => Some(Need::Open(item.session)),
                Standing::Open(_) if item.json.is_none() => Some(Need::Load(item.id)),
                Standing::Open(token) => Some(Need::Post(item.id, token)),
            };
            if self.order == Order::Strict || !matches!(need, Some(Need::Load(_) | Need::Post(..))) {
                passed.push(item.session);
            }
            needs.extend(need);
        }
        needs
    }

    fn start(&mut self, step: Step, now: Instant) {
        let (Some(credentials), in_flight) = (&self.credentials, self.calls.len()) else { return };
        let (client, key) = (self.client.clone(), credentials.key.clone());
        let (call, handle) = match step {
            Step::Wait(_) => return,
            Step::CheckKey => {
                let ticket = self.pace.begin(now, in_flight);
                let check = async move { Done::KeyChecked { ticket, answer: client.verify_key(&key).await } };
                (Call::CheckKey, self.calls.spawn(check))
            }
            Step::Open(session) => {
                let ticket = self.pace.begin(now, in_flight);
                let meta = self.sessions.opening(session);
                let opening = async move {
                    let answer = client.create_session(&key, &meta).await;
                    Done::Opened { session, ticket, answer }
                };
                (Call::Open(session), self.calls.spawn(opening))
            }
            Step::Post(row, token) => {
                let Some(mut item) = self.queue.take(row) else { return };
                let Some(body) = self.body(&item) else {
                    self.bury(item, "what is stored is no JSON object".to_owned());
                    return;
                };
                // It is read again should it be needed again: what is under way is held once, not twice.
                item.json = None;
                let ticket = self.pace.begin(now, in_flight);
                let posting = async move {
                    let answer = client.log_event(&key, &token.secret, body).await;
                    Done::Posted { item, token, ticket, answer }
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
            bodies::whole(project_id, json)
        }
    }

    /// Takes in a finished call, and all others that have finished meanwhile: they are settled together.
    fn finish_all(&mut self, first: Result<(Id, Done), JoinError>) {
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
            (None, None, Some(own)) if self.lock.is_some() => {
                shown.session = match self.sessions.open_as(own) {
                    Some(id) => SessionState::Open { otas_session_id: id.map(str::to_owned) },
                    None => SessionState::Opening,
                };
            }
            // Told by the store: another process opens it.
            (None, None, _) => {}
        }
        self.status.send_if_modified(|status| {
            let news = *status != self.shown;
            if news {
                status.clone_from(&self.shown);
            }
            news
        });
    }

    async fn wind_up(mut self) {
        let deadline = Instant::now() + STOP_GRACE;
        while let Ok(Some(done)) = timeout_at(deadline, self.calls.join_next_with_id()).await {
            self.finish_all(done);
        }
        self.calls.shutdown().await;
        self.store_rests_until = None;
        self.counts_are_stale = true;
        self.turn_to_disk().await;
        if !self.unsettled.is_empty() {
            error!(events = self.unsettled.len(), "what became of the last events could not be written down");
        }
        self.publish();
    }
}
