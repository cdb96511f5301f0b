//! Writes JSON directly into bytes. Every string of an event passes through [`escape_with`], so it cannot contain what
//! OTAS's database rejects: U+0000 becomes U+FFFD, and no `\uD8xx` escape is ever written.

use std::net::{IpAddr, SocketAddr};

/// A JSON object under construction. Members are written in call order. Commas are set by looking at the last byte.
pub(super) struct Json {
    out: Vec<u8>,
    place: Place,
}

/// The nesting of the output. OTAS wants header fields as a string that is itself JSON. Writing it in one pass, with
/// escapes for both levels, saves a copy for every event.
#[derive(Clone, Copy)]
enum Place {
    /// In the event itself.
    Outside,
    /// In a string of the event.
    InString,
}

impl Json {
    /// An open object with room for `capacity` bytes.
    pub(super) fn object(capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity);
        out.push(b'{');
        Self { out, place: Place::Outside }
    }

    /// Closes the outermost object and hands over its bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }

    /// Makes room for this many more bytes.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// Bytes written so far.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// The output after the first `len` bytes.
    pub(super) fn since(&self, len: usize) -> &[u8] {
        self.out.get(len..).unwrap_or_default()
    }

    /// Removes the output after the first `len` bytes (an earlier value of [`Json::len`]).
    pub(super) fn rewind(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// Starts a member. `key` needs no escaping.
    pub(super) fn key(&mut self, key: &str) {
        self.comma();
        self.quote();
        self.out.extend_from_slice(key.as_bytes());
        self.quote();
        self.out.push(b':');
    }

    /// Starts a member whose name comes from outside: escaped, at most `max` bytes.
    pub(super) fn foreign_key(&mut self, key: &str, max: usize) {
        self.comma();
        self.text(key, max, "…");
        self.out.push(b':');
    }

    /// A member that is a string of any length.
    pub(super) fn string(&mut self, key: &str, value: &str) {
        self.key(key);
        self.text(value, usize::MAX, "");
    }

    /// A member that is a string of at most `max` escaped bytes. A longer one ends in `mark`. True if it was truncated.
    pub(super) fn string_within(&mut self, key: &str, value: &str, max: usize, mark: &str) -> bool {
        self.key(key);
        self.text(value, max, mark)
    }

    /// A member that is an empty string. Gives the place of its text, in bytes.
    pub(super) fn gap(&mut self, key: &str) -> usize {
        self.key(key);
        self.quote();
        let at = self.out.len();
        self.quote();
        at
    }

    /// A string value (an element, or a value after a key) of at most `max` escaped bytes. True if it was truncated.
    /// `mark` needs no escaping.
    pub(super) fn text(&mut self, value: &str, max: usize, mark: &str) -> bool {
        self.quote();
        let start = self.out.len();
        let cut = self.escape(value.as_bytes(), max) < value.len();
        if cut {
            self.out.truncate(start);
            self.escape(value.as_bytes(), max.saturating_sub(mark.len()));
            self.out.extend_from_slice(mark.as_bytes());
        }
        self.quote();
        cut
    }

    /// A member that is a string with existing JSON as its text.
    pub(super) fn string_of_json(&mut self, key: &str, inner: &[u8]) {
        self.key(key);
        self.quote();
        self.escape(inner, usize::MAX);
        self.quote();
    }

    /// Opens a member that is a string with a JSON object as its text. Until [`Json::close_string`], members go into
    /// that object.
    pub(super) fn open_string(&mut self, key: &str) {
        self.key(key);
        self.out.extend_from_slice(b"\"{");
        self.place = Place::InString;
    }

    /// Closes the string of [`Json::open_string`].
    pub(super) fn close_string(&mut self) {
        self.out.extend_from_slice(b"}\"");
        self.place = Place::Outside;
    }

    /// A member that is a whole number.
    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        digits(&mut self.out, value);
    }

    /// A whole number after a key.
    pub(super) fn value(&mut self, value: u64) {
        digits(&mut self.out, value);
    }

    /// A member with two decimals, given in hundredths.
    pub(super) fn hundredths(&mut self, key: &str, value: u64) {
        self.key(key);
        digits(&mut self.out, value / 100);
        let rest = (value % 100) as u8;
        self.out.extend_from_slice(&[b'.', b'0' + rest / 10, b'0' + rest % 10]);
    }

    /// A member that is any number. NaN and infinity are left out.
    pub(super) fn decimal(&mut self, key: &str, value: f64) {
        if value.is_finite() {
            self.key(key);
            self.out.extend_from_slice(value.to_string().as_bytes());
        }
    }

    /// A member that is `true` or `false`.
    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.key(key);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A member whose value is existing JSON without a NUL.
    pub(super) fn verbatim(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// A member that is `null`.
    pub(super) fn null(&mut self, key: &str) {
        self.key(key);
        self.out.extend_from_slice(b"null");
    }

    /// A member that is an IP address.
    pub(super) fn ip(&mut self, key: &str, ip: IpAddr) {
        self.key(key);
        self.quote();
        address(&mut self.out, ip, None);
        self.quote();
    }

    /// A member that is an IP address and a port.
    pub(super) fn socket(&mut self, key: &str, socket: SocketAddr) {
        self.key(key);
        self.quote();
        address(&mut self.out, socket.ip(), Some(socket.port()));
        self.quote();
    }

    /// Opens a member that is an object.
    pub(super) fn open(&mut self, key: &str) {
        self.key(key);
        self.out.push(b'{');
    }

    /// Closes the object of [`Json::open`].
    pub(super) fn close(&mut self) {
        self.out.push(b'}');
    }

    /// Opens an array as the value of the key just written.
    pub(super) fn open_array(&mut self) {
        self.out.push(b'[');
    }

    /// Closes the array of [`Json::open_array`].
    pub(super) fn close_array(&mut self) {
        self.out.push(b']');
    }

    /// Separates array elements and members. No value ends in an opening bracket or a colon, so the last byte decides.
    pub(super) fn comma(&mut self) {
        if !matches!(self.out.last(), Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }

    fn quote(&mut self) {
        match self.place {
            Place::Outside => self.out.push(b'"'),
            Place::InString => self.out.extend_from_slice(b"\\\""),
        }
    }

    fn escape(&mut self, bytes: &[u8], max: usize) -> usize {
        match self.place {
            Place::Outside => escape_with(&mut self.out, bytes, max, sequence),
            Place::InString => escape_with(&mut self.out, bytes, max, sequence_in_string),
        }
    }
}

/// Appends `text`, escaped.
pub(super) fn escape(out: &mut Vec<u8>, text: &str) {
    escape_with(out, text.as_bytes(), usize::MAX, sequence);
}

/// How many first bytes of `text` fit into `max` bytes once escaped, in whole characters.
pub(super) fn escaped_beginning(text: &str, max: usize) -> usize {
    escape_with(&mut Vec::new(), text.as_bytes(), max, sequence)
}

/// The size of `text` in bytes once escaped.
pub(super) fn escaped_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut len) = (0, 0);
    loop {
        let run = clean_run(&bytes[at..]);
        at += run;
        len += run;
        let Some(&byte) = bytes.get(at) else { return len };
        len += sequence(byte).len();
        at += 1;
    }
}

