//! Where lines of streams begin in a long text. Secrets in pieces are searched for around these places only.

use std::ops::Range;

use memchr::memmem;

use super::cores::boundary_before;
use super::lines::{Lines, without_slashes};
use crate::secret::escapes::next_sign;

/// Two lines of a stream are at most so many bytes apart, if they are not side by side.
const EVENT_MAX_BYTES: usize = 16 << 10;
/// The longest line of a stream, in bytes.
const LINE_MAX_BYTES: usize = 256 << 10;
/// Of several marks side by side, the last one is kept, and one in so many bytes.
const APART_BYTES: usize = 1 << 10;
/// A longer region is searched in parts of so many bytes,
const PART_BYTES: usize = 1 << 20;
/// of which two have so many bytes in common.
const COMMON_BYTES: usize = 128 << 10;

/// The places in a core of a text where a line of a stream may begin: `data:`, an object or an array with a string, or an event of
/// Gemini. The line may stand in a string or in markup, where its end is escaped.
pub(super) fn in_core(text: &str, core: Range<usize>) -> Vec<usize> {
    let (mut of_fields, mut of_objects) = (Lines::of(text), Lines::of(text));
    let bytes = text.as_bytes();
    let finder = |word: &'static [u8]| {
        let finder = memmem::Finder::new(word);
        move |text: &[u8]| finder.find(text)
    };
    let word = |word: &'static [u8]| Places {
        first: finder(word),
        last: move |text: &[u8]| {
            let last = word.last().copied().unwrap_or_default();
            memchr::memrchr_iter(last, text).find(|end| text[..=*end].ends_with(word)).map(|end| end + 1 - word.len())
        },
        // A word that begins in the core may end behind it.
        text: &bytes[..bytes.len().min(core.end + word.len() - 1)],
    };
    let objects = Places {
        first: |text: &[u8]| next_sign(text, 0, [b'{', b'[']),
        last: |text: &[u8]| memchr::memrchr2(b'{', b'[', text),
        text: &bytes[..core.end],
    };
    let fields = word(b"data:").marks(core.start, &[], |at| of_fields.begins(at));
    let objects = objects.marks(core.start, &fields, |at| of_objects.begins(at) && of_objects.has_string(at));
    let mut marks = word(b"candidates").marks(core.start, &[], |_| true);
    marks.extend(fields.into_iter().chain(objects));
    marks.sort_unstable();
    thinned(&marks)
}

/// The places of a word or a sign in a text.
struct Places<'t, F, L> {
    /// Finds the first in a text.
    first: F,
    /// Finds the last in a text.
    last: L,
    text: &'t [u8],
}

impl<F: Fn(&[u8]) -> Option<usize>, L: Fn(&[u8]) -> Option<usize>> Places<'_, F, L> {
    /// Those at `from` or behind it that are marks, in order. Of the places side by side with a mark, or with one of these other
    /// marks, only the first and the last are given, and they are not checked: they add little to what is searched, and streams have
    /// many such places.
    fn marks(&self, from: usize, others: &[usize], mut is_mark: impl FnMut(usize) -> bool) -> Vec<usize> {
        let (mut marks, mut others, mut at) = (Vec::new(), others.iter().copied().peekable(), from);
        while let Some(place) = self.text.get(at..).and_then(&self.first).map(|length| at + length) {
            let other = std::iter::from_fn(|| others.next_if(|other| *other <= place)).last();
            let beside = other.filter(|other| place < other + APART_BYTES);
            at = place + 1;
            if beside.is_some() || is_mark(place) {
                let end = self.text.len().min(beside.unwrap_or(place) + APART_BYTES);
                let last = (self.last)(&self.text[at..end]).map(|length| at + length);
                marks.extend([place].into_iter().chain(last));
                at = end;
            }
        }
        marks
    }
}

fn thinned(marks: &[usize]) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    for (nth, mark) in marks.iter().enumerate() {
        let apart = |from: Option<&usize>, to: Option<&usize>| match (from, to) {
            (Some(from), Some(to)) => from + APART_BYTES <= *to,
            _ => true,
        };
        if apart(kept.last(), Some(mark)) || apart(Some(mark), marks.get(nth + 1)) {
            kept.push(*mark);
        }
    }
    kept
}

