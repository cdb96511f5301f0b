//! The joined strings of a stream, and the place of each in the stream.

use std::ops::Range;

use super::lines;
use crate::redact::finding::{Finding, Show};
use crate::secret::buffers;

/// A longer text cannot be joined, in bytes.
pub(in crate::redact) const TEXT_MAX_BYTES: usize = u32::MAX as usize;

/// The place of a string in a stream. There are as many as events, so they are small.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    start: u32,
    end: u32,
}

impl Piece {
    /// `None` behind the first [`TEXT_MAX_BYTES`] of the stream.
    pub(super) fn of(range: &Range<usize>) -> Option<Self> {
        Some(Self { start: u32::try_from(range.start).ok()?, end: u32::try_from(range.end).ok()? })
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Joined strings.
#[derive(Default)]
pub(in crate::redact) struct Joined {
    pub(in crate::redact) text: String,
    /// Of each string, its start in `text` and its place in the stream.
    pieces: Vec<(u32, Piece)>,
}

impl Joined {
    pub(super) fn of(stream: &str, strings: &[Piece]) -> Self {
        let bytes = strings.iter().map(|string| string.range().len()).sum();
        let mut joined = Self { text: buffers::take_text(bytes), pieces: Vec::with_capacity(strings.len()) };
        strings.iter().for_each(|string| joined.put(stream, *string));
        joined
    }

    fn put(&mut self, stream: &str, string: Piece) {
        // The joined text is not longer than the stream.
        self.pieces.push((self.text.len() as u32, string));
        self.text.push_str(&stream[string.range()]);
    }

    /// How many strings were joined.
    pub(in crate::redact) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// The parts of the text that are not further than this from a place where two of its strings meet, in order.
    pub(in crate::redact) fn around_joints(&self, bytes: usize) -> Vec<Range<usize>> {
        let mut parts: Vec<Range<usize>> = Vec::new();
        for (joint, _) in self.pieces.iter().skip(1) {
            let joint = *joint as usize;
            let start = joint.saturating_sub(bytes);
            let end = joint.saturating_add(bytes).min(self.text.len());
            match parts.last_mut() {
                Some(last) if start <= last.end => last.end = end,
                _ => parts.push(start..end),
            }
        }
        parts
    }

    /// A finding in the joined text as findings in the stream: `shown` stands in the first piece, nothing in the others.
    pub(in crate::redact) fn pieces_of<'a>(&self, finding: &Finding<'a>, shown: String) -> Vec<Finding<'a>> {
        let Range { start, end } = finding.range;
        let place = |(at, piece): &(u32, Piece)| (*at as usize, piece.range());
        let first = self.pieces.partition_point(|piece| {
            let (at, piece) = place(piece);
            at + piece.len() <= start
        });
        let mut shown = Some(shown);
        self.pieces[first..]
            .iter()
            .map(place)
            .take_while(|(at, _)| *at < end)
            .filter(|(_, piece)| !piece.is_empty())
            .map(|(at, piece)| {
                let from = piece.start + start.saturating_sub(at);
                let to = (piece.start + end - at).min(piece.end);
                let from = from.min(to);
                Finding { range: from..to, rule: finding.rule, show: shown.take().map_or(Show::Nothing, Show::text) }
            })
            .collect()
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        buffers::give_back(std::mem::take(&mut self.text).into_bytes());
    }
}

/// The data of events that are not JSON.
#[derive(Default)]
pub(super) struct Lines {
    joined: Joined,
    /// Where the last line of data ends.
    end: usize,
}

impl Lines {
    /// Adds the data of the next line. The lines of one event are joined by line ends (HTML standard, section 9.2.6). The text of
    /// one event goes on in the next, unless another text stands between them.
    pub(super) fn put(&mut self, stream: &str, line: Range<usize>) {
        let ends = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let data_end = line.end - stream.as_bytes()[line.clone()].iter().rev().take_while(ends).count();
        let Some(data) = Piece::of(&(line.start..data_end)) else { return };
        let between = &stream[self.end..line.start];
        if !self.joined.pieces.is_empty() && !goes_on(between) {
            self.joined.text.push('\n');
        }
        self.end = line.end;
        self.joined.put(stream, data);
    }

    /// `None` for less than two lines.
    pub(super) fn joined(self) -> Option<Joined> {
        (self.joined.pieces.len() > 1).then_some(self.joined)
    }
}

/// Whether the next line of data goes on with the text of the last one, with this between them.
fn goes_on(between: &str) -> bool {
    // Mostly the name of the field, perhaps with an empty line before it.
    match between {
        "\ndata: " | "\ndata:" => return true,
        "data: " | "data:" => return false,
        _ => {}
    }
    let (mut start, mut count) = (0, 0);
    let is_other = |end| {
        let line = &between[std::mem::replace(&mut start, end)..end];
        count += 1;
        lines::is_other(line)
    };
    !lines::ends(between).any(is_other) && count > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_goes_back_to_its_pieces() {
        let stream = "sk- abc d e";
        let pieces = [0..3, 4..4, 4..7, 8..11].map(|range| Piece::of(&range).unwrap());
        let finding = Finding { range: 1..7, rule: "r", show: Show::Token };
        let pieces = Joined::of(stream, &pieces).pieces_of(&finding, "****".to_owned());
        let shown: Vec<_> = pieces.iter().map(|piece| (&stream[piece.range.clone()], &piece.show)).collect();
        let none = Show::Nothing;
        assert_eq!(shown, [("k-", &Show::text("****".to_owned())), ("abc", &none), ("d", &none)]);
    }

    #[test]
    fn parts_around_joints_that_overlap_are_one() {
        let stream = "a".repeat(100);
        let pieces = [0..10, 10..40, 40..42, 42..90].map(|range| Piece::of(&range).unwrap());
        let joined = Joined::of(&stream, &pieces);
        assert_eq!(joined.around_joints(3), [7..13, 37..45]);
        assert_eq!(joined.around_joints(50), vec![0..joined.text.len()]);
        assert_eq!(joined.around_joints(usize::MAX), vec![0..joined.text.len()]);
        assert!(Joined::of(&stream, &pieces[..1]).around_joints(3).is_empty());
    }

    #[test]
    fn lines_of_one_event_are_lines_and_events_go_on() {
        let stream = "data: Hel\n\ndata: lo\ndata: you\n";
        let mut lines = Lines::default();
        for line in [6..10, 17..20, 26..30] {
            lines.put(stream, line);
        }
        assert_eq!(lines.joined().unwrap().text, "Hello\nyou");
    }
}