/// Appends `bytes` (valid UTF-8), escaped, as far as they fit into `max` bytes without splitting a character. Returns
/// how many were consumed.
fn escape_with(out: &mut Vec<u8>, bytes: &[u8], max: usize, sequence: impl Fn(u8) -> &'static [u8]) -> usize {
    let (mut at, mut room) = (0, max);
    loop {
        let run = clean_run(&bytes[at..]);
        if run > room {
            let end = boundary_before(bytes, at + room);
            out.extend_from_slice(&bytes[at..end]);
            return end;
        }
        out.extend_from_slice(&bytes[at..at + run]);
        at += run;
        room -= run;
        let Some(&byte) = bytes.get(at) else { return at };
        let sequence = sequence(byte);
        if sequence.len() > room {
            return at;
        }
        out.extend_from_slice(sequence);
        room -= sequence.len();
        at += 1;
    }
}

/// The last position up to `at` that does not split a character.
pub(super) fn boundary_before(bytes: &[u8], mut at: usize) -> usize {
    while at > 0 && bytes.get(at).is_some_and(|byte| byte & 0xC0 == 0x80) {
        at -= 1;
    }
    at
}

/// The number of first bytes that need no escape. Checks eight at a time, because it sees every byte of every event.
fn clean_run(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let found = special_bytes(u64::from_le_bytes(*word));
        if found != 0 {
            return index * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    words.len() * 8 + rest.iter().position(special).unwrap_or(rest.len())
}

/// Sets the top bit of the lowest byte that is a control character, a quote or a backslash. Higher bytes may be set
/// falsely, because a borrow runs upwards; the lowest never is. Zero: there is none.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    (below(word, 0x20) | below(word ^ (ONES * 0x22), 1) | below(word ^ (ONES * 0x5C), 1)) & TOPS
}

