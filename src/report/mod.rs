//! The seam between the data path and the reporting path: finished exchanges are queued without waiting, and one
//! thread makes events of them, redacts them and appends them to the store in groups.

mod handoff;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use handoff::Handoff;

use crate::capture::Finished;
use crate::event::{self, Context, Event};
use crate::store::{NewEvent, SessionRow, StoreError, Writer};

/// Events that one transaction holds at most.
const GROUP: usize = 512;
/// Bytes of events that are held while a transaction is made ready.
const GROUP_BYTES: usize = 4 << 20;
/// How long to wait before a store that refused a group is tried again.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// How often a store is tried again when the proxy is stopping and waiting is over.
const LAST_TRIES: u32 = 4;

/// What goes into every event of this process.
pub struct Facts {
    /// The session that the events belong to.
    pub session: SessionRow,
    /// This process's own name for itself.
    pub run_id: String,
    /// `event.error_from_status`.
    pub error_from_status: u16,
    /// `event.properties`.
    pub properties: BTreeMap<String, String>,
}

/// The reporting thread.
pub struct Reporter {
    thread: JoinHandle<()>,
    handoff: Handoff,
    tally: Arc<Tally>,
}

/// What became of the exchanges that were handed off.
#[derive(Default)]
pub struct Tally {
    stored: AtomicU64,
    lost: AtomicU64,
}

impl Tally {
    /// Events in the store.
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Events that the store refused to the end.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Reporter {
    /// Starts the thread. `appended` is called after each group that was committed.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        handoff: Handoff,
        writer: Writer,
        facts: Facts,
        appended: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let tally = Arc::new(Tally::default());
        let (queue, counts) = (handoff.clone(), tally.clone());
        let thread = thread::Builder::new()
            .name("reporter".to_owned())
            .spawn(move || run(&queue, writer, &facts, &counts, &appended))?;
        Ok(Self { thread, handoff, tally })
    }

    /// What became of the exchanges so far.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Ends the thread once everything that was handed off is in the store. Blocks.
    pub fn finish(self) {
        self.handoff.close();
        if self.thread.join().is_err() {
            tracing::error!("the reporting thread had panicked; events since then are missing");
        }
    }
}

fn run(handoff: &Handoff, mut writer: Writer, facts: &Facts, tally: &Tally, appended: &dyn Fn()) {
    let mut seq = 0;
    while let Some(batch) = handoff.next_batch() {
        let mut batch = batch.into_iter().peekable();
        while batch.peek().is_some() {
            let group = group(&mut batch, facts, &mut seq);
            append(handoff, &mut writer, facts.session, &group, tally);
            appended();
        }
    }
}

/// The next events, as many as fit one transaction.
fn group(batch: &mut impl Iterator<Item = Finished>, facts: &Facts, seq: &mut u64) -> Vec<(u64, Event)> {
    let (mut group, mut bytes) = (Vec::new(), 0);
    while group.len() < GROUP && bytes < GROUP_BYTES {
        let Some(finished) = batch.next() else { break };
        let (seq, event) = made(finished, facts, seq);
        bytes += event.json.len();
        group.push((seq, event));
    }
    group
}

/// The exchange's memory is given back here: from now on only the event is held.
fn made(finished: Finished, facts: &Facts, seq: &mut u64) -> (u64, Event) {
    *seq += 1;
    let context = Context {
        seq: *seq,
        run_id: &facts.run_id,
        error_from_status: facts.error_from_status,
        properties: &facts.properties,
    };
    (*seq, event::build(&finished.exchange, &context))
}

fn append(handoff: &Handoff, writer: &mut Writer, session: SessionRow, group: &[(u64, Event)], tally: &Tally) {
    let rows: Vec<NewEvent<'_>> = group.iter().map(|(seq, event)| row(*seq, event)).collect();
    let mut tries = 0;
    while let Err(error) = writer.append(session, &rows) {
        complain(&error, tries);
        tries += 1;
        if handoff.is_closed() && tries >= LAST_TRIES {
            tally.lost.fetch_add(rows.len() as u64, Ordering::Relaxed);
            return;
        }
        thread::sleep(STORE_RETRY);
    }
    tally.stored.fetch_add(rows.len() as u64, Ordering::Relaxed);
}

fn complain(error: &StoreError, tries: u32) {
    if tries == 0 {
        tracing::error!(%error, "the store takes no events; they wait in memory and are tried again");
    }
}

fn row(seq: u64, event: &Event) -> NewEvent<'_> {
    NewEvent {
        event_id: event.id,
        seq,
        started_at_ms: event.started_at_ms,
        method: &event.method,
        host: &event.host,
        path: &event.path,
        status_code: event.status_code,
        latency_ms: event.latency_ms,
        request_bytes: event.request_bytes,
        response_bytes: event.response_bytes,
        error: &event.error,
        json: &event.json,
    }
}
