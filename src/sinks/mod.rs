//! Sinks: other destinations of events, beside OTAS or instead of it. Each sink reads the store in row order. Its position is
//! kept in the store, so it continues there after a restart. An event may be sent twice (a lost answer, or a crash before the
//! position was saved). A skipped event is counted.
//!
//! ```text
//!  worker       reads the next events, sends them, saves the position; waits and retries
//!  json_lines   a file or standard output, one event a line
//!  otlp/        an OpenTelemetry collector (cargo feature `otlp`)
//!  status       position, counts, trouble
//! ```
//!
//! Of all processes that share a store, one sends to a sink; the others wait to take over. A slow or unreachable sink delays
//! nothing: its backlog stays in the store while there is room.

mod json_lines;
#[cfg(feature = "otlp")]
mod otlp;
mod status;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::store::{EventRow, Store};

pub use status::{SinkCounts, Status};

/// The maximum batch size, the same as in OpenTelemetry's own exporters.
const BATCH: usize = 512;
/// How long a stopping sink waits for the batch in flight.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// The same in a hurry.
const HURRIED_GRACE: Duration = Duration::from_millis(100);

/// Why a sink cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The thread for a file could not be started.
    #[error("cannot start the thread that writes `{0}`")]
    Thread(String, #[source] std::io::Error),
    /// The collector's root certificate could not be used.
    #[cfg(feature = "otlp")]
    #[error("OTEL_EXPORTER_OTLP_CERTIFICATE: {0}")]
    Certificate(#[source] crate::tls::RootsError),
    /// The HTTP client could not be created.
    #[cfg(feature = "otlp")]
    #[error("cannot set up the HTTP client for `{0}`")]
    Client(String, #[source] reqwest::Error),
}

/// The result of a batch.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "a file never refuses an event"))]
enum Sent {
    /// Accepted, except for so many spans. `said` is the reason. It is not known which events these spans are of, or whether they are
    /// those of turns and tools.
    Taken { rejected_spans: u64, said: String },
    /// None of it will ever be accepted.
    Refused(String),
    /// The batch is too large.
    TooLarge(String),
    /// It must be sent again, no earlier than `after` if the sink asked for that.
    Later { why: String, after: Option<Duration> },
}

/// What became of a batch.
struct Sending {
    sent: Sent,
    /// Its events.
    events: u64,
    /// Further events, which are not for this sink.
    skipped: u64,
    /// If it is accepted, all rows up to this one are done.
    up_to: i64,
}

/// The destination of a sink.
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

    /// How long the first event of a batch waits for others.
    fn gather(&self) -> Duration {
        match self {
            Self::JsonLines(_) => Duration::from_millis(20),
            #[cfg(feature = "otlp")]
            Self::Otlp(_) => Duration::from_millis(500),
        }
    }

    /// Whether it needs the model calls up to its position, to find the turns that are still open.
    fn lacks(&self, position: i64) -> bool {
        match self {
            Self::JsonLines(_) => {
                let _ = position;
                false
            }
            #[cfg(feature = "otlp")]
            Self::Otlp(collector) => collector.lacks(position),
        }
    }

    /// Gives it these calls.
    async fn recall(&self, calls: Vec<EventRow>, position: i64) {
        match self {
            Self::JsonLines(_) => drop((calls, position)),
            #[cfg(feature = "otlp")]
            Self::Otlp(collector) => collector.recall(calls, position).await,
        }
    }

    /// The row after which it takes further events. `None`: some of those that it has are not sent yet.
    fn takes_after(&self, position: i64) -> Option<i64> {
        match self {
            Self::JsonLines(_) => Some(position),
            #[cfg(feature = "otlp")]
            Self::Otlp(collector) => collector.takes_after(),
        }
    }

    /// Whether it holds events that wait for later ones.
    fn waits(&self) -> bool {
        match self {
            Self::JsonLines(_) => false,
            #[cfg(feature = "otlp")]
            Self::Otlp(collector) => collector.waits(),
        }
    }

    /// Tells it that its current batch is done, and all rows up to this one.
    fn done(&self, up_to: i64) {
        match self {
            Self::JsonLines(_) => {
                let _ = up_to;
            }
            #[cfg(feature = "otlp")]
            Self::Otlp(collector) => collector.done(up_to),
        }
    }

    /// Sends what is due although no event came, at most so many spans. `None`: there is none. Otherwise also how many.
    async fn send_late(&self, most: usize) -> Option<(Sent, usize)> {
        match self {
            Self::JsonLines(_) => {
                let _ = most;
                None
            }
            #[cfg(feature = "otlp")]
            Self::Otlp(collector) => collector.send_late(most).await,
        }
    }

    /// Sends the metrics, if it is time.
    async fn send_due_metrics(&self) {
        match self {
            Self::JsonLines(_) => {}
            #[cfg(feature = "otlp")]
            Self::Otlp(collector) => collector.send_due_metrics().await,
        }
    }

    /// Sends what it still holds.
    async fn stop(&self) {
        match self {
            Self::JsonLines(_) => {}
            #[cfg(feature = "otlp")]
            Self::Otlp(collector) => collector.stop().await,
        }
    }

    /// Takes events, and sends at most so many of those that it has. `may_wait`: events may wait for later ones.
    async fn send(&self, events: &Arc<Vec<EventRow>>, most: usize, may_wait: bool) -> Sending {
        match self {
            Self::JsonLines(file) => {
                let _ = (most, may_wait);
                let up_to = events.last().map_or(0, |last| last.id);
                Sending { sent: file.send(events).await, events: events.len() as u64, skipped: 0, up_to }
            }
            #[cfg(feature = "otlp")]
            Self::Otlp(collector) => collector.send(events, most, may_wait).await,
        }
    }
}

/// Signals to a worker.
#[derive(Default)]
struct Signals {
    /// Events were stored.
    appended: Notify,
    /// A caller is waiting: try now.
    hurry: Notify,
}

/// All sinks of a process.
#[derive(Default)]
pub struct Sinks {
    all: Mutex<Vec<RunningSink>>,
    handles: Arc<RwLock<Handles>>,
}

/// What others hold of the sinks.
#[derive(Default)]
struct Handles {
    signals: Vec<Arc<Signals>>,
    statuses: Vec<watch::Receiver<Status>>,
}

struct RunningSink {
    settings: config::Sink,
    signals: Arc<Signals>,
    status: watch::Receiver<Status>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// The status of all sinks, available at any time.
#[derive(Clone)]
pub struct Watch(Arc<RwLock<Handles>>);

impl Watch {
    /// The current status.
    pub fn now(&self) -> Vec<Status> {
        self.0.read().statuses.iter().map(|one| one.borrow().clone()).collect()
    }
}

impl RunningSink {
    /// Must be called on a Tokio runtime.
    fn start(
        store: &Store,
        settings: &config::Sink,
        delivery: &config::Delivery,
        tls: &rustls::ClientConfig,
    ) -> Result<Self, SinkError> {
        let (signals, (stop, stopped)) = (Arc::new(Signals::default()), oneshot::channel());
        let (status_sender, status) = watch::channel(Status::of(settings.name()));
        let mut worker = worker::Worker::new(store.clone(), Target::new(settings, tls)?, delivery, status_sender);
        worker.begin();
        let task = tokio::spawn(worker.run(signals.clone(), stopped));
        Ok(Self { settings: settings.clone(), signals, status, stop, task })
    }

    /// Stops it, at once in a hurry. Its backlog stays in the store.
    async fn end(self, hurry: CancellationToken) {
        let Self { stop, mut task, .. } = self;
        let _ = stop.send(());
        let last_words = async {
            tokio::select! {
                () = sleep(STOP_GRACE) => {}
                () = async { hurry.cancelled().await; sleep(HURRIED_GRACE).await } => {}
            }
        };
        tokio::select! {
            _ = &mut task => {}
            () = last_words => task.abort(),
        }
    }
}

impl Sinks {
    /// Starts all sinks that are not switched off. Must be called on a Tokio runtime. `tls` sets which certificates are
    /// accepted from collectors.
    ///
    /// # Errors
    /// When a sink cannot be set up. Later problems at its destination show in [`Status`].
    pub fn start(
        store: &Store,
        sinks: &[config::Sink],
        delivery: &config::Delivery,
        tls: &rustls::ClientConfig,
    ) -> Result<Self, SinkError> {
        let all = Self::default();
        all.follow(store, sinks, delivery, tls, |_| false)?;
        Ok(all)
    }

    /// Goes on with these sinks. One that has the same settings runs on if `stays` says so. Another one is started, and takes the
    /// place of the one before when that has stopped. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// When a sink cannot be set up. Then the sinks stay as they are.
    pub fn follow(
        &self,
        store: &Store,
        sinks: &[config::Sink],
        delivery: &config::Delivery,
        tls: &rustls::ClientConfig,
        stays: impl Fn(&config::Sink) -> bool,
    ) -> Result<(), SinkError> {
        let mut all = self.all.lock();
        let runs = |sink: &config::Sink| all.iter().any(|one| one.settings == *sink) && stays(sink);
        let mut started = Vec::new();
        for sink in sinks.iter().filter(|sink| !runs(sink)) {
            if matches!(sink, config::Sink::Otlp(otlp) if otlp.disabled) {
                tracing::warn!(sink = sink.name(), "OTEL_SDK_DISABLED is set: this sink is off");
                continue;
            }
            started.push(RunningSink::start(store, sink, delivery, tls)?);
        }
        let goes_on = |one: &RunningSink| sinks.contains(&one.settings) && stays(&one.settings);
        let (staying, leaving): (Vec<_>, Vec<_>) = all.drain(..).partition(goes_on);
        *all = staying;
        all.extend(started);
        *self.handles.write() = Handles {
            signals: all.iter().map(|one| one.signals.clone()).collect(),
            statuses: all.iter().map(|one| one.status.clone()).collect(),
        };
        for one in leaving {
            tokio::spawn(one.end(CancellationToken::new()));
        }
        Ok(())
    }

    /// A handle that wakes all sinks.
    pub fn waker(&self) -> impl Fn() + Clone + Send + Sync + use<> {
        let handles = self.handles.clone();
        move || handles.read().signals.iter().for_each(|signals| signals.appended.notify_one())
    }

    /// Their status, now and later.
    pub fn watch(&self) -> Watch {
        Watch(self.handles.clone())
    }

    /// Waits until each sink has processed all rows up to `newest`, the time is over, or `hurry` is set.
    pub async fn drained(&self, newest: i64, within: Duration, hurry: &CancellationToken) -> Vec<Status> {
        let deadline = Instant::now() + within;
        let wait = |one: &RunningSink| {
            one.signals.hurry.notify_one();
            let mut status = one.status.clone();
            async move {
                // Fails only if the worker has ended.
                let _ = timeout_at(deadline, status.wait_for(|status| status.up_to >= newest)).await;
            }
        };
        let all: Vec<_> = self.all.lock().iter().map(wait).collect();
        tokio::select! {
            _ = futures_util::future::join_all(all) => {}
            () = hurry.cancelled() => {}
        }
        self.watch().now()
    }

    /// Stops them, at once in a hurry. Their backlog stays in the store.
    pub async fn stop(&self, hurry: &CancellationToken) {
        let all = std::mem::take(&mut *self.all.lock());
        futures_util::future::join_all(all.into_iter().map(|one| one.end(hurry.clone()))).await;
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
