//! Runs of base64 and of hexadecimal digits in a text, and the bytes that they encode. Pure.

use std::borrow::Cow;
use std::ops::Range;

/// Base64 continues behind a line end if its line is at least this long, in bytes (RFC 2045: 76; PEM: 64).
const LINE_MIN_BYTES: usize = 32;

/// A run of base64, which may go over several lines.
pub(super) struct Run {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Of each line: where it begins in the text, and how many characters of the run stand before it. Empty for a single line.
    lines: Vec<(usize, usize)>,
}

impl Run {
    /// The first run of at least `min` characters that begins at `from` or later.
    pub(super) fn next(text: &[u8], mut from: usize, min: usize) -> Option<Self> {
        loop {
            // A run of several lines begins with a long line.
            let start = stretch(text, from, min.min(LINE_MIN_BYTES), |byte| value(byte) < 64)?;
            let run = Self::at(text, start);
            if run.len() >= min {
                return Some(run);
            }
            from = run.end;
        }
    }

    /// The run that holds the byte at `at`, if one of at least one character does. Nothing in front of `from` is a part of it. Such
    /// a byte may be the end of one of its lines.
    pub(super) fn around(text: &[u8], at: usize, from: usize) -> Option<Self> {
        let line_before = |end: usize| {
            let before = text[from..end].strip_suffix(b"\n")?;
            let before = before.strip_suffix(b"\r").unwrap_or(before);
            let length = before.iter().rev().take_while(|byte| value(**byte) < 64).count();
            (length >= LINE_MIN_BYTES).then_some(from + before.len() - length)
        };
        let mut start = match text[at] {
            // Only behind a line end it is known whether a line goes on.
            b'\r' if text.get(at + 1) == Some(&b'\n') => line_before(at + 2)?,
            b'\n' => line_before(at + 1)?,
            byte if value(byte) < 64 => {
                at - text[from..at].iter().rev().take_while(|byte| value(**byte) < 64).count()
            }
            _ => return None,
        };
        while let Some(line) = line_before(start) {
            start = line;
        }
        Some(Self::at(text, start)).filter(|run| at < run.end)
    }

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

    pub(super) fn len(&self) -> usize {
        match self.lines.last() {
            Some((start, before)) => before + self.end - start,
            None => self.end - self.start,
        }
    }

    /// Its characters, without line ends.
    pub(super) fn characters<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        let whole = &text[self.start..self.end];
        if self.lines.is_empty() {
            return whole.into();
        }
        let ends = self.lines.iter().skip(1).map(|(start, _)| *start).chain([self.end]);
        let mut characters = Vec::with_capacity(self.len());
        for ((start, _), end) in self.lines.iter().zip(ends) {
            let line = &text[*start..end];
            characters.extend_from_slice(line.trim_ascii_end());
        }
        characters.into()
    }

    /// The place of a range of its characters in the text.
    pub(super) fn back(&self, range: Range<usize>) -> Range<usize> {
        self.place(range.start)..self.place(range.end.saturating_sub(1).max(range.start)) + 1
    }

    /// The place of its character `index` in the text.
    fn place(&self, index: usize) -> usize {
        let line = self.lines.partition_point(|(_, before)| *before <= index);
        let (start, before) = line.checked_sub(1).map_or((self.start, 0), |line| self.lines[line]);
        start + index - before
    }
}

/// The start of the first stretch of at least `min` bytes of a class, at `from` or later. Each window of `min` bytes is examined from
/// its end backwards, so most of a text without such a stretch is skipped.
pub(super) fn stretch(text: &[u8], mut from: usize, min: usize, of: impl Fn(u8) -> bool) -> Option<usize> {
    let min = min.max(1);
    // The bytes of the window in front of this place were examined and belong to the class.
    let mut known = from;
    while let Some(window) = text.get(from..from + min) {
        let new = known.saturating_sub(from);
        match window[new..].iter().rposition(|byte| !of(*byte)) {
            Some(other) => {
                known = from + min;
                from += new + other + 1;
            }
            None => return Some(from),
        }
    }
    None
}

