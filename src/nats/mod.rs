//! The queue of a fleet: NATS JetStream. Proxies publish events into a stream; a relay takes them out and delivers them.
//!
//! ```text
//!  names     subjects and streams (pure)          message   an event as it travels (pure)
//!  verdicts  messages of relays (pure)            streams   what `relay init` makes
//!  rule      when a proxy may forget (pure)       link      the state of the connection
//! ```

mod link;
mod message;
mod names;
mod rule;
mod streams;
mod verdicts;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, ConnectOptions};
use thiserror::Error;
use tokio::sync::watch;

use self::link::Follower;
use crate::config;

pub(crate) use link::Link;
pub(crate) use message::{Envelope, Kind, decode, encode, headers_of};
pub(crate) use names::Names;
pub(crate) use rule::{Monitored, Rule};
pub(crate) use streams::{Plan, make};
pub(crate) use verdicts::{Ask, Decision, Verdict, Verdicts};

/// How long the server may take to acknowledge.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection may take.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// How often the server is asked whether it is there. One that has gone without a word is noticed after three times this.
const PING: Duration = Duration::from_secs(20);

/// The longest wait before the next attempt to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(4);

/// Why the queue cannot be used.
#[derive(Debug, Error)]
pub(crate) enum QueueError {
    /// The credentials cannot be read.
    #[error("cannot use the file of `queue.credentials_file`, {path}: {why}")]
    Credentials {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// No server takes the connection.
    #[error("cannot connect to NATS at {servers} (`queue.nats_url`): {why}")]
    Connect {
        /// The servers.
        servers: String,
        /// Why.
        why: String,
    },
}

/// A connection to the queue. Clones share it.
#[derive(Clone)]
pub(crate) struct Queue {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) names: Names,
    link: watch::Receiver<Link>,
    servers: Arc<str>,
}

impl Queue {
    /// Connects, or fails at once.
    ///
    /// # Errors
    /// [`QueueError`], with what to do.
    pub(crate) async fn connect(settings: &config::Queue, name: &str) -> Result<Self, QueueError> {
        Self::with(settings, options(settings, name)?, false).await
    }

    /// Connects as soon as a server is there, and again after each loss.
    ///
    /// # Errors
    /// When the credentials cannot be used.
    pub(crate) async fn follow(settings: &config::Queue, name: &str) -> Result<Self, QueueError> {
        Self::with(settings, options(settings, name)?, true).await
    }

    async fn with(settings: &config::Queue, options: ConnectOptions, forever: bool) -> Result<Self, QueueError> {
        let servers = settings.nats_url.join(",");
        let options =
            options.connection_timeout(CONNECTED_WITHIN).ping_interval(PING).reconnect_delay_callback(|attempts| {
                let doubled = Duration::from_millis(50).saturating_mul(1 << attempts.min(7));
                doubled.min(RECONNECT_MAX)
            });
        let (follower, link) = Follower::new(&settings.nats_url, options.clone());
        let options = if forever { options.retry_on_initial_connect() } else { options };
        let options = options.event_callback(move |event| {
            follower.note(&event);
            std::future::ready(())
        });
        let connected = options.connect(&*settings.nats_url).await;
        let client =
            connected.map_err(|error| QueueError::Connect { servers: servers.clone(), why: link::why(&error) })?;
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(ACKNOWLEDGED_WITHIN)
            .ack_timeout(ACKNOWLEDGED_WITHIN)
            .build(client.clone());
        Ok(Self { client, jetstream, names: Names::of(settings), link, servers: servers.into() })
    }

    /// The state of the connection, to be followed.
    pub(crate) fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Publishes into a stream, and waits until it has the message.
    ///
    /// # Errors
    /// [`NotStored`].
    pub(crate) async fn store(&self, subject: String, message: PublishMessage) -> Result<(), NotStored> {
        let sent = self.jetstream.send_publish(subject, message).await;
        match sent {
            Ok(acknowledged) => acknowledged.await.map(drop).map_err(|error| self.not_stored(&error)),
            Err(error) => Err(self.not_stored(&error)),
        }
    }

    /// What is wrong while there is no connection.
    pub(crate) fn is_away(&self, link: &Link) -> String {
        let why = link.refusal.as_deref().unwrap_or("there is no connection");
        format!("cannot reach NATS at {} (`queue.nats_url`): {why}", self.servers)
    }

    fn not_stored(&self, error: &PublishError) -> NotStored {
        let (names, link) = (&self.names, self.link.borrow());
        match error.kind() {
            PublishErrorKind::StreamNotFound => NotStored::NoStream(format!(
                "no stream of NATS takes the events: run `otas-proxy relay init`, and check `queue.subject_prefix` ({})",
                names.prefix
            )),
            PublishErrorKind::MaxPayloadExceeded => NotStored::TooLarge,
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe if !link.is_up => {
                NotStored::Away(self.is_away(&link))
            }
            PublishErrorKind::TimedOut => NotStored::Away(match &link.refusal {
                Some(refusal) => format!("NATS refuses what this process asks for: {refusal}"),
                None => "NATS does not acknowledge: its stream may have no leader at the moment".to_owned(),
            }),
            _ => match code_of(error) {
                Some(ErrorCode::STREAM_STORE_FAILED | ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED) => NotStored::Full,
                Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM) => NotStored::TooLarge,
                _ => NotStored::Away(format!("NATS does not take the message: {}", in_words(error))),
            },
        }
    }
}

/// Why a message is not in its stream, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotStored {
    /// There is no room.
    Full,
    /// The message is larger than the server or the stream allows.
    TooLarge,
    /// There is no such stream: what to do.
    NoStream(String),
    /// Anything else, in words. The stream may have it nevertheless.
    Away(String),
}

/// The code of JetStream in an error.
fn code_of(error: &(dyn std::error::Error + 'static)) -> Option<ErrorCode> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<jetstream::Error>())
        .map(jetstream::Error::error_code)
}

/// An error and its causes.
pub(crate) fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    for cause in std::iter::successors(error.source(), |error| error.source()) {
        let cause = cause.to_string();
        if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

fn options(settings: &config::Queue, name: &str) -> Result<ConnectOptions, QueueError> {
    let mut options = ConnectOptions::new().name(name);
    if let Some(path) = &settings.credentials_file {
        options = with_credentials(options, path)
            .map_err(|why| QueueError::Credentials { path: path.display().to_string(), why })?;
    }
    if let Some(path) = &settings.ca_file {
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    Ok(options)
}

/// A `.creds` file, or a line `user:password`. No error repeats what the file holds.
fn with_credentials(options: ConnectOptions, path: &Path) -> Result<ConnectOptions, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    if text.contains("BEGIN NATS USER JWT") {
        return options
            .credentials(&text)
            .map_err(|_| "it is damaged: a `.creds` file has a JWT and a seed".to_owned());
    }
    match text.trim().split_once(':') {
        Some((user, password)) if !user.is_empty() && !text.trim().contains('\n') => {
            Ok(options.user_and_password(user.to_owned(), password.to_owned()))
        }
        _ => Err("it is neither a `.creds` file nor one line `user:password`".to_owned()),
    }
}
