//! A store with sessions, and deliveries from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use otas_proxy::config;
use otas_proxy::deliver::{DeliverOptions, Deliverer, Fleet, SessionState, Status};
use otas_proxy::secret::Secret;
use otas_proxy::store::{Counts, EventRow, Filter, NewEvent, SessionRow, Store, key_id};
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::otas::TestOtas;

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A store with a session, and the settings of a delivery from it.
pub(super) struct Bench {
    folder: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) session: SessionRow,
    /// All sessions, oldest first.
    sessions: Mutex<Vec<SessionRow>>,
    url: url::Url,
    pub(super) key: Secret,
}

pub(super) struct Settings {
    pub(super) otas: config::Otas,
    pub(super) delivery: config::Delivery,
}

impl Bench {
    pub(super) fn new(otas: &TestOtas) -> Self {
        Self::at(otas.url().parse().unwrap(), otas.key())
    }

    pub(super) fn at(url: url::Url, key: Secret) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let session = store.begin_session("run", &key_id(&key), r#"{"run":"r"}"#).unwrap();
        Self { folder, store, session, sessions: Mutex::new(vec![session]), url, key }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The session of another run under the same key.
    pub(super) fn another_session(&self, run: &str) -> SessionRow {
        self.session_under(run, &self.key)
    }

    pub(super) fn session_under(&self, run: &str, key: &Secret) -> SessionRow {
        // Like that run's process: with its own handle.
        let store = Store::open(self.store.path()).unwrap();
        let session = store.begin_session(run, &key_id(key), &json!({ "run": run }).to_string()).unwrap();
        self.sessions.lock().unwrap().push(session);
        session
    }

    pub(super) fn append(&self, count: usize) {
        self.append_to(self.session, count);
    }

    pub(super) fn append_to(&self, session: SessionRow, count: usize) {
        self.append_events(session, &vec![json!({}); count]);
    }

    /// Events with these fields in addition to the required ones.
    pub(super) fn append_events(&self, session: SessionRow, fields: &[Value]) {
        let nth = 1 + self.sessions.lock().unwrap().iter().position(|known| *known == session).unwrap();
        let next = self.store.counts(Some(session)).unwrap().total;
        let json = |(seq, fields): (u64, &Value)| {
            let mut event = json!({
                "path": "/v1/chat", "method": "POST", "status_code": 200, "latency_ms": 1.5, "error": "",
                "metadata": { "seq": seq, "id": format!("{nth}-{seq}") },
            });
            event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            event.to_string()
        };
        let jsons: Vec<String> = (next..).zip(fields).map(json).collect();
        let events: Vec<NewEvent<'_>> = (next..)
            .zip(&jsons)
            .map(|(seq, json)| NewEvent {
                bodies: &[],
                event_id: Uuid::now_v7(),
                seq,
                started_at_ms: 1,
                method: "POST",
                host: "api.example.com",
                path: "/v1/chat",
                status_code: 200,
                latency_ms: 1.5,
                request_bytes: 0,
                response_bytes: 0,
                error: "",
                outline: "",
                llm: "",
                json: json.as_bytes(),
            })
            .collect();
        self.store.writer().unwrap().append(session, &events).unwrap();
    }

    pub(super) fn start(&self, adjust: impl FnOnce(&mut Settings)) -> Deliverer {
        self.start_for(Some(self.session), adjust)
    }

    /// Delivers like the process of this session: with its own handle on the store.
    pub(super) fn start_for(&self, session_row: Option<SessionRow>, adjust: impl FnOnce(&mut Settings)) -> Deliverer {
        let mut settings = Settings {
            otas: config::Otas {
                deliver: true,
                brain_url: self.url.clone(),
                uasam_url: self.url.clone(),
                agent_key: Some(self.key.clone()),
                agent_key_file: None,
                session_token: None,
                project_id: None,
                project_domain: None,
                project_subdomains: false,
                log_in_domain: false,
            },
            delivery: config::Delivery {
                max_in_flight: 4,
                order: config::Order::Window,
                attempt_timeout: Duration::from_secs(30),
                backoff_min: Duration::from_millis(2),
                backoff_max: Duration::from_millis(20),
                drain_timeout: Duration::ZERO,
            },
        };
        adjust(&mut settings);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        Deliverer::start(DeliverOptions {
            store: Store::open(self.store.path()).unwrap(),
            session_row,
            process: session_row,
            otas: settings.otas,
            delivery: settings.delivery,
            tls,
            fleet: Fleet::default(),
        })
        .unwrap()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts_of(self.session)
    }

    pub(super) fn counts_of(&self, session: SessionRow) -> Counts {
        self.store.counts(Some(session)).unwrap()
    }

    /// Newest first.
    pub(super) fn rows(&self) -> Vec<EventRow> {
        self.store.list(&Filter { limit: 1_000, ..Filter::default() }).unwrap()
    }

    /// A key file.
    pub(super) fn key_file(&self, key: &Secret) -> PathBuf {
        let path = self.folder().join("agent.key");
        let new = self.folder().join("agent.key.new");
        std::fs::write(&new, key.expose()).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }
}

/// Waits for a status.
pub(super) async fn until(deliverer: &Deliverer, what: impl FnMut(&Status) -> bool) -> Status {
    let mut watch = deliverer.watch();
    match timeout(PATIENCE, watch.wait_for(what)).await {
        Ok(status) => status.unwrap().clone(),
        Err(_) => panic!("in vain: {:?}", deliverer.status()),
    }
}

/// Waits for delivery to pause. Returns the reason.
pub(super) async fn paused(deliverer: &Deliverer) -> String {
    match until(deliverer, |status| matches!(status.session, SessionState::Paused { .. })).await.session {
        SessionState::Paused { reason } => reason,
        other => format!("{other:?}"),
    }
}

/// The saved post of an event, by its number in the run.
pub(super) async fn saved_seqs(otas: &TestOtas) -> Vec<u64> {
    otas.events().await.iter().map(|event| event["metadata"]["seq"].as_u64().unwrap()).collect()
}

/// The saved events, each with its session.
pub(super) async fn saved_in(otas: &TestOtas, session: Uuid) -> Vec<Value> {
    let events = otas.stored_events().await.into_iter();
    events.filter(|event| event.session_id == session).map(|event| event.body["metadata"]["id"].clone()).collect()
}

pub(super) fn in_session(otas_session_id: Uuid) -> SessionState {
    SessionState::Open { otas_session_id: Some(otas_session_id.to_string()) }
}

pub(super) fn key_checks(otas: &TestOtas) -> usize {
    otas.uasam_calls().iter().filter(|call| call.path.ends_with("/auth/verify/")).count()
}
