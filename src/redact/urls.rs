//! URLs, queries and urlencoded forms: user information and the values of secret keys are masked. All other bytes stay.

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::authority::USERINFO;
use super::finding::{Ends, OutOfTime};
use super::mask::is_mask;
use super::masking::Masking;
use super::names::Kind;
use crate::deadline::Deadline;

/// The characters of a masked value that are not encoded, such as those of our masks.
const IN_VALUES: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b':');

/// A shorter value holds no secret of a known format.
const VALUE_MIN_BYTES: usize = 8;

/// What is done with values under harmless keys.
#[derive(Clone, Copy)]
enum Others {
    /// They are searched like any text. `cut`: the last one is cut.
    Searched { cut: bool },
    /// Nothing: the whole text is searched elsewhere.
    Left,
}

impl<'a> Masking<'a> {
    /// Masks secrets in a query or an urlencoded form.
    pub fn query(&mut self, text: &str) -> Option<String> {
        self.pairs(text, true, |byte| byte == b'&', Others::Searched { cut: false })
    }

    /// The same for the body of a form. `cut`: its end was cut off.
    ///
    /// # Errors
    /// When it is not searched in time.
    pub(crate) fn form(&mut self, text: &str, cut: bool) -> Result<Option<String>, OutOfTime> {
        let before = (self.of_form, self.withheld);
        self.of_form = Some(Deadline::after(self.redactor.budget));
        self.withheld = false;
        let masked = self.pairs(text, true, |byte| byte == b'&', Others::Searched { cut });
        let in_time = !self.withheld;
        (self.of_form, self.withheld) = (before.0, before.1 || !in_time);
        if in_time { Ok(masked) } else { Err(OutOfTime) }
    }

    /// Masks secrets in a path, also behind percent-escapes such as `%3A`.
    pub(crate) fn path(&mut self, text: &str) -> Option<String> {
        let masked = self.line(text);
        self.escaped(masked.as_deref().unwrap_or(text)).or(masked)
    }

    /// Masks secrets behind percent-escapes in a text that was searched as it stands. Each run of characters without a separator
    /// is one value. A value with a secret is encoded again.
    pub(super) fn escaped(&mut self, text: &str) -> Option<String> {
        if !text.contains(['%', '+']) {
            return None;
        }
        let separates = |char: char| char.is_whitespace() || "/?&=#;,\"'<>".contains(char);
        let mut out = String::new();
        let mut copied = 0;
        let mut start = 0;
        for run in text.split_inclusive(separates) {
            let end = start + run.trim_end_matches(separates).len();
            let value = &text[start..end];
            if let Some(masked) = self.unescaped(value) {
                out.push_str(&text[copied..start]);
                out.extend(utf8_percent_encode(&masked, IN_VALUES));
                copied = end;
            }
            start += run.len();
        }
        (copied > 0).then(|| out + &text[copied..])
    }

    /// A value without percent-escapes and with its secrets masked, if it has secrets. `+` is a plus in a path and a space in a
    /// query, so both are tried.
    fn unescaped(&mut self, value: &str) -> Option<String> {
        if value.len() < VALUE_MIN_BYTES || !value.contains(['%', '+']) {
            return None;
        }
        let plain = percent_decode_str(value).decode_utf8_lossy();
        let masked = if value.contains('%') { self.line(&plain) } else { None };
        masked.or_else(|| if value.contains('+') { self.line(&decoded(value)) } else { None })
    }

    /// Masks user information and the values of secret keys in every URL of a text, also in relative ones.
    pub(super) fn urls(&mut self, text: &str) -> Option<String> {
        let ends = |byte: u8| matches!(byte, b'&' | b'#' | b'>' | b'"') || byte.is_ascii_whitespace();
        let without_user = self.without_users(text);
        let masked = self.pairs(without_user.as_deref().unwrap_or(text), false, ends, Others::Left);
        masked.or(without_user)
    }

