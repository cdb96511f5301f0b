//! One sink's loop: the next events, one batch at a time and in order, until it has them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{BATCH, Sent, Signals, Status, Target};
use crate::config;
use crate::deliver::backoff::{Backoff, random};
use crate::store::{DeliveryLock, EventRow, SinkPlace, Store, StoreError, Viewer};

/// Bytes of events that are read at once, or one event.
const BATCH_BYTES: usize = 4 << 20;
/// How often the store is looked at for what other processes have stored, and for whether another one still feeds the sink.
const POLL: Duration = Duration::from_secs(1);
/// How often it is noted that the sink is in use, and counted what it has not had.
const NOTE: Duration = Duration::from_secs(60);
const COUNT: Duration = Duration::from_secs(1);
/// The longest that a collector may ask to be left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

pub(super) struct Worker {
    name: String,
    disk: Arc<Disk>,
    target: Target,
    backoff: Backoff,
    told: watch::Sender<Status>,
    lock: Option<DeliveryLock>,
    /// When the store was told last that the sink is in use.
    noted: Option<Instant>,
    counted: Option<Instant>,
    failures: u32,
    /// The most events that are sent at once: fewer while a batch was too large.
    batch: usize,
    missed: u64,
}

/// What is asked of the store, on blocking threads.
struct Disk {
    store: Store,
    viewer: Viewer,
}

/// What is to be done next.
enum Turn {
    /// Go on at once.
    On,
    /// Wait for events.
    Idle,
    /// Wait so long, unless somebody is in a hurry.
    Rest(Duration),
}

impl Worker {
    pub(super) fn new(
        store: Store,
        target: Target,
        delivery: &config::Delivery,
        told: watch::Sender<Status>,
    ) -> Self {
        let name = told.borrow().name.clone();
        let disk = Arc::new(Disk { viewer: store.viewer(), store });
        let backoff = Backoff::new(delivery.backoff_min, delivery.backoff_max);
        Self {
            name,
            disk,
            target,
            backoff,
            told,
            lock: None,
            noted: None,
            counted: None,
            failures: 0,
            batch: BATCH,
            missed: 0,
        }
    }

    /// Notes in the store where a new sink begins: before the first call is accepted, so that the sink gets its event. A store
    /// that cannot be written now is tried again by [`Worker::run`].
    pub(super) fn begin(&mut self) {
        if self.disk.store.begin_sink(&self.name, false).is_ok() {
            self.noted = Some(Instant::now());
        }
    }

    /// Until it is told to stop.
    pub(super) async fn run(mut self, signals: Arc<Signals>, mut stopped: oneshot::Receiver<()>) {
        loop {
            let (turn, gather) = (self.turn().await, self.target.gather());
            let wait = async {
                match turn {
                    Turn::On => {}
                    Turn::Idle => tokio::select! {
                        // Each hand-over has its price: a few events share it.
                        () = async { signals.appended.notified().await; sleep(gather).await } => {}
                        () = signals.hurry.notified() => {}
                        () = sleep(POLL) => {}
                    },
                    Turn::Rest(pause) => tokio::select! {
                        () = signals.hurry.notified() => {}
                        () = sleep(pause) => {}
                    },
                }
            };
            tokio::select! {
                biased;
                _ = &mut stopped => return,
                () = wait => {}
            }
        }
    }

    async fn turn(&mut self) -> Turn {
        match self.try_turn().await {
            Ok(turn) => turn,
            Err(error) => {
                self.in_trouble(&error);
                self.rest(None)
            }
        }
    }

