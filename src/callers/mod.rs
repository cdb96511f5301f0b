//! The OTAS session of each caller. A session is one row of the store. It begins with the caller's first call and is closed
//! after a long time without calls. Delivery opens it at OTAS when its first event, or a call into the project's domain, needs
//! it.

mod adopted;
mod tokens;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::{Mutex, MutexGuard, RwLock};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::capture::{AgentProcess, Caller};
use crate::deliver::{agent_of_token, seal_token};
use crate::redact::masked;
use crate::secret::Secret;
use crate::store::{KeySource, SessionRow, Store, StoreError, key_id};

pub use tokens::Tokens;

use adopted::Adopted;
use tokens::TokenCache;

/// The maximum number of open sessions. The least recently used one is evicted.
const OPEN_AT_ONCE: usize = 4096;

/// The agent key that a caller's events are sent with.
#[derive(Clone)]
pub struct AgentKey {
    /// The key.
    pub key: Secret,
    /// The file that it was read from. `None`: the settings.
    pub file: Option<PathBuf>,
}

/// A session as the store knows it.
pub struct RunSession {
    /// Its row in the store.
    pub row: SessionRow,
    /// The id of its run.
    pub run_id: String,
    /// The key that its events are sent with. `None`: they are not for OTAS.
    pub key: Option<AgentKey>,
}

/// The session of one caller.
pub struct CallerSession {
    /// Its row in the store.
    pub row: SessionRow,
    /// The rule that assigns calls to it: `proxy`, `credential`, `process` or `token`.
    pub rule: &'static str,
    run_id: String,
    key: Option<AgentKey>,
    seq: AtomicU64,
    /// Its token, for calls into the project's domain.
    held: TokenCache,
}

impl CallerSession {
    fn new(run: RunSession, rule: &'static str) -> Self {
        let RunSession { row, run_id, key } = run;
        Self { row, rule, run_id, key, seq: AtomicU64::new(0), held: TokenCache::default() }
    }

    /// The number of the next event in it, starting at 1.
    pub fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The sessions of all callers.
pub struct Callers {
    store: Store,
    /// The proxy's own session.
    own: Arc<CallerSession>,
    /// Facts about this run of the proxy, for each session's `meta`.
    meta: Value,
    /// Agents with their own key, by name.
    agents: RwLock<HashMap<String, AgentKey>>,
    idle_timeout: Mutex<Duration>,
    open: Mutex<HashMap<Key, Open>>,
    /// A separate lock: the data path uses it and must not wait for the disk.
    adopted: Mutex<Adopted>,
}

/// The key of an open session.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Caller(Caller),
    /// A session that an agent opened itself: the short name of the agent key, and a hash of the token.
    Token(String, Vec<u8>),
}

struct Open {
    session: Arc<CallerSession>,
    used: Instant,
}

impl Callers {
    /// `own` is the proxy's own session, which has this `meta`. `agents` are those with keys of their own.
    pub fn new(
        store: Store,
        own: RunSession,
        meta: Value,
        agents: HashMap<String, AgentKey>,
        idle_timeout: Duration,
    ) -> Arc<Self> {
        let own = Arc::new(CallerSession::new(own, "proxy"));
        let (idle_timeout, open, adopted) = (Mutex::new(idle_timeout), Mutex::default(), Mutex::default());
        let agents = RwLock::new(agents);
        Arc::new(Self { store, own, meta, agents, idle_timeout, open, adopted })
    }

    /// From now on these agents have keys of their own. Sessions that are open keep theirs.
    pub fn know(&self, agents: HashMap<String, AgentKey>) {
        *self.agents.write() = agents;
    }

    /// The proxy's own session, for calls that belong to no other.
    pub fn own(&self) -> &Arc<CallerSession> {
        &self.own
    }

    /// The session of a call. If the call carried a token of its own agent, the session of that token; otherwise the caller's
    /// session. Blocks.
    ///
    /// # Errors
    /// When a new session cannot be added to the store.
    pub fn of(&self, caller: &Caller, carried: Option<&Secret>) -> Result<Arc<CallerSession>, StoreError> {
        self.of_agent(caller, carried, None)
    }

