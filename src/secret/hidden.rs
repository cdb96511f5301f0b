//! Finds secrets behind encodings: escapes of JSON, HTML and URLs, base64 and hexadecimal digits, one inside another.
//!
//! Pure. The format of the text is unknown, so all kinds of escapes are undone together, layer by layer. In runs of base64 or
//! hexadecimal digits, secrets are found by their encoded form; a run is decoded, at each alignment, only to find encodings inside
//! it.

use std::cell::Cell;
use std::ops::Range;

use super::coded::Coded;
use super::digits::{Run, ascii_of_hex, ascii_stretches, base64, hex_stretches, hexadecimal, value};
use super::escapes::Unescaped;
use super::plain::{Origin, Plain};
use super::undone::Undone;

/// So many layers of escapes are undone.
const ESCAPES_MAX: usize = 4;
/// A cut secret is searched for in so many bytes at the end of a text.
const CUT_REACH_BYTES: usize = 4096;

/// The work for a byte of the text; for a byte of a copy without escapes, and for an escape; for a character of a run.
const BYTE_WORK: usize = 1;
const COPY_WORK: usize = 1;
const ESCAPE_WORK: usize = 32;
const RUN_WORK: usize = 5;

/// Finds hidden secrets.
pub(super) struct Hidden<'a> {
    /// Finds secrets without an encoding.
    plain: &'a Plain,
    /// Finds secrets in base64 and in hexadecimal digits.
    coded: &'a Coded,
    /// The length of the shortest secret.
    shortest_bytes: usize,
    /// Whether all secrets are ASCII.
    ascii: bool,
    /// The work of the search.
    work: Cell<usize>,
}

impl<'a> Hidden<'a> {
    pub(super) fn of(plain: &'a Plain, coded: &'a Coded, shortest_bytes: usize, ascii: bool) -> Self {
        Self { plain, coded, shortest_bytes, ascii, work: Cell::new(0) }
    }

    /// The ranges of secrets that are behind encodings in `text`, in no order; and the work of the search, in the units of the search
    /// for other secrets.
    pub(super) fn find(self, text: &[u8]) -> (Vec<Range<usize>>, usize) {
        let mut found = Vec::new();
        self.inside(text, None, ESCAPES_MAX, true, &mut |range| found.push(range));
        (found, self.work.get() + text.len() * BYTE_WORK)
    }

    fn worked(&self, work: usize) {
        self.work.set(self.work.get() + work);
    }

    /// `undone`: the escapes that were undone to make `text`; runs without any of them were already searched. `decodes`: whether
    /// runs are also decoded.
    fn inside(
        &self,
        text: &[u8],
        undone: Option<&Undone>,
        escapes: usize,
        decodes: bool,
        found: &mut dyn FnMut(Range<usize>),
    ) {
        if escapes > 0
            && let Some(plain) = Unescaped::of(text)
        {
            self.worked(plain.bytes.len() * COPY_WORK + plain.undone.entries() * ESCAPE_WORK);
            let mut back = |range| found(plain.back(range));
            self.plain.find(&plain.bytes, Some(Origin { text, undone: &plain.undone }), &mut back);
            self.inside(&plain.bytes, Some(&plain.undone), escapes - 1, decodes, &mut back);
        }
        self.in_runs(text, undone, escapes, decodes, found);
    }

    /// Searches each run of base64 or hexadecimal digits.
    fn in_runs(
        &self,
        text: &[u8],
        undone: Option<&Undone>,
        escapes: usize,
        decodes: bool,
        found: &mut dyn FnMut(Range<usize>),
    ) {
        let min = self.shortest_bytes * 4 / 3;
        let mut bytes = Vec::new();
        let mut search = |run: Run| {
            let characters = run.characters(text);
            self.worked(characters.len() * RUN_WORK);
            let mut back = |range| found(run.back(range));
            self.coded.in_base64(&characters, &mut back);
            if decodes {
                self.in_decoded(&characters, escapes, &mut bytes, &mut back);
            }
            for digits in hex_stretches(&characters, self.shortest_bytes * 2) {
                let mut back = |range: Range<usize>| back(digits.start + range.start..digits.start + range.end);
                let digits = &characters[digits.clone()];
                self.coded.in_hex(digits, &mut back);
                if decodes {
                    self.in_decoded_hex(digits, escapes, &mut bytes, &mut back);
                }
            }
        };
        let mut at = 0;
        let Some(undone) = undone else {
            while let Some(run) = Run::next(text, at, min) {
                at = run.end;
                search(run);
            }
            return;
        };
        for characters in undone.characters() {
            let mut next = characters.start.max(at);
            while next < characters.end {
                next += 1;
                if let Some(run) = Run::around(text, next - 1, at) {
                    at = run.end;
                    next = at;
                    if run.len() >= min {
                        search(run);
                    }
                }
            }
        }
    }

