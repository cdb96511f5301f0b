//! Whether a secret stands behind a prefix that was found: the characters behind it are checked, each once.

use std::ops::Range;

use super::checksum::{CHECKED_BYTES, is_checked};
use super::{Pattern, Shape};
use crate::redact::judge::{is_user_and_password, opaque};
use crate::redact::reach::looked;
use crate::redact::runs::{Class, PEM_MAX_BYTES, Runs};

/// Fewer characters of a cut secret reveal nothing.
const CUT_MIN_BYTES: usize = 4;

/// The last part of a password hash is searched for in so many bytes at most.
const HASH_MAX_BYTES: usize = 256;

/// What stands in front of a prefix is read in so many bytes: an escape, or the number of a bot.
const BEFORE_BYTES: usize = 12;

/// A prefix that was found, and the text behind it.
struct Check<'r, 't> {
    runs: &'r mut Runs<'t>,
    text: &'t [u8],
    /// Where the prefix begins.
    start: usize,
    /// Behind the prefix.
    after: usize,
    /// Whether the text was cut at its end, perhaps inside a secret.
    cut: bool,
}

impl Pattern {
    /// The secret whose prefix was found at `start` (in any case). `cut`: the text was cut at its end, perhaps inside a secret.
    pub(in crate::redact) fn verify(&self, runs: &mut Runs<'_>, start: usize, cut: bool) -> Option<Range<usize>> {
        let text = runs.text();
        let after = start + self.prefix.len();
        looked(start.saturating_sub(BEFORE_BYTES)..after);
        if !self.any_case() && text.get(start..after)? != self.prefix.as_bytes() {
            return None;
        }
        let inside = matches!(self.shape, Shape::Bot | Shape::Pem | Shape::Behind(..) | Shape::Around(..));
        if matches!(self.shape, Shape::Checked(_)) {
            looked(after..after + CHECKED_BYTES);
        }
        if !inside && !begins(text, start) {
            let glued = matches!(self.shape, Shape::Checked(_)) && is_checked(text, after);
            return glued.then_some(start..after + CHECKED_BYTES);
        }
        Check { runs, text, start, after, cut }.shape(self.shape)
    }
}

impl Check<'_, '_> {
    fn shape(&mut self, shape: Shape) -> Option<Range<usize>> {
        let (start, after) = (self.start, self.after);
        match shape {
            Shape::Run(class, min, max) => self.run(class, min, max),
            // More letters behind the checksum are not a part of the token.
            Shape::Checked(_) if is_checked(self.text, after) => Some(start..after + CHECKED_BYTES),
            Shape::Checked(min) => {
                let end = self.end(Class::Alnum);
                self.to(end, min)
            }
            Shape::Mixed(min) => self.mixed(min),
            Shape::Dotted(min) => {
                let end = self.end(Class::Dotted);
                let dots = self.end(Class::Word) < end;
                self.to(end, if dots { min } else { usize::MAX })
            }
            Shape::Jwt => self.jwt(),
            Shape::Pem => self.pem(),
            Shape::Lines => self.lines(),
            Shape::Crypt(last) => self.crypt(last),
            Shape::Scram => {
                let end = self.end(Class::Scram);
                let rounds = self.text[after..end].iter().take_while(|byte| byte.is_ascii_digit()).count();
                if rounds > 0 { self.to(end, 60) } else { None }
            }
            Shape::Bearer => {
                let end = self.end(Class::Token68);
                (self.breaks_off(end) || opaque(&self.text[after..end])).then_some(after..end)
            }
            Shape::Basic => self.basic(),
            Shape::Behind(class, min) => {
                let end = self.end(class);
                self.to(end, min).map(|found| after..found.end)
            }
            Shape::Around(before, class, min) => self.around(before, class, min),
            Shape::AgentKey => self.agent_key(),
            Shape::Bot => self.bot(),
        }
    }

    /// Where the run of a class behind the prefix ends.
    fn end(&mut self, class: Class) -> usize {
        self.runs.end(class, self.after)
    }

    /// Whether the text was cut at `end`, behind enough characters to be a part of a secret.
    fn breaks_off(&self, end: usize) -> bool {
        self.cut && end == self.text.len() && end - self.after >= CUT_MIN_BYTES
    }

    /// The secret up to `end`, if at least `min` characters stand behind its prefix, or the text was cut there.
    fn to(&self, end: usize, min: usize) -> Option<Range<usize>> {
        (end - self.after >= min || self.breaks_off(end)).then_some(self.start..end)
    }

    fn run(&mut self, class: Class, min: usize, max: usize) -> Option<Range<usize>> {
        let end = self.end(class);
        // Where only the length identifies a token, a word is not one.
        let made = max == usize::MAX || self.end(Class::Small) < end;
        if end - self.after <= max && made { self.to(end, min) } else { None }
    }

    fn mixed(&mut self, min: usize) -> Option<Range<usize>> {
        let end = self.end(Class::Word);
        let made = self.end(Class::Small) < end;
        let hyphens = self.end(Class::Unbroken) < end;
        if made || !hyphens { self.to(end, min) } else { None }
    }

    fn jwt(&mut self) -> Option<Range<usize>> {
        let start = self.start;
        let end = self.runs.end(Class::Dotted, start);
        let first = self.runs.end(Class::Word, start);
        let second = self.runs.end_of_second(Class::Word, (first + 1).min(end));
        // The second part of an encrypted token holds its key. It is empty when both sides have the key already.
        let direct = second == first + 1 && end - second > 40;
        let sound = second < end && first - start >= 10 && (second - first > 4 || direct);
        if sound { Some(start..end) } else { self.to(end, usize::MAX) }
    }

