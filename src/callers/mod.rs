//! Whose call it is, as OTAS has it: each caller's session. A session is one row of the store, begun with the first call of
//! its caller and closed when none has come for long; delivery opens it at OTAS when its first event, or a call into the
//! project's domain, needs it.

mod tokens;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::capture::{AgentProcess, Caller};
use crate::deliver::{own_token, seal_token};
use crate::secret::Secret;
use crate::store::{KeySource, SessionRow, Store, StoreError, key_id};

pub use tokens::Tokens;

/// Sessions that are open at once, at most: the one that was used least lately makes room.
const OPEN_AT_ONCE: usize = 4096;

/// The agent key that a caller's events are sent with.
#[derive(Clone)]
pub struct AgentKey {
    /// The key.
    pub key: Secret,
    /// The file that it was read from. `None`: the settings.
    pub file: Option<PathBuf>,
}

/// The session of one caller.
pub struct CallerSession {
    /// Its row in the store.
    pub row: SessionRow,
    /// By which rule calls are put into it: `proxy`, `credential`, `process`, `token`.
    pub rule: &'static str,
    run_id: String,
    key: Option<AgentKey>,
    seq: AtomicU64,
}

impl CallerSession {
    /// The place of the next event in it, from 1 on.
    pub fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The sessions of all callers.
pub struct Callers {
    store: Store,
    /// The proxy's own session.
    own: Arc<CallerSession>,
    /// What tells this start of the proxy apart.
    meta: Value,
    /// Agents that have a key of their own, by name.
    agents: HashMap<String, AgentKey>,
    idle_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: HashMap<Key, Open>,
    /// Callers that have opened a session by themselves, with its token.
    adopted: HashMap<Caller, Secret>,
}

/// What a session is found by.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Caller(Caller),
    /// An agent's own session: the agent key's short name, and a hash of the token.
    Token(String, Vec<u8>),
}

struct Open {
    session: Arc<CallerSession>,
    used: Instant,
}

impl Callers {
    /// `row` and `run_id`: the proxy's own session, with `meta` and `key`. `agents`: those with keys of their own.
    pub fn new(
        store: Store,
        (row, run_id, key): (SessionRow, String, Option<AgentKey>),
        meta: Value,
        agents: HashMap<String, AgentKey>,
        idle_timeout: Duration,
    ) -> Arc<Self> {
        let own = Arc::new(CallerSession { row, rule: "proxy", run_id, key, seq: AtomicU64::new(0) });
        Arc::new(Self { store, own, meta, agents, idle_timeout, state: Mutex::default() })
    }

    /// The proxy's own session: for what is nobody else's.
    pub fn own(&self) -> &Arc<CallerSession> {
        &self.own
    }

    /// The session of a call: that of the token that it carried, if that is one of its agent's; else its caller's. Blocks.
    ///
    /// # Errors
    /// When a new session cannot be noted in the store.
    pub fn of(&self, caller: &Caller, carried: Option<&Secret>) -> Result<Arc<CallerSession>, StoreError> {
        let adopted = || self.lock().adopted.get(caller).cloned();
        let token = carried.cloned().filter(|token| self.belongs(caller, token)).or_else(adopted);
        let key = match (token, caller) {
            (Some(token), _) => return self.of_token(caller, &token),
            (None, Caller::Proxy) => return Ok(self.own.clone()),
            (None, Caller::Credential(_) | Caller::Process(_)) => Key::Caller(caller.clone()),
        };
        self.open(key, caller, None)
    }

    /// A caller was seen to open a session at OTAS, or to use one: its calls go into that from now on. Blocks.
    pub fn adopt(&self, caller: &Caller, token: &Secret) {
        if self.belongs(caller, token) {
            self.lock().adopted.insert(caller.clone(), token.clone());
        }
    }

    /// Closes sessions that have had no calls for long. Blocks.
    pub fn tidy(&self) {
        let closed: Vec<_> = {
            let (mut state, now) = (self.lock(), Instant::now());
            let idle = |open: &Open| now.duration_since(open.used) >= self.idle_timeout;
            state.open.extract_if(|_, open| idle(open)).collect()
        };
        for (key, open) in closed {
            self.close(&key, &open.session);
        }
    }