/// The parts of a text that are searched for streams, in order: the marks that belong together, with what stands around them.
pub(in crate::redact) fn regions(text: &str, marks: &[usize]) -> Vec<Range<usize>> {
    const MARGIN_BYTES: usize = EVENT_MAX_BYTES / 2;
    let mut regions: Vec<Range<usize>> = Vec::new();
    let mut marks = marks.iter().peekable();
    while let Some(mark) = marks.next() {
        let start = mark.saturating_sub(MARGIN_BYTES);
        let mut end = mark + MARGIN_BYTES;
        if marks.peek().is_none_or(|next| next.saturating_sub(MARGIN_BYTES) > end) {
            end = line_end(text, *mark) + MARGIN_BYTES;
        }
        let end = end.min(text.len());
        match regions.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => regions.push(start..end),
        }
    }
    let parts = regions.into_iter().flat_map(|region| {
        let starts = region.clone().step_by(PART_BYTES - COMMON_BYTES);
        // The last part has more than what it has in common with the part before it.
        let starts = starts.take_while(move |start| *start == region.start || start + COMMON_BYTES < region.end);
        starts.map(move |start| start..region.end.min(start + PART_BYTES))
    });
    parts.map(|part| start_of(text, part.start)..boundary_before(text, part.end)).collect()
}

/// Where the line that begins at `at` ends, escaped or not.
fn line_end(text: &str, at: usize) -> usize {
    let line = &text.as_bytes()[at..text.len().min(at + LINE_MAX_BYTES)];
    let line = &line[..memchr::memchr(b'\n', line).unwrap_or(line.len())];
    at + memmem::find(line, b"\\n").unwrap_or(line.len())
}

/// A place at `at` or before it, between two characters and not behind a backslash.
fn start_of(text: &str, at: usize) -> usize {
    boundary_before(text, without_slashes(&text.as_bytes()[..at]).len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str) -> Vec<&str> {
        in_core(text, 0..text.len()).into_iter().map(|mark| &text[mark..text.len().min(mark + 6)]).collect()
    }

    #[test]
    fn lines_of_streams_are_marked_in_any_writing() {
        for line in [
            "data: x",
            "x\ndata: x",
            "x\n  > data:x",
            r"x\ndata: x",
            r"x\\\\n\\tdata: x",
            "<p>data: x",
            "{\"a\":1}",
            "\n  {\"a\":1}",
            r#"\n{\"a\":1}"#,
            "x&#10;{&quot;a&quot;:1}",
            "x\n[{\"a\":1}",
            "x \"candidates\": []",
            "x\n2026-11-29 12:00:00,123 INFO app: data: x",
            r#"x\n12:00:00 {\"a\":1}"#,
            "x\nweb-1  | {\"a\":1}",
        ] {
            // An array and the object in it stand side by side: the first and the last are given.
            let marks = if line.contains("[{") { 2 } else { 1 };
            assert_eq!(marked(line).len(), marks, "{line}");
        }
        for text in ["x data: y", "if a {\n", r#"x\n{\n  \"a"#, "a[\"b\"]", "x\n{ y }\n\"z\"", "\"data:image/png"] {
            assert_eq!(marked(text).len(), 0, "{text}");
        }
    }

    #[test]
    fn marks_side_by_side_are_thinned_but_the_last_one_stays() {
        assert_eq!(thinned(&[0, 100, 900, 1_100, 1_200, 9_000]), [0, 1_100, 1_200, 9_000]);
        assert_eq!(thinned(&[5, 6, 7]), [5, 7]);
    }

    #[test]
    fn distant_marks_are_regions_of_their_own_unless_one_line_holds_them() {
        let text = "x".repeat(100_000);
        assert!(regions(&text, &[]).is_empty());
        let apart = [20_000, 30_000, 60_000];
        let line_ends = format!("{}\n{}", &text[..30_500], &text[30_500..]);
        let line_ends = format!("{}\n{}", &line_ends[..60_100], &line_ends[60_100..]);
        assert_eq!(regions(&line_ends, &apart), [11_808..38_692, 51_808..68_292]);
        let together = regions(&text, &apart);
        assert_eq!((together.len(), &together[0]), (1, &(11_808..100_000)));
    }

    #[test]
    fn a_long_region_is_searched_in_parts_that_overlap() {
        let text = "é".repeat(1_500_000);
        let marks: Vec<_> = (0..text.len()).step_by(4_000).collect();
        let parts = regions(&text, &marks);
        assert_eq!((parts[0].start, parts.last().unwrap().end), (0, text.len()));
        for pair in parts.windows(2) {
            assert_eq!(pair[0].end - pair[1].start, COMMON_BYTES);
        }
        assert!(parts.iter().all(|part| part.len() <= PART_BYTES + 4 && text.is_char_boundary(part.start)));
    }
}
