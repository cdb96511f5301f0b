//! The lines of streams: what stands in front of their content, in quotes, in pages and in logs; and whether a text may have such
//! lines.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

/// The fields of an event stream (HTML standard, section 9.2.6), and comments.
const FIELDS: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];
/// The words of texts with streams. Most texts that are asked for them are short, and to make a finder takes as long as to search
/// such a text.
struct Words {
    data: Finder<'static>,
    object_line: Finder<'static>,
    object: Finder<'static>,
    escaped_object: Finder<'static>,
    candidates: Finder<'static>,
    candidates_in_strings: Finder<'static>,
    candidates_in_pages: Finder<'static>,
    quotes_in_pages: [Finder<'static>; 3],
}

static WORDS: LazyLock<Words> = LazyLock::new(|| Words {
    data: Finder::new("data:"),
    object_line: Finder::new("\n{"),
    object: Finder::new(" {\""),
    escaped_object: Finder::new("{\\"),
    candidates: Finder::new("\"candidates\""),
    candidates_in_strings: Finder::new("candidates\\"),
    candidates_in_pages: Finder::new("candidates&"),
    quotes_in_pages: ["quot;", "#34;", "#x22;"].map(Finder::new),
});

/// What a log puts in front of a line has at most so many bytes.
const STAMP_MAX_BYTES: usize = 128;

/// A line without its margin, without tags of HTML at its start, and without what a log puts in front of it.
pub(super) fn content(line: &str) -> &str {
    if line.starts_with("data:") {
        return line;
    }
    let line = behind_margin(line);
    if begins_content(line.as_bytes()) { line } else { behind_stamp(line).unwrap_or(line) }
}

/// Behind each line of a text, in order.
pub(super) fn ends(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next?;
        // Many lines are empty or a single sign, above all where quotes became line ends.
        let length = match bytes[start..] {
            [b'\n', ..] => Some(0),
            [_, b'\n', ..] => Some(1),
            _ => memchr::memchr(b'\n', &bytes[start..]),
        };
        next = length.map(|length| start + length + 1);
        Some(next.unwrap_or(text.len()))
    })
}

/// Finds the lines that may hold something of a stream: an object, an array or a `data:`.
pub(super) struct Signs<'t> {
    text: &'t [u8],
    /// The next bracket, as far as it was searched for; `None`: there is none.
    bracket: Option<usize>,
    /// The same for `data:`.
    data: Option<usize>,
}

impl<'t> Signs<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let text = text.as_bytes();
        Self { text, bracket: memchr::memchr2(b'{', b'[', text), data: WORDS.data.find(text) }
    }

    /// The next such line of the text behind `from`, where a line begins, with its line end. `from` rises.
    pub(super) fn line(&mut self, from: usize) -> Option<Range<usize>> {
        let rest = self.text.get(from..)?;
        if self.bracket.is_some_and(|at| at < from) {
            self.bracket = memchr::memchr2(b'{', b'[', rest).map(|length| from + length);
        }
        if self.data.is_some_and(|at| at < from) {
            self.data = WORDS.data.find(rest).map(|length| from + length);
        }
        let sign = [self.bracket, self.data].into_iter().flatten().min()?;
        let start = memchr::memrchr(b'\n', &self.text[from..sign]).map_or(from, |end| from + end + 1);
        let end = memchr::memchr(b'\n', &self.text[sign..]).map_or(self.text.len(), |end| sign + end + 1);
        Some(start..end)
    }
}

/// Whether a line between two lines of data is not a part of the stream.
pub(super) fn is_other(line: &str) -> bool {
    // Without these signs it has no field and no stamp, and most lines begin with their content.
    let begins_at_once = |first: &u8| !matches!(first, b' ' | b'\t' | b'>' | b'<' | b'\r' | b'\n');
    if line.as_bytes().first().is_some_and(begins_at_once) && memchr::memchr2(b':', b'|', line.as_bytes()).is_none() {
        return true;
    }
    let line = content(line).as_bytes().trim_ascii_end();
    !line.is_empty() && !FIELDS.iter().any(|field| line.starts_with(field))
}

/// The text behind white space and the signs of quoted lines.
pub(super) fn trimmed(text: &str) -> &str {
    let margin = |byte: &u8| matches!(byte, b' ' | b'\t' | b'>' | b'\r' | b'\n');
    &text[text.bytes().take_while(margin).count()..]
}

fn behind_margin(line: &str) -> &str {
    let mut line = trimmed(line);
    while let Some(end) = line.starts_with('<').then(|| memchr::memchr(b'>', line.as_bytes())).flatten() {
        line = trimmed(&line[end..]);
    }
    line
}

