//! Secrets in streams of events, which send a text in pieces. A stream may stand in a JSON string, in HTML or in another stream,
//! several levels deep.

use super::deltas;
use super::escapes::{Escapes, Shadow};
use super::finding::{Ends, Finding, OutOfTime, Show};
use super::masking::Masking;
use crate::deadline::Deadline;

/// Streams in strings in streams are followed up to this depth.
const DEPTH_MAX: usize = 6;

/// The joined texts are searched, and the texts around them are read, for at most so many times the bytes of the text. Few texts
/// reach three quarters of that. A text that needs more is withheld.
const BYTES_A_BYTE: usize = 2;
/// Short texts may have so many bytes of joined texts.
const BYTES_AT_LEAST: usize = 4 << 10;
/// Undoing the escapes of a text, and reading its lines, each costs so many times less than a search.
const READ_BYTES_A_SEARCHED: usize = 3;

/// How much may still be searched in the streams of one text.
pub(super) struct Spare {
    bytes: usize,
    deadline: Deadline,
}

impl Spare {
    /// For a text.
    pub(super) fn of(text: &str, deadline: Deadline) -> Self {
        Self { bytes: BYTES_A_BYTE * text.len() + BYTES_AT_LEAST, deadline }
    }

    /// How many bytes are left.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes so many bytes.
    ///
    /// # Errors
    /// When fewer are left, or the time is over.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), OutOfTime> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(OutOfTime)?;
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
            spare.take(text.len() / READ_BYTES_A_SEARCHED)?;
        }
        for joined in deltas::joined(text) {
            // It is searched once more for each kind of escape.
            let bytes = joined.text.as_bytes();
            let of_json =
                memchr::memchr(b'\\', bytes).is_some_and(|at| memchr::memmem::find(&bytes[at..], b"\\u00").is_some());
            let escapes = usize::from(of_json) + usize::from(memchr::memchr(b'&', bytes).is_some());
            spare.take(joined.text.len() * (1 + escapes))?;
            let mut inside = self.scanned(&joined.text, Ends::default(), spare.deadline)?;
            inside.extend(self.listed(&joined.text, spare.deadline)?);
            inside.extend(self.in_streams_below(&joined.text, depth - 1, spare)?);
            for finding in inside {
                let shown = self.shown(&joined.text[finding.range.clone()], &finding.show, str::to_owned);
                found.extend(joined.pieces_of(&finding, shown));
            }
        }
        if let Some(shadow) = deltas::may_be_in_strings(text).then(|| Shadow::of_strings(text)).flatten() {
            spare.take(text.len() / READ_BYTES_A_SEARCHED)?;
            let mut inside = self.in_streams_below(&shadow.text, depth - 1, spare)?;
            inside.iter_mut().for_each(in_a_string);
            shadow.cast_back(&mut inside);
            found.append(&mut inside);
        }
        if let Some(shadow) = deltas::may_be_in_a_page(text).then(|| Escapes::Markup.undo(text)).flatten() {
            spare.take(text.len() / READ_BYTES_A_SEARCHED)?;
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
