//! Makes the streams of a fleet.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, GetStreamError};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{Context, ErrorCode};

use super::{Names, code_of, in_words};

/// How long the server remembers ids of messages. An event that is published again within this time is not stored twice.
const DUPLICATES: Duration = Duration::from_secs(3_600);

/// How long verdicts are kept: as long as a proxy may be away and ask for one.
const DONE_FOR: Duration = Duration::from_secs(7 * 86_400);

/// How long tokens of sessions are kept: OTAS's are valid for 30 days.
const SESSIONS_FOR: Duration = Duration::from_secs(31 * 86_400);

/// Room for the streams beside that of events. A verdict has some 200 bytes.
const SMALL_BYTES: i64 = 1 << 30;

/// Room for events that wait, and for dead ones, if nobody says otherwise.
const EVENTS_BYTES: i64 = 10 << 30;
const DEAD_BYTES: i64 = 1 << 30;

/// What to make. What is not given stays as it is in a stream that is there already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// How many servers have each message.
    pub(crate) replicas: Option<usize>,
    /// Room for events that wait.
    pub(crate) max_bytes: Option<i64>,
    /// Room for dead events.
    pub(crate) dead_max_bytes: Option<i64>,
}

/// What was done to a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) name: String,
    /// It was there already, and has the settings of the plan now.
    pub(crate) was_there: bool,
    /// How many servers have each message.
    pub(crate) replicas: usize,
}

/// Makes the streams, or gives those that are there the settings of the plan.
///
/// # Errors
/// What failed, for which stream, and why.
pub(crate) async fn make(jetstream: &Context, names: &Names, plan: Plan) -> Result<Vec<Made>, String> {
    let mut made = Vec::new();
    for Wanted { mut config, max_bytes } in wanted(names, plan) {
        let name = config.name.clone();
        let found = match jetstream.get_stream(&name).await {
            Ok(found) => Some(found.cached_info().clone()),
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(format!("cannot look for the stream {name}: {}", in_words(&error))),
        };
        let now = found.as_ref().map(|found| &found.config);
        config.num_replicas = plan.replicas.or(now.map(|now| now.num_replicas)).unwrap_or(1);
        config.max_bytes = max_bytes.or(now.map(|now| now.max_bytes)).unwrap_or(config.max_bytes);
        let (replicas, max_bytes) = (config.num_replicas, config.max_bytes);
        let stored = found.as_ref().map_or(0, |found| found.state.bytes);
        // The server would remove the oldest messages.
        if u64::try_from(max_bytes).is_ok_and(|room| room < stored) {
            return Err(format!(
                "the stream {name} holds {stored} bytes, more than the {max_bytes} that it would have: events would be lost. Choose more \
                 (`--max-bytes`, `--dead-max-bytes`), or wait until relays have delivered some"
            ));
        }
        let done = match found {
            Some(_) => jetstream.update_stream(config).await.map(drop),
            None => jetstream.create_stream(config).await.map(drop),
        };
        done.map_err(|error| {
            format!("cannot make the stream {name}: {}{}", in_words(&error), room(&error, max_bytes))
        })?;
        made.push(Made { name, was_there: found.is_some(), replicas });
    }
    Ok(made)
}

/// A stream that is wanted, with the size that it gets when it is new.
struct Wanted {
    config: Config,
    /// The size that the plan gives it.
    max_bytes: Option<i64>,
}

fn is_missing(error: &GetStreamError) -> bool {
    code_of(error) == Some(ErrorCode::STREAM_NOT_FOUND) || error.to_string().contains("10059")
}

/// What to do if a stream's size is more than its server has left.
fn room(error: &CreateStreamError, max_bytes: i64) -> String {
    let code = match error.kind() {
        CreateStreamErrorKind::JetStream(error) => Some(error.error_code()),
        _ => None,
    };
    match code {
        Some(ErrorCode::STORAGE_RESOURCES_EXCEEDED | ErrorCode::INSUFFICIENT_RESOURCES) => format!(
            "; the stream asks for {max_bytes} bytes: make streams smaller (`--max-bytes`, `--dead-max-bytes`), or give JetStream more \
             (`max_file_store` in the server's settings)"
        ),
        _ => String::new(),
    }
}

fn wanted(names: &Names, plan: Plan) -> [Wanted; 4] {
    let base = |name: &str, subject: String, max_bytes: i64, about: &str| Config {
        name: name.to_owned(),
        subjects: vec![subject],
        max_bytes,
        storage: StorageType::File,
        allow_direct: true,
        description: Some(about.to_owned()),
        ..Config::default()
    };
    let events = Config {
        retention: RetentionPolicy::WorkQueue,
        // A full stream refuses new events, so that they wait in their proxies' stores.
        discard: DiscardPolicy::New,
        duplicate_window: DUPLICATES,
        ..base(&names.events, names.all_events(), EVENTS_BYTES, "events that wait for OTAS")
    };
    let dead = Config {
        discard: DiscardPolicy::New,
        duplicate_window: DUPLICATES,
        ..base(&names.dead, names.all_dead(), DEAD_BYTES, "events that OTAS refused for good")
    };
    let done = Config {
        max_messages_per_subject: 1,
        max_age: DONE_FOR,
        ..base(&names.done, names.all_done(), SMALL_BYTES, "what became of events")
    };
    let relays = Config {
        max_messages_per_subject: 1,
        max_age: SESSIONS_FOR,
        ..base(&names.relays, names.all_of_relays(), SMALL_BYTES, "what relays share: the lease, sealed tokens")
    };
    let with = |config, max_bytes| Wanted { config, max_bytes };
    [with(events, plan.max_bytes), with(dead, plan.dead_max_bytes), with(done, None), with(relays, None)]
}