    fn close(&self, key: &Key, session: &CallerSession) {
        if let Key::Caller(caller) = key {
            // The session that an agent opened itself ends with the run that it was for.
            self.lock().adopted.remove(caller);
        }
        if let Err(error) = self.store.close_session(session.row) {
            tracing::debug!(%error, "a session's end could not be noted");
        }
    }

    /// Whether a token is one of the caller's agent, as far as that is known: OTAS has the last word, for only it can check
    /// a token's signature.
    fn belongs(&self, caller: &Caller, token: &Secret) -> bool {
        let Some(claimed) = own_token(token) else { return false };
        let Some(key) = self.key_of(caller) else { return false };
        match self.store.agent_of_key(&key_id(&key.key)) {
            Ok(Some(known)) => claimed.is_none_or(|claimed| claimed == known),
            Ok(None) | Err(_) => true,
        }
    }

    fn key_of(&self, caller: &Caller) -> Option<&AgentKey> {
        match caller {
            Caller::Credential(credential) => self.agents.get(&credential.agent).or(self.own.key.as_ref()),
            Caller::Proxy | Caller::Process(_) => self.own.key.as_ref(),
        }
    }

    fn of_token(&self, caller: &Caller, token: &Secret) -> Result<Arc<CallerSession>, StoreError> {
        let key = self.key_of(caller).map(|key| key_id(&key.key)).unwrap_or_default();
        let hash = digest(&SHA256, token.expose().as_bytes()).as_ref().to_vec();
        self.open(Key::Token(key, hash), caller, Some(token))
    }

    /// Finds the session, or begins it.
    fn open(&self, key: Key, caller: &Caller, token: Option<&Secret>) -> Result<Arc<CallerSession>, StoreError> {
        let mut state = self.lock();
        if let Some(open) = state.open.get_mut(&key) {
            open.used = Instant::now();
            return Ok(open.session.clone());
        }
        let session = Arc::new(self.begin(caller, token)?);
        let full = state.open.len() >= OPEN_AT_ONCE;
        let oldest = full.then(|| state.open.iter().min_by_key(|(_, open)| open.used).map(|(key, _)| key.clone()));
        let oldest = oldest.flatten().and_then(|oldest| state.open.remove_entry(&oldest));
        state.open.insert(key, Open { session: session.clone(), used: Instant::now() });
        drop(state);
        if let Some((key, open)) = oldest {
            self.close(&key, &open.session);
        }
        Ok(session)
    }

    fn begin(&self, caller: &Caller, token: Option<&Secret>) -> Result<CallerSession, StoreError> {
        let key = self.key_of(caller).cloned();
        let (run_id, short) = (Uuid::now_v7().to_string(), key.as_ref().map(|key| key_id(&key.key)));
        let row = self.store.begin_session(
            &run_id,
            &short.unwrap_or_default(),
            &self.meta_of(caller, token).to_string(),
        )?;
        if let Some(key) = &key {
            self.store.note_key_source(row, &KeySource::of(key.file.as_deref()))?;
        }
        if let (Some(token), Some(key)) = (token, &key)
            && let Some(kept) = seal_token(&key.key, &self.store.salt()?, token, &run_id)
        {
            self.store.keep_token(row, &kept)?;
        }
        let rule = if token.is_some() { "token" } else { rule(caller) };
        Ok(CallerSession { row, rule, run_id, key, seq: AtomicU64::new(0) })
    }

    /// What OTAS is told of the session.
    fn meta_of(&self, caller: &Caller, token: Option<&Secret>) -> Value {
        let mut meta = self.meta.clone();
        if let Value::Object(fields) = &mut meta {
            let of = match caller {
                Caller::Proxy => json!({ "rule": rule(caller) }),
                Caller::Credential(of) => json!({ "rule": rule(caller), "agent": of.agent, "label": of.label }),
                Caller::Process(AgentProcess(of)) => json!({
                    "rule": rule(caller),
                    "pid": of.pid,
                    "started_at": of.started_at(),
                    "exe": of.exe,
                    "command": of.command,
                }),
            };
            fields.insert("caller".to_owned(), of);
            if token.is_some() {
                // Seen only if the agent's own session is refused, and this one takes its place.
                fields.insert("in_place_of".to_owned(), json!("a session of the agent's own that OTAS refused"));
            }
        }
        meta
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rule(caller: &Caller) -> &'static str {
    match caller {
        Caller::Proxy => "proxy",
        Caller::Credential(_) => "credential",
        Caller::Process(_) => "process",
    }
}
