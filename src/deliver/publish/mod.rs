//! Delivery into a queue, in place of OTAS: stored events are published into a stream of JetStream, from which relays deliver them.
//!
//! An event of a session is published once the one before it is acknowledged, so the stream has them in order. With
//! [`Forget::Delivered`] an event stays pending here until a relay has told its verdict. After each loss of the connection all that
//! wait for a verdict are published again under the same ids, because the server may have lost them (it ignores those that it has).
//! Then the relay is asked what became of them, because verdicts may have been missed meanwhile. It is also asked when an event waits
//! for long, and when the stream is gone, everything is published again.

mod disk;
mod waiting;

use std::sync::Arc;

use async_nats::jetstream::message::PublishMessage;
use futures_util::StreamExt as _;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use self::waiting::{Early, Waiting};
use super::backoff::{Backoff, random};
use super::{DeliverOptions, STOP_GRACE, STORE_PAUSE, SessionState, Signals, Status};
use crate::config::Forget;
use crate::nats::{Ask, Decision, Envelope, Kind, Link, NotStored, Queue, Verdicts, encode};
use crate::store::{DataVersion, DeliveryLock, Outcome, SessionRow, Settlement, Store, StoreError};

/// Where events are published.
#[derive(Clone)]
pub(crate) struct Target {
    /// The connection.
    pub(crate) queue: Queue,
    /// The subject of these events.
    pub(crate) subject: String,
    /// When an event counts as delivered.
    pub(crate) forget: Forget,
}

/// Messages that are not acknowledged yet.
const IN_FLIGHT: usize = 64;

/// Room in a message for its subject and headers.
const HEADERS_BYTES: usize = 1 << 10;

/// Events that one question names.
const ASKED_AT_ONCE: usize = 1_000;

pub(super) struct Publisher {
    store: Store,
    key_id: String,
    process: Option<SessionRow>,
    target: Target,
    backoff: Backoff,
    /// The name under which relays tell verdicts. Processes that share the store have the same.
    proxy: String,
    lock: Option<DeliveryLock>,
    lock_was_held: bool,
    waiting: Waiting,
    under_way: JoinSet<Published>,
    early: Early,
    asking: Option<Uuid>,
    unsettled: Vec<Settlement>,
    /// The first connection of this process was seen.
    link: Link,
    failures: u32,
    not_before: Option<Instant>,
    store_rests_until: Option<Instant>,
    next_poll: Instant,
    data_version: Option<DataVersion>,
    counts_are_wanted: bool,
    shown: Status,
    status: watch::Sender<Status>,
}

/// The end of an attempt to publish.
enum Published {
    Event { row: i64, session: SessionRow, end: End },
    Asked { id: Uuid, stored: Result<(), NotStored> },
}

enum End {
    /// The stream has it.
    Stored(Uuid),
    /// The stream does not take it.
    Refused(NotStored),
    /// It is no longer pending.
    Gone,
    /// The store could not be read.
    Unread(String),
}

impl Publisher {
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn new(
        options: DeliverOptions,
        target: Target,
        status: watch::Sender<Status>,
    ) -> Result<Self, StoreError> {
        let DeliverOptions { store, process, otas, delivery, .. } = options;
        let proxy = waiting::proxy_name(&store.salt()?);
        Ok(Self {
            store,
            key_id: otas.agent_key.as_ref().map(crate::store::key_id).unwrap_or_default(),
            process,
            target,
            backoff: Backoff::new(delivery.backoff_min, delivery.backoff_max),
            proxy,
            lock: None,
            lock_was_held: false,
            waiting: Waiting::of(process),
            under_way: JoinSet::new(),
            early: Early::default(),
            asking: None,
            unsettled: Vec::new(),
            link: Link::default(),
            failures: 0,
            not_before: None,
            store_rests_until: None,
            next_poll: Instant::now(),
            data_version: None,
            counts_are_wanted: true,
            shown: Status::default(),
            status,
        })
    }

