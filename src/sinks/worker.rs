//! The loop of one sink: sends the backlog in order, one batch at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{BATCH, Sending, Sent, Signals, Status, Target};
use crate::config;
use crate::deliver::backoff::{Backoff, random};
use crate::store::{DeliveryLock, SinkPlace, Store, StoreError, Viewer};

/// Bytes of events that are read at once. A larger event is read alone.
const BATCH_BYTES: usize = 4 << 20;
/// How often to check for events from other processes, and whether another process still has the sink.
const POLL: Duration = Duration::from_secs(1);
/// How often the store learns that the sink is in use, and the backlog is counted.
const NOTE: Duration = Duration::from_secs(60);
const COUNT: Duration = Duration::from_secs(1);
/// How many model calls are read again at most, to find the turns that are still open.
const RECALLED: usize = 1_000;
/// The most bytes of them.
const RECALLED_BYTES: usize = 64 << 20;
/// The longest wait that a collector may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

pub(super) struct Worker {
    name: String,
    disk: Arc<Disk>,
    target: Target,
    backoff: Backoff,
    status_sender: watch::Sender<Status>,
    lock: Option<DeliveryLock>,
    /// When the store last learned that the sink is in use.
    noted: Option<Instant>,
    counted: Option<Instant>,
    failures: u32,
    /// The current batch size. It is smaller while a batch was too large.
    batch: usize,
    missed: u64,
    /// The proxy stops: nothing waits for later events.
    hurried: bool,
}

/// Operations on the store, on blocking threads.
struct Disk {
    store: Store,
    viewer: Viewer,
}

/// The next step.
enum NextStep {
    /// Continue at once.
    On,
    /// Wait for events.
    Idle,
    /// Wait this long, unless a caller is in a hurry.
    Rest(Duration),
}

impl Worker {
    pub(super) fn new(
        store: Store,
        target: Target,
        delivery: &config::Delivery,
        status_sender: watch::Sender<Status>,
    ) -> Self {
        let name = status_sender.borrow().name.clone();
        let disk = Arc::new(Disk { viewer: store.viewer(), store });
        let backoff = Backoff::new(delivery.backoff_min, delivery.backoff_max);
        Self {
            name,
            disk,
            target,
            backoff,
            status_sender,
            lock: None,
            noted: None,
            counted: None,
            failures: 0,
            batch: BATCH,
            missed: 0,
            hurried: false,
        }
    }

    /// Notes in the store where a new sink begins: before the first call is accepted, so that the sink gets its event. A store
    /// that cannot be written now is tried again by [`Worker::run`].
    pub(super) fn begin(&mut self) {
        if self.disk.store.begin_sink(&self.name, false).is_ok() {
            self.noted = Some(Instant::now());
        }
    }

    /// Runs until `stopped` fires.
    pub(super) async fn run(mut self, signals: Arc<Signals>, mut stopped: oneshot::Receiver<()>) {
        loop {
            let (turn, gather) = (self.turn().await, self.target.gather());
            // Whether a caller is in a hurry.
            let wait = async {
                match turn {
                    NextStep::On => false,
                    NextStep::Idle => tokio::select! {
                        // Each request has a fixed cost, so a few events share it.
                        () = async { signals.appended.notified().await; sleep(gather).await } => false,
                        () = signals.hurry.notified() => true,
                        () = sleep(POLL) => false,
                    },
                    NextStep::Rest(pause) => tokio::select! {
                        () = signals.hurry.notified() => true,
                        () = sleep(pause) => false,
                    },
                }
            };
            tokio::select! {
                biased;
                _ = &mut stopped => {
                    if self.lock.is_some() {
                        self.target.stop().await;
                    }
                    return;
                }
                hurried = wait => self.hurried |= hurried,
            }
        }
    }

    async fn turn(&mut self) -> NextStep {
        match self.try_turn().await {
            Ok(turn) => turn,
            Err(error) => {
                self.in_trouble(&error);
                self.rest(None)
            }
        }
    }

    async fn try_turn(&mut self) -> Result<NextStep, String> {
        let place = self.place().await?;
        self.status_sender.send_modify(|status| status.at(place));
        self.tell_missed(place.missed);
        self.count(place.position).await?;
        if self.lock.is_none() {
            let name = self.name.clone();
            let lock = self.disk(move |disk| Ok(disk.store.try_lock_sink(&name))).await?;
            self.lock = lock.map_err(|error| format!("cannot create a lock file beside the store: {error}"))?;
            let feeding = self.lock.is_some();
            self.status_sender.send_modify(|status| status.feeding = feeding);
            // Another process has the sink, and the stored position is where that process is.
            return Ok(if feeding { NextStep::On } else { NextStep::Idle });
        }
        if self.target.lacks(place.position) {
            let calls = self
                .disk(move |disk| disk.viewer.model_calls_up_to(place.position, RECALLED, RECALLED_BYTES))
                .await?;
            self.target.recall(calls, place.position).await;
        }
        self.target.send_due_metrics().await;
        let batch = self.batch;
        let (events, newest) = match self.target.takes_after(place.position) {
            Some(after) => self.disk(move |disk| disk.viewer.events_after(after, batch, BATCH_BYTES)).await?,
            None => (Vec::new(), place.position),
        };
        // Checked after the read: it may be from a new store, whose events another process sends.
        let lock = self.lock.clone();
        if !self.disk(move |_| Ok(lock.is_some_and(|lock| lock.stands()))).await? {
            self.lock = None;
            return Ok(NextStep::On);
        }
        let is_idle = events.is_empty() && self.target.takes_after(place.position).is_some();
        if is_idle && !self.target.waits() {
            return Ok(self.idle(newest).await);
        }
        let sending = self.target.send(&Arc::new(events), batch, !self.hurried).await;
        if sending.events + sending.skipped == 0 {
            // What was read waits for later events.
            return Ok(if is_idle { self.idle(place.position).await } else { NextStep::On });
        }
        self.settle(sending).await
    }