/// The value of a character of base64, in either alphabet (RFC 4648, sections 4 and 5); 64 for any other byte.
pub(crate) fn value(byte: u8) -> u8 {
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

/// The stretches of base64 that encode at least `min` bytes of ASCII side by side, in whole groups of four characters. The groups at
/// both ends may have other bytes.
pub(super) fn ascii_stretches(characters: &[u8], min: usize) -> impl Iterator<Item = Range<usize>> {
    // So many groups of nothing but ASCII stand in such a stretch, wherever it begins in a group.
    let whole = (min.saturating_sub(2) / 3).max(1);
    let groups = characters.len() / 4;
    let ascii = |group: usize| {
        let four = &characters[group * 4..group * 4 + 4];
        // The highest bit of each of the three bytes.
        (value(four[0]) & 0x20) | (value(four[1]) & 0x08) | (value(four[2]) & 0x02) == 0
    };
    let mut from = 0;
    std::iter::from_fn(move || {
        // Each window is examined from its end, so most of what is not ASCII is skipped.
        while from + whole <= groups {
            let Some(other) = (from..from + whole).rev().find(|group| !ascii(*group)) else {
                let end = (from + whole..groups).find(|group| !ascii(*group)).unwrap_or(groups);
                let start = from.saturating_sub(1) * 4;
                from = end;
                let end = if end + 1 < groups { (end + 1) * 4 } else { characters.len() };
                return Some(start..end);
            };
            from = other + 1;
        }
        None
    })
}

/// Decodes base64 into `out`. Bits at the end that are not a whole byte are dropped.
pub(super) fn base64(characters: &[u8], out: &mut Vec<u8>) {
    let bits = |group: &[u8]| group.iter().fold(0_u32, |bits, byte| bits << 6 | u32::from(value(*byte) & 63));
    let groups = characters.chunks_exact(4);
    let rest = groups.remainder();
    out.clear();
    out.resize(characters.len() / 4 * 3, 0);
    for (group, three) in groups.zip(out.chunks_exact_mut(3)) {
        three.copy_from_slice(&bits(group).to_be_bytes()[1..]);
    }
    let last = bits(rest) << (6 * (4 - rest.len()));
    out.extend_from_slice(&last.to_be_bytes()[1..][..rest.len().saturating_sub(1)]);
}

/// The stretches of pairs of hexadecimal digits that encode at least `min` bytes of ASCII side by side.
pub(super) fn ascii_of_hex(digits: &[u8], min: usize) -> impl Iterator<Item = Range<usize>> {
    let min = min.max(1);
    let pairs = digits.len() / 2;
    // The first digit of a pair has the highest bit of the byte.
    let ascii = |pair: usize| digits[2 * pair] < b'8';
    let mut from = 0;
    std::iter::from_fn(move || {
        // Each window is examined from its end, so most of what is not ASCII is skipped.
        while from + min <= pairs {
            let Some(other) = (from..from + min).rev().find(|pair| !ascii(*pair)) else {
                let start = from;
                from = (from + min..pairs).find(|pair| !ascii(*pair)).unwrap_or(pairs);
                return Some(2 * start..2 * from);
            };
            from = other + 1;
        }
        None
    })
}

/// The stretches of at least `min` hexadecimal digits.
pub(super) fn hex_stretches(characters: &[u8], min: usize) -> impl Iterator<Item = Range<usize>> {
    static IS_DIGIT: [bool; 256] = {
        let mut is_digit = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            is_digit[byte] = (byte as u8).is_ascii_hexdigit();
            byte += 1;
        }
        is_digit
    };
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = stretch(characters, from, min, |byte| IS_DIGIT[usize::from(byte)])?;
        // The first ones are known.
        let rest = &characters[start + min..];
        let more = rest.iter().position(|byte| !IS_DIGIT[usize::from(*byte)]).unwrap_or(rest.len());
        from = start + min + more;
        Some(start..from)
    })
}