    /// Decodes base64 and searches the bytes for further encodings. `bytes` is a buffer.
    fn in_decoded(
        &self,
        characters: &[u8],
        escapes: usize,
        bytes: &mut Vec<u8>,
        found: &mut dyn FnMut(Range<usize>),
    ) {
        for offset in 0..characters.len().min(4) {
            let characters = &characters[offset..];
            let mut decode = |stretch: Range<usize>| {
                let start = offset + stretch.start;
                base64(&characters[stretch], bytes);
                self.inside(bytes, None, escapes, false, &mut |range| {
                    let (first, last) = (range.start, range.end - 1);
                    found(start + first / 3 * 4 + first % 3..start + last / 3 * 4 + last % 3 + 2);
                });
            };
            // Every encoding of ASCII is ASCII, and at least as long.
            match self.ascii {
                true => ascii_stretches(characters, self.shortest_bytes).for_each(&mut decode),
                false => decode(0..characters.len()),
            }
        }
    }

    /// The same for hexadecimal digits.
    fn in_decoded_hex(
        &self,
        digits: &[u8],
        escapes: usize,
        bytes: &mut Vec<u8>,
        found: &mut dyn FnMut(Range<usize>),
    ) {
        for offset in [0, 1] {
            let digits = &digits[offset..];
            let mut decode = |stretch: Range<usize>| {
                let start = offset + stretch.start;
                hexadecimal(&digits[stretch], bytes);
                self.inside(bytes, None, escapes, false, &mut |range| {
                    found(start + range.start * 2..start + range.end * 2);
                });
            };
            match self.ascii {
                true => ascii_of_hex(digits, self.shortest_bytes).for_each(&mut decode),
                false => decode(0..digits.len()),
            }
        }
    }
}

/// The forms of a secret that itself contains escapes, once they are undone: `aAb` for `a%41b`. The bytes need not be UTF-8.
pub(super) fn readings(secret: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let read = |text: &Vec<u8>| Some(Unescaped::of(text)?.bytes.clone());
    std::iter::successors(Some(secret.to_owned()), read).skip(1)
}

/// The start of a secret that is cut at the end of a text, behind any encoding. `begun` finds it in bytes without encoding.
pub(super) fn cut_off(text: &[u8], begun: &dyn Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    cut_inside(&text[text.len().saturating_sub(CUT_REACH_BYTES)..], ESCAPES_MAX, begun)
        .map(|start| text.len().saturating_sub(CUT_REACH_BYTES) + start)
}

fn cut_inside(text: &[u8], depth: usize, begun: &dyn Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let here = begun(text);
    if here.is_some() || depth == 0 {
        return here;
    }
    if let Some(plain) = Unescaped::of(text)
        && let Some(start) = cut_inside(&plain.bytes, depth - 1, begun)
    {
        return Some(plain.undone.place(start).start);
    }
    let run = text.iter().rev().take_while(|byte| value(**byte) < 64).count();
    let digits = &text[text.len() - run..];
    let start = text.len() - run;
    let mut bytes = Vec::new();
    let of_base64 = (0..4.min(run)).find_map(|offset| {
        base64(&digits[offset..], &mut bytes);
        let first = cut_inside(&bytes, depth - 1, begun)?;
        Some(start + offset + first / 3 * 4 + first % 3)
    });
    of_base64.or_else(|| {
        let run = digits.iter().rev().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let start = text.len() - run;
        (0..2.min(run)).find_map(|offset| {
            hexadecimal(&text[start + offset..], &mut bytes);
            Some(start + offset + 2 * cut_inside(&bytes, depth - 1, begun)?)
        })
    })
}

#[cfg(test)]
mod tests;
