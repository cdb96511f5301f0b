//! Sinks: what is told of each event beside OTAS, or instead of it. Each goes through the store by itself, in the order of the
//! rows, and its place there is kept in the store, so that a restart goes on where it was. An event may come twice (an answer
//! that was lost, a crash before the place was noted), and is passed over only when it is counted.
//!
//! ```text
//!  worker       reads the next events, hands them over, notes the place; waits and tries again
//!  json_lines   a file or standard output, one event a line
//!  otlp/        an OpenTelemetry collector (cargo feature `otlp`)
//!  status       how it goes
//! ```
//!
//! Of all processes that share a store one feeds a sink; the others wait to take over. A sink that is slow or away holds up
//! nobody: what it has not had stays in the store as long as there is room.

mod json_lines;
#[cfg(feature = "otlp")]
mod otlp;
mod status;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::store::{EventRow, Store};

pub use status::{Fed, Status};

/// The most events that are handed over at once: as many as OpenTelemetry's own exporters send.
const BATCH: usize = 512;
/// How long a stopping sink has for what is under way.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The same when somebody is in a hurry.
const HURRIED_LAST_WORDS: Duration = Duration::from_millis(100);

/// Why a sink cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// No thread for a file.
    #[error("cannot start the thread that writes `{0}`")]
    Thread(String, #[source] std::io::Error),
    /// The root that the collector may be signed by.
    #[cfg(feature = "otlp")]
    #[error("OTEL_EXPORTER_OTLP_CERTIFICATE: {0}")]
    Certificate(#[source] crate::tls::RootsError),
    /// The HTTP client could not be made.
    #[cfg(feature = "otlp")]
    #[error("cannot set up the HTTP client for `{0}`")]
    Client(String, #[source] reqwest::Error),
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "a file refuses nothing"))]
enum Sent {
    /// It was taken, but for `refused` of its events, about which `said` was said.
    Taken { refused: u64, said: String },
    /// None of it will ever be taken.
    Refused(String),
    /// It is too much at once.
    TooLarge(String),
    /// It must be sent again, not before `after` if that was asked for.
    Later { why: String, after: Option<Duration> },
}

/// Where a sink's events go.
enum Target {
    JsonLines(json_lines::JsonLines),
    #[cfg(feature = "otlp")]
    Otlp(Box<otlp::Collector>),
}

impl Target {
    fn new(sink: &config::Sink, tls: &rustls::ClientConfig) -> Result<Self, SinkError> {
        match sink {
            config::Sink::JsonLines(path) => json_lines::JsonLines::start(path.clone())
                .map(Self::JsonLines)
                .map_err(|error| SinkError::Thread(sink.name(), error)),
            #[cfg(feature = "otlp")]
            config::Sink::Otlp(settings) => {
                otlp::Collector::new(settings, tls).map(|collector| Self::Otlp(Box::new(collector)))
            }
            #[cfg(not(feature = "otlp"))]
            config::Sink::Otlp(_) => {
                let _ = tls;
                let missing = std::io::Error::from(std::io::ErrorKind::Unsupported);
                Err(SinkError::Thread(sink.name(), missing))
            }
        }
    }

    /// How long the first event waits for others that are handed over with it.
    fn gather(&self) -> Duration {
        match self {
            Self::JsonLines(_) => Duration::from_millis(20),
            #[cfg(feature = "otlp")]
            Self::Otlp(_) => Duration::from_millis(500),
        }
    }

    async fn send(&self, events: &[EventRow]) -> Sent {
        match self {
            Self::JsonLines(file) => file.send(events).await,
            #[cfg(feature = "otlp")]
            Self::Otlp(collector) => collector.send(events).await,
        }
    }
}

/// What the outside tells a worker.
#[derive(Default)]
struct Signals {
    /// Events were stored.
    appended: Notify,
    /// Somebody waits: try now.
    hurry: Notify,
}

/// All sinks of a process.
pub struct Sinks(Vec<One>);

