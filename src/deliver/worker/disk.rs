//! One visit to the disk: all reads and writes of the worker, together on a blocking thread.

use std::io;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::super::credentials::KeyFile;
use super::super::pace::Permit;
use super::super::seal::Seal;
use super::super::sessions::{Sessions, Standing};
use super::super::status::cannot_lock;
use super::super::{POLL, STORE_PAUSE, SessionState};
use super::Worker;
use super::choice::Need;
use crate::secret::Secret;
use crate::store::{
    Counts, DataVersion, DeliveryLock, KeptToken, KeySource, PendingEvent, SessionRecord, SessionRow, Settlement,
    Store, StoreError,
};

/// How often to check the key file.
const KEY_FILE_POLL: Duration = Duration::from_secs(1);

/// A fact to store that is not about an event.
#[derive(Clone)]
pub(super) enum Note {
    /// The source of the key of this process's session.
    KeySource(SessionRow, KeySource),
    /// A session's token.
    Token(SessionRow, KeptToken),
    /// The agent of the key.
    KeyOf { agent_id: String },
    /// OTAS refuses the key.
    KeyRefused,
    /// Moves the sessions of replaced keys to this key.
    Adopt { agent_id: Option<String>, source: KeySource },
}

/// The worker's questions.
struct DiskRequest {
    key_id: String,
    /// The current key id, and those that this process had before.
    keys: Vec<String>,
    own: Option<SessionRow>,
    process: Option<SessionRow>,
    settlements: Vec<Settlement>,
    notes: Vec<Note>,
    take_lock: bool,
    want_salt: bool,
    key_file: Option<KeyFile>,
    counts_after: Option<DataVersion>,
    without: Vec<SessionRow>,
    room: Option<usize>,
    lock: Option<DeliveryLock>,
    load: Vec<i64>,
    read: Vec<SessionRow>,
}

/// The answers.
#[derive(Default)]
struct DiskReply {
    lock: Option<io::Result<Option<DeliveryLock>>>,
    lock_has_gone: bool,
    salt: Option<Vec<u8>>,
    new_key: Option<(KeyFile, Option<Result<Secret, String>>)>,
    data_version: DataVersion,
    counts: Option<DiskCounts>,
    waiting: Option<Vec<(i64, SessionRow)>>,
    wanted: Option<Vec<SessionRow>>,
    loaded: Vec<(i64, Option<PendingEvent>)>,
    read: Vec<(SessionRow, Option<SessionRecord>)>,
    adopted: usize,
    adopt_again: bool,
    token_used_by: Option<String>,
}

struct DiskCounts {
    /// Counts of the sessions that this process began.
    of_process: Option<Counts>,
    of_key: Counts,
    own: Option<SessionRecord>,
}

