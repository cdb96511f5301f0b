//! Messages of the queue into the relay's store, for one agent: each event once, in the order of the stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::{AckKind, Acker};
use async_nats::jetstream::{Message, consumer::Consumer};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::agents::Agent;
use super::{Held, Shared, blocking, outcome, sessions};
use crate::nats::{Ask, Decision, Kind, Verdict, decode, headers_of, in_words};
use crate::store::{NewEvent, Pace, SessionRow, StoreError, Travelling};

/// Events of an agent that are held at once: enough that all its sessions have some.
const WINDOW: i64 = 256;

/// Messages that are stored together.
const BATCH: usize = 64;

/// When the server gives a message again that has no verdict yet. A relay that dies does not wait for it: the next one makes new
/// consumers.
const ACK_WAIT: Duration = Duration::from_secs(300);

/// The server removes a consumer that nobody asks for this long.
const INACTIVE: Duration = Duration::from_secs(60);

/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// A message that cannot be read is given again after this time, and reported again.
const UNREADABLE: Duration = Duration::from_secs(300);

/// Removes the consumers of the relay before.
pub(super) async fn remove_consumers(shared: &Shared) -> Result<(), String> {
    let queue = &shared.queue;
    let stream = queue.jetstream.get_stream(&queue.names.events).await.map_err(|error| {
        format!("there is no stream {}: run `otas-proxy relay init` ({})", queue.names.events, in_words(&error))
    })?;
    let names: Vec<String> = stream.consumer_names().try_collect().await.map_err(|error| in_words(&error))?;
    for name in names {
        has_lease(shared)?;
        // Another relay may have removed it.
        if let Err(error) = stream.delete_consumer(&name).await {
            info!(name, error = in_words(&error), "a consumer was not removed");
        }
    }
    Ok(())
}

/// Takes the messages of an agent until the lease is lost.
pub(super) async fn run(shared: Arc<Shared>, id: String, wake: impl Fn() + Send + Sync, lost: CancellationToken) {
    let mut complained = false;
    while !lost.is_cancelled() {
        match take(&shared, &id, &wake).await {
            Ok(()) => complained = false,
            Err(why) => {
                if !complained {
                    warn!(agent = id, %why, "cannot take events out of the queue; trying again");
                }
                complained = true;
            }
        }
        sleep(PAUSE).await;
    }
}

async fn take(shared: &Arc<Shared>, id: &str, wake: &(impl Fn() + Send + Sync)) -> Result<(), String> {
    let consumer = consumer(shared, id).await?;
    let messages = consumer.stream().max_messages_per_batch(BATCH).expires(Duration::from_secs(10));
    let mut messages = messages.messages().await.map_err(|error| in_words(&error))?;
    while let Some(first) = messages.next().await {
        let mut batch = vec![first.map_err(|error| in_words(&error))?];
        while batch.len() < BATCH
            && let Some(Some(next)) = messages.next().now_or_never()
        {
            batch.push(next.map_err(|error| in_words(&error))?);
        }
        // The key may be another one by now.
        let Some(agent) = shared.agents.lock().get(id).cloned() else { return Ok(()) };
        store_all(shared, &agent, batch).await?;
        wake();
    }
    Ok(())
}

async fn consumer(shared: &Shared, id: &str) -> Result<Consumer<pull::Config>, String> {
    let queue = &shared.queue;
    let stream = queue.jetstream.get_stream(&queue.names.events).await.map_err(|error| in_words(&error))?;
    let filter_subject = queue.names.event("*", id);
    // A consumer of ours that is left from before would stand in the way.
    let mut left = stream.consumers();
    let mut old = Vec::new();
    while let Some(info) = left.try_next().await.map_err(|error| in_words(&error))? {
        if info.config.filter_subject == filter_subject {
            old.push(info.name);
        }
    }
    for name in old {
        has_lease(shared)?;
        stream.delete_consumer(&name).await.map_err(|error| in_words(&error))?;
    }
    let settings = pull::Config {
        // A new name for each: what was taken through an older one can no longer be acknowledged.
        durable_name: Some(format!("relay-{}", Uuid::new_v4().simple())),
        description: Some(format!("relay {}", shared.id)),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: WINDOW,
        inactive_threshold: INACTIVE,
        filter_subject,
        ..pull::Config::default()
    };
    stream.create_consumer(settings).await.map_err(|error| in_words(&error))
}

/// A relay that was paused must not remove the consumers of the next one.
fn has_lease(shared: &Shared) -> Result<(), String> {
    if shared.ceiling.is_open() { Ok(()) } else { Err("this relay has lost its lease".to_owned()) }
}

/// An event to store.
struct Arrived {
    event: Travelling,
    held: Held,
}

