//! Event streams (WHATWG HTML section 9.2.6), read in pieces of any size. The data of events is not held here.

use memchr::memchr2;

/// A part of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Data of the current event. Its lines are joined by line feeds.
    Data(&'a [u8]),
    /// The event ends. Without a name it is a `message`.
    Ends {
        /// Its name, truncated if too long.
        name: &'a str,
    },
}

/// The longest names of fields and events that are kept. We know no longer ones.
const NAME_MAX_BYTES: usize = 64;
/// A byte order mark may come before the first line.
const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// The fields that matter.
const FIELDS: [&[u8]; 2] = [b"data", b"event"];

/// Finds events in a stream.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    at: At,
    /// Matching bytes of a byte order mark at the start of the stream.
    bom: usize,
    after_cr: bool,
    field: Vec<u8>,
    name: Vec<u8>,
    data_lines: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// At the first bytes of the stream.
    #[default]
    Bom,
    LineStart,
    Field,
    /// After the colon, where one space is not part of the value.
    Space,
    Data,
    Name,
    /// In a comment, or a field that does not matter.
    Other,
}

impl Scanner {
    /// Reads the next bytes, and reports their parts.
    pub(crate) fn read(&mut self, mut bytes: &[u8], found: &mut impl FnMut(Part<'_>)) {
        while let Some((&first, rest)) = bytes.split_first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = rest;
                continue;
            }
            match (self.at, first) {
                (At::Bom, _) => {
                    bytes = self.bom(bytes, found);
                    continue;
                }
                (_, b'\r' | b'\n') => {
                    self.line_ends(found);
                    self.after_cr = first == b'\r';
                }
                (At::LineStart, b':') => self.at = At::Other,
                (At::LineStart, _) => {
                    self.field.clear();
                    self.at = At::Field;
                    // Almost all lines begin like this, and their whole beginning is at hand.
                    for field in FIELDS {
                        if let Some(rest) = bytes.strip_prefix(field).filter(|rest| rest.first() == Some(&b':')) {
                            self.field.extend_from_slice(field);
                            bytes = rest;
                        }
                    }
                    continue;
                }
                (At::Field, b':') => self.at = At::Space,
                (At::Field, byte) => keep(&mut self.field, &[byte]),
                (At::Space, byte) => {
                    self.value_begins(found);
                    if byte != b' ' {
                        continue;
                    }
                }
                (At::Data | At::Name | At::Other, _) => {
                    let end = memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
                    let (value, after) = bytes.split_at(end);
                    match self.at {
                        At::Data => found(Part::Data(value)),
                        At::Name => keep(&mut self.name, value),
                        _ => {}
                    }
                    bytes = after;
                    continue;
                }
            }
            bytes = rest;
        }
    }

    /// Reads a possible byte order mark. If it is incomplete, its bytes begin the first line.
    fn bom<'a>(&mut self, bytes: &'a [u8], found: &mut impl FnMut(Part<'_>)) -> &'a [u8] {
        if bytes.first() == BOM.get(self.bom) {
            self.bom += 1;
            if self.bom == BOM.len() {
                self.at = At::LineStart;
            }
            return &bytes[1..];
        }
        self.at = At::LineStart;
        let began = std::mem::take(&mut self.bom);
        if began > 0 {
            self.read(&BOM[..began], found);
        }
        bytes
    }

    fn value_begins(&mut self, found: &mut impl FnMut(Part<'_>)) {
        self.at = match self.field.as_slice() {
            b"data" => {
                if self.data_lines > 0 {
                    found(Part::Data(b"\n"));
                }
                self.data_lines += 1;
                At::Data
            }
            b"event" => {
                self.name.clear();
                At::Name
            }
            _ => At::Other,
        };
    }

    fn line_ends(&mut self, found: &mut impl FnMut(Part<'_>)) {
        match self.at {
            // A field without a colon, or with nothing after it, has an empty value.
            At::Field | At::Space => self.value_begins(found),
            At::LineStart => {
                if self.data_lines > 0 {
                    // A truncated name may end within a character.
                    let name = String::from_utf8_lossy(&self.name);
                    found(Part::Ends { name: if name.is_empty() { "message" } else { &name } });
                }
                self.data_lines = 0;
                self.name.clear();
            }
            _ => {}
        }
        self.at = At::LineStart;
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = NAME_MAX_BYTES.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..room.min(bytes.len())]);
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The events of a stream in pieces of this size: name and data of each.
    pub(in crate::llm) fn events(stream: &[u8], piece: usize) -> Vec<(String, String)> {
        let (mut scanner, mut data, mut events) = (Scanner::default(), Vec::new(), Vec::new());
        for piece in stream.chunks(piece.max(1)) {
            scanner.read(piece, &mut |part| match part {
                Part::Data(bytes) => data.extend_from_slice(bytes),
                Part::Ends { name } => {
                    let text = String::from_utf8_lossy(&std::mem::take(&mut data)).into_owned();
                    events.push((name.to_owned(), text));
                }
            });
        }
        events
    }

    fn all(stream: &str) -> Vec<(String, String)> {
        events(stream.as_bytes(), usize::MAX)
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, data)| ((*name).to_owned(), (*data).to_owned())).collect()
    }

    #[test]
    fn lines_may_end_in_any_of_three_ways() {
        for end in ["\n", "\r", "\r\n"] {
            let stream = ["event: a", "data: 1", "data:2", "", ": comment", "data", "", "id: 7", "", "data: x", ""]
                .join(end)
                + end;
            assert_eq!(all(&stream), pairs(&[("a", "1\n2"), ("message", ""), ("message", "x")]), "{end:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_first_line() {
        assert_eq!(all("\u{FEFF}data: 1\n\n"), pairs(&[("message", "1")]));
        assert_eq!(all("\u{FEFF}\u{FEFF}data: 1\n\ndata: 2\n\n"), pairs(&[("message", "2")]));
        assert_eq!(events(b"\xEF\xBBdata: 1\n\n\xEF\xBB\xBFdata: 2\n\ndata: 3\n\n", 1), pairs(&[("message", "3")]));
    }

    #[test]
    fn data_without_a_blank_line_after_it_is_not_an_event() {
        assert_eq!(all("data: 1\n\ndata: 2\n"), pairs(&[("message", "1")]));
        assert_eq!(all("event: a\n\ndata:  two spaces\n\n"), pairs(&[("message", " two spaces")]));
        assert_eq!(all("data : 1\n\ndatas: 2\n\nDATA: 3\n\n"), []);
        let (long, truncated) = ("é".repeat(40), "é".repeat(32));
        assert_eq!(all(&format!("event: {long}\ndata: 1\n\n")), pairs(&[(&truncated, "1")]));
        assert_eq!(all(&format!("event: x{long}\ndata: 1\n\n"))[0].0.chars().next_back(), Some('\u{FFFD}'));
    }

    /// The standard's algorithm on a complete text.
    fn by_the_book(stream: &str) -> Vec<(String, String)> {
        let stream = stream.strip_prefix('\u{FEFF}').unwrap_or(stream).replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut name, mut data) = (Vec::new(), String::new(), String::new());
        // Text after the last line end is not a line yet.
        let lines = stream.split('\n');
        let count = lines.clone().count();
        for line in lines.take(count - 1) {
            if line.is_empty() {
                if let Some(data) = data.strip_suffix('\n') {
                    let name = if name.is_empty() { "message" } else { &name };
                    events.push((name.to_owned(), data.to_owned()));
                }
                (name, data) = (String::new(), String::new());
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => data = data + value + "\n",
                "event" => name = value.to_owned(),
                _ => {}
            }
        }
        events
    }

    proptest! {
        #[test]
        fn any_split_of_any_stream_gives_what_the_standard_says(
            lines in prop::collection::vec(("(data|event|id|dat|)(: ?)?[ab: é]{0,6}", "\n|\r|\r\n|\n\n"), 0..20),
            bom in "\u{FEFF}?",
            piece in 1usize..8,
        ) {
            let stream = bom + &lines.into_iter().map(|(line, end)| line + &end).collect::<String>();
            prop_assert_eq!(events(stream.as_bytes(), piece), by_the_book(&stream));
        }
    }
}