    /// As [`Callers::of`]. `agent` is the program that the call claims to come from; a session that begins with this call
    /// records it.
    ///
    /// # Errors
    /// As [`Callers::of`].
    pub fn of_agent(
        &self,
        caller: &Caller,
        carried: Option<&Secret>,
        agent: Option<&'static str>,
    ) -> Result<Arc<CallerSession>, StoreError> {
        let carried = carried.filter(|token| self.may_be_of(caller, token)).cloned();
        let token = carried.or_else(|| self.adopted().token_of(caller));
        let key = match (token, caller) {
            (Some(token), _) => return self.of_token(caller, &token, agent),
            (None, Caller::Proxy) => return Ok(self.own.clone()),
            (None, Caller::Credential(_) | Caller::Process(_)) => Key::Caller(caller.clone()),
        };
        self.open(key, caller, None, agent)
    }

    /// The caller opened or used this session at OTAS, so its calls belong to it from now on. Blocks.
    pub fn adopt(&self, caller: &Caller, token: &Secret) {
        if self.may_be_of(caller, token) {
            self.adopted().insert(caller, token);
        }
    }

    /// From now on sessions are closed after this time without calls.
    pub fn close_after(&self, idle_timeout: Duration) {
        *self.idle_timeout.lock() = idle_timeout;
    }

    /// Closes sessions without recent calls. Blocks.
    pub fn tidy(&self) {
        let idle_timeout = *self.idle_timeout.lock();
        let closed: Vec<_> = {
            let (mut open, now) = (self.open_ones(), Instant::now());
            open.extract_if(|_, open| now.duration_since(open.used) >= idle_timeout).collect()
        };
        self.adopted().tidy(idle_timeout);
        for (_, open) in closed {
            self.close(&open.session);
        }
    }

    fn close(&self, session: &CallerSession) {
        if let Err(error) = self.store.close_session(session.row) {
            tracing::debug!(%error, "cannot record the end of a session");
        }
    }

    /// Whether a token belongs to the caller's agent, according to its claims; only OTAS can check its signature. `None`: the
    /// agent of the key is not known yet. Blocks.
    fn is_of(&self, caller: &Caller, token: &Secret) -> Option<bool> {
        let (Some(claimed), Some(key)) = (agent_of_token(token), self.key_of(caller)) else { return Some(false) };
        let known = self.store.agent_of_key(&key_id(&key.key)).ok()??;
        Some(claimed == known)
    }

    /// As [`Callers::is_of`], where OTAS decides in the end: it sees the token with the agent's key.
    fn may_be_of(&self, caller: &Caller, token: &Secret) -> bool {
        self.is_of(caller, token).unwrap_or(true)
    }

    fn key_of(&self, caller: &Caller) -> Option<AgentKey> {
        let of_agent = match caller {
            Caller::Credential(credential) => self.agents.read().get(&credential.agent).cloned(),
            Caller::Proxy | Caller::Process(_) => None,
        };
        of_agent.or_else(|| self.own.key.clone())
    }

    fn of_token(
        &self,
        caller: &Caller,
        token: &Secret,
        agent: Option<&'static str>,
    ) -> Result<Arc<CallerSession>, StoreError> {
        let key = self.key_of(caller).map(|key| key_id(&key.key)).unwrap_or_default();
        let hash = digest(&SHA256, token.expose().as_bytes()).as_ref().to_vec();
        self.open(Key::Token(key, hash), caller, Some(token), agent)
    }

    /// Finds the session, or begins it.
    fn open(
        &self,
        key: Key,
        caller: &Caller,
        token: Option<&Secret>,
        agent: Option<&'static str>,
    ) -> Result<Arc<CallerSession>, StoreError> {
        let mut open_ones = self.open_ones();
        if let Some(open) = open_ones.get_mut(&key) {
            open.used = Instant::now();
            return Ok(open.session.clone());
        }
        let session = Arc::new(self.begin(caller, token, agent)?);
        let full = open_ones.len() >= OPEN_AT_ONCE;
        let oldest = full.then(|| open_ones.iter().min_by_key(|(_, open)| open.used).map(|(key, _)| key.clone()));
        let oldest = oldest.flatten().and_then(|oldest| open_ones.remove(&oldest));
        open_ones.insert(key, Open { session: session.clone(), used: Instant::now() });
        drop(open_ones);
        if let Some(open) = oldest {
            self.close(&open.session);
        }
        Ok(session)
    }