impl Worker {
    /// Writes the settlements, then reads what is needed next. When the store fails, everything is retried later.
    pub(super) async fn turn_to_disk(&mut self) {
        let now = Instant::now();
        if self.store_rests_until.is_some_and(|until| now < until) {
            return;
        }
        self.store_rests_until = None;
        let polls = self.next_poll <= now;
        self.adopt_again(now);
        let turn = self.turn(now, polls);
        if !polls && !self.counts_are_wanted && turn.is_idle() {
            return;
        }
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || {
            let found = turn.run(&store);
            (turn, found)
        });
        let found = match done.await {
            Ok((turn, Ok(found))) => Ok((turn, found)),
            Ok((_, Err(error))) => Err(error.to_string() + &cause(&error)),
            Err(_) => Err("the disk task panicked".to_owned()),
        };
        match found {
            Ok((turn, found)) => {
                self.tell_settled();
                self.notes.clear();
                if polls {
                    self.next_poll = now + POLL;
                }
                self.take_in(turn, found, now);
            }
            Err(error) => {
                warn!(error, "the store failed: delivery is paused until it works again");
                self.store_rests_until = Some(now + STORE_PAUSE);
                self.next_poll = now + STORE_PAUSE;
            }
        }
    }

    fn tell_settled(&mut self) {
        self.unsettled.clear();
        if let Some(settled) = &self.settled {
            // Nobody listens any more when the relay stops.
            let _ = settled.send(std::mem::take(&mut self.fates));
        }
    }

    fn turn(&self, now: Instant, polls: bool) -> DiskRequest {
        let delivers = self.lock.is_some();
        let key_id = self.credentials.as_ref().map(|credentials| credentials.key_id.clone()).unwrap_or_default();
        let may_lock = self.credentials.is_some() && self.lock_not_before.is_none_or(|at| at <= now);
        let keys = self.former_keys.iter().chain(self.credentials.as_ref().map(|it| &it.key_id)).cloned().collect();
        let mut turn = DiskRequest {
            key_id,
            keys,
            own: self.own,
            process: self.process,
            settlements: self.unsettled.clone(),
            notes: self.notes.clone(),
            take_lock: polls && !delivers && may_lock,
            want_salt: self.salt.is_none() && may_lock,
            key_file: self.key_file.clone().filter(|_| self.next_look_at_key_file <= now),
            counts_after: self.data_version.filter(|_| !self.counts_are_wanted),
            without: Vec::new(),
            room: None,
            lock: self.lock.clone(),
            load: Vec::new(),
            read: Vec::new(),
        };
        if !delivers {
            return turn;
        }
        // While no post may start, its event is not read either.
        if matches!(self.pace.permit(now, self.calls.len()), Permit::Now) {
            (turn.without, turn.room) = (self.sessions.held().0, self.queue.wants());
            let many = self.pace.limit().saturating_sub(self.calls.len()).max(1);
            for need in self.needs(now, many) {
                match need {
                    Need::Read(session) => turn.read.push(session),
                    Need::Load(row) => turn.load.push(row),
                    Need::Open(_) | Need::Post(..) => {}
                }
            }
        }
        for session in self.own.iter().chain(&self.wanted) {
            if matches!(self.sessions.standing(*session, now), Standing::Unread) && !turn.read.contains(session) {
                turn.read.push(*session);
            }
        }
        turn
    }

    /// Asks again for sessions of a replaced key that another process was still delivering.
    fn adopt_again(&mut self, now: Instant) {
        let due = self.adopt_at.is_some_and(|at| at <= now);
        if let (true, Some(identity), Some(credentials)) = (due, &self.identity, &self.credentials) {
            let (agent_id, source) = (identity.agent_id.clone(), credentials.source.clone());
            self.notes.push(Note::Adopt { agent_id, source });
            self.adopt_at = None;
        }
    }

    fn take_in(&mut self, turn: DiskRequest, found: DiskReply, now: Instant) {
        self.salt = self.salt.take().or(found.salt);
        if let Some((file, new_key)) = found.new_key {
            self.key_file = Some(file);
            self.next_look_at_key_file = now + KEY_FILE_POLL;
            self.key_file_says(new_key);
        }
        if found.lock_has_gone {
            // Applied as soon as no call is in flight: see `change_hands`.
            self.lets_others_try = true;
        }
        if let Some(lock) = found.lock {
            self.lock_says(lock, now);
        }
        if self.data_version.replace(found.data_version) != Some(found.data_version) {
            self.queue.stale();
        }
        if let Some(counts) = found.counts {
            self.counts_are_wanted = false;
            self.counts_say(counts);
        }
        if let (Some(rows), Some(limit)) = (found.waiting, turn.room) {
            self.queue.read(&rows, limit);
            self.sessions.tidy(|session| Some(session) == self.own || self.queue.has(session));
        }
        if let Some(wanted) = found.wanted {
            self.wanted = wanted;
        }
        for (id, event) in found.loaded {
            self.queue.loaded(id, event);
        }
        for (session, record) in found.read {
            self.session_read(session, record, now);
        }
        if found.adopted > 0 {
            info!(sessions = found.adopted, "sessions of a replaced key are now delivered with this key");
            self.queue.stale();
            self.counts_are_wanted = true;
        }
        // Callers keep adding sessions under the key that they got at the start.
        if found.adopt_again || !self.former_keys.is_empty() && self.adopt_at.is_none() {
            self.adopt_at = Some(now + KEY_FILE_POLL);
        }
        if let Some(run) = found.token_used_by {
            let warning = format!(
                "the configured session token was already used by an earlier run (run {run}): OTAS expects one session for each \
                 run, so their events now stand in one; remove `otas.session_token` (OTAS_SESSION_TOKEN), or give each run \
                 a new one"
            );
            warn!("{warning}");
            self.shown.warning = Some(warning);
        }
    }

    fn key_file_says(&mut self, new_key: Option<Result<Secret, String>>) {
        let current = self.credentials.as_ref().map(|credentials| &credentials.key);
        match new_key {
            Some(Ok(key)) if current != Some(&key) => {
                info!("the key file has a new key: switching to it");
                self.next_key = Some(key);
            }
            Some(Ok(_)) => self.next_key = None,
            Some(Err(error)) => warn!(error, "the key file is invalid; keeping the old key"),
            None => {}
        }
    }

    fn lock_says(&mut self, lock: io::Result<Option<DeliveryLock>>, now: Instant) {
        match lock {
            Ok(Some(lock)) => {
                debug!("this process delivers the key's events");
                self.lock = Some(lock);
                self.lets_others_try = false;
                self.queue.forget();
                // Another process may have changed the tokens of the sessions.
                self.sessions = Sessions::default();
                self.counts_are_wanted = true;
                self.take_up_seal();
            }
            // The process that delivers sees OTAS's problems.
            Ok(None) => self.resume(),
            Err(error) => {
                self.pause(cannot_lock(self.store.path(), &error));
                self.lock_not_before = Some(now + STORE_PAUSE);
            }
        }
    }

    fn take_up_seal(&mut self) {
        if self.seal_is_current {
            return;
        }
        let (Some(credentials), Some(salt)) = (&self.credentials, &self.salt) else { return };
        match Seal::new(&credentials.key, salt) {
            Ok(seal) => {
                self.seals.push(seal);
                self.seal_is_current = true;
            }
            Err(_) => self.pause("cannot derive the key that seals session tokens".to_owned()),
        }
    }

    fn counts_say(&mut self, counts: DiskCounts) {
        self.shown.backlog = counts.of_key.pending;
        self.shown.counts = counts.of_process.unwrap_or(counts.of_key);
        let record = counts.own;
        let agent_id = record.as_ref().and_then(|record| record.agent_id.clone());
        self.own_agent = self.own_agent.take().or(agent_id);
        if self.lock.is_some() || self.paused.is_some() {
            return;
        }
        let opened = record.filter(|record| record.token_sealed.is_some());
        self.shown.session = match opened {
            Some(record) => SessionState::Open { otas_session_id: record.otas_session_id },
            None => SessionState::Opening,
        };
    }

    fn session_read(&mut self, session: SessionRow, record: Option<SessionRecord>, now: Instant) {
        // A session added after the key was verified does not know its agent yet.
        let of_unknown = record.as_ref().is_some_and(|record| record.agent_id.is_none());
        let agent_id = self.identity.as_ref().and_then(|identity| identity.agent_id.clone());
        if let Some(agent_id) = agent_id.filter(|_| of_unknown) {
            self.notes.push(Note::KeyOf { agent_id });
        }
        let (Some(seal), Some(salt)) = (self.seals.last(), &self.salt) else { return };
        let configured = self.session_token.as_ref().filter(|_| Some(session) == self.own);
        if let Some(kept) = self.sessions.read(session, record, &self.seals, configured) {
            let notes = if self.identity.is_some() { &mut self.notes } else { &mut self.sealed_anew };
            notes.push(Note::Token(session, kept));
        }
        let Some(token) = configured else { return };
        let until = now + self.backoff.slowest();
        if let Some(kept) = self.sessions.configure(session, token, seal, salt, until) {
            self.notes.push(Note::Token(session, kept));
        }
        if let Some(reason) = self.sessions.held_for(session) {
            error!(reason, "this run's events are kept");
            self.queue.forget_session(session);
        }
    }
}

