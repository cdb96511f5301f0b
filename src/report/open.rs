//! Calls that have been under way for long are noted in the store as far as they are known, so that a proxy that is killed
//! in the middle of them leaves an event of each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Facts;
use super::searchers::{Job, JobKind, Searchers};
use super::thread::{ALLOWANCE_BYTES, context, is_searched_here, named_token, row};
use crate::capture::Recording;
use crate::event::{self, Event, Links};
use crate::store::{SessionRow, Writer};

/// From which age on a call is noted.
const AGE: Duration = Duration::from_secs(1);
/// How soon a note is written anew for the first time; then each time twice as late.
const AGAIN: Duration = Duration::from_secs(4);
/// How late at most.
const AGAIN_MOST: Duration = Duration::from_secs(60);
/// Notes that are written at once.
const AT_ONCE: usize = 256;
/// Of these, written in one transaction: between them, and between the events that are made, calls that wait for this core go first,
/// for many streams that began together are noted together.
const IN_ONE: usize = 32;
/// How soon the note of a call to a model is written anew, for people watch its answer come; of so many at once.
const MODEL_AGAIN: Duration = Duration::from_secs(1);
const MODELS: usize = 16;

/// The calls that have a note in the store.
#[derive(Default)]
pub(super) struct OpenNotes {
    noted: HashMap<Uuid, Note>,
    /// Those whose notes are made beside the reporting thread.
    making: HashSet<Uuid>,
}

struct Note {
    due: Instant,
    pause: Duration,
}

impl OpenNotes {
    /// Of these calls, which have ended, those whose notes must go.
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

    /// A call that has ended was noted, since its bodies are still searched.
    pub(super) fn ended_unsearched(&mut self, id: Uuid) {
        self.making.remove(&id);
        self.noted.insert(id, Note { due: Instant::now() + AGAIN_MOST, pause: AGAIN_MOST });
    }

    /// A note was made beside the reporting thread. It is of no use once the call has ended.
    pub(super) fn made(&mut self, id: Uuid, session: SessionRow, event: Option<Event>, writer: &mut Writer) {
        let (true, Some(event)) = (self.making.remove(&id), event) else { return };
        match writer.note_open(session, &[row(0, &event)]) {
            Ok(()) => self.put_off(&event, Instant::now(), true),
            Err(error) => tracing::debug!(%error, "a call under way cannot be noted now"),
        }
    }

    /// Notes a call anew later.
    fn put_off(&mut self, event: &Event, now: Instant, few_models: bool) {
        let pause = match self.noted.get(&event.id) {
            _ if !event.llm.is_empty() && few_models => MODEL_AGAIN,
            Some(note) => (note.pause * 2).min(AGAIN_MOST),
            None => AGAIN,
        };
        self.noted.insert(event.id, Note { due: now + pause, pause });
    }

    /// Notes what has been under way for long, and what was noted long ago.
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
                if !is_searched_here(&exchange, &mut allowance) {
                    self.making.insert(id);
                    searchers.take(Job { exchange: Arc::new(exchange), session, kind: JobKind::Note });
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
            let rows: Vec<_> = same.iter().map(|(_, event)| row(0, event)).collect();
            if let Err(error) = writer.note_open(same[0].0, &rows) {
                tracing::debug!(%error, "calls under way cannot be noted now");
                return;
            }
        }
        let models = notes.iter().filter(|(_, event)| !event.llm.is_empty()).count();
        for (_, event) in &notes {
            self.put_off(event, now, models <= MODELS);
        }
    }
}
