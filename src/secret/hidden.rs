//! Where a secret stands behind encodings: escapes of JSON, HTML and URLs, base64 and hexadecimal digits, one inside another.
//!
//! Pure. Nothing is known of the text's format, so all escapes are undone at once, layer by layer, and each run of characters
//! that may be base64 or hexadecimal is decoded at each alignment.

use std::ops::Range;

use super::undone::Undone;

/// Layers of escapes that are undone, one inside another.
const ESCAPES_MAX: usize = 4;
/// Layers of base64 or hexadecimal digits that are decoded, one inside another.
const DECODED_MAX: usize = 2;
/// Base64 goes on behind a line end when its line is at least this long, in bytes (RFC 2045: 76; PEM: 64).
const LINE_MIN_BYTES: usize = 32;

/// So far before the end of a text the beginning of a secret is searched for, in bytes.
const CUT_REACH_BYTES: usize = 4096;

/// Finds plain secrets in some bytes and notes each range.
type Search<'a> = &'a dyn Fn(&[u8], &mut dyn FnMut(Range<usize>));

/// Finds hidden secrets.
pub(super) struct Hidden<'a> {
    /// Finds those that are not hidden.
    pub(super) search: Search<'a>,
    /// No secret is shorter.
    pub(super) shortest_bytes: usize,
}

impl Hidden<'_> {
    /// The ranges of secrets that stand behind encodings in `text`, in no order.
    pub(super) fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        self.inside(text, None, ESCAPES_MAX, DECODED_MAX, &mut |range| found.push(range));
        found
    }

    /// `undone`: the escapes of the layer above; runs without any of them were decoded there.
    fn inside(
        &self,
        text: &[u8],
        undone: Option<&Undone>,
        escapes: usize,
        decoded: usize,
        found: &mut dyn FnMut(Range<usize>),
    ) {
        if escapes > 0
            && let Some(plain) = Plain::of(text)
        {
            let mut back = |range| found(plain.back(range));
            (self.search)(&plain.bytes, &mut back);
            self.inside(&plain.bytes, Some(&plain.undone), escapes - 1, decoded, &mut back);
        }
        if decoded > 0 {
            self.runs(text, undone, escapes, decoded - 1, found);
        }
    }

    /// Decodes each run that may be base64 or hexadecimal digits.
    fn runs(
        &self,
        text: &[u8],
        undone: Option<&Undone>,
        escapes: usize,
        decoded: usize,
        found: &mut dyn FnMut(Range<usize>),
    ) {
        let min = self.shortest_bytes * 4 / 3;
        let mut at = 0;
        while let Some(start) = text[at..].iter().position(|byte| value(*byte) < 64).map(|skip| at + skip) {
            let run = Run::at(text, start);
            at = run.end;
            let new = undone.is_none_or(|undone| undone.any_in(&(start..run.end)));
            if run.len() < min || !new {
                continue;
            }
            let digits = run.characters(text);
            for offset in 0..4 {
                let bytes = base64(&digits[offset.min(digits.len())..]);
                self.decoded(&bytes, escapes, decoded, &mut |range: Range<usize>| {
                    let (first, last) = (range.start, range.end - 1);
                    let (from, to) = (first / 3 * 4 + first % 3, last / 3 * 4 + last % 3 + 1);
                    found(run.place(offset + from)..run.place(offset + to) + 1);
                });
            }
            for hex in hex_runs(&digits, self.shortest_bytes * 2) {
                for offset in 0..2 {
                    let bytes = hexadecimal(&digits[hex.start + offset..hex.end]);
                    let start = hex.start + offset;
                    self.decoded(&bytes, escapes, decoded, &mut |range: Range<usize>| {
                        found(run.place(start + range.start * 2)..run.place(start + range.end * 2 - 1) + 1);
                    });
                }
            }
        }
    }

    /// Searches decoded bytes, and what in them is readable for more encodings.
    fn decoded(&self, bytes: &[u8], escapes: usize, decoded: usize, found: &mut dyn FnMut(Range<usize>)) {
        (self.search)(bytes, found);
        let mut at = 0;
        for chunk in bytes.utf8_chunks() {
            let mut start = at;
            for part in chunk.valid().split(|char: char| char.is_ascii_control() && !char.is_ascii_whitespace()) {
                if part.len() >= self.shortest_bytes {
                    let mut outside = |range: Range<usize>| found(start + range.start..start + range.end);
                    self.inside(part.as_bytes(), None, escapes, decoded, &mut outside);
                }
                start += part.len() + 1;
            }
            at += chunk.valid().len() + chunk.invalid().len();
        }
    }
}

