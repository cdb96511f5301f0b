//! The admin port: health, readiness, delivery status, metrics, and the page.

mod code;
mod gate;
pub(crate) mod page;
mod quotas;
mod ready;
mod settings;
mod token;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::capture::Budget;
use crate::capture::Sink as _;
use crate::clock::now_ms;
use crate::deliver::Watch;
use crate::metrics::{self, Snapshot};
use crate::peer::Peers;
use crate::proxy::Shared;
use crate::quotas::Quotas;
use crate::report::{Handoff, LiveFacts, Tally};
use crate::serving;
use crate::sinks;
use crate::store::{Counts, Store, StoreError};
use crate::visible;

pub use code::link;
pub use gate::Gate;
pub use settings::LiveSettings;
pub use token::{load_or_make as load_or_make_token, token_file};

/// Limits of the admin port: 64 connections, so that descriptors stay free for agents.
const LIMITS: serving::Limits =
    serving::Limits { connections: 64, head: Duration::from_secs(20), content: Duration::from_secs(30) };

/// What the admin port reports on.
pub struct AdminSources {
    /// The run id of this process.
    pub run_id: String,
    /// Delivery.
    pub delivery: Watch,
    /// The sinks.
    pub sinks: sinks::Watch,
    /// Counters of the reporting thread.
    pub tally: Arc<Tally>,
    /// The quotas that providers state.
    pub quotas: Arc<Quotas>,
    /// Exchanges that were dropped because the queue was full.
    pub handoff: Handoff,
    /// Memory held by captures.
    pub budget: Arc<Budget>,
    /// The agents' processes.
    pub peers: Arc<Peers>,
    /// With the rules of redaction, for what people write.
    pub facts: LiveFacts,
    /// The settings in force, and what became of newer ones.
    pub settings: Arc<LiveSettings>,
    /// The event store.
    pub store: Store,
    /// The data path.
    pub proxy: Arc<Shared>,
    /// Cancelled when the proxy stops taking new calls.
    pub stopping: CancellationToken,
}

impl AdminSources {
    /// Stored events that were lost later. Those that never reached the store are counted in `handoff`.
    fn shed(&self) -> u64 {
        self.store.health().events_lost().saturating_sub(self.handoff.dropped())
    }
}

/// Serves until `stop`. Open to everybody: `GET /healthz` (the process is alive), `/readyz` (200, or 503 with reasons),
/// `/status` (calls, events and delivery as JSON) and `/metrics` (OpenMetrics). All else needs the token.
pub async fn serve(listener: TcpListener, sources: AdminSources, gate: Arc<Gate>, stop: CancellationToken) {
    let sources = Arc::new(sources);
    // Quotas that were stated before the start are read in the background. Until then the gauges show only newer ones.
    let (known, viewer) = (sources.quotas.clone(), sources.store.viewer());
    tokio::task::spawn_blocking(move || {
        if let Err(error) = quotas::recall(&known, &viewer) {
            tracing::warn!("cannot read earlier quotas of providers: {}", error.in_words());
        }
    });
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(figures))
        .with_state(sources.clone())
        .merge(page::routes(sources, stop.clone()))
        .layer(middleware::from_fn_with_state(gate, gate::guard));
    serving::serve(listener, app, LIMITS, stop).await;
}

