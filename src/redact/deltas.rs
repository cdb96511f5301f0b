//! Texts that a stream sends in pieces: each event (a `data:` line of an event stream, a line of JSON) holds the next few
//! characters in the same member. A secret can be spread over several events, so the strings of each member are joined.

mod lines;

use std::collections::HashMap;
use std::ops::Range;

pub(super) use self::lines::{may_be_in_a_page, may_be_in_strings};

use super::finding::{Finding, Show};

/// The joined strings of one member.
#[derive(Default)]
pub(super) struct Joined {
    pub(super) text: String,
    /// Of each string, its start in `text` and its place in the stream.
    pieces: Vec<(usize, Range<usize>)>,
    /// Whether two of the strings differ. A string that is the same in all events is a name or an id.
    varied: bool,
}

/// Deeper objects are not followed.
const DEPTH_MAX: usize = 64;
/// The members whose strings are joined, at most. A stream of one kind of events has few.
const PLACES_MAX: usize = 256;

/// A shorter line holds nothing of a stream, in bytes.
const LINE_MIN_BYTES: usize = "data:".len();

/// The joined strings of each member of a stream's events. The stream may stand between other lines, as in the transcript of a
/// WebSocket. Empty for any other text.
pub(super) fn joined(text: &str) -> Vec<Joined> {
    let arrays = lines::may_be_in_arrays(text);
    if !arrays && !lines::may_be_in(text) {
        return Vec::new();
    }
    let mut places = Places::of(text);
    let mut plain = Vec::new();
    let mut start = 0;
    for line_end in memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]) {
        let end = text.len().min(line_end + 1);
        // The array that was read may end in a later line. Most lines of pages and code hold nothing, and many are short.
        if end < start + LINE_MIN_BYTES && !(arrays && end > start) {
            start = start.max(end);
            continue;
        }
        let line = lines::content(&text[start..end]);
        let field = line.strip_prefix("data:");
        let data = field.unwrap_or(line).trim_ascii_start();
        let at = end - data.len();
        start = end;
        // Binary bytes may stand before it, as in gRPC.
        let array = arrays.then(|| memchr::memchr2(b'[', b'{', data.as_bytes())).flatten().map(|length| at + length);
        if let Some(array) = array.filter(|array| begins_array(&text[*array..])) {
            let array_end = strings(text, array..text.len(), true, &mut places);
            let rest = memchr::memchr(b'\n', &text.as_bytes()[array_end..]);
            start = end.max(rest.map_or(text.len(), |length| array_end + length + 1));
            continue;
        }
        let closed = || data.trim_ascii_end().ends_with(['}', ']']);
        if data.starts_with(['{', '[']) && (field.is_none() || closed()) {
            strings(text, at..end, false, &mut places);
        } else if let Some(field) = field {
            plain.push(end - field.strip_prefix(' ').unwrap_or(field).len()..end);
        }
    }
    let joined = places.joined.into_iter().map(|(_, joined)| joined).filter(|joined| joined.varied);
    joined.chain((plain.len() > 1).then(|| Joined::of_lines(text, &plain))).collect()
}

/// The strings of a stream's members, by the hashes of their paths.
struct Places<'t> {
    text: &'t str,
    /// In the order in which the paths were first found.
    joined: Vec<(u64, Joined)>,
    known: HashMap<u64, usize>,
    /// Where the next string probably belongs: events have the same members in the same order.
    next: usize,
}

impl<'t> Places<'t> {
    fn of(text: &'t str) -> Self {
        Self { text, joined: Vec::new(), known: HashMap::new(), next: 0 }
    }

    fn put(&mut self, place: u64, string: Range<usize>) {
        let known = |at: usize| self.joined.get(at).is_some_and(|(known, _)| *known == place);
        let at = match [self.next, 0].into_iter().find(|at| known(*at)) {
            Some(at) => at,
            None => match self.known.get(&place) {
                Some(at) => *at,
                None if self.joined.len() < PLACES_MAX => {
                    self.known.insert(place, self.joined.len());
                    self.joined.push((place, Joined::default()));
                    self.joined.len() - 1
                }
                None => return,
            },
        };
        self.next = at + 1;
        self.joined[at].1.put(self.text, string);
    }
}

impl Joined {
    /// Adds a string of the stream.
    fn put(&mut self, stream: &str, string: Range<usize>) {
        let content = &stream[string.clone()];
        self.varied = self.varied || self.pieces.first().is_some_and(|(_, first)| stream[first.clone()] != *content);
        self.pieces.push((self.text.len(), string));
        self.text.push_str(content);
    }

    /// The data of events that are not JSON. The lines of one event are joined by line ends (HTML standard, section 9.2.6). The
    /// text of one event goes on in the next, unless another text stands between them.
    fn of_lines(text: &str, lines: &[Range<usize>]) -> Self {
        let bytes: usize = lines.iter().map(Range::len).sum();
        let (text_of_all, pieces) = (String::with_capacity(bytes), Vec::with_capacity(lines.len()));
        let mut joined = Self { text: text_of_all, pieces, varied: true };
        for (at, line) in lines.iter().enumerate() {
            let ends = |byte: &u8| matches!(byte, b'\r' | b'\n');
            let end = line.end - text.as_bytes()[line.clone()].iter().rev().take_while(|byte| ends(byte)).count();
            joined.put(text, line.start..end);
            let next = lines.get(at + 1).map(|next| &text[line.end..next.start]);
            let goes_on = |between: &str| {
                memchr::memchr(b'\n', between.as_bytes()).is_some() && !between.lines().any(lines::is_other)
            };
            if next.is_some_and(|between| !goes_on(between)) {
                joined.text.push('\n');
            }
        }
        joined
    }

