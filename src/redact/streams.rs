//! Secrets in streams of events, which send a text in pieces. A stream may stand in a JSON string, in HTML or in another stream,
//! several levels deep.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use super::deltas::{self, Joined};
use super::escapes::{Escapes, Shadow};
use super::finding::{Ends, Finding, OutOfTime, Show};
use super::masking::Masking;
use super::part::Spare;
use super::redactor::OWN;
use super::windows::{ENCODED_MAX, regions};
use crate::naming::Name;

/// Streams in strings in streams are followed up to this depth.
const DEPTH_MAX: usize = 6;

/// The work for a byte of a text whose escapes are undone, or whose lines are read; for one of its escapes, and for a line.
const READ_WORK: usize = 2;
const SIGN_WORK: usize = 24;
const LINE_WORK: usize = 100;
/// The work for a byte of a joined text, and for one of its pieces, with the search for our own secrets.
const JOINED_WORK: usize = 1;
const PIECE_WORK: usize = 2;

/// Joined texts of fewer bytes are searched again: to name them costs as much.
const NAMED_FROM_BYTES: usize = 512;

/// Joined texts that were searched: down to which depth, and what was found. A stream in a string is often found twice: in the
/// string, and in the text that holds it.
type Known<'a> = HashMap<Name, (usize, Rc<[Finding<'a>]>)>;

impl<'a> Masking<'a> {
    /// The secrets in the streams of a part of a text. `spare` is that of the whole text.
    ///
    /// # Errors
    /// When nothing is left to spare, or the streams are too long.
    pub(super) fn in_streams(&self, part: &str, spare: &mut Spare) -> Result<Vec<Finding<'a>>, OutOfTime> {
        if part.len() > deltas::TEXT_MAX_BYTES {
            return Err(OutOfTime);
        }
        self.in_streams_below(part, DEPTH_MAX, spare, &mut Known::default())
    }

    fn in_streams_below(
        &self,
        text: &str,
        depth: usize,
        spare: &mut Spare,
        known: &mut Known<'a>,
    ) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let mut found = Vec::new();
        if depth == 0 {
            return Ok(found);
        }
        let (all, lines) = deltas::joined(text);
        spare.take(text.len() * READ_WORK + lines * LINE_WORK)?;
        for joined in all {
            for finding in self.in_joined(&joined, depth, spare, known)?.iter() {
                let shown = self.shown(&joined.text[finding.range.clone()], &finding.show, str::to_owned);
                found.extend(joined.pieces_of(finding, shown));
            }
        }
        for part in regions(text, &deltas::marks_in_strings(text)) {
            if let Some(shadow) = Shadow::of_strings(&text[part.clone()]) {
                let mut inside = self.in_shadow(&shadow, part.len(), depth, spare, known)?;
                inside.iter_mut().for_each(in_a_string);
                found.extend(back(&shadow, inside, part.start));
            }
        }
        for part in regions(text, &deltas::marks_in_a_page(text)) {
            if let Some(shadow) = Escapes::Markup.undo(&text[part.clone()]) {
                let inside = self.in_shadow(&shadow, part.len(), depth, spare, known)?;
                found.extend(back(&shadow, inside, part.start));
            }
        }
        Ok(found)
    }

    /// The secrets in the streams of a part of a text without its escapes.
    fn in_shadow(
        &self,
        shadow: &Shadow,
        bytes: usize,
        depth: usize,
        spare: &mut Spare,
        known: &mut Known<'a>,
    ) -> Result<Vec<Finding<'a>>, OutOfTime> {
        spare.take(bytes * READ_WORK + shadow.signs() * SIGN_WORK)?;
        self.in_streams_below(&shadow.text, depth - 1, spare, known)
    }

    /// The secrets in a joined text, and in its streams.
    fn in_joined(
        &self,
        joined: &Joined,
        depth: usize,
        spare: &mut Spare,
        known: &mut Known<'a>,
    ) -> Result<Rc<[Finding<'a>]>, OutOfTime> {
        let text = &*joined.text;
        let namer = self.redactor.long.namer();
        let name = if text.len() < NAMED_FROM_BYTES { None } else { namer.name(text.as_bytes()) };
        if let Some((searched, found)) = name.and_then(|name| known.get(&name))
            && *searched >= depth
        {
            return Ok(found.clone());
        }
        spare.take(text.len() * JOINED_WORK + joined.pieces() * PIECE_WORK)?;
        let limits = spare.limits();
        let (mut found, work) = self.scanned(text, Ends::default(), limits)?;
        spare.take(work)?;
        found.extend(self.of_patterns(text, limits.deadline)?);
        let (own, work) = self.own_in_joined(joined, depth);
        spare.take(work)?;
        found.extend(own);
        found.extend(self.in_streams_below(text, depth - 1, spare, known)?);
        let found: Rc<[Finding<'a>]> = found.into();
        if let Some(name) = name {
            known.insert(name, (depth, found.clone()));
        }
        Ok(found)
    }

    /// Our own secrets in a joined text, where its pieces meet. Those in one piece are found in the text itself, unless that holds it
    /// too many levels deep. Also gives the work of the search.
    fn own_in_joined(&self, joined: &Joined, depth: usize) -> (Vec<Finding<'a>>, usize) {
        const DEPTH_OF_WHOLE_TEXTS: usize = DEPTH_MAX - 3;
        let (mut found, mut worked) = (Vec::new(), 0);
        let Some(own) = &self.own else { return (found, worked) };
        let around_bytes = match depth {
            0..=DEPTH_OF_WHOLE_TEXTS => usize::MAX,
            _ => own.longest_bytes().saturating_mul(ENCODED_MAX),
        };
        for part in joined.around_joints(around_bytes) {
            let (here, work) = own.find_with_work(&joined.text.as_bytes()[part.clone()]);
            worked += work;
            let place = |range: Range<usize>| part.start + range.start..part.start + range.end;
            found.extend(here.into_iter().map(|range| Finding { range: place(range), rule: OWN, show: Show::Mask }));
        }
        (found, worked)
    }
}

/// Findings in a copy of a part of a text, which begins at `start`, as findings in the text.
fn back<'a>(shadow: &Shadow, mut found: Vec<Finding<'a>>, start: usize) -> Vec<Finding<'a>> {
    shadow.cast_back(&mut found);
    for Finding { range, .. } in &mut found {
        *range = start + range.start..start + range.end;
    }
    found
}

/// Escapes the quotes in the shown text, which stands in a JSON string.
fn in_a_string(finding: &mut Finding<'_>) {
    if let Show::Text(shown) = &mut finding.show
        && shown.0.contains(['"', '\\'])
    {
        shown.0 = shown.0.replace('\\', "\\\\").replace('"', "\\\"");
    }
}