impl DiskRequest {
    fn is_idle(&self) -> bool {
        self.settlements.is_empty()
            && self.notes.is_empty()
            && self.room.is_none()
            && self.load.is_empty()
            && self.read.is_empty()
    }

    fn run(&self, store: &Store) -> Result<DiskReply, StoreError> {
        let mut found = DiskReply::default();
        if !self.settlements.is_empty() {
            store.settle(&self.settlements)?;
        }
        for note in &self.notes {
            self.write(note, store, &mut found)?;
        }
        if self.want_salt {
            found.salt = Some(store.salt()?);
        }
        if let Some(mut file) = self.key_file.clone() {
            let key = file.look();
            found.new_key = Some((file, key));
        }
        if self.take_lock {
            found.lock = Some(store.try_lock_delivery(&self.key_id));
        }
        // Read before the other data, so that a change in between is seen again.
        found.data_version = store.data_version()?;
        if let Some(room) = self.room {
            found.waiting = Some(store.waiting(&self.key_id, &self.without, room)?);
        }
        if self.lock.is_some() {
            found.wanted = Some(store.wanted_sessions(&self.key_id)?);
        }
        for &row in &self.load {
            found.loaded.push((row, store.pending_event(row)?));
        }
        for &session in &self.read {
            found.read.push((session, store.session(session)?));
        }
        if self.counts_after != Some(found.data_version) || !self.settlements.is_empty() {
            let own = self.own.map(|own| store.session(own)).transpose()?.flatten();
            let of_process = self.process.map(|first| store.counts_of_process(first, &self.keys)).transpose()?;
            found.counts = Some(DiskCounts { of_process, of_key: store.counts_of_key(&self.key_id)?, own });
        }
        // Checked after the reads: they may be from a new store, whose events another process delivers.
        if self.lock.as_ref().is_some_and(|lock| !lock.stands()) {
            (found.lock_has_gone, found.waiting, found.wanted) = (true, None, None);
        }
        Ok(found)
    }

    fn write(&self, note: &Note, store: &Store, found: &mut DiskReply) -> Result<(), StoreError> {
        match note {
            Note::KeySource(session, source) => store.note_key_source(*session, source),
            Note::Token(session, kept) => {
                if let Some(mark) = &kept.mark {
                    found.token_used_by = store.run_with_mark(*session, mark)?;
                }
                store.keep_token(*session, kept)
            }
            Note::KeyOf { agent_id } => store.key_is_of_agent(&self.key_id, agent_id),
            Note::KeyRefused => store.key_is_refused(&self.key_id),
            Note::Adopt { agent_id, source } => {
                let (adopted, some_left) = store.adopt_sessions(&self.key_id, agent_id.as_deref(), source)?;
                found.adopted += adopted;
                found.adopt_again |= some_left;
                Ok(())
            }
        }
    }
}

fn cause(error: &StoreError) -> String {
    std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default()
}
