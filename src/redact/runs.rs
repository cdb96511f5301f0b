//! Runs of characters of one class. A run is walked once, even if many prefixes stand in it, so each text costs only a few steps a
//! byte.

use super::reach::looked;
use super::work::steps;

/// A class of characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Letters and digits.
    Alnum,
    /// Hexadecimal digits.
    Hex,
    /// Capital letters and digits.
    Capitals,
    /// Small letters, `-` and `_`.
    Small,
    /// Letters, digits and `_`.
    Unbroken,
    /// Letters, digits, `-` and `_`.
    Word,
    /// Letters, digits, `-`, `_` and dots.
    Dotted,
    /// The characters of credentials (RFC 9110, section 11.2).
    Token68,
    /// The characters in the path of a webhook.
    Path,
    /// The characters of password hashes (crypt, PHC strings).
    Hash,
    /// The characters in what a SCRAM server stores (RFC 5803).
    Scram,
    /// Capital letters, digits and `-`.
    Serial,
    /// The characters that URLs need not escape (RFC 3986, section 2.3).
    Unreserved,
    /// Letters, digits, `+` and `/`.
    Base64,
    /// The characters in lines of base64, with line ends that may be escaped.
    Lines,
    /// The characters in names of secrets.
    Name,
}

const CLASSES: usize = 16;

impl Class {
    /// Some of its characters, with digits.
    pub(super) fn sample(self) -> &'static str {
        match self {
            Self::Hex => "0123456789abcdef",
            Self::Capitals | Self::Serial => "AB3DE6",
            _ => "aB3dE6gH9",
        }
    }

    const ALL: [Self; CLASSES] = [
        Self::Alnum,
        Self::Hex,
        Self::Capitals,
        Self::Small,
        Self::Unbroken,
        Self::Word,
        Self::Dotted,
        Self::Token68,
        Self::Path,
        Self::Hash,
        Self::Scram,
        Self::Serial,
        Self::Unreserved,
        Self::Base64,
        Self::Lines,
        Self::Name,
    ];

    /// Whether it has a character.
    #[inline]
    pub(super) fn has(self, byte: u8) -> bool {
        /// The classes of each byte, one bit for each class.
        const CLASSES_OF: [u16; 256] = {
            let mut classes = [0; 256];
            let mut at = 0;
            while at < CLASSES {
                let class = Class::ALL[at];
                let mut byte = 0;
                while byte < 256 {
                    if class.defines(byte as u8) {
                        classes[byte] |= 1 << class as u16;
                    }
                    byte += 1;
                }
                at += 1;
            }
            classes
        };
        CLASSES_OF[usize::from(byte)] & (1 << self as u16) != 0
    }

    const fn defines(self, byte: u8) -> bool {
        match self {
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::Capitals => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Small => byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_'),
            Self::Unbroken => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Word => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
            Self::Token68 => {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
            }
            Self::Path => byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'@'),
            Self::Hash => {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/' | b'$' | b'=' | b',' | b'+' | b'-' | b'_')
            }
            Self::Scram => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b':' | b'$'),
            Self::Serial => byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-',
            Self::Unreserved => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'),
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'),
            Self::Name => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$'),
            Self::Lines => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'\\' | b'\r' | b'\n'),
        }
    }
}

/// A private key has at most so many bytes.
pub(super) const PEM_MAX_BYTES: usize = 64 * 1024;

/// The last runs that were walked in one text.
pub(super) struct Runs<'t> {
    text: &'t [u8],
    /// Of each class: where a walk began, and where its run ends. The second table is for parts behind a dot.
    known: [[(usize, usize); CLASSES]; 2],
    /// From where the end of a private key was searched for, and where it is.
    pem_end: Option<(usize, Option<usize>)>,
    /// Whether a run reaches the end of the text.
    reached_end: bool,
}

impl<'t> Runs<'t> {
    /// For a text that is searched from its start to its end.
    pub(super) fn of(text: &'t [u8]) -> Self {
        Self { text, known: [[(1, 0); CLASSES]; 2], pem_end: None, reached_end: false }
    }

    /// The text.
    pub(super) fn text(&self) -> &'t [u8] {
        self.text
    }

    /// Whether a run that was walked goes on at the end of the text.
    pub(super) fn reached_end(&self) -> bool {
        self.reached_end
    }

    /// The end of the run of a class that contains `from`.
    pub(super) fn end(&mut self, class: Class, from: usize) -> usize {
        self.end_in(0, class, from)
    }

    /// The same for a second part of a token. It is kept apart, so the run of the first part stays known.
    pub(super) fn end_of_second(&mut self, class: Class, from: usize) -> usize {
        self.end_in(1, class, from)
    }

    fn end_in(&mut self, place: usize, class: Class, from: usize) -> usize {
        let known = &mut self.known[place][class as usize];
        if !(known.0..=known.1).contains(&from) {
            let rest = self.text.get(from..).unwrap_or_default();
            let length = rest.iter().position(|byte| !class.has(*byte)).unwrap_or(rest.len());
            steps(length);
            *known = (from, from + length);
            self.reached_end |= known.1 == self.text.len();
        }
        looked(from..known.1 + 1);
        known.1
    }

    /// Where `-----END` stands next, from `from` on.
    pub(super) fn pem_end(&mut self, from: usize) -> Option<usize> {
        match self.pem_end {
            Some((searched, found)) if searched <= from && found.is_none_or(|found| from <= found) => found,
            _ => {
                let rest = self.text.get(from..).unwrap_or_default();
                let found = memchr::memmem::find(rest, b"-----END").map(|at| from + at);
                steps(found.map_or(rest.len(), |found| found - from));
                self.pem_end = Some((from, found));
                self.reached_end |= found.is_none() && rest.len() < PEM_MAX_BYTES;
                found
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_known_run_ends_where_a_walk_would_end(text in "[a-zA-Z0-9._/=+ -]{0,80}", froms in prop::collection::vec(0_usize..80, 0..20)) {
            let mut runs = Runs::of(text.as_bytes());
            for from in froms.into_iter().filter(|from| *from <= text.len()) {
                for class in [Class::Alnum, Class::Word, Class::Dotted, Class::Token68, Class::Small] {
                    prop_assert_eq!(runs.end(class, from), Runs::of(text.as_bytes()).end(class, from));
                }
            }
        }
    }
}