/// The escape sequence of a byte. NUL cannot be stored, even escaped, so it becomes U+FFFD.
fn sequence(byte: u8) -> &'static [u8] {
    match byte {
        0 => "\u{FFFD}".as_bytes(),
        b'"' => b"\\\"",
        b'\\' => b"\\\\",
        b'\n' => b"\\n",
        b'\r' => b"\\r",
        b'\t' => b"\\t",
        byte => &CONTROLS[usize::from(byte & 0x1F)][1..],
    }
}

/// The escape sequence inside a string of JSON.
fn sequence_in_string(byte: u8) -> &'static [u8] {
    match byte {
        0 => "\u{FFFD}".as_bytes(),
        b'"' => b"\\\\\\\"",
        b'\\' => b"\\\\\\\\",
        b'\n' => b"\\\\n",
        b'\r' => b"\\\\r",
        b'\t' => b"\\\\t",
        byte => &CONTROLS[usize::from(byte & 0x1F)],
    }
}

/// Control characters with two backslashes.
const CONTROLS: [[u8; 7]; 32] = {
    let mut table = [*b"\\\\u0000"; 32];
    let mut at = 0;
    while at < 32 {
        table[at][5] = if at < 16 { b'0' } else { b'1' };
        table[at][6] = b"0123456789abcdef"[at % 16];
        at += 1;
    }
    table
};

/// Nothing in an address needs escaping.
fn address(out: &mut Vec<u8>, ip: IpAddr, port: Option<u16>) {
    match ip {
        IpAddr::V4(ip) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                digits(out, u64::from(octet));
            }
        }
        IpAddr::V6(ip) if port.is_some() => out.extend_from_slice(format!("[{ip}]").as_bytes()),
        IpAddr::V6(ip) => out.extend_from_slice(ip.to_string().as_bytes()),
    }
    if let Some(port) = port {
        out.push(b':');
        digits(out, u64::from(port));
    }
}

/// A number in decimal digits.
pub(super) fn digits(out: &mut Vec<u8>, mut value: u64) {
    let mut buffer = [0; 20];
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&buffer[at..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_string_reads_back_as_written_except_for_nul(text in "[\\x00-\\x24\\\\a-cé€🦀]{0,40}") {
            let mut json = Json::object(0);
            json.string("k", &text);
            let value: serde_json::Value = serde_json::from_slice(&json.finish()).unwrap();
            prop_assert_eq!(value["k"].as_str().unwrap(), text.replace('\0', "\u{FFFD}"));
        }

        #[test]
        fn a_limit_holds_and_never_splits_a_character(text in "[\\x00-\\x24\\\\a-cé€🦀]{0,40}", max in 0_usize..60) {
            let mut out = Vec::new();
            let taken = escape_with(&mut out, text.as_bytes(), max, sequence);
            prop_assert!(out.len() <= max && text.is_char_boundary(taken));
            prop_assert_eq!(out.len(), escaped_len(&text[..taken]));
            prop_assert_eq!(taken == text.len(), escaped_len(&text) <= max);
        }

        #[test]
        fn one_pass_writes_the_same_as_two(text in "[\\x00-\\x24\\\\a-cé€🦀]{0,40}") {
            let mut inner = Json::object(0);
            inner.string("k", &text);
            let mut two = Json::object(0);
            two.string_of_json("s", &inner.finish());
            let mut one = Json::object(0);
            one.open_string("s");
            one.string("k", &text);
            one.close_string();
            prop_assert_eq!(one.finish(), two.finish());
        }
    }

    #[test]
    fn addresses_are_written_as_std_writes_them() {
        for text in ["127.0.0.1:50000", "[2001:db8::1]:443"] {
            let socket: SocketAddr = text.parse().unwrap();
            let mut json = Json::object(0);
            json.socket("s", socket);
            json.ip("i", socket.ip());
            assert_eq!(
                String::from_utf8(json.finish()).unwrap(),
                format!(r#"{{"s":"{text}","i":"{}"}}"#, socket.ip())
            );
        }
    }

    #[test]
    fn a_truncated_string_ends_in_its_mark_and_numbers_keep_two_decimals() {
        let mut json = Json::object(0);
        assert!(json.string_within("a", "0123456789", 8, "…"));
        assert!(!json.string_within("b", "01234567", 8, "…"));
        json.hundredths("c", 1205);
        json.number("d", u64::MAX);
        let text = String::from_utf8(json.finish()).unwrap();
        assert_eq!(text, r#"{"a":"01234…","b":"01234567","c":12.05,"d":18446744073709551615}"#);
    }
}