    /// A finding in the joined text as findings in the stream: `shown` stands in the first piece, nothing in the others.
    pub(super) fn pieces_of<'a>(&self, finding: &Finding<'a>, shown: String) -> Vec<Finding<'a>> {
        let Range { start, end } = finding.range;
        let first = self.pieces.partition_point(|(at, piece)| at + piece.len() <= start);
        let mut shown = Some(shown);
        self.pieces[first..]
            .iter()
            .take_while(|(at, _)| *at < end)
            .filter(|(_, piece)| !piece.is_empty())
            .map(|(at, piece)| {
                let from = piece.start + start.saturating_sub(*at);
                let to = (piece.start + end - at).min(piece.end);
                let from = from.min(to);
                Finding { range: from..to, rule: finding.rule, show: Show::Text(shown.take().unwrap_or_default()) }
            })
            .collect()
    }
}

/// Whether a text begins with an array whose first item is an object with a member.
fn begins_array(text: &str) -> bool {
    let behind = |rest: &str, sign: char| lines::trimmed(rest).strip_prefix(sign).map(str::len);
    let within = |sign: char, length: usize| behind(&text[text.len() - length..], sign);
    text.starts_with('[') && within('{', text.len() - 1).and_then(|length| within('"', length)).is_some()
}

/// All strings of a line that are values, each with a hash of its path (names of members and indices). `events`: the outermost
/// array holds events, so its indices are not a part of the path, and the search ends behind it. Returns where the search ended.
fn strings(text: &str, line: Range<usize>, events: bool, places: &mut Places<'_>) -> usize {
    let bytes = text.as_bytes();
    let mut above: Vec<(u64, u64, bool)> = Vec::new();
    let (mut place, mut index, mut in_array) = (0, 0, false);
    let mut at = line.start;
    while at < line.end {
        match bytes[at] {
            open @ (b'{' | b'[') => {
                if above.len() == DEPTH_MAX {
                    return at;
                }
                above.push((place, index, in_array));
                (in_array, index) = (open == b'[', 0);
                if in_array {
                    place = mixed(place, &[0]);
                }
            }
            b'}' | b']' => match above.pop() {
                Some(_) if events && above.is_empty() => return at,
                Some(outer) => (place, index, in_array) = outer,
                None => return at,
            },
            b',' if in_array => {
                index += u64::from(!events || above.len() > 1);
                place = mixed(above.last().map_or(0, |(place, ..)| *place), &index.to_le_bytes());
            }
            b'"' => {
                let end = string_end(bytes, at + 1, line.end);
                let string = at + 1..end;
                let follows = bytes[(end + 1).min(line.end)..line.end].iter().find(|byte| **byte != b' ');
                if follows == Some(&b':') {
                    place = mixed(above.last().map_or(0, |(place, ..)| *place), &bytes[string]);
                } else {
                    places.put(place, string);
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    line.end
}

fn string_end(bytes: &[u8], start: usize, limit: usize) -> usize {
    let mut at = start;
    while at < limit && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(limit)
}

/// The hash of a path (FNV-1a), continued from the hash of the path above. Two paths with the same hash would be joined, which
/// does no harm.
fn mixed(place: u64, name: &[u8]) -> u64 {
    let start = place ^ 0xcbf2_9ce4_8422_2325;
    name.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strings_at_each_place_are_joined() {
        let stream = "event: a\ndata: {\"id\":\"x\",\"c\":[{\"d\":{\"t\":\"Hel\"}},{\"d\":{\"t\":\"A\"}}]}\n\n\
            data: {\"id\":\"x\",\"c\":[{\"d\":{\"t\":\"lo\"}},{\"d\":{\"t\":\"B\\\"\"}}]}\n\ndata: [DONE]\n";
        let mut texts: Vec<_> = joined(stream).into_iter().map(|joined| joined.text).collect();
        texts.sort();
        assert_eq!(texts, ["AB\\\"", "Hello"]);
        assert_eq!(joined("{\"t\":\"a\"}\n{\"t\":\"b\"}\n").len(), 1);
        assert!(joined("{\"t\":\"a\"}").is_empty() && joined("prose\nand more").is_empty());
    }

    #[test]
    fn a_finding_goes_back_to_its_pieces() {
        let stream = "{\"t\":\"sk-\"}\n{\"t\":\"\"}\n{\"t\":\"abc\"}\n{\"t\":\"d e\"}";
        let joined = joined(stream).pop().unwrap();
        let finding = Finding { range: 1..7, rule: "r", show: Show::Token };
        let pieces = joined.pieces_of(&finding, "****".to_owned());
        let shown: Vec<_> = pieces.iter().map(|piece| (&stream[piece.range.clone()], &piece.show)).collect();
        let none = Show::Text(String::new());
        assert_eq!(shown, [("k-", &Show::Text("****".to_owned())), ("abc", &none), ("d", &none)]);
    }
}