    /// Publishes until told to stop.
    pub(super) async fn run(mut self, signals: Arc<Signals>, mut stop: oneshot::Receiver<CancellationToken>) {
        let mut link = self.target.queue.link();
        let subject = self.target.queue.names.verdicts_for(&self.proxy);
        // It is sent again with each connection. It fails only if the client has ended.
        let mut verdicts = match self.target.queue.client.subscribe(subject).await {
            Ok(verdicts) => verdicts.boxed(),
            Err(error) => {
                error!(%error, "cannot listen for verdicts");
                futures_util::stream::pending().boxed()
            }
        };
        let mut asking = Vec::new();
        let hurry = loop {
            let adjustment = signals.adjustment.lock().take();
            adjustment.into_iter().for_each(|new| {
                self.backoff = Backoff::new(new.delivery.backoff_min, new.delivery.backoff_max);
            });
            asking.extend(signals.asking());
            self.counts_are_wanted |= !asking.is_empty();
            self.follow_link(&link.borrow_and_update().clone());
            self.turn_to_disk().await;
            let wake_at = self.start(Instant::now());
            self.publish_status();
            if !self.counts_are_wanted {
                for asking in asking.drain(..) {
                    // The receiver may have given up waiting.
                    let _ = asking.send(());
                }
            }
            tokio::select! {
                hurry = &mut stop => break hurry.unwrap_or_default(),
                Some(done) = self.under_way.join_next() => self.finish_all(done.ok()),
                Some(message) = verdicts.next() => {
                    self.hear(&message.payload);
                    // Those that have arrived are settled together.
                    while let Some(Some(message)) = futures_util::FutureExt::now_or_never(verdicts.next()) {
                        self.hear(&message.payload);
                    }
                }
                // It fails only if the client has ended.
                Ok(()) = link.changed() => {}
                () = signals.appended.notified() => self.waiting.stale(),
                () = signals.hurry.notified() => self.not_before = None,
                () = sleep_until(wake_at) => {}
            }
        };
        self.wind_up(&hurry).await;
    }

    /// After a new connection the server may have lost what it had acknowledged, and we may have missed verdicts.
    fn follow_link(&mut self, link: &Link) {
        if link.connects > self.link.connects && link.is_up {
            self.not_before = None;
            if self.link.connects > 0 {
                info!("connected to NATS again: events without a verdict are published again");
                self.again_from_the_start();
            }
        }
        let is_news = self.link.is_up != link.is_up || self.link.refusal != link.refusal;
        self.link = link.clone();
        if !link.is_up {
            let why = self.target.queue.is_away(link);
            // While it connects for the first time, there is nothing to say yet.
            if is_news {
                warn!(why, "events are kept");
            }
            self.shown.trouble = Some(why);
        } else if is_news && self.failures == 0 {
            self.shown.trouble = None;
        }
    }

    fn again_from_the_start(&mut self) {
        self.waiting.again();
        self.asking = None;
    }

    /// Starts as many messages as allowed. Returns when to look again.
    fn start(&mut self, now: Instant) -> Instant {
        let rests = self.store_rests_until.into_iter().chain(self.not_before).max();
        if let Some(until) = rests.filter(|until| *until > now) {
            return until.min(self.next_poll);
        }
        // Without a connection a message would wait in memory, and only time out.
        if self.lock.is_none() || !self.link.is_up {
            return self.next_poll;
        }
        while self.under_way.len() < IN_FLIGHT {
            let Some((row, session)) = self.waiting.take() else { break };
            let again = self.waiting.is_again(row);
            self.under_way.spawn(publish(
                self.store.clone(),
                self.target.clone(),
                self.proxy.clone(),
                row,
                session,
                again,
            ));
        }
        if self.waiting.doubts(now) {
            // The question may be lost as well as its answer.
            self.asking = None;
        }
        if self.under_way.is_empty() && self.asking.is_none() {
            self.ask();
        }
        self.next_poll
    }

