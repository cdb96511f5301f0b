//! Texts that a stream sends in pieces: each event (a `data:` line of an event stream, a line of JSON) holds the next few
//! characters in the same member. A secret can be spread over several events, so the strings of each member are joined.

use std::collections::HashMap;
use std::ops::Range;

use super::finding::{Finding, Show};

/// The joined strings of one member.
pub(super) struct Joined {
    pub(super) text: String,
    /// Of each string, its start in `text` and its place in the stream.
    pieces: Vec<(usize, Range<usize>)>,
}

/// Deeper objects are not followed.
const DEPTH_MAX: usize = 64;
/// The members whose strings are joined, at most. A stream of one kind of events has few.
const PLACES_MAX: usize = 256;
/// The characters in front of indented or quoted lines.
const MARGIN: [char; 5] = [' ', '\t', '>', '\r', '\n'];

/// The joined strings of each member of a stream's events. The stream may stand between other lines, as in the transcript of a
/// WebSocket. Empty for any other text.
pub(super) fn joined(text: &str) -> Vec<Joined> {
    let mut places: HashMap<u64, Vec<Range<usize>>> = HashMap::new();
    let mut put = |place, string| {
        if places.len() < PLACES_MAX || places.contains_key(&place) {
            places.entry(place).or_default().push(string);
        }
    };
    let mut plain = Vec::new();
    let arrays = has_events_in_arrays(text);
    let mut start = if arrays || is_stream(text) { 0 } else { text.len() };
    while start < text.len() {
        let end = memchr::memchr(b'\n', &text.as_bytes()[start..]).map_or(text.len(), |length| start + length + 1);
        let line = behind_margin(&text[start..end]);
        let field = line.strip_prefix("data:");
        let data = field.unwrap_or(line).trim_start();
        let at = end - data.len();
        // Binary bytes may stand before it, as in gRPC.
        let array = data.find(['[', '{']).map(|length| at + length).filter(|_| arrays);
        if let Some(array) = array.filter(|array| begins_array(&text[*array..])) {
            let array_end = strings(text, array..text.len(), true, &mut put);
            start = memchr::memchr(b'\n', &text.as_bytes()[array_end..])
                .map_or(text.len(), |length| array_end + length + 1)
                .max(end);
            continue;
        }
        let closed = data.trim_end().ends_with(['}', ']']);
        if data.starts_with(['{', '[']) && (closed || field.is_none()) {
            strings(text, at..end, false, &mut put);
        } else if let Some(field) = field {
            plain.push(end - field.strip_prefix(' ').unwrap_or(field).len()..end);
        }
        start = end;
    }
    // A string that is the same in all events is a name or an id.
    let varied =
        |ranges: &Vec<Range<usize>>| ranges.iter().any(|range| text[range.clone()] != text[ranges[0].clone()]);
    let joined = places.into_values().filter(varied).map(|ranges| Joined::of(text, ranges));
    joined.chain((plain.len() > 1).then(|| Joined::of_lines(text, &plain))).collect()
}

impl Joined {
    fn of(text: &str, ranges: Vec<Range<usize>>) -> Self {
        let mut joined = Self { text: String::new(), pieces: Vec::with_capacity(ranges.len()) };
        for range in ranges {
            joined.pieces.push((joined.text.len(), range.clone()));
            joined.text.push_str(&text[range]);
        }
        joined
    }

    /// The data of events that are not JSON. The lines of one event are joined by line ends (HTML standard, section 9.2.6). The
    /// text of one event goes on in the next, unless another text stands between them.
    fn of_lines(text: &str, lines: &[Range<usize>]) -> Self {
        let mut joined = Self { text: String::new(), pieces: Vec::with_capacity(lines.len()) };
        for (at, line) in lines.iter().enumerate() {
            let content = line.start..line.start + text[line.clone()].trim_end_matches(['\r', '\n']).len();
            let next = lines.get(at + 1).map(|next| &text[line.end..next.start]);
            let apart = next.is_some_and(|between| !between.contains('\n') || between.lines().any(is_other_text));
            joined.pieces.push((joined.text.len(), content.clone()));
            joined.text.push_str(&text[content]);
            if apart {
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

/// A line without its margin and without tags of HTML at its start.
fn behind_margin(line: &str) -> &str {
    let mut line = line.trim_start_matches(MARGIN);
    while let Some(end) = line.starts_with('<').then(|| line.find('>')).flatten() {
        line = line[end..].trim_start_matches(MARGIN);
    }
    line
}

/// Whether a line between two lines of data is not a part of the stream.
fn is_other_text(line: &str) -> bool {
    const FIELDS: [&str; 5] = ["event:", "id:", "retry:", ":", "data:"];
    let line = behind_margin(line).trim_end();
    !line.is_empty() && !FIELDS.iter().any(|field| line.starts_with(field))
}

/// Whether a text may hold an array of events, the form in which Gemini streams its answers without `alt=sse`.
fn has_events_in_arrays(text: &str) -> bool {
    const EVENT: &str = "\"candidates\"";
    text.contains('[') && text.matches(EVENT).take(2).count() == 2
}

/// Whether a text begins with an array whose first item is an object with a member.
fn begins_array(text: &str) -> bool {
    let behind = |rest: &str, sign: char| rest.trim_start_matches(MARGIN).strip_prefix(sign).map(str::len);
    let within = |sign: char, length: usize| behind(&text[text.len() - length..], sign);
    text.starts_with('[') && within('{', text.len() - 1).and_then(|length| within('"', length)).is_some()
}

fn is_stream(text: &str) -> bool {
    // Most texts are one line, which is the fastest check.
    let Some(rest) = text.find('\n').map(|end| &text[end..]) else { return text.starts_with("data:") };
    let lines = || usize::from(text.starts_with('{')) + rest.matches("\n{").take(2).count() > 1;
    text.contains("data:") || lines()
}

/// Whether a text may hold a stream in a JSON string, where line ends and quotes are escaped, perhaps several times.
pub(super) fn may_be_in_strings(text: &str) -> bool {
    let escaped_line_end = |before: &str| before.trim_end_matches([' ', '>']).ends_with("\\n");
    let begins = |what: &str| text.match_indices(what).any(|(at, _)| escaped_line_end(&text[..at]));
    text.contains('\\') && (begins("data:") || begins("{\\") || text.contains("candidates\\"))
}

/// Whether a text may hold a stream in HTML, where quotes are entities.
pub(super) fn may_be_in_a_page(text: &str) -> bool {
    let quotes = ["quot;", "#34;", "#x22;"];
    (text.contains("data:") || text.contains("candidates&")) && quotes.iter().any(|quote| text.contains(quote))
}

/// All strings of a line that are values, each with a hash of its path (names of members and indices). `events`: the outermost
/// array holds events, so its indices are not a part of the path, and the search ends behind it. Returns where the search ended.
fn strings(text: &str, line: Range<usize>, events: bool, mut found: impl FnMut(u64, Range<usize>)) -> usize {
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
                    found(place, string);
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