/// Decodes pairs of hexadecimal digits into `out`.
pub(super) fn hexadecimal(digits: &[u8], out: &mut Vec<u8>) {
    // The low four bits of a digit are its value; those of a letter are its value less nine.
    let digit = |byte: u8| (byte & 15) + if byte.is_ascii_alphabetic() { 9 } else { 0 };
    out.clear();
    out.extend(digits.chunks_exact(2).map(|two| digit(two[0]) << 4 | digit(two[1])));
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stretch_is_found_where_a_walk_finds_it(text in "[ab]{0,60}", from in 0_usize..20, min in 1_usize..6) {
            let text = text.as_bytes();
            let walk = (from..text.len().max(from)).find(|at| {
                text.get(*at..at + min).is_some_and(|window| window.iter().all(|byte| *byte == b'a'))
            });
            prop_assert_eq!(stretch(text, from, min, |byte| byte == b'a'), walk);
        }
    }

    proptest! {
        #[test]
        fn no_ascii_is_outside_of_the_stretches(bytes in prop::collection::vec(prop_oneof![4 => 0_u8..128, 1 => 128_u8..], 0..90)) {
            let min = 8;
            let characters = STANDARD_NO_PAD.encode(&bytes);
            let stretches: Vec<_> = ascii_stretches(characters.as_bytes(), min).collect();
            let mut start = 0;
            for run in bytes.chunk_by(|a, b| a.is_ascii() == b.is_ascii()) {
                let bits = start * 8..(start + run.len()) * 8;
                let (first, last) = (bits.start / 6, (bits.end - 1) / 6);
                let covered = stretches.iter().any(|stretch| stretch.start <= first && last < stretch.end);
                prop_assert!(covered || !run[0].is_ascii() || run.len() < min, "{:?} {:?}", run, stretches);
                start += run.len();
            }
        }
    }

    proptest! {
        #[test]
        fn no_ascii_is_outside_of_the_stretches_of_hexadecimal_digits(
            bytes in prop::collection::vec(prop_oneof![4 => 0_u8..128, 1 => 128_u8..], 0..90),
        ) {
            let min = 5;
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let stretches: Vec<_> = ascii_of_hex(digits.as_bytes(), min).collect();
            let mut start = 0;
            for run in bytes.chunk_by(|a, b| a.is_ascii() == b.is_ascii()) {
                let stretch = 2 * start..2 * (start + run.len());
                let is_long = run[0].is_ascii() && run.len() >= min;
                prop_assert_eq!(is_long, stretches.contains(&stretch), "{:?} {:?}", stretch, stretches);
                start += run.len();
            }
        }

        #[test]
        fn the_run_around_a_byte_is_the_one_that_a_walk_finds(
            lines in prop::collection::vec((prop_oneof!["[aB3+]{0,3}", "[aB3+]{30,34}"], prop::sample::select(vec!["\n", "\r\n", "\r", " ", "\n\n"])), 0..8),
        ) {
            let text: String = lines.iter().flat_map(|(line, end)| [line.as_str(), end]).collect();
            let text = text.as_bytes();
            let (mut runs, mut at) = (Vec::new(), 0);
            while let Some(run) = Run::next(text, at, 1) {
                at = run.end;
                runs.push(run);
            }
            for at in 0..text.len() {
                let of_walk = runs.iter().find(|run| (run.start..run.end).contains(&at)).map(|run| run.start..run.end);
                let around = Run::around(text, at, 0).map(|run| run.start..run.end);
                prop_assert_eq!(around, of_walk, "{} of {:?}", at, String::from_utf8_lossy(text));
            }
        }
    }

    #[test]
    fn a_run_goes_over_the_ends_of_long_lines() {
        let line = "aB3+".repeat(8);
        let text = format!("short\n{line}\r\n{line}\nend and {line}, no");
        let run = Run::next(text.as_bytes(), 0, 40).unwrap();
        let characters = run.characters(text.as_bytes());
        assert_eq!(&*characters, format!("{line}{line}end").as_bytes());
        assert_eq!(&text[run.back(30..34)], "3+\r\naB");
        assert!(Run::next(text.as_bytes(), run.end, 40).is_none());
    }
}