    /// Asks what became of events whose verdict may have been missed.
    fn ask(&mut self) {
        let events = self.waiting.take_to_ask(ASKED_AT_ONCE);
        if events.is_empty() {
            return;
        }
        let ask = Ask { id: Uuid::new_v4(), events };
        let Ok(content) = serde_json::to_vec(&ask) else { return };
        self.asking = Some(ask.id);
        let envelope = Envelope { proxy: self.proxy.clone(), kind: Kind::Ask };
        let message = PublishMessage::build().headers(envelope.headers()).message_id(ask.id.to_string());
        let (target, message) = (self.target.clone(), message.payload(content.into()));
        self.under_way.spawn(async move {
            Published::Asked { id: ask.id, stored: target.queue.store(target.subject, message).await }
        });
    }

    fn finish_all(&mut self, first: Option<Published>) {
        let mut next = first;
        while let Some(done) = next {
            self.finish(done);
            next = self.under_way.try_join_next().and_then(Result::ok);
        }
    }

    fn finish(&mut self, done: Published) {
        match done {
            Published::Event { row, end: End::Stored(event), .. } => {
                self.worked();
                match self.target.forget {
                    Forget::Acknowledged => {
                        self.waiting.settled(row);
                        self.settle(row, Outcome::Queued);
                    }
                    Forget::Delivered => {
                        self.waiting.sent(row, event);
                        // A relay may be quicker than the acknowledgement.
                        if let Some(decision) = self.early.take(event) {
                            self.decided(row, decision);
                        }
                    }
                }
            }
            Published::Event { row, end: End::Gone, .. } => self.waiting.settled(row),
            Published::Event { row, end: End::Refused(NotStored::TooLarge), .. } => {
                error!(row, "this event is too large for the queue even without its bodies: it is kept as dead");
                self.waiting.settled(row);
                self.shown.verdicts.dead += 1;
                self.settle(row, Outcome::Dead { verdict: "too large for the queue".to_owned() });
            }
            Published::Event { row, session, end: End::Refused(why) } => {
                self.waiting.put_back(row, session);
                self.failed(&why);
            }
            Published::Event { row, session, end: End::Unread(error) } => {
                warn!(error, "the store failed: delivery is paused until it works again");
                self.waiting.put_back(row, session);
                self.store_rests_until = Some(Instant::now() + STORE_PAUSE);
            }
            Published::Asked { stored: Ok(()), .. } => self.worked(),
            Published::Asked { id, stored: Err(why) } => {
                if self.asking == Some(id) {
                    self.asking = None;
                    self.waiting.not_asked();
                }
                self.failed(&why);
            }
        }
    }

    fn worked(&mut self) {
        if self.failures > 0 {
            info!("the queue takes events again");
        }
        (self.failures, self.not_before, self.shown.trouble) = (0, None, None);
    }

    fn failed(&mut self, why: &NotStored) {
        let reason = match why {
            NotStored::Full => format!(
                "the stream {} is full: events wait here until relays have delivered some",
                self.target.queue.names.events
            ),
            NotStored::TooLarge => "a message is too large for the server".to_owned(),
            NotStored::NoStream(reason) | NotStored::Away(reason) => reason.clone(),
        };
        if matches!(why, NotStored::NoStream(_)) {
            // What it had is gone as well, and comes first when it is there again.
            self.again_from_the_start();
        }
        // Those that fail together are one failure.
        if self.not_before.is_none_or(|until| until <= Instant::now()) {
            self.failures = self.failures.saturating_add(1);
            self.not_before = Some(Instant::now() + self.backoff.delay(self.failures, random()));
        }
        if self.shown.trouble.as_ref() != Some(&reason) {
            warn!(%reason, "the queue takes no events: keeping them");
        }
        self.shown.trouble = Some(reason);
    }

