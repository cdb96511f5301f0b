//! One visit to the disk: all reads and writes of the publisher but those of events, together on a blocking thread.

use tokio::time::Instant;
use tracing::{debug, warn};

use super::super::status::cannot_lock;
use super::super::{POLL, STORE_PAUSE};
use super::Publisher;
use crate::store::{Counts, DataVersion, DeliveryLock, SessionRow, Store, StoreError};

/// The publisher's questions.
struct Request {
    key_id: String,
    process: Option<SessionRow>,
    settlements: Vec<crate::store::Settlement>,
    take_lock: bool,
    lock: Option<DeliveryLock>,
    rows: Option<(i64, usize)>,
    counts: bool,
}

/// The answers.
#[derive(Default)]
struct Reply {
    lock: Option<std::io::Result<Option<DeliveryLock>>>,
    lock_has_gone: bool,
    data_version: DataVersion,
    rows: Option<Vec<(i64, SessionRow)>>,
    /// Of this process, and of the agent.
    counts: Option<(Option<Counts>, Counts)>,
}

impl Publisher {
    /// Writes the settlements, then reads what is needed next. When the store fails, everything is retried later.
    pub(super) async fn turn_to_disk(&mut self) {
        let now = Instant::now();
        if self.store_rests_until.is_some_and(|until| now < until) {
            return;
        }
        self.store_rests_until = None;
        let polls = self.next_poll <= now;
        let request = Request {
            key_id: self.key_id.clone(),
            process: self.process,
            settlements: self.unsettled.clone(),
            take_lock: polls && self.lock.is_none(),
            lock: self.lock.clone(),
            rows: self.lock.as_ref().and_then(|_| self.waiting.wants()),
            counts: self.counts_are_wanted || polls,
        };
        if !polls && !request.counts && request.rows.is_none() && request.settlements.is_empty() {
            return;
        }
        let (store, before) = (self.store.clone(), self.data_version);
        let wanted = request.rows;
        let done = tokio::task::spawn_blocking(move || request.run(&store, before)).await;
        let reply = done.map_err(|error| error.to_string()).and_then(|read| read.map_err(|error| error.in_words()));
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                warn!(error, "the store failed: delivery is paused until it works again");
                self.store_rests_until = Some(now + STORE_PAUSE);
                self.next_poll = now + STORE_PAUSE;
                return;
            }
        };
        self.unsettled.clear();
        if polls {
            self.next_poll = now + POLL;
        }
        if self.data_version.replace(reply.data_version) != Some(reply.data_version) {
            self.waiting.stale();
        }
        if let (Some(rows), Some((_, limit))) = (reply.rows, wanted) {
            self.waiting.read(&rows, limit);
        }
        if let Some((of_process, of_agent)) = reply.counts {
            self.counts_are_wanted = false;
            self.shown.backlog = of_agent.pending;
            self.shown.counts = of_process.unwrap_or(of_agent);
        }
        if reply.lock_has_gone {
            self.lock = None;
        }
        match reply.lock {
            Some(Ok(Some(lock))) => {
                debug!("this process publishes the agent's events");
                if self.lock_was_held {
                    // Another process may have published meanwhile.
                    self.waiting.again();
                }
                self.lock_was_held = true;
                self.lock = Some(lock);
            }
            Some(Err(error)) => {
                self.shown.trouble = Some(cannot_lock(self.store.path(), &error));
            }
            Some(Ok(None)) | None => {}
        }
    }
}

impl Request {
    fn run(&self, store: &Store, before: Option<DataVersion>) -> Result<Reply, StoreError> {
        let mut reply = Reply::default();
        if !self.settlements.is_empty() {
            store.settle(&self.settlements)?;
        }
        if self.take_lock {
            reply.lock = Some(store.try_lock_delivery(&self.key_id));
        }
        // Read before the other data, so that a change in between is seen again.
        reply.data_version = store.data_version()?;
        if let Some((after, limit)) = self.rows {
            reply.rows = Some(store.waiting_after(&self.key_id, after, limit)?);
        }
        if self.counts || before != Some(reply.data_version) {
            let keys = std::slice::from_ref(&self.key_id);
            let of_process = self.process.map(|first| store.counts_of_process(first, keys)).transpose()?;
            reply.counts = Some((of_process, store.counts_of_key(&self.key_id)?));
        }
        if self.lock.as_ref().is_some_and(|lock| !lock.stands()) {
            (reply.lock_has_gone, reply.rows) = (true, None);
        }
        Ok(reply)
    }
}