/// Whether a line begins as one of a stream, or is empty.
fn begins_content(line: &[u8]) -> bool {
    match line {
        [] | [b'{' | b':' | b'\r' | b'\n', ..] | [b'[', b'{' | b'[' | b'"' | b' ' | b'\r' | b'\n', ..] => true,
        [b'd' | b'e' | b'i' | b'r', ..] => FIELDS.iter().any(|field| line.starts_with(field)),
        _ => false,
    }
}

/// The rest of a line behind the time of a log, or behind the name of a container (`web-1  | …`). The level or the name of a
/// program may stand between.
fn behind_stamp(line: &str) -> Option<&str> {
    let reach = &line.as_bytes()[..line.len().min(STAMP_MAX_BYTES)];
    let behind = stamp_end(reach)?;
    let rest = trimmed(&line[behind..]);
    if begins_content(rest.as_bytes()) {
        return Some(rest);
    }
    let from = line.len() - rest.len();
    let words = reach.get(from..)?;
    let space = memchr::memchr_iter(b' ', words).find(|space| begins_content(&words[space + 1..]))?;
    Some(&line[from + space + 1..])
}

/// Where the word with a time of day ends, or the `|` behind a name.
fn stamp_end(reach: &[u8]) -> Option<usize> {
    let time = |colon: &usize| {
        let digit = |at: usize| reach.get(at).is_some_and(u8::is_ascii_digit);
        *colon > 0 && digit(colon - 1) && digit(colon + 1) && digit(colon + 2)
    };
    if let Some(colon) = memchr::memchr_iter(b':', reach).find(time) {
        let word = memchr::memchr2(b' ', b'\t', &reach[colon..]);
        return word.map(|length| colon + length).or((reach.len() < STAMP_MAX_BYTES).then_some(reach.len()));
    }
    let bar = memchr::memchr(b'|', reach)?;
    let name = reach[..bar].trim_ascii_end();
    (!name.is_empty() && name.len() < bar && !name.contains(&b' ')).then_some(bar + 1)
}

/// Whether a text may have lines of a stream.
pub(super) fn may_be_in(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Most texts are one line, which is the fastest check.
    let Some(rest) = memchr::memchr(b'\n', bytes).map(|end| &bytes[end..]) else { return text.starts_with("data:") };
    let objects = || usize::from(text.starts_with('{')) + WORDS.object_line.find_iter(rest).take(2).count() > 1;
    WORDS.data.find(bytes).is_some() || objects() || are_stamped(bytes)
}

/// Whether two lines have an object behind a time.
fn are_stamped(text: &[u8]) -> bool {
    let (mut from, mut stamped) = (0, 0);
    while let Some(object) = WORDS.object.find(&text[from..]).map(|length| from + length) {
        let line = memchr::memrchr(b'\n', &text[from..object]).map_or(from, |end| from + end + 1);
        stamped += usize::from(stamp_end(&text[line..object.min(line + STAMP_MAX_BYTES)]).is_some());
        if stamped > 1 {
            return true;
        }
        let Some(end) = memchr::memchr(b'\n', &text[object..]) else { break };
        from = object + end + 1;
    }
    false
}

/// Where a text may hold a line of a stream in a JSON string, where line ends and quotes are escaped, perhaps several times. Of the
/// lines side by side, the first and a place behind the last are given.
pub(in crate::redact) fn marks_in_strings(text: &str) -> Vec<usize> {
    let text = text.as_bytes();
    let mut marks = Vec::new();
    if memchr::memchr(b'\\', text).is_some() {
        put_marks(text, &WORDS.data, begins_escaped_line, &mut marks);
        put_marks(text, &WORDS.escaped_object, begins_escaped_line, &mut marks);
        put_marks(text, &WORDS.candidates_in_strings, |_| true, &mut marks);
        marks.sort_unstable();
    }
    marks
}

/// The same for a stream in HTML, where quotes are entities.
pub(in crate::redact) fn marks_in_a_page(text: &str) -> Vec<usize> {
    let text = text.as_bytes();
    let Words { data, candidates_in_pages, quotes_in_pages, .. } = &*WORDS;
    let mut marks = Vec::new();
    // Without this sign there is no entity.
    if memchr::memchr(b'&', text).is_some() && quotes_in_pages.iter().any(|quote| quote.find(text).is_some()) {
        put_marks(text, data, |_| true, &mut marks);
        put_marks(text, candidates_in_pages, |_| true, &mut marks);
        marks.sort_unstable();
    }
    marks
}