struct One {
    signals: Arc<Signals>,
    status: watch::Receiver<Status>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// How all sinks go, to be asked for at any time.
#[derive(Clone)]
pub struct Watch(Vec<watch::Receiver<Status>>);

impl Watch {
    /// How they go now.
    pub fn now(&self) -> Vec<Status> {
        self.0.iter().map(|one| one.borrow().clone()).collect()
    }
}

impl Sinks {
    /// Starts them, but for those that are switched off; must be called on a Tokio runtime. `tls`: which certificates their
    /// collectors may show.
    ///
    /// # Errors
    /// When one cannot be set up. Whatever is wrong with its destination later is no error: it shows in [`Status`].
    pub fn start(
        store: &Store,
        sinks: &[config::Sink],
        delivery: &config::Delivery,
        tls: &rustls::ClientConfig,
    ) -> Result<Self, SinkError> {
        let mut all = Vec::new();
        for sink in sinks {
            if matches!(sink, config::Sink::Otlp(otlp) if otlp.disabled) {
                tracing::warn!(sink = sink.name(), "OTEL_SDK_DISABLED is set: nothing is sent there");
                continue;
            }
            let (signals, (stop, stopped)) = (Arc::new(Signals::default()), oneshot::channel());
            let (told, status) = watch::channel(Status::of(sink.name()));
            let mut worker = worker::Worker::new(store.clone(), Target::new(sink, tls)?, delivery, told);
            worker.begin();
            let task = tokio::spawn(worker.run(signals.clone(), stopped));
            all.push(One { signals, status, stop, task });
        }
        Ok(Self(all))
    }

    /// For whoever appends: wakes them all.
    pub fn waker(&self) -> impl Fn() + Clone + Send + Sync + use<> {
        let all: Vec<Arc<Signals>> = self.0.iter().map(|one| one.signals.clone()).collect();
        move || all.iter().for_each(|signals| signals.appended.notify_one())
    }

    /// How they go, now and from now on.
    pub fn watch(&self) -> Watch {
        Watch(self.0.iter().map(|one| one.status.clone()).collect())
    }

    /// Waits until each has had all rows up to `newest`, the time is over or there is a hurry.
    pub async fn drained(&self, newest: i64, within: Duration, hurry: &CancellationToken) -> Vec<Status> {
        let deadline = Instant::now() + within;
        let all = self.0.iter().map(|one| async move {
            one.signals.hurry.notify_one();
            let mut status = one.status.clone();
            // Fails only when the worker is gone, which says enough.
            let _ = timeout_at(deadline, status.wait_for(|status| status.up_to >= newest)).await;
        });
        tokio::select! {
            _ = futures_util::future::join_all(all) => {}
            () = hurry.cancelled() => {}
        }
        self.watch().now()
    }

    /// Stops them, at once when there is a hurry. What they have not had stays stored.
    pub async fn stop(self, hurry: &CancellationToken) {
        let stopped = self.0.into_iter().map(|One { stop, mut task, .. }| async move {
            let _ = stop.send(());
            let last_words = async {
                tokio::select! {
                    () = sleep(LAST_WORDS) => {}
                    () = async { hurry.cancelled().await; sleep(HURRIED_LAST_WORDS).await } => {}
                }
            };
            tokio::select! {
                _ = &mut task => {}
                () = last_words => task.abort(),
            }
        });
        futures_util::future::join_all(stopped).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NewEvent;

    /// The worker's task gets its first turn only after the event is stored.
    #[tokio::test]
    async fn a_new_sink_gets_an_event_that_is_stored_right_after_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let session = store.begin_session("run", "", "{}").unwrap();
        let sink = config::Sink::JsonLines(Some(folder.path().join("events.jsonl")));
        let config = config::Config::defaults(folder.path()).unwrap();
        let tls = rustls::ClientConfig::builder_with_provider(crate::tls::provider());
        let tls = tls.with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        let sinks = Sinks::start(&store, &[sink], &config.delivery, &tls).unwrap();
        store.writer().unwrap().append(session, &[NewEvent::plain(b"{}")]).unwrap();
        let status = sinks.drained(1, Duration::from_secs(20), &CancellationToken::new()).await;
        assert_eq!(status[0].fed.sent, 1);
        assert_eq!(std::fs::read_to_string(folder.path().join("events.jsonl")).unwrap(), "{}\n");
    }
}
