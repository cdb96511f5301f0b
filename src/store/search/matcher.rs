//! Whether the bodies of an event, or the answer of a model in it, have a text.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use quick_cache::unsync::Cache;
use rusqlite::{Connection, OpenFlags};

use super::bodies::{self, Place, Texts};
use super::index::Index;
use super::ranges::Ranges;
use super::spans::Span;
use crate::search::Needle;
use crate::store::chunks::bodies_of;

/// After so many events were read, few enough candidates are read all at once.
const PATIENCE: usize = 64;
/// So many are few enough: about 50 ms.
const FEW_CHUNKS: i64 = 3_000;
/// The memory for what is known of chunks.
const KNOWN_BYTES: usize = 16 << 20;
/// Bytes that a chunk takes there, beside its ends.
const KNOWN_OVERHEAD_BYTES: usize = 160;

/// What may be read, and until when.
pub(super) struct Source {
    connection: Connection,
    texts: Texts,
    /// `None`: as long as it takes.
    until: Option<Instant>,
}

/// Looks for one text in bodies.
pub(super) struct Matcher {
    needle: Needle,
    index: Option<Index>,
    /// Chunks that may have it, or the end of a seam that may.
    chunks: Ranges,
    seams: Vec<(i64, i64)>,
    /// Events that may have it in their column `json`, as short bodies or as a model's answer. Sorted.
    events: Vec<i64>,
    known: Cache<i64, Arc<Known>>,
    /// The span of the last event.
    span: Option<(Span, bool)>,
    /// Events that were read.
    read: usize,
}

/// What is known of a chunk.
struct Known {
    has_it: bool,
    head: Box<[u8]>,
    tail: Box<[u8]>,
}

/// Why there is no answer.
pub(super) enum Unknown {
    /// The time is up.
    Stopped,
    /// The store or the index cannot be read.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Unknown {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

impl Source {
    /// Opens the store.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open(path: &Path, until: Option<Instant>) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(1))?;
        Ok(Self { connection, texts: Texts::new()?, until })
    }

    fn in_time(&self) -> Result<(), Unknown> {
        match self.until {
            Some(until) if Instant::now() > until => Err(Unknown::Stopped),
            _ => Ok(()),
        }
    }
}

