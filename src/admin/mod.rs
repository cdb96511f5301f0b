//! The admin port: whether the proxy is alive and ready, how delivery stands, figures to be scraped, and the page.

mod code;
mod gate;
pub(crate) mod page;
mod ready;
mod token;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::capture::Budget;
use crate::capture::Sink as _;
use crate::deliver::Watch;
use crate::metrics::{self, Snapshot};
use crate::peer::Peers;
use crate::proxy::Shared;
use crate::report::{Handoff, Tally};
use crate::serving;
use crate::sinks;
use crate::store::{Counts, Store, StoreError};
use crate::visible;

pub use code::link;
pub use gate::Gate;
pub use token::{load_or_make as load_or_make_token, token_file};

/// What clients of the admin port may take: 64 connections, so that descriptors stay free for agents.
const LIMITS: serving::Limits =
    serving::Limits { connections: 64, head: Duration::from_secs(20), content: Duration::from_secs(30) };

/// What the admin port tells of.
pub struct Told {
    /// This process's own name for itself.
    pub run_id: String,
    /// How delivery goes.
    pub delivery: Watch,
    /// How the sinks go.
    pub sinks: sinks::Watch,
    /// What the reporting thread did.
    pub tally: Arc<Tally>,
    /// Exchanges that found no room.
    pub handoff: Handoff,
    /// Memory that captures hold.
    pub budget: Arc<Budget>,
    /// Who the agents are.
    pub peers: Arc<Peers>,
    /// `redact.allow`, as the settings have it.
    pub redact_allow: Vec<String>,
    /// Where events wait.
    pub store: Store,
    /// The data path.
    pub proxy: Arc<Shared>,
    /// Cancelled when the proxy takes no new calls any more.
    pub stopping: CancellationToken,
}

impl Told {
    /// Events that are gone though they were stored. What found no room on the way to the store is counted there.
    fn shed(&self) -> u64 {
        self.store.health().events_lost().saturating_sub(self.handoff.dropped())
    }
}

/// Serves until `stop`: `GET /healthz` (the process lives), `/readyz` (200, or 503 with reasons), `/status` (calls,
/// events, delivery, as JSON) and `/metrics` (OpenMetrics) for everybody, all else for those who have the token.
pub async fn serve(listener: TcpListener, told: Told, gate: Arc<Gate>, stop: CancellationToken) {
    let told = Arc::new(told);
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(figures))
        .with_state(told.clone())
        .merge(page::routes(told, stop.clone()))
        .layer(middleware::from_fn_with_state(gate, gate::guard));
    serving::serve(listener, app, LIMITS, stop).await;
}

/// JSON that may hold words of others, such as those that OTAS refuses with. People read it on a terminal.
struct Shown(Value);

impl IntoResponse for Shown {
    fn into_response(self) -> Response {
        let text = visible::json(&self.0.to_string()).into_owned();
        ([(header::CONTENT_TYPE, "application/json")], text).into_response()
    }
}

async fn readyz(State(told): State<Arc<Told>>) -> (StatusCode, Shown) {
    let store = backlog(&told.store).await.err();
    let delivery = told.delivery.now();
    let reasons =
        ready::reasons(told.stopping.is_cancelled(), told.handoff.admits(), store, told.handoff.in_memory());
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (
        code,
        Shown(json!({
            "ready": reasons.is_empty(),
            "reasons": reasons,
            // For people: none of it makes the proxy unready.
            "delivery": { "session": delivery.session.to_string(), "trouble": delivery.trouble, "backlog": delivery.backlog },
        })),
    )
}