    fn lines(&mut self) -> Option<Range<usize>> {
        let (text, after) = (self.text, self.after);
        let digits = self.end(Class::Alnum);
        let number = digits - after <= 3 && text[after..digits].iter().all(u8::is_ascii_digit);
        let line_ends = text.get(digits).is_some_and(|byte| matches!(byte, b'\r' | b'\n' | b'\\'));
        if !(number && digits > after && line_ends) {
            return None;
        }
        let end = self.end(Class::Lines);
        self.to(end, 40)
    }

    fn crypt(&mut self, last: usize) -> Option<Range<usize>> {
        let end = self.end(Class::Hash);
        let reach = &self.text[self.after.max(end.saturating_sub(HASH_MAX_BYTES))..end];
        let begin = memchr::memrchr(b'$', reach).map_or(0, |dollar| dollar + 1);
        self.to(end, if reach.len() - begin >= last { last } else { usize::MAX })
    }

    fn basic(&mut self) -> Option<Range<usize>> {
        let (text, after) = (self.text, self.after);
        let end = self.end(Class::Token68);
        let breaks_off = self.breaks_off(end);
        // In a path the credentials end before the next `/`.
        let first = text[after..end].iter().position(|byte| *byte == b'/').map_or(end, |slash| after + slash);
        let end = [end, first].into_iter().find(|end| is_user_and_password(&text[after..*end]));
        end.or(breaks_off.then_some(text.len())).map(|end| after..end)
    }

    fn around(&mut self, before: usize, class: Class, min: usize) -> Option<Range<usize>> {
        looked(self.start.saturating_sub(before + 1)..self.start);
        let begin = self.start.checked_sub(before)?;
        let alone = self.text[begin..self.start].iter().all(|byte| class.has(*byte))
            && begin.checked_sub(1).is_none_or(|at| !class.has(self.text[at]));
        let end = self.end(class);
        (alone && end - self.after >= min).then_some(begin..end)
    }

    fn agent_key(&mut self) -> Option<Range<usize>> {
        let end = self.end(Class::Word);
        let key = &self.text[self.after..end];
        let (prefix, secret) = key.split_at(key.iter().position(|byte| *byte == b'_')?);
        let breaks_off = self.cut && end == self.text.len() && secret.len() > CUT_MIN_BYTES;
        // A longer prefix could be a word of a name: `agent_definitions_…`.
        let random = |part: &[u8]| part.iter().any(u8::is_ascii_uppercase) && part.iter().any(u8::is_ascii_lowercase);
        let sound = (prefix.len() == 8 || ((9..=16).contains(&prefix.len()) && random(prefix) && random(secret)))
            && prefix.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            && (breaks_off || (secret.len() > 16 && secret.iter().any(u8::is_ascii_digit)));
        sound.then_some(self.start..end)
    }

    fn bot(&mut self) -> Option<Range<usize>> {
        let before = &self.text[..self.start];
        let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).take(11).count();
        let end = self.end(Class::Word);
        if !(8..=10).contains(&digits) {
            return None;
        }
        self.to(end, 30).map(|found| self.start - digits..found.end)
    }

    /// The private key up to the end of its last line, or as far as it can be followed.
    fn pem(&mut self) -> Option<Range<usize>> {
        const PRIVATE: &[u8] = b"PRIVATE KEY";
        const END: &[u8] = b"-----END";
        let (text, start, after) = (self.text, self.start, self.after);
        let label = &text[after..text.len().min(after + 40)];
        looked(after..after + label.len() + 1);
        let dashes = label.windows(5).position(|five| five == b"-----").unwrap_or(label.len());
        if !label[..dashes].windows(PRIVATE.len()).any(|part| part == PRIVATE) {
            return None;
        }
        let reach = &text[..text.len().min(start + PEM_MAX_BYTES)];
        looked(start..start + PEM_MAX_BYTES + 1);
        let body = after + dashes;
        if let Some(end) = self.runs.pem_end(body).map(|end| end + END.len()).filter(|end| *end <= reach.len()) {
            let rest = &reach[end..reach.len().min(end + 45)];
            let close = rest.windows(5).position(|five| five == b"-----").map_or(rest.len(), |close| close + 5);
            return Some(start..end + close);
        }
        let of_key = |byte: &u8| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
                || matches!(byte, b'\\' | b' ' | b'\n' | b'\r' | b':' | b',')
        };
        let end = reach[body..].iter().position(|byte| !of_key(byte)).map_or(reach.len(), |length| body + length);
        Some(start..end)
    }
}

/// Whether a token can begin at `start`: no letter, digit or `_` stands before it. The `n` of an escaped line end does not count
/// as one, nor do the digits of `%20` or `\u0022`.
fn begins(text: &[u8], start: usize) -> bool {
    let before = &text[..start];
    match before {
        [] => true,
        [.., b'%', first, second] if first.is_ascii_hexdigit() && second.is_ascii_hexdigit() => true,
        [.., b'\\', b'u', a, b, c, d] if [a, b, c, d].iter().all(|byte| byte.is_ascii_hexdigit()) => true,
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
        [.., last] => !(last.is_ascii_alphanumeric() || *last == b'_'),
    }
}
