//! Secrets in streams of events, which send a text in pieces. A stream may stand in a JSON string, in HTML or in another stream,
//! several levels deep.

use super::deltas;
use super::escapes::{Escapes, Shadow};
use super::finding::{Ends, Finding, OutOfTime, Show};
use super::masking::Masking;
use super::part::Limits;
use crate::deadline::Deadline;

/// Streams in strings in streams are followed up to this depth.
const DEPTH_MAX: usize = 6;

/// The streams of a text may take so much work for each of its bytes ([`Searched::work`](super::part::Searched::work)): as much as to
/// search a text of names and values twice. A text that needs more is withheld.
const WORK_A_BYTE: usize = 16;
/// Short texts may take so much work.
const WORK_AT_LEAST: usize = 64 << 10;
/// The work for a byte of a text whose escapes are undone, or whose lines are read.
const READ_WORK: usize = 2;
/// The work for a byte in which our own secrets are searched.
const OWN_WORK: usize = 2;

/// How much work may still be done in the streams of one text.
pub(super) struct Spare {
    work: usize,
    deadline: Deadline,
}

impl Spare {
    /// For a text.
    pub(super) fn of(text: &str, deadline: Deadline) -> Self {
        Self { work: WORK_A_BYTE * text.len() + WORK_AT_LEAST, deadline }
    }

    /// How much is left.
    pub(super) fn work(&self) -> usize {
        self.work
    }

    /// Takes so much.
    ///
    /// # Errors
    /// When less is left, or the time is over.
    pub(super) fn take(&mut self, work: usize) -> Result<(), OutOfTime> {
        self.work = self.work.checked_sub(work).ok_or(OutOfTime)?;
        if self.deadline.is_over() { Err(OutOfTime) } else { Ok(()) }
    }
}

impl<'a> Masking<'a> {
    /// The secrets in the streams of a text.
    ///
    /// # Errors
    /// When the search is not done by `deadline`, or the streams are too long.
    pub(super) fn in_streams(&self, text: &str, deadline: Deadline) -> Result<Vec<Finding<'a>>, OutOfTime> {
        if text.len() > deltas::TEXT_MAX_BYTES {
            return Err(OutOfTime);
        }
        self.in_streams_within(text, &mut Spare::of(text, deadline))
    }

    /// The secrets in the streams of a part of a text. `spare` is that of the whole text.
    ///
    /// # Errors
    /// When nothing is left to spare.
    pub(super) fn in_streams_within(&self, part: &str, spare: &mut Spare) -> Result<Vec<Finding<'a>>, OutOfTime> {
        self.in_streams_below(part, DEPTH_MAX, spare)
    }

    fn in_streams_below(&self, text: &str, depth: usize, spare: &mut Spare) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let mut found = Vec::new();
        if depth == 0 {
            return Ok(found);
        }
        // The text itself is read in any case.
        if depth < DEPTH_MAX && deltas::may_be_in(text) {
            spare.take(text.len() * READ_WORK)?;
        }
        for joined in deltas::joined(text) {
            spare.take(joined.text.len() * OWN_WORK)?;
            let limits = Limits { work: spare.work, ..Limits::of(spare.deadline) };
            let (mut inside, work) = self.scanned(&joined.text, Ends::default(), limits)?;
            spare.take(work)?;
            inside.extend(self.listed(&joined.text, spare.deadline)?);
            inside.extend(self.in_streams_below(&joined.text, depth - 1, spare)?);
            for finding in inside {
                let shown = self.shown(&joined.text[finding.range.clone()], &finding.show, str::to_owned);
                found.extend(joined.pieces_of(&finding, shown));
            }
        }
        if let Some(shadow) = deltas::may_be_in_strings(text).then(|| Shadow::of_strings(text)).flatten() {
            spare.take(text.len() * READ_WORK)?;
            let mut inside = self.in_streams_below(&shadow.text, depth - 1, spare)?;
            inside.iter_mut().for_each(in_a_string);
            shadow.cast_back(&mut inside);
            found.append(&mut inside);
        }
        if let Some(shadow) = deltas::may_be_in_a_page(text).then(|| Escapes::Markup.undo(text)).flatten() {
            spare.take(text.len() * READ_WORK)?;
            let mut inside = self.in_streams_below(&shadow.text, depth - 1, spare)?;
            shadow.cast_back(&mut inside);
            found.append(&mut inside);
        }
        Ok(found)
    }
}

/// Escapes the quotes in the shown text, which stands in a JSON string.
fn in_a_string(finding: &mut Finding<'_>) {
    if let Show::Text(shown) = &mut finding.show
        && shown.0.contains(['"', '\\'])
    {
        shown.0 = shown.0.replace('\\', "\\\\").replace('"', "\\\"");
    }
}
