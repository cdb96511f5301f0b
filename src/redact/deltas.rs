//! Texts that a stream sends in pieces: each event (a `data:` line of an event stream, a line of JSON) holds the next few
//! characters in the same member. A secret can be spread over several events, so the strings of each member are joined.

mod lines;
mod pieces;

use std::collections::HashMap;
use std::ops::Range;

pub(super) use self::lines::{marks_in_a_page, marks_in_strings};
pub(super) use self::pieces::{Joined, TEXT_MAX_BYTES};
use self::pieces::{Lines, Piece};
use crate::secret::escapes::next_sign;

/// Deeper objects are not followed.
const DEPTH_MAX: usize = 64;
/// The members whose strings are joined, at most. A stream of one kind of events has few.
const PLACES_MAX: usize = 256;

/// A shorter line holds nothing of a stream, in bytes.
const LINE_MIN_BYTES: usize = "data:".len();

/// The joined strings of each member of a stream's events. The stream may stand between other lines, as in the transcript of a
/// WebSocket. Empty for any other text. Also gives how many lines were read.
pub(super) fn joined(text: &str) -> (Vec<Joined>, usize) {
    let arrays = lines::may_be_in_arrays(text);
    if !arrays && !lines::may_be_in(text) {
        return (Vec::new(), 0);
    }
    let mut places = Places::of(text);
    let mut plain = Lines::default();
    let mut signs = lines::Signs::of(text);
    let (mut start, mut read) = (0, 0);
    // Most lines of pages and code hold nothing.
    while let Some(line) = signs.line(start) {
        let end = line.end;
        if line.len() < LINE_MIN_BYTES && !arrays {
            start = end;
            continue;
        }
        start = line.start;
        read += 1;
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
            plain.put(text, end - field.strip_prefix(' ').unwrap_or(field).len()..end);
        }
    }
    let varied = places.members.iter().filter(|member| member.varied);
    (varied.map(|member| Joined::of(text, &member.strings)).chain(plain.joined()).collect(), read)
}

/// The strings of a stream's members.
struct Places<'t> {
    text: &'t str,
    /// In the order in which they were first found.
    members: Vec<Member>,
    /// Where the member with each path is.
    known: HashMap<u64, usize>,
    /// Where the next string probably belongs: events have the same members in the same order.
    next: usize,
    /// The objects and arrays around the next string: the path, the index and the kind of each.
    above: Vec<(u64, u64, bool)>,
}

/// The strings of one member.
struct Member {
    /// The hash of its path.
    path: u64,
    strings: Vec<Piece>,
    /// Whether two of the strings differ. A string that is the same in all events is a name or an id.
    varied: bool,
}

impl<'t> Places<'t> {
    fn of(text: &'t str) -> Self {
        Self { text, members: Vec::new(), known: HashMap::new(), next: 0, above: Vec::new() }
    }

    fn put(&mut self, path: u64, string: Range<usize>) {
        let is = |at: &usize| self.members.get(*at).is_some_and(|member| member.path == path);
        let at = match [self.next, 0].into_iter().find(is).or_else(|| self.known.get(&path).copied()) {
            Some(at) => at,
            None if self.members.len() == PLACES_MAX => return,
            None => {
                self.known.insert(path, self.members.len());
                self.members.push(Member { path, strings: Vec::new(), varied: false });
                self.members.len() - 1
            }
        };
        self.next = at + 1;
        let Some(piece) = Piece::of(&string) else { return };
        let Member { strings, varied, .. } = &mut self.members[at];
        *varied = *varied
            || strings
                .first()
                .is_some_and(|first| self.text.as_bytes()[first.range()] != self.text.as_bytes()[string]);
        strings.push(piece);
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
    places.above.clear();
    let (mut place, mut index, mut in_array) = (0, 0, false);
    let mut at = line.start;
    while at < line.end {
        match bytes[at] {
            open @ (b'{' | b'[') => {
                if places.above.len() == DEPTH_MAX {
                    return at;
                }
                places.above.push((place, index, in_array));
                (in_array, index) = (open == b'[', 0);
                if in_array {
                    place = mixed(place, &[0]);
                }
            }
            b'}' | b']' => match places.above.pop() {
                Some(_) if events && places.above.is_empty() => return at,
                Some(outer) => (place, index, in_array) = outer,
                None => return at,
            },
            b',' if in_array => {
                index += u64::from(!events || places.above.len() > 1);
                place = mixed(places.above.last().map_or(0, |(place, ..)| *place), &index.to_le_bytes());
            }
            b'"' => {
                let end = string_end(bytes, at + 1, line.end);
                let string = at + 1..end;
                let follows = bytes[(end + 1).min(line.end)..line.end].iter().find(|byte| **byte != b' ');
                if follows == Some(&b':') {
                    place = mixed(places.above.last().map_or(0, |(place, ..)| *place), &bytes[string]);
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
    let line = &bytes[..limit];
    let mut at = start;
    while at < limit {
        match next_sign(line, at, [b'"', b'\\']) {
            Some(sign) if line[sign] == b'\\' => at = sign + 2,
            Some(quote) => return quote,
            None => break,
        }
    }
    limit
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
        let mut texts: Vec<_> = joined(stream).0.iter().map(|joined| joined.text.clone()).collect();
        texts.sort();
        assert_eq!(texts, ["AB\\\"", "Hello"]);
        assert_eq!(joined("{\"t\":\"a\"}\n{\"t\":\"b\"}\n").0.len(), 1);
        let stamped = "12:00:00 data: {\"t\":\"Hel\"}\n12:00:01 data: {\"t\":\"lo\"}\n";
        assert_eq!(joined(stamped).0[0].text, "Hello");
        let stamped = "12:00:00 data: Hel\n12:00:00\n12:00:01 data: lo\n";
        assert_eq!(joined(stamped).0[0].text, "Hello");
        assert!(joined("{\"t\":\"a\"}").0.is_empty() && joined("prose\nand more").0.is_empty());
    }
}
