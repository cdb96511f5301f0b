//! What became of events: told to other relays (the stream of verdicts) and to the proxy, and only then acknowledged.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

use super::{Held, Shared, sessions};
use crate::nats::{Decision, NotStored, Verdict, Verdicts, in_words};
use crate::store::{Fate, SessionRow, State};

/// Faults that are remembered. Subjects come from proxies, so there may be any number.
const SAID: usize = 10_000;

/// The pause before a stream is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The verdict to send on an event, from its state in the store.
pub(super) fn decision(fate: &Fate) -> Decision {
    match fate.state {
        State::Delivered => Decision::Delivered { otas_event_id: fate.otas_event_id.clone().unwrap_or_default() },
        State::Pending | State::Dead | State::Kept => {
            Decision::Dead { reason: fate.verdict.clone().unwrap_or_default() }
        }
    }
}

/// Handles the events that were settled, until there are no more deliveries.
pub(super) async fn finish(
    shared: Arc<Shared>,
    mut fates: mpsc::UnboundedReceiver<Vec<Fate>>,
    lost: CancellationToken,
) {
    let mut under_way = JoinSet::new();
    while let Some(settled) = fates.recv().await {
        for fate in settled {
            shared.recent.insert(fate.event_id, decision(&fate));
            let Some(held) = shared.held.lock().remove(&fate.event_id) else { continue };
            under_way.spawn(conclude(shared.clone(), fate, held, lost.clone()));
        }
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
}

/// All that follows a verdict. Without the lease the message stays, and the next relay concludes it.
async fn conclude(shared: Arc<Shared>, fate: Fate, held: Held, lost: CancellationToken) {
    let agent = shared.queue.names.agent_of(&held.subject).and_then(|id| shared.agents.lock().get(id).cloned());
    let verdict = Verdict { event: fate.event_id, decision: decision(&fate) };
    if let Decision::Dead { reason } = &verdict.decision {
        shared.tally.dead.fetch_add(1, Ordering::Relaxed);
        if !bury(&shared, &held, fate.event_id, reason, &lost).await {
            return;
        }
    } else {
        shared.tally.delivered.fetch_add(1, Ordering::Relaxed);
    }
    if let Some(agent) = agent.filter(|_| shared.is_first_of(fate.session)) {
        sessions::keep(&shared, &agent, fate.session).await;
    }
    let subject = shared.queue.names.done_with(fate.event_id);
    let message = || PublishMessage::build().payload(verdict.to_json().into());
    while let Err(why) = shared.queue.store(subject.clone(), message()).await {
        if lost.is_cancelled() {
            return;
        }
        warn!(?why, "cannot store a verdict; trying again");
        sleep(PAUSE).await;
    }
    tell(&shared, &held.proxy, None, vec![verdict]).await;
    for acker in &held.ackers {
        if let Err(error) = acker.ack().await {
            warn!(error = in_words(error.as_ref()), "cannot acknowledge a message");
        }
    }
}

/// Puts a dead event into its stream. False: the lease was lost before it was there.
async fn bury(shared: &Shared, held: &Held, event: Uuid, reason: &str, lost: &CancellationToken) -> bool {
    let names = &shared.queue.names;
    let mut is_waiting = false;
    let buried = loop {
        if lost.is_cancelled() {
            break false;
        }
        let why = match copy(shared, held, event, reason).await {
            Ok(true) => break true,
            Ok(false) => {
                error!(%event, "the stream no longer has this dead event: only its proxy and this relay's store do");
                break true;
            }
            Err(why) => why,
        };
        if !is_waiting {
            is_waiting = true;
            shared.tally.dead_waiting.fetch_add(1, Ordering::Relaxed);
            error!(%event, why, "a dead event stays in the queue: look at the stream {}, and empty it or give it room", names.dead);
        }
        sleep(PAUSE).await;
    };
    if is_waiting {
        shared.tally.dead_waiting.fetch_sub(1, Ordering::Relaxed);
    }
    buried
}

/// False: there is nothing to copy.
async fn copy(shared: &Shared, held: &Held, event: Uuid, reason: &str) -> Result<bool, String> {
    let queue = &shared.queue;
    let stream = queue.jetstream.get_stream_no_info(&queue.names.events).await.map_err(|error| in_words(&error))?;
    let message = match stream.get_raw_message(held.sequence).await {
        Ok(message) => message,
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(false),
        Err(error) => return Err(in_words(&error)),
    };
    let mut headers = message.headers;
    headers.insert("Otas-Reason", reason.replace(['\r', '\n'], " "));
    let copy = PublishMessage::build().headers(headers).payload(message.payload).message_id(event.to_string());
    queue.store(queue.names.dead_of(&held.subject), copy).await.map(|()| true).map_err(|why| match why {
        NotStored::Full => format!("the stream {} is full", queue.names.dead),
        NotStored::TooLarge => "the event is too large for the stream".to_owned(),
        NotStored::NoStream(why) | NotStored::Away(why) => why,
    })
}

/// Tells a proxy. If it does not hear it, it asks.
pub(super) async fn tell(shared: &Shared, proxy: &str, answers: Option<Uuid>, verdicts: Vec<Verdict>) {
    let Ok(content) = serde_json::to_vec(&Verdicts { answers, verdicts }) else { return };
    let subject = shared.queue.names.verdicts_for(proxy);
    if let Err(error) = shared.queue.client.publish(subject, content.into()).await {
        warn!(%error, "cannot tell a proxy its verdicts");
    }
}

impl Shared {
    /// Whether this is the first event of a session that has a verdict from this relay.
    fn is_first_of(&self, session: SessionRow) -> bool {
        self.kept.lock().insert(session)
    }

    /// Whether this was not said before.
    pub(super) fn is_news(&self, words: &str) -> bool {
        let mut said = self.said.lock();
        if said.len() >= SAID {
            said.clear();
        }
        said.insert(words.to_owned())
    }
}