/// What a secret is read as that itself looks like it had escapes: `a%41b` is `aAb` where all escapes of a text are undone.
/// The bytes need not be UTF-8.
pub(super) fn readings(secret: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let read = |text: &Vec<u8>| Some(Plain::of(text)?.bytes);
    std::iter::successors(Some(secret.to_owned()), read).skip(1)
}

/// Where a secret begins that the end of a text cuts off, behind any encoding. `begun` tells it of bytes without one.
pub(super) fn cut_off(text: &[u8], begun: &dyn Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    cut_inside(&text[text.len().saturating_sub(CUT_REACH_BYTES)..], ESCAPES_MAX, begun)
        .map(|start| text.len().saturating_sub(CUT_REACH_BYTES) + start)
}

fn cut_inside(text: &[u8], depth: usize, begun: &dyn Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let here = begun(text);
    if here.is_some() || depth == 0 {
        return here;
    }
    if let Some(plain) = Plain::of(text)
        && let Some(start) = cut_inside(&plain.bytes, depth - 1, begun)
    {
        return Some(plain.undone.place(start).start);
    }
    let run = text.iter().rev().take_while(|byte| value(**byte) < 64).count();
    let digits = &text[text.len() - run..];
    let start = text.len() - run;
    let of_base64 = (0..4.min(run)).find_map(|offset| {
        let first = cut_inside(&base64(&digits[offset..]), depth - 1, begun)?;
        Some(start + offset + first / 3 * 4 + first % 3)
    });
    of_base64.or_else(|| {
        let run = digits.iter().rev().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let start = text.len() - run;
        let of_hex = |offset| cut_inside(&hexadecimal(&text[start + offset..]), depth - 1, begun);
        (0..2.min(run)).find_map(|offset| Some(start + offset + 2 * of_hex(offset)?))
    })
}

/// A text with one layer of escapes undone.
struct Plain {
    bytes: Vec<u8>,
    undone: Undone,
}

