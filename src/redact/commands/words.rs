//! The words of a command in a text, and where what holds the command ends: its line, a string or an array.

use std::ops::Range;

use crate::redact::reach::looked;
use crate::redact::value;

/// A command is read up to this length, in bytes.
const LINE_MAX_BYTES: usize = 2048;
/// Others of its kind are read with it up to this length, in bytes.
const COVERED_MAX_BYTES: usize = 1536;

/// What holds a command.
#[derive(Clone, Copy)]
pub(super) enum Holder {
    /// A string whose quotes have so many backslashes.
    String(u8, usize),
    /// The array whose first string is the command.
    Array(u8),
    /// This is not known: the command does not begin what holds it.
    Unknown,
}

impl Holder {
    fn of(text: &[u8], command: &Range<usize>) -> Self {
        let behind = command.end + value::backslashes_at(text, command.end);
        if let Some(quote @ (b'"' | b'\'')) = text.get(behind) {
            return Self::Array(*quote);
        }
        let Some(last) = command.start.checked_sub(1) else { return Self::Unknown };
        match text[last] {
            quote @ (b'"' | b'\'') => Self::String(quote, value::backslashes(text, last)),
            // An escaped line end has one backslash more than the quotes of its string.
            b'n' => match value::backslashes(text, last) {
                slashes if slashes.is_power_of_two() => Self::String(b'"', slashes - 1),
                _ => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }

    /// Whether a quote that stands at `at`, with so many backslashes before that, ends what holds the command. `is_open`: whether the
    /// command has a quote that is not closed yet.
    fn ends_at(self, text: &[u8], at: usize, slashes: usize, is_open: bool) -> bool {
        let quote = text[at];
        match self {
            Self::String(of_holder, level) if quote == of_holder => slashes <= level,
            Self::Array(_) => false,
            _ if is_open => false,
            // A quote that begins something stands behind a space, and before something.
            Self::String(..) | Self::Unknown => {
                let start = at - slashes;
                looked(start.saturating_sub(1)..at + 2);
                let opens = start == 0 || matches!(text[start - 1], b' ' | b'\t' | b'\n' | b'=' | b'(' | b'[' | b',');
                let next = text.get(at + 1).copied();
                !opens
                    && match next {
                        Some(next) if next.is_ascii_whitespace() => quote == b'"',
                        Some(next) => matches!(next, b',' | b'}' | b']' | b')' | b'>' | b'/' | b':' | b';'),
                        None => true,
                    }
            }
        }
    }

    /// Where what holds a command ends in this range, or its line.
    pub(super) fn end_in(self, text: &[u8], range: Range<usize>) -> usize {
        let Range { start, end } = range;
        let line = &text[start..end];
        let line = &line[..memchr::memchr(b'\n', line).unwrap_or(line.len())];
        let end = start + line.len();
        let mut quotes = memchr::memchr2_iter(b'"', b'\'', line).map(|length| start + length);
        quotes.find(|at| self.ends_at(&text[..end], *at, value::backslashes(text, *at), false)).unwrap_or(end)
    }
}

/// The words of a command line, or the strings of an array of them.
#[derive(Clone)]
pub(super) struct Words<'t> {
    pub(super) text: &'t [u8],
    pub(super) at: usize,
    pub(super) limit: usize,
    pub(super) holder: Holder,
    /// The quote that is open.
    open: Option<u8>,
    /// Where the last word began.
    last: usize,
    /// Whether the string that holds them, or their line, has ended.
    pub(super) ended: bool,
    /// Commands in front of this place are words that were given, and have the same words behind them.
    pub(super) covers: usize,
}

impl<'t> Words<'t> {
    /// Those behind a command.
    pub(super) fn behind(text: &'t [u8], command: &Range<usize>) -> Self {
        let end = command.end;
        let holder = Holder::of(text, command);
        let open = if let Holder::Array(quote) = holder { Some(quote) } else { None };
        let limit = text.len().min(end + LINE_MAX_BYTES);
        // What begins near the limit may go on behind it.
        let covers = if limit < text.len() { end + COVERED_MAX_BYTES } else { limit };
        Self { text, at: end, limit, holder, open, last: command.start, ended: false, covers }
    }

    /// Commands behind this place are not among these words.
    pub(super) fn covers(&mut self, until: usize) {
        self.covers = self.covers.min(until);
    }

    /// Goes behind the quote at a place, which has so many backslashes. Returns whether the words end there.
    fn ends_at_quote(&mut self, at: usize, slashes: usize) -> bool {
        let quote = self.text[at];
        if self.holder.ends_at(self.text, at, slashes, self.open.is_some()) {
            return true;
        }
        match self.open {
            Some(open) if open == quote => self.open = None,
            Some(_) => {}
            None if self.is_apostrophe(at) => {}
            None => self.open = Some(quote),
        }
        false
    }

    /// Whether a quote stands in a word (`doesn't`), and not in a flag (`-p'…'`).
    fn is_apostrophe(&self, at: usize) -> bool {
        self.text[at] == b'\'' && self.text[at - 1].is_ascii_alphanumeric() && self.text[self.last] != b'-'
    }

    /// Goes to the start of the next word. Returns whether there may be one.
    fn is_before_a_word(&mut self) -> bool {
        while self.at < self.limit && separates(self.text[self.at]) {
            let slashes = value::backslashes_at(self.text, self.at);
            let at = self.at + slashes;
            match self.text.get(at) {
                // A backslash at a line end continues the command. Escaped, both have three times the backslashes of a line end.
                Some(b'\n') if slashes > 0 => self.at = at + 1,
                Some(b'n') if slashes > 0 && slashes.is_multiple_of(3) => self.at = at + 1,
                Some(b'n' | b'r') if slashes > 0 => return false,
                Some(b'"' | b'\'') => {
                    if self.ends_at_quote(at, slashes) {
                        return false;
                    }
                    self.at = at + 1;
                }
                _ => self.at += slashes.max(1),
            }
        }
        self.at < self.limit
    }
}

fn separates(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b',' | b'=' | b'[' | b'\\')
}

impl Iterator for Words<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if self.ended || !self.is_before_a_word() {
            self.ended |= self.at < self.limit;
            return None;
        }
        let is_array = matches!(self.holder, Holder::Array(_));
        let ends = |byte: u8| matches!(byte, b'\n' | b'|' | b';' | b'}' | b'>') || (is_array && byte == b']');
        let start = self.at;
        let quoted = self.open.is_some() && matches!(self.text[start - 1], b'"' | b'\'');
        let mut spaced = false;
        while self.at < self.limit {
            let byte = self.text[self.at];
            let inside = quoted && !matches!(byte, b'"' | b'\'' | b'\\' | b'\n');
            if !inside && (ends(byte) || (byte != b'=' && separates(byte))) {
                break;
            }
            spaced |= byte == b' ';
            self.at += 1;
        }
        if spaced {
            // A command in it has other words behind it.
            self.covers(start);
        }
        self.last = start;
        self.ended = self.at == start;
        (!self.ended).then_some(start..self.at)
    }
}
