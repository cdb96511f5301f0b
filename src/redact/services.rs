//! Tokens without a prefix, under a name that has the name of their service: `datadog_key = …`, `HEROKU: …`, `"twilio": "…"`. Name
//! and format must both fit.

use std::ops::Range;

use super::judge::placeholder;
use super::reach::looked;
use super::relation;
use super::runs::Class;
use super::value;

/// A service, and the formats of its tokens.
pub(super) struct Service {
    /// The id of its rule.
    pub(super) id: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// A word (lower case) that the names of its tokens contain.
    pub(super) word: &'static str,
    /// Its tokens have one of these formats.
    looks: &'static [Look],
    /// The rule of a public set that states the format.
    pub(super) source: &'static str,
}

/// The format of a token.
#[derive(Clone, Copy)]
pub(super) enum Look {
    /// So many characters of a class, at least and at most.
    Run(Class, usize, usize),
    /// A UUID (RFC 9562).
    Uuid,
    /// 32 hexadecimal digits and a region: `-us12`.
    Region,
}

pub(super) const fn service(
    id: &'static str,
    name: &'static str,
    word: &'static str,
    looks: &'static [Look],
    source: &'static str,
) -> Service {
    Service { id, name, word, looks, source }
}

/// The longest token, in bytes.
const TOKEN_MAX_BYTES: usize = 512;

/// Ends of names of tokens.
const ENDS: [&[u8]; 17] = [
    b"key",
    b"keys",
    b"apikey",
    b"token",
    b"secret",
    b"api",
    b"auth",
    b"pat",
    b"license",
    b"access",
    b"credential",
    b"credentials",
    b"login",
    b"bearer",
    b"private",
    b"pass",
    b"password",
];
/// Parts of a name that only say where the token is valid.
const PLACES: [&[u8]; 8] = [b"prod", b"production", b"live", b"test", b"dev", b"development", b"staging", b"sandbox"];

impl Service {
    /// The token of the service that belongs to a name with its word.
    pub(super) fn token(&self, text: &[u8], name: &Range<usize>) -> Option<Range<usize>> {
        let alone = self.names_a_token(&text[name.clone()])?;
        let start = match value::sign_after(text, name) {
            Some(sign) => {
                let slashes = value::backslashes_at(text, sign.at);
                let quoted = matches!(text.get(sign.at + slashes), Some(b'"' | b'\''));
                if quoted { sign.at + slashes + 1 } else { sign.at }
            }
            None => relation::written(text, name)?.range.start,
        };
        let reach = &text[start..text.len().min(start + TOKEN_MAX_BYTES)];
        looked(start..start + TOKEN_MAX_BYTES);
        let length = self.looks.iter().find_map(|look| look.length(reach))?;
        let token = &reach[..length];
        // In lists of checksums a name alone stands before each.
        let checksum = alone && matches!(length, 40 | 64) && token.iter().all(u8::is_ascii_hexdigit);
        let made = token.iter().any(u8::is_ascii_digit) && token.iter().any(u8::is_ascii_alphabetic);
        (made && !checksum && !placeholder(token)).then_some(start..start + length)
    }

    /// Whether a name is that of a token of the service; `Some(true)`: it is the name of the service alone.
    fn names_a_token(&self, name: &[u8]) -> Option<bool> {
        let mut parts = name.rsplit(|byte| matches!(byte, b'_' | b'-' | b'.' | b'$'));
        let last = parts.find(|part| !PLACES.iter().any(|place| part.eq_ignore_ascii_case(place)))?;
        if last.eq_ignore_ascii_case(self.word.as_bytes()) {
            return Some(true);
        }
        // `datadogKey`
        let ends = |end: &&[u8]| last.len() >= end.len() && last[last.len() - end.len()..].eq_ignore_ascii_case(end);
        ENDS.iter().any(ends).then_some(false)
    }

    /// A text with a name and a token of the service.
    pub(super) fn example(&self) -> String {
        let of = |class: Class, length| class.sample().chars().cycle().take(length).collect::<String>();
        let token = match self.looks.first() {
            Some(Look::Run(class, min, _)) => of(*class, *min),
            Some(Look::Region) => format!("{}-us12", of(Class::Hex, 32)),
            Some(Look::Uuid) | None => "01234567-89ab-4def-a123-456789abcdef".to_owned(),
        };
        format!("{}_key = \"{token}\"", self.word)
    }
}

impl Look {
    /// The length of the token of this format at the start of a text, if the token ends there.
    fn length(self, text: &[u8]) -> Option<usize> {
        let run = |class: Class| text.iter().take_while(|byte| class.has(**byte)).count();
        match self {
            Self::Run(class, min, max) => {
                let length = run(class);
                // A token does not end before `-`, `.` and the like.
                ((min..=max).contains(&length) && run(Class::Token68) == length).then_some(length)
            }
            Self::Uuid => {
                let length = run(Class::Word);
                let fits = |(at, byte): (usize, &u8)| match at {
                    8 | 13 | 18 | 23 => *byte == b'-',
                    _ => byte.is_ascii_hexdigit(),
                };
                (length == 36 && text[..length].iter().enumerate().all(fits)).then_some(length)
            }
            Self::Region => {
                let length = run(Class::Word);
                let (hash, place) = text[..length].split_at_checked(32)?;
                let digits = place.strip_prefix(b"-us")?;
                let fits = hash.iter().all(u8::is_ascii_hexdigit) && matches!(digits.len(), 1 | 2);
                (fits && digits.iter().all(u8::is_ascii_digit)).then_some(length)
            }
        }
    }
}