/// What a process without a proxy says of itself on the page over its store.
#[derive(Default)]
pub(crate) struct Beside {
    /// What these facts are about.
    pub(crate) title: &'static str,
    /// Names and values.
    pub(crate) cards: Vec<(&'static str, String)>,
    /// What is wrong, and what to do about it.
    pub(crate) troubles: Vec<(String, &'static str)>,
}

/// Asks the process for it.
pub(crate) type AskBeside = Arc<dyn Fn() -> BoxFuture<'static, Beside> + Send + Sync>;

/// Serves the page over a store until `stop`, without a proxy: with what its process says of itself, and what else `more` has.
/// Everything needs the token, but for the paths of [`serve`] that are open to everybody.
pub(crate) async fn serve_page(
    listener: TcpListener,
    store: &Store,
    beside: Option<AskBeside>,
    gate: Arc<Gate>,
    more: Router,
    stop: CancellationToken,
) {
    let app = page::routes_of_store(store.viewer(), beside).merge(more);
    let app = app.layer(middleware::from_fn_with_state(gate, gate::guard));
    serving::serve(listener, app, LIMITS, stop).await;
}

/// JSON that may contain text from others, such as OTAS's error messages. People read it on a terminal.
struct TerminalSafeJson(Value);

impl IntoResponse for TerminalSafeJson {
    fn into_response(self) -> Response {
        let text = visible::json(&self.0.to_string()).into_owned();
        ([(header::CONTENT_TYPE, "application/json")], text).into_response()
    }
}

async fn readyz(State(sources): State<Arc<AdminSources>>) -> (StatusCode, TerminalSafeJson) {
    let store = backlog(&sources.store).await.err();
    let delivery = sources.delivery.now();
    let reasons =
        ready::reasons(sources.stopping.is_cancelled(), sources.handoff.admits(), store, sources.handoff.in_memory());
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (
        code,
        TerminalSafeJson(json!({
            "ready": reasons.is_empty(),
            "reasons": reasons,
            // For people. None of it makes the proxy unready.
            "delivery": { "session": delivery.session.to_string(), "trouble": delivery.trouble, "backlog": delivery.backlog },
        })),
    )
}

async fn figures(State(sources): State<Arc<AdminSources>>) -> Response {
    let backlog = backlog(&sources.store).await.ok();
    let delivery = sources.delivery.now();
    let health = sources.store.health();
    let snapshot = Snapshot {
        calls_stored: sources.tally.stored(),
        calls_dropped: sources.handoff.dropped(),
        calls_lost: sources.tally.lost(),
        calls_unlogged: sources.tally.unlogged(),
        calls_unauthorized: sources.proxy.admission.unauthorized(),
        calls_under_way: sources.proxy.recording.count_in_progress(),
        connections_free: sources.proxy.admission.connections.available_permits(),
        events_shed: health.events_lost(),
        bodies_shed: health.bodies_removed(),
        stores_moved_aside: health.stores_moved_aside(),
        events: backlog.as_ref().map(|backlog| backlog.events),
        oldest_pending_age_seconds: backlog.map(|backlog| backlog.oldest_age_seconds),
        store_bytes: std::fs::metadata(sources.store.path()).ok().map(|file| file.len()),
        posts_in_flight: delivery.in_flight,
        posts_limit: delivery.limit,
        verdicts: delivery.verdicts,
        lost_answers: delivery.lost_answers,
        trouble: delivery.trouble.is_some(),
        holds_delivery: delivery.delivering,
        capture_memory_bytes: sources.budget.used_bytes(),
        agents: sources.peers.counts(),
        sinks: sources.sinks.now(),
        quotas: sources.quotas.now(now_ms()),
    };
    match metrics::text(&snapshot) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The backlog in the store.
struct Backlog {
    events: Counts,
    oldest_age_seconds: f64,
}

/// Asks the store on a blocking thread. The error is readable text.
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

/// Seconds since `unix_ms`. 0 when the clock was set back.
fn age_seconds(unix_ms: i64) -> f64 {
    let age_ms = now_ms().saturating_sub(unix_ms.max(0));
    Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)).as_secs_f64()
}

async fn status(State(sources): State<Arc<AdminSources>>) -> TerminalSafeJson {
    let delivery = sources.delivery.now();
    let agents = sources.peers.counts();
    let in_memory = sources.handoff.in_memory();
    let settings = sources.settings.in_force();
    let redact_allow: Vec<String> = settings.redact.allow.iter().map(ToString::to_string).collect();
    TerminalSafeJson(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "run_id": sources.run_id,
        // `check` learns the proxy's port from this, without a call through it.
        "listens": sources.proxy.rules().origins.own_listeners,
        "session": delivery.session.to_string(),
        "calls": {
            "unlogged": sources.tally.unlogged(),
            "unauthorized": sources.proxy.admission.unauthorized(),
        },
        "events": {
            "stored": sources.tally.stored(),
            "delivered": delivery.counts.delivered,
            "pending": delivery.counts.pending,
            "dead": delivery.counts.dead,
            "dropped": sources.handoff.dropped(),
            // Events that the store refused, shed when full, or lost with a damaged or deleted store.
            "lost": sources.tally.lost() + sources.shed(),
            // While the store refuses events: how many calls are in memory only, and why.
            "in_memory": in_memory.as_ref().map_or(0, |(calls, _)| *calls),
            "in_memory_why": in_memory.as_ref().map(|(_, why)| why),
        },
        "delivery": {
            "in_flight": delivery.in_flight,
            "limit": delivery.limit,
            // The backlog of all processes under these keys. `events.pending` counts this process only.
            "backlog": delivery.backlog,
            "backlog_of_other_processes": delivery.backlog.saturating_sub(delivery.counts.pending),
            "trouble": delivery.trouble,
            "lost_answers": delivery.lost_answers,
        },
        "sinks": sources.sinks.now().iter().map(sinks::Status::json).collect::<Vec<_>>(),
        "agents": {
            "refused_other_user": agents.other_user,
            "refused_other_network": agents.other_network,
            "refused_left": agents.left,
            "user_unknown": agents.unknown,
            "process_missed": agents.processes_missed,
        },
        "capture": { "memory_bytes": sources.budget.used_bytes() },
        "redaction": { "allow": redact_allow },
        "settings": sources.settings.json(),
    }))
}
