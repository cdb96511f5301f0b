//! The lease: one relay works at a time. It is the last message of a subject, and only who knows its place in the stream can replace
//! it. No clock is compared with another one: a relay takes over after it has seen no renewal for a while, by its own clock.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Shared;
use crate::nats::{Queue, in_words};

/// How often the lease is renewed.
const RENEW: Duration = Duration::from_secs(1);

/// How long a relay works after the start of its last successful renewal.
const VALID: Duration = Duration::from_secs(4);

/// How long others wait for a renewal. More than [`VALID`], so that two never work at once.
const EXPIRED: Duration = Duration::from_secs(6);

/// How often others look.
const LOOK: Duration = Duration::from_millis(500);

/// The content of the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) relay: String,
    /// It was given back: nobody need wait.
    pub(super) free: bool,
}

/// The lease, held.
pub(super) struct Lease {
    sequence: u64,
    renewed: Instant,
}

impl Lease {
    /// Waits for it. `None`: the relay stops.
    pub(super) async fn acquire(shared: &Arc<Shared>, stop: &CancellationToken) -> Option<Self> {
        let mut seen: Option<(u64, Instant)> = None;
        let mut complained = false;
        loop {
            match read(&shared.queue).await {
                Ok(found) => {
                    complained = false;
                    let (sequence, is_free) = found.map_or((0, true), |(sequence, holder)| (sequence, holder.free));
                    let now = Instant::now();
                    let since = match seen {
                        Some((before, since)) if before == sequence => since,
                        _ => now,
                    };
                    seen = Some((sequence, since));
                    if is_free || now - since > EXPIRED {
                        let started = Instant::now();
                        if let Ok(sequence) = replace(shared, sequence, false).await {
                            shared.ceiling.open_until(started + VALID);
                            return Some(Self { sequence, renewed: started });
                        }
                    }
                }
                Err(why) if !complained => {
                    complained = true;
                    let link = shared.queue.link().borrow().clone();
                    let why = if link.is_up { why } else { shared.queue.is_away(&link) };
                    warn!(%why, "cannot look at the lease of relays; trying again");
                }
                Err(why) => debug!(%why, "cannot look at the lease of relays"),
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Renews it until the relay stops or it is lost, which it tells. Gives it back at a stop.
    pub(super) async fn keep(mut self, shared: Arc<Shared>, lost: CancellationToken, stop: CancellationToken) {
        loop {
            let ends = self.renewed + VALID;
            tokio::select! {
                // The work has ended.
                () = lost.cancelled() => break,
                () = sleep(RENEW) => {}
            }
            let started = Instant::now();
            match tokio::time::timeout_at(ends, replace(&shared, self.sequence, false)).await {
                Ok(Ok(sequence)) => {
                    self = Self { sequence, renewed: started };
                    shared.ceiling.open_until(started + VALID);
                }
                Ok(Err(why)) => {
                    debug!(%why, "cannot renew the lease");
                    // A renewal whose acknowledgement was lost is ours nevertheless.
                    if let Ok(Some((sequence, holder))) = read(&shared.queue).await {
                        if holder.relay == shared.id {
                            self.sequence = sequence;
                        } else {
                            break;
                        }
                    }
                }
                Err(_) => {}
            }
            if Instant::now() >= ends.max(self.renewed + VALID) {
                break;
            }
        }
        shared.ceiling.close();
        lost.cancel();
        if stop.is_cancelled() {
            // If it fails, the others wait a little longer.
            let _ = replace(&shared, self.sequence, true).await;
        }
    }
}

/// The lease, if there ever was one, and its place in the stream.
pub(super) async fn read(queue: &Queue) -> Result<Option<(u64, Holder)>, String> {
    let stream = queue.jetstream.get_stream_no_info(&queue.names.relays).await.map_err(|error| in_words(&error))?;
    match stream.get_last_raw_message_by_subject(&queue.names.lease()).await {
        Ok(message) => {
            let holder = serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
            Ok(Some((message.sequence, holder)))
        }
        Err(error) if error.kind() == async_nats::jetstream::stream::LastRawMessageErrorKind::NoMessageFound => {
            Ok(None)
        }
        Err(error) => Err(in_words(&error)),
    }
}

/// Replaces the message at this place. Fails if it is not the last one any more.
async fn replace(shared: &Shared, sequence: u64, free: bool) -> Result<u64, String> {
    let holder = Holder { relay: shared.id.clone(), free };
    let content = serde_json::to_vec(&holder).map_err(|error| error.to_string())?;
    let message = PublishMessage::build().payload(content.into()).expected_last_subject_sequence(sequence);
    let sent = shared.queue.jetstream.send_publish(shared.queue.names.lease(), message).await;
    let stored = sent.map_err(|error| in_words(&error))?.await;
    stored.map(|stored| stored.sequence).map_err(|error| in_words(&error))
}