    async fn try_turn(&mut self) -> Result<Turn, String> {
        let place = self.place().await?;
        self.told.send_modify(|status| status.at(place));
        self.tell_missed(place.missed);
        self.count(place.position).await?;
        if self.lock.is_none() {
            let name = self.name.clone();
            let lock = self.disk(move |disk| Ok(disk.store.try_lock_sink(&name))).await?;
            self.lock = lock.map_err(|error| format!("no lock can be made beside the store: {error}"))?;
            let feeding = self.lock.is_some();
            self.told.send_modify(|status| status.feeding = feeding);
            // Another process feeds it; what was read of its place is what that one had reached.
            return Ok(if feeding { Turn::On } else { Turn::Idle });
        }
        let batch = self.batch;
        let (events, newest) =
            self.disk(move |disk| disk.viewer.events_after(place.position, batch, BATCH_BYTES)).await?;
        // After what was read: it may be of a new store, whose events somebody else hands over.
        let lock = self.lock.clone();
        if !self.disk(move |_| Ok(lock.is_some_and(|lock| lock.stands()))).await? {
            self.lock = None;
            return Ok(Turn::On);
        }
        let Some(last) = events.last().map(|event| event.id) else {
            self.told.send_modify(|status| {
                status.up_to = status.up_to.max(newest);
                status.waiting = 0;
            });
            return Ok(Turn::Idle);
        };
        self.send(&events, last).await
    }

    async fn send(&mut self, events: &[EventRow], last: i64) -> Result<Turn, String> {
        let count = events.len() as u64;
        let (refused, said) = match self.target.send(events).await {
            Sent::Taken { refused, said } => (refused.min(count), said),
            Sent::Refused(why) => (count, why),
            // A batch of one is refused for good.
            Sent::TooLarge(why) if count == 1 => (1, why),
            Sent::TooLarge(_) => {
                self.batch = (events.len() / 2).max(1);
                return Ok(Turn::On);
            }
            Sent::Later { why, after } => {
                self.in_trouble(&why);
                return Ok(self.rest(after));
            }
        };
        let (name, sent) = (self.name.clone(), count - refused);
        self.disk(move |disk| disk.store.sink_is_at(&name, last, sent, refused)).await?;
        if refused > 0 {
            warn!(sink = self.name, refused, said, "events were refused for good, and are left out there");
        }
        if self.failures > 0 {
            info!(sink = self.name, "events are taken again");
        }
        self.failures = 0;
        self.batch = (self.batch * 2).min(BATCH);
        self.told.send_modify(|status| {
            status.trouble = None;
            status.up_to = status.up_to.max(last);
            status.waiting = status.waiting.saturating_sub(count);
            (status.fed.sent, status.fed.refused) = (status.fed.sent + sent, status.fed.refused + refused);
            if refused > 0 {
                status.refusal = Some(said);
            }
        });
        Ok(Turn::On)
    }

    /// Where the sink stands. Now and then it is noted that it is in use.
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

    /// What it has not had, for people; with a long backlog it takes its time, so not at each turn.
    async fn count(&mut self, position: i64) -> Result<(), String> {
        if self.counted.is_none_or(|counted| counted.elapsed() >= COUNT) {
            let waiting = self.disk(move |disk| disk.viewer.count_after(position)).await?;
            self.counted = Some(Instant::now());
            self.told.send_modify(|status| status.waiting = waiting);
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
            Err(_) => Err("a turn to the disk ended in a panic".to_owned()),
        }
    }

    fn in_trouble(&mut self, why: &str) {
        self.failures = self.failures.saturating_add(1);
        let new = self.told.borrow().trouble.as_deref() != Some(why);
        if new {
            warn!(sink = self.name, why, "events are not taken; they wait in the store");
            self.told.send_modify(|status| status.trouble = Some(why.to_owned()));
        }
    }

    fn tell_missed(&mut self, missed: u64) {
        if missed > self.missed {
            warn!(
                sink = self.name,
                missed, "the store had no room for events that this sink has not had: they are missing there"
            );
            self.missed = missed;
        }
    }

    fn rest(&self, after: Option<Duration>) -> Turn {
        let backoff = self.backoff.delay(self.failures, random());
        Turn::Rest(after.map_or(backoff, |after| after.clamp(backoff, LONGEST_WAIT.max(backoff))))
    }
}