    /// A message of a relay.
    fn hear(&mut self, content: &[u8]) {
        let Ok(heard) = serde_json::from_slice::<Verdicts>(content) else {
            return warn!("a message about verdicts cannot be read; it is ignored");
        };
        if heard.answers.is_some() && heard.answers == self.asking {
            self.asking = None;
        }
        for verdict in heard.verdicts {
            match self.waiting.row_of(verdict.event) {
                Some(row) => self.decided(row, verdict.decision),
                None => self.early.note(verdict.event, verdict.decision),
            }
        }
    }

    fn decided(&mut self, row: i64, decision: Decision) {
        match decision {
            Decision::Delivered { otas_event_id } => {
                self.waiting.settled(row);
                self.shown.verdicts.delivered += 1;
                self.settle(row, Outcome::Delivered { otas_event_id });
            }
            Decision::Dead { reason } => {
                error!(row, %reason, "OTAS refuses this event for good: it is kept as dead");
                self.waiting.settled(row);
                self.shown.verdicts.dead += 1;
                self.settle(row, Outcome::Dead { verdict: reason });
            }
            // The server lost it, and still ignores its id.
            Decision::Unknown => self.waiting.lost(row),
        }
    }

    fn settle(&mut self, id: i64, outcome: Outcome) {
        self.unsettled.push(Settlement { id, attempts: 1, outcome });
        self.counts_are_wanted = true;
    }

    fn publish_status(&mut self) {
        let shown = &mut self.shown;
        shown.delivering = self.lock.is_some();
        shown.in_flight = self.under_way.len();
        shown.limit = IN_FLIGHT;
        shown.in_queue = self.waiting.sent_count();
        shown.session = match &shown.trouble {
            Some(reason) => SessionState::Paused { reason: reason.clone() },
            None => SessionState::Queued,
        };
        self.shown.tell(&self.status);
    }

    async fn wind_up(mut self, hurry: &CancellationToken) {
        let over = async {
            tokio::select! {
                () = sleep(STOP_GRACE) => {}
                () = hurry.cancelled() => {}
            }
        };
        tokio::pin!(over);
        loop {
            tokio::select! {
                biased;
                Some(done) = self.under_way.join_next() => self.finish_all(done.ok()),
                () = &mut over => break,
                else => break,
            }
            if self.under_way.is_empty() {
                break;
            }
        }
        self.under_way.shutdown().await;
        self.store_rests_until = None;
        self.counts_are_wanted = true;
        self.turn_to_disk().await;
        if !self.unsettled.is_empty() {
            error!(events = self.unsettled.len(), "the verdicts on events could not be recorded");
        }
        self.publish_status();
    }
}

/// Reads an event and publishes it.
async fn publish(
    store: Store,
    target: Target,
    proxy: String,
    row: i64,
    session: SessionRow,
    again: u32,
) -> Published {
    let max_bytes = target.queue.client.max_payload().saturating_sub(HEADERS_BYTES);
    let read = tokio::task::spawn_blocking(move || {
        let event = store.travelling(row)?;
        Ok::<_, StoreError>(event.map(|event| (event.event.id, encode(&event, max_bytes))))
    });
    let end = match read.await {
        Ok(Ok(Some((event, Some(content))))) => {
            let envelope = Envelope { proxy, kind: Kind::Event(event) };
            let id = if again == 0 { event.to_string() } else { format!("{event}.{again}") };
            let message = PublishMessage::build().headers(envelope.headers()).message_id(id).payload(content.into());
            match target.queue.store(target.subject, message).await {
                Ok(()) => End::Stored(event),
                Err(why) => End::Refused(why),
            }
        }
        Ok(Ok(Some((_, None)))) => End::Refused(NotStored::TooLarge),
        Ok(Ok(None)) => End::Gone,
        Ok(Err(error)) => End::Unread(error.in_words()),
        Err(error) => End::Unread(error.to_string()),
    };
    Published::Event { row, session, end }
}
