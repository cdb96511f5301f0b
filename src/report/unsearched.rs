//! Calls that have ended and whose bodies are still searched, beside the reporting thread. A proxy that is killed meanwhile must
//! leave an event of each: what takes longer than a moment is noted in the store, large calls without their bodies.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Facts;
use super::events::context;
use super::open::OpenNotes;
use crate::callers::CallerSession;
use crate::capture::Exchange;
use crate::event::{self, Links};
use crate::store::{NewEvent, Writer};

/// A search that takes longer is noted. With the time until the reporting thread looks, this stays below the 50 ms after which an
/// ended call is not missing.
const AFTER: Duration = Duration::from_millis(15);
/// Notes that are written at once: events of others go between them.
const AT_ONCE: usize = 32;

/// The calls without a note so far, the oldest first.
#[derive(Default)]
pub(super) struct Unsearched {
    calls: VecDeque<Call>,
}

struct Call {
    /// Without its bodies, unless it is small.
    exchange: Exchange,
    is_small: bool,
    session: Arc<CallerSession>,
    seq: u64,
    since: Instant,
}

impl Unsearched {
    /// Adds a call whose search begins.
    pub(super) fn add(&mut self, exchange: &Exchange, is_small: bool, session: Arc<CallerSession>, seq: u64) {
        let exchange = if is_small { exchange.clone() } else { exchange.without_bodies() };
        self.calls.push_back(Call { exchange, is_small, session, seq, since: Instant::now() });
    }

    /// Its event was made.
    pub(super) fn remove(&mut self, id: Uuid) {
        self.calls.retain(|call| call.exchange.id != id);
    }

    /// Notes the calls that have waited for long enough.
    pub(super) fn note(&mut self, open: &mut OpenNotes, writer: &mut Writer, facts: &Facts) {
        for _ in 0..AT_ONCE {
            if self.calls.front().is_none_or(|call| call.since.elapsed() < AFTER) {
                break;
            }
            let Some(call) = self.calls.pop_front() else { break };
            let context = context(facts, &call.session, call.seq, Links::default());
            // A small call that waits behind its caller's large ones is searched at once.
            let event = match call.is_small {
                true => event::build(&call.exchange, &context),
                false => event::without_texts(&call.exchange, &context),
            };
            match writer.note_open(call.session.row, &[NewEvent::of(call.seq, &event)]) {
                Ok(()) => open.ended_unsearched(call.exchange.id),
                Err(error) => {
                    tracing::debug!(%error, "a call whose bodies are searched cannot be noted now");
                    self.calls.push_front(call);
                    return;
                }
            }
        }
    }
}