async fn figures(State(told): State<Arc<Told>>) -> Response {
    let backlog = backlog(&told.store).await.ok();
    let delivery = told.delivery.now();
    let health = told.store.health();
    let snapshot = Snapshot {
        calls_stored: told.tally.stored(),
        calls_dropped: told.handoff.dropped(),
        calls_lost: told.tally.lost(),
        calls_unlogged: told.tally.unlogged(),
        calls_unauthorized: told.proxy.unauthorized.load(Ordering::Relaxed),
        calls_under_way: told.proxy.recording.count_in_progress(),
        connections_free: told.proxy.connections.available_permits(),
        events_shed: health.events_lost(),
        bodies_shed: health.bodies_removed(),
        stores_moved_aside: health.stores_moved_aside(),
        events: backlog.as_ref().map(|backlog| backlog.events),
        oldest_pending_age_seconds: backlog.map(|backlog| backlog.oldest_age_seconds),
        store_bytes: std::fs::metadata(told.store.path()).ok().map(|file| file.len()),
        posts_in_flight: delivery.in_flight,
        posts_limit: delivery.limit,
        verdicts: delivery.verdicts,
        lost_answers: delivery.lost_answers,
        trouble: delivery.trouble.is_some(),
        holds_delivery: delivery.delivering,
        capture_memory_bytes: told.budget.used_bytes(),
        agents: told.peers.counts(),
        sinks: told.sinks.now(),
    };
    match metrics::text(&snapshot) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What waits in the store.
struct Backlog {
    events: Counts,
    oldest_age_seconds: f64,
}

/// Asked of the store on a blocking thread; an error in words.
async fn backlog(store: &Store) -> Result<Backlog, String> {
    let store = store.clone();
    let read = move || -> Result<Backlog, StoreError> {
        let events = store.counts(None)?;
        let oldest = store.oldest_pending_ms()?;
        Ok(Backlog { events, oldest_age_seconds: oldest.map_or(0.0, age_seconds) })
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(backlog)) => Ok(backlog),
        Ok(Err(error)) => Err(error.in_words()),
        Err(error) => Err(error.to_string()),
    }
}

/// Seconds from `unix_ms` to now; 0 when the clock was set back.
fn age_seconds(unix_ms: i64) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let then = Duration::from_millis(u64::try_from(unix_ms).unwrap_or(0));
    now.saturating_sub(then).as_secs_f64()
}

async fn status(State(told): State<Arc<Told>>) -> Shown {
    let delivery = told.delivery.now();
    let agents = told.peers.counts();
    let in_memory = told.handoff.in_memory();
    Shown(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "run_id": told.run_id,
        // By this `check` tells the proxy's port without a call through it.
        "listens": told.proxy.own_listeners,
        "session": delivery.session.to_string(),
        "calls": {
            "unlogged": told.tally.unlogged(),
            "unauthorized": told.proxy.unauthorized.load(Ordering::Relaxed),
        },
        "events": {
            "stored": told.tally.stored(),
            "delivered": delivery.counts.delivered,
            "pending": delivery.counts.pending,
            "dead": delivery.counts.dead,
            "dropped": told.handoff.dropped(),
            // Refused by the store to the end, shed when it was full, or gone with a store that was damaged or taken away.
            "lost": told.tally.lost() + told.shed(),
            // While the store refuses them: how many calls are in memory only, and why.
            "in_memory": in_memory.as_ref().map_or(0, |(calls, _)| *calls),
            "in_memory_why": in_memory.as_ref().map(|(_, why)| why),
        },
        "delivery": {
            "in_flight": delivery.in_flight,
            "limit": delivery.limit,
            // All that waits under the keys. Of it, `events.pending` is of this process.
            "backlog": delivery.backlog,
            "backlog_of_other_processes": delivery.backlog.saturating_sub(delivery.counts.pending),
            "trouble": delivery.trouble,
            "lost_answers": delivery.lost_answers,
        },
        "sinks": told.sinks.now().iter().map(sinks::Status::json).collect::<Vec<_>>(),
        "agents": {
            "refused_other_user": agents.other_user,
            "refused_other_network": agents.other_network,
            "refused_left": agents.left,
            "user_unknown": agents.unknown,
            "process_missed": agents.processes_missed,
        },
        "capture": { "memory_bytes": told.budget.used_bytes() },
        "redaction": { "allow": told.redact_allow },
    }))
}