    fn begin(
        &self,
        caller: &Caller,
        token: Option<&Secret>,
        agent: Option<&'static str>,
    ) -> Result<CallerSession, StoreError> {
        let key = self.key_of(caller);
        let (run_id, short) = (Uuid::now_v7().to_string(), key.as_ref().map(|key| key_id(&key.key)));
        let row = self.store.begin_session(
            &run_id,
            &short.unwrap_or_default(),
            &self.meta_of(caller, token, agent).to_string(),
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
        Ok(CallerSession::new(RunSession { row, run_id, key }, rule))
    }

    /// The `meta` of the session for OTAS.
    fn meta_of(&self, caller: &Caller, token: Option<&Secret>, agent: Option<&'static str>) -> Value {
        let mut meta = self.meta.clone();
        if let Value::Object(fields) = &mut meta {
            // The program of a process is a fact; an agent's statement is a claim.
            let process = match caller {
                Caller::Process(AgentProcess(of)) => of.known_agent(),
                Caller::Proxy | Caller::Credential(_) => None,
            };
            if let Some(agent) = process.or(agent) {
                fields.insert("agent".to_owned(), json!(agent));
            }
            let of = match caller {
                Caller::Proxy => json!({ "rule": rule(caller) }),
                // The label is the agent's choice and may contain anything.
                Caller::Credential(of) => json!({
                    "rule": rule(caller), "agent": of.agent, "label": of.label.as_deref().map(masked),
                }),
                Caller::Process(AgentProcess(of)) => json!({
                    "rule": rule(caller),
                    "pid": of.pid,
                    "started_at": of.started_at(),
                    "exe": of.exe.as_deref().map(masked),
                    "command": masked(&of.command),
                }),
            };
            fields.insert("caller".to_owned(), of);
            if token.is_some() {
                // Visible only if OTAS refuses the agent's own session, so that this one replaces it.
                fields.insert("in_place_of".to_owned(), json!("a session of the agent's own that OTAS refused"));
            }
        }
        meta
    }

    fn open_ones(&self) -> MutexGuard<'_, HashMap<Key, Open>> {
        self.open.lock()
    }

    fn adopted(&self) -> MutexGuard<'_, Adopted> {
        self.adopted.lock()
    }
}

fn rule(caller: &Caller) -> &'static str {
    match caller {
        Caller::Proxy => "proxy",
        Caller::Credential(_) => "credential",
        Caller::Process(_) => "process",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Credential;

    fn caller(label: usize) -> Caller {
        Caller::Credential(Arc::new(Credential { agent: "a".to_owned(), label: Some(format!("run-{label}")) }))
    }

    fn callers(store: &Store, idle: Duration) -> Arc<Callers> {
        let row = store.begin_session("own", "k", "{}").unwrap();
        Callers::new(
            store.clone(),
            RunSession { row, run_id: "own".to_owned(), key: None },
            json!({}),
            HashMap::new(),
            idle,
        )
    }

    #[test]
    fn many_labels_take_bounded_memory_files_and_locks() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let callers = callers(&store, Duration::from_secs(3600));
        let kept = callers.of(&caller(0), None).unwrap().row;
        let many = OPEN_AT_ONCE + 1_000;
        for label in 1..many {
            callers.of(&caller(label), None).unwrap();
            if label % 1_000 == 0 {
                assert_eq!(callers.of(&caller(0), None).unwrap().row, kept, "an active caller keeps its session");
            }
        }
        assert_eq!(callers.open_ones().len(), OPEN_AT_ONCE);
        assert!(std::fs::read_dir(folder.path()).unwrap().count() < 8);
        assert_ne!(callers.of(&caller(1), None).unwrap().row, kept, "a returning caller gets a new session");
    }

    #[test]
    fn an_agents_own_session_stays_open_when_the_proxys_session_for_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let idle = Duration::from_millis(200);
        let callers = callers(&store, idle);
        let before = callers.of(&caller(1), None).unwrap().row;
        callers.adopted().insert(&caller(1), &Secret::told("t"));
        let own = callers.of(&caller(1), None).unwrap().row;
        let began = Instant::now();
        while began.elapsed() < 2 * idle {
            assert_eq!(callers.of(&caller(1), None).unwrap().row, own);
            callers.tidy();
            std::thread::yield_now();
        }
        assert!(own != before && callers.open_ones().len() == 1, "the other is closed");
        while !callers.open_ones().is_empty() || callers.adopted().has(&caller(1)) {
            assert!(began.elapsed() < Duration::from_secs(20));
            callers.tidy();
        }
        assert_eq!(callers.of(&caller(1), None).unwrap().rule, "credential");
    }
}
