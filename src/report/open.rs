//! Notes of calls in flight. A call that takes longer than a second is noted in the store, as far as it is known. If the proxy is
//! killed, each note becomes an event.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Facts;
use super::events::{ALLOWANCE_BYTES, context, is_searched_here, named_token};
use super::searchers::{Job, JobKind, Searchers};
use crate::capture::Recording;
use crate::event::{self, Event, Links};
use crate::store::{NewEvent, SessionRow, Writer};

/// The age at which a call is noted.
const AGE: Duration = Duration::from_secs(1);
/// The time until a note is first written again. It doubles each time.
const AGAIN: Duration = Duration::from_secs(4);
/// The longest time until a note is written again.
const AGAIN_MOST: Duration = Duration::from_secs(60);
/// The most notes in one round.
const AT_ONCE: usize = 256;
/// The most notes in one transaction. Many streams may begin together, so the thread yields between transactions and between events:
/// calls that wait for this core go first.
const IN_ONE: usize = 32;
/// The same for a model call, because people watch its answer arrive; if at most [`MODELS`] are in flight.
const MODEL_AGAIN: Duration = Duration::from_secs(1);
const MODELS: usize = 16;
/// A note has its bodies in it. For each so many bytes of them the pause of a model call is longer by itself, so a long conversation
/// costs no more than a short one.
const MODEL_AGAIN_BYTES: usize = 256 << 10;

/// The calls that have a note in the store.
#[derive(Default)]
pub(super) struct OpenNotes {
    noted: HashMap<Uuid, Note>,
    /// Calls whose notes the searchers are making.
    making: HashSet<Uuid>,
}

struct Note {
    due: Instant,
    pause: Duration,
}

impl OpenNotes {
    /// Of calls that have ended, those whose notes must be removed.
    pub(super) fn ended(&mut self, ended: impl Iterator<Item = Uuid>) -> Vec<Uuid> {
        if self.noted.is_empty() && self.making.is_empty() {
            return Vec::new();
        }
        let gone = |id: &Uuid| {
            self.making.remove(id);
            self.noted.remove(id).is_some()
        };
        ended.filter(gone).collect()
    }

    /// A call that has ended was noted, because its bodies are still being searched.
    pub(super) fn ended_unsearched(&mut self, id: Uuid) {
        self.making.remove(&id);
        self.noted.insert(id, Note { due: Instant::now() + AGAIN_MOST, pause: AGAIN_MOST });
    }

    /// A searcher has made a note. It is dropped if the call has ended meanwhile.
    pub(super) fn made(&mut self, id: Uuid, session: SessionRow, event: Option<Event>, writer: &mut Writer) {
        let (true, Some(event)) = (self.making.remove(&id), event) else { return };
        match writer.note_open(session, &[NewEvent::of(0, &event)]) {
            Ok(()) => self.schedule(&event, Instant::now(), true),
            Err(error) => tracing::debug!(%error, "cannot note a call in flight now"),
        }
    }

    /// Sets when a call is noted again.
    fn schedule(&mut self, event: &Event, now: Instant, few_models: bool) {
        let pause = match self.noted.get(&event.id) {
            _ if !event.llm.is_empty() && few_models => model_pause(event),
            Some(note) => (note.pause * 2).min(AGAIN_MOST),
            None => AGAIN,
        };
        self.noted.insert(event.id, Note { due: now + pause, pause });
    }

    /// Notes the calls that are old enough, and writes old notes again.
    pub(super) fn note(&mut self, recording: &Recording, writer: &mut Writer, facts: &Facts, searchers: &Searchers) {
        let now = Instant::now();
        let mut allowance = ALLOWANCE_BYTES;
        let mut notes = Vec::new();
        for recorder in recording.in_progress(AGE) {
            let Some(id) = recorder.id() else { continue };
            let due = !self.making.contains(&id) && self.noted.get(&id).is_none_or(|note| note.due <= now);
            if due
                && notes.len() < AT_ONCE
                && let Some(exchange) = recorder.so_far().filter(|exchange| exchange.unlogged.is_none())
                && let Ok(session) = facts.callers.of(&exchange.caller, named_token(&exchange).as_ref())
            {
                if !is_searched_here(&exchange, facts, &mut allowance) {
                    self.making.insert(id);
                    searchers.take(Job { exchange: Box::new(exchange), session, kind: JobKind::Note });
                    continue;
                }
                notes.push((session.row, event::build(&exchange, &context(facts, &session, 0, Links::default()))));
                std::thread::yield_now();
            }
        }
        notes.sort_by_key(|(session, _)| *session);
        let sessions = notes.chunk_by(|(one, _), (other, _)| one == other);
        for same in sessions.flat_map(|same| same.chunks(IN_ONE)) {
            std::thread::yield_now();
            let rows: Vec<_> = same.iter().map(|(_, event)| NewEvent::of(0, event)).collect();
            if let Err(error) = writer.note_open(same[0].0, &rows) {
                tracing::debug!(%error, "cannot note calls in flight now");
                return;
            }
        }
        let models = notes.iter().filter(|(_, event)| !event.llm.is_empty()).count();
        for (_, event) in &notes {
            self.schedule(event, now, models <= MODELS);
        }
    }
}

/// The time until the note of a model call is written again.
fn model_pause(event: &Event) -> Duration {
    let bytes: usize = event.bodies.iter().map(|body| body.text.len()).sum();
    let times = u32::try_from(1 + bytes / MODEL_AGAIN_BYTES).unwrap_or(u32::MAX);
    MODEL_AGAIN.saturating_mul(times).min(AGAIN_MOST)
}