/// Adds the places of a word that are marks, by the text in front of them.
fn put_marks(text: &[u8], word: &Finder<'_>, is_mark: impl Fn(&[u8]) -> bool, marks: &mut Vec<usize>) {
    /// Marks that are not further apart are side by side.
    const APART_BYTES: usize = 1 << 10;
    let (mut from, mut searched) = (0, 0);
    while let Some(at) = text.get(from..).and_then(|rest| word.find(rest)).map(|length| from + length) {
        from = at + word.needle().len();
        if is_mark(&text[searched.max(at.saturating_sub(STAMP_MAX_BYTES))..at]) {
            from = text.len().min(at + APART_BYTES);
            marks.extend([at, from]);
        }
        searched = from;
    }
}

/// Whether a place stands behind an escaped line end, perhaps with a margin or a time between.
fn begins_escaped_line(before: &[u8]) -> bool {
    let margin = before.iter().rev().take_while(|byte| matches!(byte, b' ' | b'>')).count();
    let line_end = || memchr::memrchr_iter(b'n', before).find(|at| before[..*at].ends_with(b"\\"));
    let line = || &before[line_end().map_or(0, |end| end + 1)..];
    before[..before.len() - margin].ends_with(b"\\n") || (margin > 0 && stamp_end(line()).is_some())
}

/// Whether a text may hold an array of events, the form in which Gemini streams its answers without `alt=sse`.
pub(super) fn may_be_in_arrays(text: &str) -> bool {
    let text = text.as_bytes();
    memchr::memchr(b'[', text).is_some() && WORDS.candidates.find_iter(text).take(2).count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_stands_behind_margins_tags_and_stamps() {
        for (line, shown) in [
            ("data: a", "data: a"),
            ("> > data: a", "data: a"),
            ("<pre><b>data: a", "data: a"),
            ("2026-01-01T00:00:00Z data: a", "data: a"),
            ("2026-01-01 00:00:00,123 {\"a\":1}", "{\"a\":1}"),
            ("[2026-01-01 00:00:00.000] data: a", "data: a"),
            ("12:00:00 INFO app.stream: data: a", "data: a"),
            ("Nov 29 13:14:38 host app[1]: {\"a\":1}", "{\"a\":1}"),
            ("2026-01-01T00:00:00.0+01:00 stdout F event: a", "event: a"),
            ("web-1  | data: a", "data: a"),
            ("2026-01-01T00:00:00Z", ""),
            ("2026-01-01T00:00:00Z \n", ""),
            ("[{\"a\":1}]", "[{\"a\":1}]"),
            ("let x = 1; // data: a", "let x = 1; // data: a"),
            ("at 12:00 we met", "at 12:00 we met"),
        ] {
            assert_eq!(content(line), shown, "{line}");
        }
        assert!(!is_other("2026-01-01T00:00:00Z\n") && is_other("2026-01-01T00:00:00Z done\n"));
    }

    #[test]
    fn lines_of_streams_side_by_side_are_one_mark() {
        let far = "x".repeat(50_000);
        let line = r"\ndata: a";
        let text = format!("{far}{line}{line}{far}{line}");
        let last = text.len() - line.len() + 2;
        assert_eq!(marks_in_strings(&text), [far.len() + 2, far.len() + 2 + 1024, last, text.len()]);
        assert_eq!(marks_in_a_page(&text), [0; 0]);
        let page = format!("{far}data: {{&quot;a&quot;:1}}");
        assert_eq!(marks_in_a_page(&page), [far.len(), page.len()]);
    }

    #[test]
    fn streams_are_expected_where_they_can_be() {
        for text in ["data: a", "x\ndata: a", "{\"a\":1}\n{\"a\":2}", "12:00:00 {\"a\":1}\n12:00:01 {\"a\":2}"] {
            assert!(may_be_in(text), "{text}");
        }
        for text in ["a\nb", "{\"a\":1}", "{\"a\":1}\nb", "f( {\"a\":1})\nf( {\"a\":2})"] {
            assert!(!may_be_in(text), "{text}");
        }
        for text in [r"\ndata: a", r"\n> data: a", r"\n12:00:00 data: a", r#"{"a":"\n12:00:00 {\"a\"#] {
            assert!(!marks_in_strings(text).is_empty(), "{text}");
        }
        for text in ["data: a", r#"{"data: a":"\\"}"#, r#"{"a":"{\"b\":1}"}"#] {
            assert!(marks_in_strings(text).is_empty(), "{text}");
        }
    }
}
