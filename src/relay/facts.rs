//! What a relay shows of itself on its admin port, beside the page over its store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::jetstream::stream::Stream;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::TryStreamExt as _;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Relay, Shared, blocking, lease};
use crate::admin::{self, AskBeside, Beside, Gate};
use crate::clock::now_ms;
use crate::metrics;
use crate::nats::{Queue, in_words};
use crate::visible;

/// Serves the admin port until `stop`. Open to everybody: `/healthz`, `/readyz` (there is a connection to NATS), `/status` and
/// `/metrics`. The page over what this relay has delivered needs the token.
pub async fn serve(relay: &Relay, listener: TcpListener, gate: Arc<Gate>, stop: CancellationToken) {
    let shared = relay.shared.clone();
    let open = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(figures))
        .with_state(shared.clone());
    let asked = shared.clone();
    let beside: AskBeside = Arc::new(move || {
        let shared = asked.clone();
        Box::pin(async move { Now::of(&shared).await.beside(&shared) })
    });
    admin::serve_page(listener, &shared.store, Some(beside), gate, open, stop).await;
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    match shared.queue.link().borrow().is_up {
        true => (StatusCode::OK, "ready\n").into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "there is no connection to NATS\n").into_response(),
    }
}

async fn status(State(shared): State<Arc<Shared>>) -> Response {
    let now = Now::of(&shared).await;
    let text = visible::json(&now.json(&shared).to_string()).into_owned();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn figures(State(shared): State<Arc<Shared>>) -> Response {
    let now = Now::of(&shared).await;
    match now.metrics(&shared) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Agents that `/status` names.
const SHOWN: usize = 100;

/// The state of the queue.
pub(crate) struct Waiting {
    /// Events in the stream, by subject.
    pub(crate) by_subject: Vec<(String, u64)>,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) max_bytes: i64,
    /// How long the first of them has waited.
    pub(crate) oldest_seconds: u64,
    pub(crate) replicas: usize,
    pub(crate) dead: u64,
    pub(crate) dead_bytes: u64,
    pub(crate) dead_max_bytes: i64,
}

impl Waiting {
    /// Asks the server.
    ///
    /// # Errors
    /// Why it gives no answer.
    pub(crate) async fn look(queue: &Queue) -> Result<Self, String> {
        let names = &queue.names;
        let (stream, dead) = (stream(queue, &names.events).await?, stream(queue, &names.dead).await?);
        let subjects =
            stream.info_builder().subjects(names.all_events()).fetch().await.map_err(|error| in_words(&error))?;
        let counts: Vec<_> = subjects.try_collect().await.map_err(|error| in_words(&error))?;
        let mut by_subject: Vec<(String, u64)> =
            counts.into_iter().map(|(subject, count)| (subject, count as u64)).collect();
        by_subject.sort();
        let (info, dead) = (stream.cached_info(), dead.cached_info());
        Ok(Self {
            by_subject,
            messages: info.state.messages,
            bytes: info.state.bytes,
            max_bytes: info.config.max_bytes,
            oldest_seconds: match info.state.messages {
                0 => 0,
                _ => seconds_since(info.state.first_timestamp.unix_timestamp()),
            },
            replicas: info.config.num_replicas,
            dead: dead.state.messages,
            dead_bytes: dead.state.bytes,
            dead_max_bytes: dead.config.max_bytes,
        })
    }
}

/// By this machine's clock, and the server's.
fn seconds_since(unix: i64) -> u64 {
    u64::try_from(now_ms() / 1_000 - unix).unwrap_or(0)
}

async fn stream(queue: &Queue, name: &str) -> Result<Stream, String> {
    let found = queue.jetstream.get_stream(name).await;
    found.map_err(|error| format!("cannot look at the stream {name}: {error}. Was `otas-proxy relay init` run?"))
}

/// The relay that has the lease.
///
/// # Errors
/// Why the server gives no answer.
pub(crate) async fn holder(queue: &Queue) -> Result<Option<String>, String> {
    Ok(lease::read(queue).await?.filter(|(_, holder)| !holder.free).map(|(_, holder)| holder.relay))
}

/// Events that a relay has taken out, and that have no verdict yet.
///
/// # Errors
/// Why the server gives no answer.
pub(crate) async fn taken(queue: &Queue) -> Result<usize, String> {
    let stream = stream(queue, &queue.names.events).await?;
    let mut consumers = stream.consumers();
    let mut taken = 0;
    while let Some(consumer) = consumers.try_next().await.map_err(|error| in_words(&error))? {
        taken += consumer.num_ack_pending;
    }
    Ok(taken)
}

/// A moment of a relay.
struct Now {
    works: bool,
    taken: u64,
    delivered: u64,
    dead: u64,
    repeated: u64,
    dead_waiting: u64,
    held: usize,
    in_flight: usize,
    limit: usize,
    delivery: crate::deliver::Status,
    queue: Result<Waiting, String>,
    holder: Result<Option<String>, String>,
    pending: u64,
}

impl Now {
    async fn of(shared: &Arc<Shared>) -> Self {
        let tally = &shared.tally;
        let (limit, in_flight) = shared.ceiling.load();
        let watch = shared.deliveries.lock().clone();
        let store = shared.store.clone();
        let held = shared.held.lock().len();
        // Both fail after seconds if there is no connection.
        let (queue, holder) = tokio::join!(Waiting::look(&shared.queue), holder(&shared.queue));
        let pending = blocking(move || store.counts(None)).await.map_or(0, |counts| counts.pending);
        Self {
            works: tally.works.load(Ordering::Relaxed),
            taken: tally.taken.load(Ordering::Relaxed),
            delivered: tally.delivered.load(Ordering::Relaxed),
            dead: tally.dead.load(Ordering::Relaxed),
            repeated: tally.repeated.load(Ordering::Relaxed),
            dead_waiting: tally.dead_waiting.load(Ordering::Relaxed),
            held,
            in_flight,
            limit,
            delivery: watch.map(|watch| watch.now()).unwrap_or_default(),
            queue,
            holder,
            pending,
        }
    }

    /// What the page says of it.
    fn beside(self, shared: &Shared) -> Beside {
        let mut cards = vec![
            ("this relay", if self.works { "delivers" } else { "waits for the lease" }.to_owned()),
            ("taken out, without a verdict", self.held.to_string()),
            ("posts in flight / limit", format!("{} / {}", self.in_flight, self.limit)),
        ];
        let mut troubles = Vec::new();
        match self.holder {
            Ok(Some(relay)) => cards.push(("holder of the lease", relay)),
            Ok(None) => cards.push(("holder of the lease", "none".to_owned())),
            Err(why) => troubles.push((format!("The lease cannot be read: {why}."), "")),
        }
        match &self.queue {
            Ok(waiting) => {
                cards.push(("events in the queue", waiting.messages.to_string()));
                cards.push(("its bytes / most", format!("{} / {}", waiting.bytes, waiting.max_bytes)));
                cards.push(("the oldest waits for", format!("{} s", waiting.oldest_seconds)));
                cards.push(("dead events", waiting.dead.to_string()));
                for (agent, events) in without_a_key(shared, waiting).into_iter().filter(|_| self.works) {
                    let what = format!("{events} events of `{agent}` wait because this relay has no key of it.");
                    troubles.push((what, "Write the key into `<agent_id>.key` in the folder of `relay.keys_dir`."));
                }
            }
            Err(why) => troubles.push((
                format!("The queue cannot be read: {why}."),
                "Nothing is lost: events stay in the queue or in their proxies.",
            )),
        }
        if let Some(trouble) = self.delivery.trouble {
            troubles.push((format!("OTAS accepts no events: {trouble}."), "Events stay in the queue."));
        }
        if self.dead_waiting > 0 {
            let what = format!("{} dead events wait because their stream has no room.", self.dead_waiting);
            troubles.push((what, "Empty the stream of dead events, or `otas-proxy relay init --dead-max-bytes`."));
        }
        Beside { title: "Queue", cards, troubles }
    }

    fn json(&self, shared: &Shared) -> Value {
        let agents: Vec<String> = shared.agents.lock().keys().cloned().collect();
        let queue = match &self.queue {
            Ok(waiting) => json!({
                "messages": waiting.messages, "bytes": waiting.bytes, "max_bytes": waiting.max_bytes,
                "oldest_seconds": waiting.oldest_seconds, "dead": waiting.dead, "dead_bytes": waiting.dead_bytes,
                "dead_max_bytes": waiting.dead_max_bytes, "by_agent": by_agent(shared, waiting),
                "without_a_key": without_a_key(shared, waiting),
            }),
            Err(why) => json!({ "trouble": why }),
        };
        json!({
            "relay": shared.id, "works": self.works, "holder": self.holder.as_ref().ok(), "agents": agents,
            "taken": self.taken, "delivered": self.delivered, "dead": self.dead, "repeated": self.repeated, "dead_waiting_for_room": self.dead_waiting, "held": self.held,
            "pending": self.pending, "in_flight": self.in_flight, "limit": self.limit,
            "lost_answers": self.delivery.lost_answers, "trouble": self.delivery.trouble, "queue": queue,
        })
    }

    fn metrics(&self, shared: &Shared) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("otas_relay");
        let mut counter =
            |name: &str, help: &str, value: u64| registry.register(name, help, ConstCounter::new(value));
        counter("messages_taken", "Messages that were taken out of the queue", self.taken);
        counter("events_delivered", "Events that OTAS accepted", self.delivered);
        counter("events_dead", "Events that OTAS refused for good", self.dead);
        counter("events_repeated", "Events that came again after their verdict", self.repeated);
        counter(
            "answers_lost",
            "Posts whose answer was lost: each event may be there twice",
            self.delivery.lost_answers,
        );
        let mut gauge =
            |name: &str, help: &str, value: u64| registry.register(name, help, ConstGauge::new(signed(value)));
        gauge("works", "1: this relay has the lease, and delivers", u64::from(self.works));
        gauge("events_held", "Events that were taken out of the queue and have no verdict", self.held as u64);
        gauge("posts_in_flight", "Calls to OTAS in flight", self.in_flight as u64);
        gauge("posts_limit", "Their limit at the moment", self.limit as u64);
        gauge("events_dead_waiting", "Dead events that wait for room in their stream", self.dead_waiting);
        if let Ok(waiting) = &self.queue {
            gauge("queue_messages", "Events in the queue", waiting.messages);
            gauge("queue_bytes", "Bytes in the queue", waiting.bytes);
            gauge("queue_max_bytes", "The most that it takes", u64::try_from(waiting.max_bytes).unwrap_or(0));
            gauge("queue_oldest_seconds", "How long the first event in the queue has waited", waiting.oldest_seconds);
            gauge("queue_dead_messages", "Events in the stream of dead events", waiting.dead);
            let stuck: u64 = without_a_key(shared, waiting).values().sum();
            gauge("queue_messages_without_key", "Events of agents whose key this relay does not have", stuck);
        }
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The agents with the most events in the queue.
fn by_agent(shared: &Shared, waiting: &Waiting) -> BTreeMap<String, u64> {
    let agent = |(subject, count): &(String, u64)| Some((shared.queue.names.agent_of(subject)?.to_owned(), *count));
    let mut agents: Vec<(String, u64)> = waiting.by_subject.iter().filter_map(agent).collect();
    agents.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    agents.truncate(SHOWN);
    agents.into_iter().collect()
}

/// Events of agents without a key here, by agent.
fn without_a_key(shared: &Shared, waiting: &Waiting) -> BTreeMap<String, u64> {
    let agents = shared.agents.lock();
    let names = &shared.queue.names;
    let mut without = BTreeMap::new();
    for (subject, count) in &waiting.by_subject {
        if let Some(agent) = names.agent_of(subject).filter(|agent| !agents.contains_key(*agent)) {
            *without.entry(agent.to_owned()).or_default() += count;
        }
    }
    without
}

/// Reports agents whose events wait although nobody has their key, once for each.
pub(super) async fn report_missing_keys(shared: &Shared) {
    let Ok(waiting) = Waiting::look(&shared.queue).await else { return };
    for (agent, events) in without_a_key(shared, &waiting) {
        let why = format!(
            "there is no key of agent {agent}: its events stay in the queue until {} holds it",
            shared.keys_dir.join(format!("{agent}.key")).display()
        );
        if shared.is_news(&why) {
            tracing::error!(events, "{why}");
        }
    }
}