    /// There are no events to send, and all rows up to this one are done.
    async fn idle(&mut self, up_to: i64) -> NextStep {
        self.status_sender.send_modify(|status| {
            status.up_to = status.up_to.max(up_to);
            if !self.target.waits() {
                status.waiting = 0;
            }
        });
        let Some((sent, count)) = self.target.send_late(self.batch).await else { return NextStep::Idle };
        let (rejected, said) = match sent {
            Sent::Taken { rejected_spans, said } => (rejected_spans, said),
            Sent::Refused(why) => (count as u64, why),
            Sent::TooLarge(why) if count == 1 => (1, why),
            Sent::TooLarge(_) => {
                self.batch = (count / 2).max(1);
                return NextStep::On;
            }
            Sent::Later { why, after } => {
                self.in_trouble(&why);
                return self.rest(after);
            }
        };
        self.well_again();
        self.rejected(rejected, said);
        NextStep::On
    }

    /// Records what became of a batch.
    async fn settle(&mut self, sending: Sending) -> Result<NextStep, String> {
        let Sending { sent, events, skipped, up_to } = sending;
        let (refused, rejected, said) = match sent {
            Sent::Taken { rejected_spans, said } => (0, rejected_spans, said),
            Sent::Refused(why) => (events, 0, why),
            // A batch of one event is refused for good.
            Sent::TooLarge(why) if events <= 1 => (events, 0, why),
            Sent::TooLarge(_) => {
                self.batch = usize::try_from(events / 2).unwrap_or(BATCH).max(1);
                return Ok(NextStep::On);
            }
            Sent::Later { why, after } => {
                self.in_trouble(&why);
                return Ok(self.rest(after));
            }
        };
        let (name, sent) = (self.name.clone(), events - refused);
        self.disk(move |disk| disk.store.sink_is_at(&name, up_to, sent, refused)).await?;
        self.target.done(up_to);
        if refused > 0 {
            warn!(sink = self.name, refused, said, "the sink refused events for good");
        }
        self.well_again();
        self.batch = (self.batch * 2).min(BATCH);
        self.status_sender.send_modify(|status| {
            status.up_to = status.up_to.max(up_to);
            status.waiting = status.waiting.saturating_sub(events + skipped);
            status.fed.skipped += skipped;
            (status.fed.sent, status.fed.refused) = (status.fed.sent + sent, status.fed.refused + refused);
            if refused > 0 {
                status.refusal = Some(said.clone());
            }
        });
        self.rejected(rejected, said);
        Ok(NextStep::On)
    }

    /// Counts spans that the sink rejected from what it accepted otherwise.
    fn rejected(&self, spans: u64, said: String) {
        if spans > 0 {
            warn!(sink = self.name, spans, said, "the sink rejected spans for good");
            self.status_sender.send_modify(|status| {
                status.fed.rejected_spans += spans;
                status.refusal = Some(said);
            });
        }
    }

    /// The sink answered.
    fn well_again(&mut self) {
        if self.failures > 0 {
            info!(sink = self.name, "the sink accepts events again");
        }
        self.failures = 0;
        self.status_sender.send_modify(|status| status.trouble = None);
    }

    /// The sink's position. From time to time the store learns that the sink is in use.
    async fn place(&mut self) -> Result<SinkPlace, String> {
        let (name, known) = (self.name.clone(), self.noted.is_some());
        if self.noted.is_some_and(|noted| noted.elapsed() < NOTE)
            && let Some(place) = self.disk(move |disk| disk.store.sink_place(&name)).await?
        {
            return Ok(place);
        }
        let name = self.name.clone();
        let place = self.disk(move |disk| disk.store.begin_sink(&name, known)).await?;
        self.noted = Some(Instant::now());
        Ok(place)
    }

    /// Counts the backlog, for people. This is slow for a long backlog, so it is not done every time.
    async fn count(&mut self, position: i64) -> Result<(), String> {
        if self.counted.is_none_or(|counted| counted.elapsed() >= COUNT) {
            let waiting = self.disk(move |disk| disk.viewer.count_after(position)).await?;
            self.counted = Some(Instant::now());
            self.status_sender.send_modify(|status| status.waiting = waiting);
        }
        Ok(())
    }

    async fn disk<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Disk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, String> {
        let disk = self.disk.clone();
        match tokio::task::spawn_blocking(move || act(&disk)).await {
            Ok(done) => done.map_err(|error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                format!("{error}{}", cause.unwrap_or_default())
            }),
            Err(_) => Err("the disk task panicked".to_owned()),
        }
    }

    fn in_trouble(&mut self, why: &str) {
        self.failures = self.failures.saturating_add(1);
        let new = self.status_sender.borrow().trouble.as_deref() != Some(why);
        if new {
            warn!(sink = self.name, why, "the sink accepts no events; they stay in the store");
            self.status_sender.send_modify(|status| status.trouble = Some(why.to_owned()));
        }
    }

    fn tell_missed(&mut self, missed: u64) {
        if missed > self.missed {
            warn!(sink = self.name, missed, "the store was full and dropped events that this sink has not received");
            self.missed = missed;
        }
    }

    fn rest(&self, after: Option<Duration>) -> NextStep {
        let backoff = self.backoff.delay(self.failures, random());
        NextStep::Rest(after.map_or(backoff, |after| after.clamp(backoff, LONGEST_WAIT.max(backoff))))
    }
}