    /// `https://user:password@host/` -> `https://****@host/`. In the fields of an event that hold URLs a user name alone is masked,
    /// too: it may be a token. Texts are full of names, so `authority` wants a password.
    fn without_users(&mut self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut copied = 0;
        for (slashes, _) in text.match_indices("//") {
            let start = slashes + 2;
            // Before an authority stands a scheme or nothing. In a path `//` has no meaning.
            if start < copied || (slashes > 0 && text.as_bytes()[slashes - 1] != b':') {
                continue;
            }
            let end = text[start..]
                .find(|char: char| matches!(char, '/' | '?' | '#' | '\\' | '"' | '<' | '>') || char.is_whitespace())
                .map_or(text.len(), |length| start + length);
            if let Some(at) = text[start..end].rfind('@').filter(|at| *at > 0)
                && let Some(shown) = self.shown_as(&text[start..start + at], Kind::Password, USERINFO)
            {
                out.push_str(&text[copied..start]);
                out.push_str(&shown);
                copied = start + at;
            }
        }
        (copied > 0).then(|| out + &text[copied..])
    }

    /// Masks in `key=value` pairs that begin after `?`, `#` or `&` (and at the start, when `at_start`). A value ends where
    /// `ends` says.
    fn pairs(&mut self, text: &str, at_start: bool, ends: impl Fn(u8) -> bool, others: Others) -> Option<String> {
        let bytes = text.as_bytes();
        let begins = |byte: &u8| matches!(byte, b'?' | b'#' | b'&');
        let mut out = String::new();
        let (mut copied, mut at, mut in_pair) = (0, 0, at_start);
        loop {
            if !in_pair {
                let Some(next) = bytes[at..].iter().position(begins) else { break };
                at += next + 1;
            }
            in_pair = false;
            let stops = |byte: &u8| *byte == b'=' || begins(byte) || ends(*byte);
            let length = bytes[at..].iter().position(stops).unwrap_or(bytes.len() - at);
            if length == 0 && at == bytes.len() {
                break;
            }
            let (key, equals) = (at..at + length, at + length);
            at = equals;
            // The key itself may be a secret (`?sk-…`), or a part of one with `&` or `=` in it.
            if let Others::Searched { cut } = others
                && let Some(shown) = self.value(&text[key.clone()], cut && equals == bytes.len())
            {
                out.push_str(&text[copied..key.start]);
                out.push_str(&shown);
                copied = key.end;
            }
            if bytes.get(equals) != Some(&b'=') {
                continue;
            }
            let start = equals + 1;
            let end = bytes[start..].iter().position(|byte| ends(*byte)).map_or(bytes.len(), |length| start + length);
            let rule = self.redactor.names.key(decoded(&text[key]).as_bytes());
            let shown = match rule {
                Some((rule, kind)) => {
                    at = end;
                    self.parameter(text, start..end, rule, kind)
                }
                None => match others {
                    Others::Searched { cut } => self.value(&text[start..end], cut && end == bytes.len()),
                    Others::Left => None,
                },
            };
            if let Some(shown) = shown {
                out.push_str(&text[copied..start]);
                out.push_str(&shown);
                copied = end;
                at = end;
            }
        }
        (copied > 0).then(|| out + &text[copied..])
    }

    fn parameter(&mut self, text: &str, range: Range<usize>, rule: &'a str, kind: Kind) -> Option<String> {
        let value = &text[range];
        if value.is_empty() || is_mask(value.as_bytes()) {
            return None;
        }
        // The tail of a mask could begin inside a percent-escape.
        let escaped = value.bytes().rev().take(6).any(|byte| byte == b'%');
        let kind = if escaped && kind == Kind::Token { Kind::Password } else { kind };
        self.shown_as(&decoded(value), kind, rule)
    }

    /// Masks secrets in a value under a harmless key: it may be a URL, JSON or a known format. A value with a secret is encoded
    /// again.
    fn value(&mut self, value: &str, cut_end: bool) -> Option<String> {
        if value.len() < VALUE_MIN_BYTES {
            return None;
        }
        let plain = decoded(value);
        let masked = self.short(&plain, Ends { cut_start: false, cut_end })?;
        match plain {
            Cow::Borrowed(_) => Some(masked),
            Cow::Owned(_) => Some(utf8_percent_encode(&masked, IN_VALUES).to_string()),
        }
    }
}

/// Without percent-escapes and `+`.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}