impl Plain {
    /// `None` when there are none.
    fn of(text: &[u8]) -> Option<Self> {
        let mut plain = Self { bytes: Vec::new(), undone: Undone::default() };
        let (mut copied, mut at) = (0, 0);
        while let Some(start) = memchr::memchr3(b'\\', b'%', b'&', &text[at..]).map(|skip| at + skip) {
            let Some((character, length)) = escape(&text[start..]) else {
                at = start + 1;
                continue;
            };
            plain.bytes.extend_from_slice(&text[copied..start]);
            at = start + length;
            copied = at;
            let here = plain.bytes.len();
            match character {
                Escaped::Byte(byte) => plain.bytes.push(byte),
                Escaped::Character(character) => {
                    plain.bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            plain.undone.note(here..plain.bytes.len(), start..at);
        }
        if plain.undone.is_empty() {
            return None;
        }
        plain.bytes.extend_from_slice(&text[copied..]);
        Some(plain)
    }

    /// Where a range of these bytes stood.
    fn back(&self, range: Range<usize>) -> Range<usize> {
        self.undone.back(range)
    }
}

/// What an escape stands for.
#[derive(Clone, Copy)]
enum Escaped {
    Byte(u8),
    Character(char),
}

/// The escape that a text begins with, and its length in bytes.
fn escape(text: &[u8]) -> Option<(Escaped, usize)> {
    match *text.first()? {
        b'\\' => backslash(text),
        b'%' => Some((Escaped::Byte(hex(text.get(1..3)?)? as u8), 3)),
        b'&' => entity(text),
        _ => None,
    }
}

/// Of JSON (RFC 8259, section 7), and `\x2f` of code.
fn backslash(text: &[u8]) -> Option<(Escaped, usize)> {
    let byte = |byte| Some((Escaped::Byte(byte), 2));
    match *text.get(1)? {
        byte_itself @ (b'\\' | b'/' | b'"' | b'\'') => byte(byte_itself),
        b'n' => byte(b'\n'),
        b'r' => byte(b'\r'),
        b't' => byte(b'\t'),
        b'x' => Some((Escaped::Byte(hex(text.get(2..4)?)? as u8), 4)),
        b'u' => {
            let code = hex(text.get(2..6)?)?;
            if let Some(character) = char::from_u32(code) {
                return Some((Escaped::Character(character), 6));
            }
            let low = text.get(6..12).filter(|next| next.starts_with(b"\\u")).and_then(|next| hex(&next[2..]))?;
            let both = 0x1_0000 + ((code & 0x3FF) << 10) + (low & 0x3FF);
            Some((Escaped::Character(char::from_u32(both)?), 12))
        }
        _ => None,
    }
}

/// Of HTML (HTML standard, section 13.5): numbers, and the names of ASCII's punctuation.
fn entity(text: &[u8]) -> Option<(Escaped, usize)> {
    const LONGEST: usize = 20;
    let end = text.iter().take(LONGEST).position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(&text[1..end]).ok()?;
    let character = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
        None => ENTITIES.iter().find(|(_, names)| names.contains(&name))?.0,
    };
    Some((Escaped::Character(character), end + 1))
}

const ENTITIES: &[(char, &[&str])] = &[
    ('\t', &["Tab"]),
    ('\n', &["NewLine"]),
    ('!', &["excl"]),
    ('"', &["quot", "QUOT"]),
    ('#', &["num"]),
    ('$', &["dollar"]),
    ('%', &["percnt"]),
    ('&', &["amp", "AMP"]),
    ('\'', &["apos"]),
    ('(', &["lpar"]),
    (')', &["rpar"]),
    ('*', &["ast", "midast"]),
    ('+', &["plus"]),
    (',', &["comma"]),
    ('.', &["period"]),
    ('/', &["sol"]),
    (':', &["colon"]),
    (';', &["semi"]),
    ('<', &["lt", "LT"]),
    ('=', &["equals"]),
    ('>', &["gt", "GT"]),
    ('?', &["quest"]),
    ('@', &["commat"]),
    ('[', &["lsqb", "lbrack"]),
    ('\\', &["bsol"]),
    (']', &["rsqb", "rbrack"]),
    ('^', &["Hat"]),
    ('_', &["lowbar", "UnderBar"]),
    ('`', &["grave", "DiacriticalGrave"]),
    ('{', &["lcub", "lbrace"]),
    ('|', &["verbar", "vert", "VerticalLine"]),
    ('}', &["rcub", "rbrace"]),
];

/// The number that some hexadecimal digits are.
fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

/// A run of characters of base64, with line ends in it.
struct Run {
    start: usize,
    end: usize,
    /// Where each of its lines begins in the text, and how many characters of the run stand before it; nothing when it is one line.
    lines: Vec<(usize, usize)>,
}

impl Run {
    /// The run that begins at `start`.
    fn at(text: &[u8], start: usize) -> Self {
        let line_end = |from: usize| {
            let rest = &text[from..];
            from + rest.iter().position(|byte| value(*byte) == 64).unwrap_or(rest.len())
        };
        let mut run = Self { start, end: line_end(start), lines: Vec::new() };
        let (mut line, mut before) = (start, 0);
        loop {
            let next = match &text[run.end..] {
                [b'\r', b'\n', ..] => run.end + 2,
                [b'\n', ..] => run.end + 1,
                _ => break,
            };
            let end = line_end(next);
            if run.end - line < LINE_MIN_BYTES || end == next {
                break;
            }
            if run.lines.is_empty() {
                run.lines.push((start, 0));
            }
            before += run.end - line;
            run.lines.push((next, before));
            (line, run.end) = (next, end);
        }
        run
    }

    fn len(&self) -> usize {
        match self.lines.last() {
            Some((start, before)) => before + self.end - start,
            None => self.end - self.start,
        }
    }

    /// Its characters, without line ends.
    fn characters<'t>(&self, text: &'t [u8]) -> std::borrow::Cow<'t, [u8]> {
        let whole = &text[self.start..self.end];
        if self.lines.is_empty() {
            return whole.into();
        }
        whole.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect::<Vec<_>>().into()
    }

    /// Where its character `index` stands in the text.
    fn place(&self, index: usize) -> usize {
        let line = self.lines.partition_point(|(_, before)| *before <= index);
        let (start, before) = line.checked_sub(1).map_or((self.start, 0), |line| self.lines[line]);
        start + index - before
    }
}

/// What a character of base64 means, in either alphabet (RFC 4648, sections 4 and 5); 64 for any other.
fn value(byte: u8) -> u8 {
    const VALUES: [u8; 256] = {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut values = [64; 256];
        let mut at = 0;
        while at < 64 {
            values[alphabet[at] as usize] = at as u8;
            at += 1;
        }
        values[b'-' as usize] = 62;
        values[b'_' as usize] = 63;
        values
    };
    VALUES[usize::from(byte)]
}