impl Matcher {
    /// Looks up what may have the text.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn new(path: &Path, source: &Source, needle: Needle) -> rusqlite::Result<Self> {
        let index = Index::open(path, &source.connection)?;
        // An index that cannot be read is as good as none. It is made again by the process that keeps it.
        let found = index.and_then(|index| Some((index.candidates(&needle).ok()?, index)));
        let known = Cache::new(KNOWN_BYTES / (KNOWN_OVERHEAD_BYTES + 2 * needle.reach()));
        let mut matcher = Self {
            needle,
            index: None,
            chunks: std::iter::once(0..=i64::MAX).collect(),
            seams: Vec::new(),
            events: Vec::new(),
            known,
            span: None,
            read: 0,
        };
        if let Some((candidates, index)) = found {
            let (from, to) = (index.state().chunk_from, index.state().chunk_to);
            let others = [0..=from.saturating_sub(1), to.saturating_add(1)..=i64::MAX];
            let seams = candidates.seams.iter().map(|(_, after)| *after..=*after);
            matcher.chunks = candidates.chunks.iter().cloned().chain(others).chain(seams).collect();
            (matcher.seams, matcher.events, matcher.index) = (candidates.seams, candidates.events, Some(index));
        }
        Ok(matcher)
    }

    /// Whether the bodies of an event have the text. `false` for one that is gone.
    ///
    /// # Errors
    /// When the time is up, or the store cannot be read.
    pub(super) fn is_in(&mut self, source: &mut Source, event: i64) -> Result<bool, Unknown> {
        let in_span = self.in_span(event)?;
        let (is_indexed, short) = (in_span.is_some(), self.events.binary_search(&event).is_ok());
        if in_span == Some(false) && !short {
            return Ok(false);
        }
        source.in_time()?;
        self.read += 1;
        if self.read == PATIENCE {
            self.settle(source)?;
        }
        match bodies::place(&source.connection, event)? {
            None => Ok(false),
            Some(Place::Apart(parts)) => {
                let bodies = bodies_of(&parts).unwrap_or_default();
                for body in &bodies {
                    if self.is_in_body(source, body, is_indexed)? {
                        return Ok(true);
                    }
                }
                let may_be_inside = !is_indexed || short;
                Ok(may_be_inside && self.is_inside(&bodies::model_event(&source.connection, event)?))
            }
            Some(Place::Inside(_)) if is_indexed && !short => Ok(false),
            Some(Place::Inside(json)) => Ok(self.is_inside(&json)),
        }
    }

    fn is_inside(&self, json: &[u8]) -> bool {
        bodies::inside(json).iter().any(|text| self.needle.is_in(text))
    }

    /// Whether the span of the event has a chunk that may have the text. `None`: the event is not indexed.
    fn in_span(&mut self, event: i64) -> Result<Option<bool>, Unknown> {
        let Some(index) = &self.index else { return Ok(None) };
        if !index.has_event(event) {
            return Ok(None);
        }
        if let Some((span, meets)) = &self.span
            && (span.first..=span.last).contains(&event)
        {
            return Ok(Some(*meets));
        }
        let Some(span) = index.span(event)?.filter(|span| span.last >= event) else { return Ok(None) };
        let meets = span.chunks.meet(&self.chunks);
        self.span = Some((span, meets));
        Ok(Some(meets))
    }

    /// `chunks`: a body.
    fn is_in_body(
        &mut self,
        source: &mut Source,
        chunks: &[RangeInclusive<i64>],
        is_indexed: bool,
    ) -> Result<bool, Unknown> {
        let mut before: Option<i64> = None;
        for (at, run) in chunks.iter().enumerate() {
            let wanted: Vec<RangeInclusive<i64>> = self.chunks.within(run).collect();
            // The seams of an event that is not indexed are not among the candidates.
            if !is_indexed
                && let Some(before) = before
                && self.is_across(source, before, *run.start())?
            {
                return Ok(true);
            }
            for chunk in wanted.into_iter().flatten() {
                if self.known(source, chunk)?.has_it {
                    return Ok(true);
                }
                let previous = if chunk > *run.start() { Some(chunk - 1) } else { before };
                let next =
                    if chunk < *run.end() { Some(chunk + 1) } else { chunks.get(at + 1).map(|run| *run.start()) };
                if let Some(previous) = previous
                    && self.is_across(source, previous, chunk)?
                {
                    return Ok(true);
                }
                if let Some(next) = next
                    && self.is_across(source, chunk, next)?
                {
                    return Ok(true);
                }
            }
            before = Some(*run.end());
        }
        Ok(false)
    }

    fn is_across(&mut self, source: &mut Source, before: i64, after: i64) -> Result<bool, Unknown> {
        let (before, after) = (self.known(source, before)?, self.known(source, after)?);
        Ok(self.needle.is_across(&before.tail, &after.head))
    }

    /// Reads a chunk, unless it was read before.
    fn known(&mut self, source: &mut Source, chunk: i64) -> Result<Arc<Known>, Unknown> {
        if let Some(known) = self.known.get(&chunk) {
            return Ok(known.clone());
        }
        source.in_time()?;
        let text = source.texts.chunk(&source.connection, chunk)?;
        Ok(self.note(chunk, text.as_deref()))
    }

    /// `None`: a damaged chunk has no text.
    fn note(&mut self, chunk: i64, text: Option<&[u8]>) -> Arc<Known> {
        let (text, reach) = (text.unwrap_or_default(), self.needle.reach());
        let known = Arc::new(Known {
            has_it: self.needle.is_in(text),
            head: text.get(..reach.min(text.len())).unwrap_or_default().into(),
            tail: text.get(text.len().saturating_sub(reach)..).unwrap_or_default().into(),
        });
        self.known.insert(chunk, known.clone());
        known
    }

    /// Reads all candidates, if they are few, so that only events with a hit are read from now on.
    fn settle(&mut self, source: &mut Source) -> Result<(), Unknown> {
        let Some(state) = self.index.as_ref().map(|index| index.state().clone()) else { return Ok(()) };
        let newest: i64 =
            source.connection.query_row("SELECT coalesce(max(id), 0) FROM chunks", [], |row| row.get(0))?;
        let there: Ranges = self.chunks.within(&(0..=newest)).collect();
        if there.count() > FEW_CHUNKS || newest > state.chunk_to.saturating_add(FEW_CHUNKS) {
            return Ok(());
        }
        let mut hits = Vec::new();
        for range in there.iter() {
            source.in_time()?;
            let Source { connection, texts, .. } = source;
            texts.each(connection, (*range.start(), *range.end()), i64::MAX, |chunk, text| {
                if self.note(chunk, text.as_deref()).has_it {
                    hits.push(chunk..=chunk);
                }
                Ok(())
            })?;
            for chunk in range.clone() {
                for (before, after) in [(chunk - 1, chunk), (chunk, chunk + 1)] {
                    if self.is_across(source, before, after)? {
                        hits.push(after..=after);
                    }
                }
            }
        }
        for (before, after) in std::mem::take(&mut self.seams) {
            if self.is_across(source, before, after)? {
                hits.push(after..=after);
            }
        }
        // A text may begin in a candidate, and end behind a seam that is none.
        let ends = there
            .iter()
            .cloned()
            .flatten()
            .filter(|chunk| self.known.get(chunk).is_none_or(|known| self.needle.may_begin_in(&known.tail)));
        let later = newest.saturating_add(1)..=i64::MAX;
        self.chunks = hits.into_iter().chain(ends.map(|chunk| chunk..=chunk)).chain([later]).collect();
        self.span = None;
        Ok(())
    }
}