/// Stores new events, and answers for those that have a verdict already.
async fn store_all(shared: &Arc<Shared>, agent: &Agent, batch: Vec<Message>) -> Result<(), String> {
    shared.tally.taken.fetch_add(batch.len() as u64, Ordering::Relaxed);
    let mut arrived: Vec<Arrived> = Vec::new();
    let mut asks = Vec::new();
    let known = known_verdicts(shared, &batch).await?;
    for message in batch {
        let sequence = message.info().map_err(|error| error.to_string())?.stream_sequence;
        let (message, acker) = message.split();
        let envelope = message.headers.as_ref().and_then(headers_of);
        match envelope.as_ref().map(|envelope| (&envelope.proxy, envelope.kind)) {
            Some((proxy, Kind::Event(id))) => {
                if let Some(decision) = known.get(&id) {
                    shared.tally.repeated.fetch_add(1, Ordering::Relaxed);
                    outcome::tell(shared, proxy, None, vec![Verdict { event: id, decision: decision.clone() }]).await;
                    acknowledge(&acker).await;
                } else if let Some(held) = shared.held.lock().get_mut(&id) {
                    held.ackers.push(acker);
                } else if let Some(twice) = arrived.iter_mut().find(|other| other.event.event.id == id) {
                    twice.held.ackers.push(acker);
                } else if let Some(event) = decode(&message.payload).filter(|found| found.event.id == id) {
                    let (proxy, subject) = (proxy.clone(), message.subject.to_string());
                    let held = Held { proxy, subject, sequence, ackers: vec![acker] };
                    arrived.push(Arrived { event, held });
                } else {
                    shared.unread.lock().insert(id);
                    unreadable(&acker, sequence).await;
                }
            }
            Some((proxy, Kind::Ask)) => asks.push((proxy.clone(), message.payload, acker)),
            None => unreadable(&acker, sequence).await,
        }
    }
    if !arrived.is_empty() {
        append(shared, agent, arrived).await.map_err(|error| error.in_words())?;
    }
    // Everything before a question is known by now.
    for (proxy, content, acker) in asks {
        if let Ok(ask) = serde_json::from_slice::<Ask>(&content) {
            answer(shared, &proxy, ask).await?;
        }
        acknowledge(&acker).await;
    }
    Ok(())
}

async fn acknowledge(acker: &Acker) {
    // If this fails, the server sends the message again. Then the proxy gets the same verdict twice.
    if let Err(error) = acker.ack().await {
        warn!(error = in_words(error.as_ref()), "cannot acknowledge a message");
    }
}

async fn unreadable(acker: &Acker, sequence: u64) {
    error!(sequence, "a message in the stream of events cannot be read: it stays there. Is it from a newer version?");
    let _ = acker.ack_with(AckKind::Nak(Some(UNREADABLE))).await;
}

/// The verdicts on events of these messages that were delivered before.
async fn known_verdicts(shared: &Shared, batch: &[Message]) -> Result<HashMap<Uuid, Decision>, String> {
    let ids = batch.iter().filter_map(|message| match headers_of(message.headers.as_ref()?)?.kind {
        Kind::Event(id) => Some(id),
        Kind::Ask => None,
    });
    verdicts_on(shared, ids.collect()).await
}

/// The verdicts on these events, as far as there are any.
async fn verdicts_on(shared: &Shared, events: Vec<Uuid>) -> Result<HashMap<Uuid, Decision>, String> {
    let names = &shared.queue.names;
    let stream = shared.queue.jetstream.get_stream_no_info(&names.done).await.map_err(|error| in_words(&error))?;
    let looked = futures_util::stream::iter(events).map(|event| {
        let stream = &stream;
        async move {
            if let Some(decision) = shared.recent.get(&event) {
                return Ok(Some((event, decision)));
            }
            match stream.direct_get_last_for_subject(names.done_with(event)).await {
                Ok(message) => {
                    let verdict = serde_json::from_slice::<Verdict>(&message.payload);
                    Ok(verdict.ok().map(|verdict| (event, verdict.decision)))
                }
                Err(error) if error.kind() == async_nats::jetstream::stream::DirectGetErrorKind::NotFound => Ok(None),
                Err(error) => Err(in_words(&error)),
            }
        }
    });
    let found: Vec<_> = looked.buffer_unordered(BATCH).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// Tells a proxy what is known of events that it asks for. Those that wait are not named.
async fn answer(shared: &Arc<Shared>, proxy: &str, ask: Ask) -> Result<(), String> {
    let known = verdicts_on(shared, ask.events.clone()).await?;
    let verdicts = {
        let (held, unread) = (shared.held.lock(), shared.unread.lock());
        let verdict = |event: Uuid| match known.get(&event) {
            Some(decision) => Some(Verdict { event, decision: decision.clone() }),
            // The stream has it.
            None if held.contains_key(&event) || unread.contains(&event) => None,
            None => Some(Verdict { event, decision: Decision::Unknown }),
        };
        ask.events.into_iter().filter_map(verdict).collect()
    };
    outcome::tell(shared, proxy, Some(ask.id), verdicts).await;
    Ok(())
}

async fn append(shared: &Arc<Shared>, agent: &Agent, arrived: Vec<Arrived>) -> Result<(), StoreError> {
    let mut rows: Vec<SessionRow> = Vec::with_capacity(arrived.len());
    for Arrived { event, .. } in &arrived {
        rows.push(sessions::row(shared, agent, &event.run_id, &event.meta).await?);
    }
    let (held, events): (Vec<_>, Vec<_>) =
        arrived.into_iter().map(|one| ((one.event.event.id, one.held), one.event)).unzip();
    let ids: Vec<Uuid> = held.iter().map(|(id, _)| *id).collect();
    // Before the events are there to be delivered.
    shared.held.lock().extend(held);
    let storing = shared.clone();
    let stored = blocking(move || {
        let new: Vec<NewEvent<'_>> = events.iter().map(|one| NewEvent::of(one.seq, &one.event)).collect();
        let groups: Vec<(SessionRow, &[NewEvent<'_>])> =
            rows.iter().zip(&new).map(|(row, event)| (*row, std::slice::from_ref(event))).collect();
        storing.writer.lock().append_ended(&groups, &[], Pace::AtOnce)
    })
    .await;
    if stored.is_err() {
        let mut held = shared.held.lock();
        ids.iter().for_each(|id| drop(held.remove(id)));
    }
    stored
}