/// Decodes characters of base64 as far as they make whole bytes.
fn base64(characters: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(characters.len() / 4 * 3 + 3);
    let mut groups = characters.chunks_exact(4);
    for group in groups.by_ref() {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 6 | u32::from(value(*byte)));
        out.extend_from_slice(&bits.to_be_bytes()[1..]);
    }
    let rest = groups.remainder();
    let bits = rest.iter().fold(0_u32, |bits, byte| bits << 6 | u32::from(value(*byte)));
    let bits = bits << (6 * (4 - rest.len()));
    out.extend_from_slice(&bits.to_be_bytes()[1..][..rest.len().saturating_sub(1)]);
    out
}

/// The stretches of at least `min` hexadecimal digits.
fn hex_runs(characters: &[u8], min: usize) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    for part in characters.split(|byte| !byte.is_ascii_hexdigit()) {
        if part.len() >= min {
            runs.push(start..start + part.len());
        }
        start += part.len() + 1;
    }
    runs
}

fn hexadecimal(digits: &[u8]) -> Vec<u8> {
    digits.chunks_exact(2).filter_map(|two| Some(hex(two)? as u8)).collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    /// An encoding, as something else writes and reads it.
    #[derive(Debug, Clone, Copy)]
    enum Coding {
        Json,
        JsonAscii,
        JsonSlash,
        JsonHex,
        HtmlNamed,
        HtmlDecimal,
        HtmlHex,
        Url,
        UrlSmall,
        UrlAll,
        Base64,
        Base64Lines,
        Base64Url,
        Hex,
        HexCapitals,
    }

    use Coding::*;

    const CODINGS: [Coding; 15] = [
        Json,
        JsonAscii,
        JsonSlash,
        JsonHex,
        HtmlNamed,
        HtmlDecimal,
        HtmlHex,
        Url,
        UrlSmall,
        UrlAll,
        Base64,
        Base64Lines,
        Base64Url,
        Hex,
        HexCapitals,
    ];

    impl Coding {
        fn written(self, text: &str) -> String {
            let each = |write: &dyn Fn(char) -> String| text.chars().map(write).collect();
            let json = serde_json::to_string(text).unwrap();
            let json = &json[1..json.len() - 1];
            let hex = |capitals: bool| {
                let two = |byte| if capitals { format!("{byte:02X}") } else { format!("{byte:02x}") };
                text.bytes().map(two).collect()
            };
            match self {
                Json => json.to_owned(),
                JsonSlash => json.replace('/', "\\/"),
                JsonAscii => {
                    each(&|c| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect())
                }
                JsonHex => json.replace('&', "\\u0026").replace('+', "\\u002B").replace('=', "\\u003d"),
                HtmlNamed => each(&|c| {
                    let known = ENTITIES.iter().find(|(known, _)| *known == c && c != '\n');
                    known.map_or(c.to_string(), |(_, names)| format!("&{};", names[names.len() - 1]))
                }),
                HtmlDecimal => each(&|c| format!("&#{};", u32::from(c))),
                HtmlHex => each(&|c| format!("&#x{:X};", u32::from(c))),
                Url => percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string(),
                UrlSmall => {
                    Url.written(text).split('%').enumerate().fold(String::new(), |out, (at, part)| match at {
                        0 => part.to_owned(),
                        _ => format!("{out}%{}{}", part[..2].to_lowercase(), &part[2..]),
                    })
                }
                UrlAll => text.bytes().map(|byte| format!("%{byte:02X}")).collect(),
                Base64 => STANDARD.encode(text),
                Base64Lines => {
                    let whole = STANDARD.encode(text);
                    let lines: Vec<_> =
                        whole.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
                    lines.join("\r\n")
                }
                Base64Url => URL_SAFE_NO_PAD.encode(text),
                Hex => hex(false),
                HexCapitals => hex(true),
            }
        }

        /// `None`: what was written over is no encoding any more.
        fn read(self, text: &str) -> Option<String> {
            let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            match self {
                Json | JsonAscii | JsonSlash | JsonHex => serde_json::from_str(&format!("\"{text}\"")).ok(),
                HtmlNamed | HtmlDecimal | HtmlHex => Plain::of(text.as_bytes()).map(|plain| lossy(plain.bytes)),
                Url | UrlSmall | UrlAll => {
                    Some(percent_encoding::percent_decode_str(text).decode_utf8_lossy().into())
                }
                Base64 => STANDARD.decode(text).ok().map(lossy),
                Base64Lines => STANDARD.decode(text.replace("\r\n", "")).ok().map(lossy),
                Base64Url => URL_SAFE_NO_PAD.decode(text).ok().map(lossy),
                Hex | HexCapitals => Some(lossy(hexadecimal(text.as_bytes()))),
            }
        }
    }

    fn found(secret: &str, text: &str) -> Vec<Range<usize>> {
        let search = |bytes: &[u8], found: &mut dyn FnMut(Range<usize>)| {
            for secret in std::iter::once(secret.as_bytes().to_owned()).chain(readings(secret.as_bytes())) {
                memchr::memmem::find_iter(bytes, &secret).for_each(|at| found(at..at + secret.len()));
            }
        };
        let hidden = Hidden { search: &search, shortest_bytes: secret.len() };
        let mut all = hidden.find(text.as_bytes());
        search(text.as_bytes(), &mut |range| all.push(range));
        all
    }

    /// The text with each found byte replaced by one that every encoding takes.
    fn blotted(secret: &str, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        for range in found(secret, text) {
            bytes[range].fill(b'A');
        }
        String::from_utf8(bytes).unwrap()
    }

    fn readable(secret: &str, text: &str) -> bool {
        secret.as_bytes().windows(7).any(|part| text.as_bytes().windows(7).any(|at| at == part))
    }

    #[test]
    fn each_encoding_inside_each_other_is_found() {
        let secret = "s3cr=t/&+\"-_'key<é>";
        for outer in CODINGS {
            for inner in CODINGS {
                for pad in ["", "x", "xy", "xyz"] {
                    let text = outer.written(&format!("{pad} {} ", inner.written(&format!("{pad}{secret}?"))));
                    let blotted = blotted(secret, &format!("/pre_fix/{text}\" and more"));
                    let rest = blotted.strip_prefix("/pre_fix/").unwrap().strip_suffix("\" and more").unwrap();
                    assert!(rest != text, "{outer:?} of {inner:?} is not found: {text}");
                    let read = outer.read(rest).and_then(|read| inner.read(&read[pad.len() + 1..read.len() - 1]));
                    assert!(!readable(secret, &read.unwrap_or_default()), "{outer:?} of {inner:?}: {text}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        for text in ["", "\\", "%", "&", "\\u12", "%zz", "&#;", "&nosuch;", "\\u d83d", "====", "AAAA\r\n", "ab%2"] {
            assert!(found("s3cret-of-ours", text).is_empty(), "{text}");
        }
        let text = "x".repeat(100) + "\n" + &"\\n".repeat(50) + &"%25".repeat(50) + &"&amp;".repeat(50);
        assert!(found("s3cret-of-ours", &text).is_empty());
    }

    #[test]
    fn a_secret_that_the_end_cuts_off_is_found_behind_an_encoding() {
        let secret = "s3cr=t/&+-_'key<é>";
        let begun = |text: &[u8]| {
            let lengths = (6..secret.len()).rev();
            lengths
                .map(|length| &secret.as_bytes()[..length])
                .find(|begun| text.ends_with(begun))
                .map(|begun| text.len() - begun.len())
        };
        for coding in CODINGS {
            let whole = coding.written(&format!("it is {secret} here"));
            let before = coding.written("it is ");
            for end in (before.len() + coding.written(&secret[..9]).len()..whole.len())
                .filter(|end| whole.is_char_boundary(*end))
            {
                let text = format!("a \"{}", &whole[..end]);
                if !found(secret, &text).is_empty() {
                    break;
                }
                let escape = ["\\", "%", "&"].iter().any(|sign| whole[end.saturating_sub(11)..end].contains(sign));
                let start = cut_off(text.as_bytes(), &begun);
                assert!(start.is_some() || escape, "{coding:?}: {text}");
                assert!(start.is_none_or(|start| start <= 3 + before.len()), "{coding:?} {start:?}: {text}");
            }
        }
        assert_eq!(cut_off(b"of something s3", &begun), None);
    }

    proptest! {
        #[test]
        fn a_random_secret_is_found_behind_random_encodings(
            secret in "[!-~é]{8,40}",
            before in "[ -~]{0,90}",
            after in "[ -~]{0,20}",
            codings in prop::collection::vec(0..CODINGS.len(), 1..3),
        ) {
            let text = codings.iter().fold(format!("{before}{secret}{after}"), |text, at| CODINGS[*at].written(&text));
            let blotted = blotted(&secret, &text);
            prop_assert!(blotted != text, "{:?} is not found: {}", codings, text);
            let read = codings.iter().rev().try_fold(blotted, |text, at| CODINGS[*at].read(&text));
            prop_assert!(!read.unwrap_or_default().contains(&secret));
        }

        #[test]
        fn any_text_is_searched_and_ranges_are_in_it(text in "[\\\\%&#;xun0-9a-fA-F+/\r\n-]{0,200}") {
            for range in found("aaaaaaaa", &text) {
                prop_assert!(range.start < range.end && range.end <= text.len());
            }
        }
    }
}
