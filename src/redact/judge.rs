//! Whether the value beside the name of a secret is a secret. Placeholders, references to secrets and words are not.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::work::steps;
use crate::secret::digits::value as base64_value;

/// A longer value under an unclear name is not a secret, in bytes.
pub(super) const OPAQUE_MAX_BYTES: usize = 4096;
/// A shorter value has too few letters to tell random ones from names.
const LETTERS_MIN_BYTES: usize = 20;
/// A shorter value without quotes is not a secret.
const BARE_MIN_BYTES: usize = 6;
/// A machine makes no shorter value.
const OPAQUE_MIN_BYTES: usize = 16;
/// The base64 of a name, a colon and a password is not shorter.
const USER_MIN_BYTES: usize = 6;

/// Beginnings of references to a secret that is stored elsewhere.
const REFERENCES: [&[u8]; 12] = [
    b"$env:",
    b"process.env",
    b"import.meta.env",
    b"os.environ",
    b"os.getenv",
    b"secrets.",
    b"var.",
    b"env.",
    b"env(",
    b"vault:",
    b"op://",
    b"arn:",
];

/// Words that people write in place of a secret.
const PLACEHOLDERS: [&[u8]; 12] = [
    b"your",
    b"changeme",
    b"change_me",
    b"change-me",
    b"example",
    b"placeholder",
    b"redacted",
    b"xxxx",
    b"****",
    b"...",
    b"insert",
    b"dummy",
];

/// Names of types and algorithms with a digit.
const TECHNICAL: [&[u8]; 14] = [
    b"uint8array",
    b"int32",
    b"int64",
    b"uint32",
    b"uint64",
    b"base64",
    b"base64url",
    b"base32",
    b"sha256",
    b"sha512",
    b"sha384",
    b"oauth2",
    b"pbkdf2",
    b"ed25519",
];

/// Whether a value refers to a secret that is stored elsewhere: `${API_KEY}`, `$1`, `process.env.X`, `<your-key>`.
pub(super) fn reference(value: &[u8]) -> bool {
    // Most values begin with a letter that none of these begins with.
    let Some(first) = value.first().map(u8::to_ascii_lowercase) else { return false };
    match first {
        b'$' | b'{' | b'%' | b'<' => refers_by_signs(value) || refers_by_words(first, value),
        b'p' | b'i' | b'o' | b's' | b'v' | b'e' | b'a' => refers_by_words(first, value),
        _ => false,
    }
}

/// `${API_KEY}`, `$1`, `<your-key>`.
fn refers_by_signs(value: &[u8]) -> bool {
    let variable = |name: &[u8]| !name.is_empty() && all(name, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let brackets: [(&[u8], &[u8]); 4] = [(b"${", b"}"), (b"$(", b")"), (b"{{", b"}}"), (b"%(", b")s")];
    // One pair around the whole value: a password may begin with `<>`.
    let angled = |inner: &[u8]| all(inner, |byte| !matches!(byte, b'<' | b'>'));
    value.strip_prefix(b"$").is_some_and(variable)
        || brackets.iter().any(|(open, close)| value.starts_with(open) && value.ends_with(close))
        || value.strip_prefix(b"<").and_then(|rest| rest.strip_suffix(b">")).is_some_and(angled)
}

/// `process.env.X`. `first` is the first character in lower case.
fn refers_by_words(first: u8, value: &[u8]) -> bool {
    let begins = |reference: &[u8]| {
        first == reference[0]
            && value.get(..reference.len()).is_some_and(|start| start.eq_ignore_ascii_case(reference))
    };
    REFERENCES.iter().any(|reference| begins(reference))
}

/// Whether all bytes are of a class.
fn all(text: &[u8], of: impl Fn(u8) -> bool) -> bool {
    let other = text.iter().position(|byte| !of(*byte));
    steps(other.unwrap_or(text.len()));
    other.is_none()
}

/// Whether a value is a reference to a secret or a placeholder for one.
pub(super) fn placeholder(value: &[u8]) -> bool {
    const LONGEST: usize = 80;
    /// Never `None`: a few words always make an automaton.
    static WORDS: LazyLock<Option<AhoCorasick>> =
        LazyLock::new(|| AhoCorasick::builder().ascii_case_insensitive(true).build(PLACEHOLDERS).ok());
    let start = &value[..value.len().min(LONGEST)];
    let one_character = value.first().is_some_and(|first| all(value, |byte| byte == *first));
    one_character
        || reference(value)
        || value.first() == Some(&b'<')
        || (has_letters_of_a_placeholder(start) && WORDS.as_ref().is_some_and(|words| words.is_match(start)))
        || TECHNICAL.iter().any(|name| start.eq_ignore_ascii_case(name))
}

/// Whether a text has all characters of one of [`PLACEHOLDERS`], in any order. Few other texts have.
fn has_letters_of_a_placeholder(text: &[u8]) -> bool {
    /// A bit for each letter in any case, and one for each other character of these words.
    const fn bit(byte: u8) -> u32 {
        match byte {
            b'a'..=b'z' => 1 << (byte - b'a'),
            b'A'..=b'Z' => 1 << (byte - b'A'),
            b'_' => 1 << 26,
            b'-' => 1 << 27,
            b'*' => 1 << 28,
            b'.' => 1 << 29,
            _ => 0,
        }
    }
    static BITS: [u32; 256] = {
        let mut bits = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            bits[byte] = bit(byte as u8);
            byte += 1;
        }
        bits
    };
    const WORDS: [u32; PLACEHOLDERS.len()] = {
        let mut words = [0; PLACEHOLDERS.len()];
        let mut word = 0;
        while word < PLACEHOLDERS.len() {
            let mut at = 0;
            while at < PLACEHOLDERS[word].len() {
                words[word] |= bit(PLACEHOLDERS[word][at]);
                at += 1;
            }
            word += 1;
        }
        words
    };
    let here = text.iter().fold(0, |bits, byte| bits | BITS[usize::from(*byte)]);
    WORDS.iter().any(|word| word & !here == 0)
}

/// What the characters of a value are, from one walk over it.
#[derive(Clone, Copy)]
struct Traits {
    /// The classes that all characters have.
    all: u8,
    /// The classes that some character has.
    some: u8,
}

impl Traits {
    const DIGIT: u8 = 1;
    const SMALL: u8 = 1 << 1;
    const CAPITAL: u8 = 1 << 2;
    const LETTER: u8 = 1 << 3;
    /// Letters, and the other characters of base64 without digits.
    const WORDY: u8 = 1 << 4;
    const GRAPHIC: u8 = 1 << 5;
    /// Printable characters of ASCII, and all others.
    const SHOWN: u8 = 1 << 6;
    const BASE64: u8 = 1 << 7;

    const fn of_byte(byte: u8) -> u8 {
        let other = matches!(byte, b'+' | b'/' | b'=');
        let classes = [
            (Self::DIGIT, byte.is_ascii_digit()),
            (Self::SMALL, byte.is_ascii_lowercase()),
            (Self::CAPITAL, byte.is_ascii_uppercase()),
            (Self::LETTER, byte.is_ascii_alphabetic()),
            (Self::WORDY, byte.is_ascii_alphabetic() || other || matches!(byte, b'-' | b'_')),
            (Self::GRAPHIC, byte.is_ascii_graphic()),
            (Self::SHOWN, byte.is_ascii_graphic() || byte >= 0x80),
            (Self::BASE64, byte.is_ascii_alphanumeric() || other),
        ];
        let (mut bits, mut at) = (0, 0);
        while at < classes.len() {
            if classes[at].1 {
                bits |= classes[at].0;
            }
            at += 1;
        }
        bits
    }

    /// Those of a value, or of its beginning, if a character there is not of a class that is `needed`.
    fn of(value: &[u8], needed: u8) -> Self {
        /// Characters between two looks at the class.
        const STRIDE_BYTES: usize = 32;
        static CLASSES: [u8; 256] = {
            let mut classes = [0; 256];
            let mut byte = 0;
            while byte < 256 {
                classes[byte] = Traits::of_byte(byte as u8);
                byte += 1;
            }
            classes
        };
        let add = |Self { all, some }: Self, byte: &u8| {
            let classes = CLASSES[usize::from(*byte)];
            Self { all: all & classes, some: some | classes }
        };
        let mut traits = Self { all: u8::MAX, some: 0 };
        for part in value.chunks(STRIDE_BYTES) {
            traits = part.iter().fold(traits, add);
            if !traits.all(needed) {
                break;
            }
        }
        traits
    }

    fn all(self, class: u8) -> bool {
        self.all & class != 0
    }

    fn some(self, class: u8) -> bool {
        self.some & class != 0
    }
}

/// Whether a value without quotes may be a secret. Few words of a text may.
pub(super) fn may_be_secret(value: &[u8]) -> bool {
    value.len() >= LETTERS_MIN_BYTES || value.iter().any(u8::is_ascii_digit) || is_user_and_password(value)
}

/// Whether a value under an unclear name is a secret: a machine made it, or it is the base64 of a name and a password (`auth` of
/// Docker and npm).
pub(super) fn looks_secret(value: &[u8]) -> bool {
    value.len() <= OPAQUE_MAX_BYTES && is_made(value, Traits::of(value, Traits::GRAPHIC))
}

/// Whether a value without quotes, which is not a placeholder, is a secret. `certain`: its name is clear.
pub(super) fn bare_looks_secret(value: &[u8], certain: bool) -> bool {
    let traits = Traits::of(value, if certain { Traits::SHOWN } else { Traits::GRAPHIC });
    is_made(value, traits) || (certain && may_be_strong(value, traits))
}

fn is_made(value: &[u8], traits: Traits) -> bool {
    is_opaque(value, traits) || has_random_letters(value, traits) || is_base64_of_a_user(value, traits)
}

/// Whether a machine made a text: it is long, has letters and digits, and no space.
pub(super) fn opaque(text: &[u8]) -> bool {
    (OPAQUE_MIN_BYTES..=OPAQUE_MAX_BYTES).contains(&text.len()) && is_opaque(text, Traits::of(text, Traits::GRAPHIC))
}

fn is_opaque(text: &[u8], traits: Traits) -> bool {
    (OPAQUE_MIN_BYTES..=OPAQUE_MAX_BYTES).contains(&text.len())
        && traits.all(Traits::GRAPHIC)
        && traits.some(Traits::DIGIT)
        && traits.some(Traits::LETTER)
}

/// Whether a text is the base64 of a name, a colon and a password.
pub(super) fn is_user_and_password(text: &[u8]) -> bool {
    may_begin_a_user(text) && is_base64_of_a_user(text, Traits::of(text, Traits::BASE64))
}

/// Whether the first characters may be the base64 of a name. Most texts fail here, which saves the work for the rest.
fn may_begin_a_user(text: &[u8]) -> bool {
    let first = |text: &[u8]| {
        let (high, low) = (base64_value(text[0]), base64_value(text[1]));
        (high < 64 && low < 64).then_some(high << 2 | low >> 4)
    };
    (USER_MIN_BYTES..=OPAQUE_MAX_BYTES).contains(&text.len())
        && first(text).is_some_and(|byte| !matches!(byte, 0..0x20 | 0x7F..0xC0))
}

fn is_base64_of_a_user(text: &[u8], traits: Traits) -> bool {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    traits.all(Traits::BASE64)
        && may_begin_a_user(text)
        && !has_base64_of_a_control(text)
        && STANDARD.decode(text).is_ok_and(|plain| {
            plain.contains(&b':') && std::str::from_utf8(&plain).is_ok_and(|text| !text.contains(char::is_control))
        })
}

/// Whether base64 encodes a control character of ASCII in one of its groups of four characters. Most words do.
fn has_base64_of_a_control(text: &[u8]) -> bool {
    let (groups, _) = text.as_chunks::<4>();
    groups.iter().any(|group| {
        let [a, b, c, d] = group.map(base64_value);
        // The padding, or no base64.
        let whole = a < 64 && b < 64 && c < 64 && d < 64;
        let control = |byte: u8| matches!(byte, 0..0x20 | 0x7F);
        whole && (control(a << 2 | b >> 4) || control(b << 4 | c >> 2) || control(c << 6 | d))
    })
}

/// Whether the case of a value's letters changes as in no name. Names in code are words of several small letters behind one
/// capital, and a few abbreviations.
fn has_random_letters(value: &[u8], traits: Traits) -> bool {
    if !(LETTERS_MIN_BYTES..=OPAQUE_MAX_BYTES).contains(&value.len())
        || !traits.all(Traits::WORDY)
        || !traits.some(Traits::SMALL)
        || !traits.some(Traits::CAPITAL)
    {
        return false;
    }
    // Capitals side by side, or a single small letter between capitals.
    let odd = value.chunk_by(|a, b| a.is_ascii_uppercase() == b.is_ascii_uppercase()).filter(|run| {
        if run[0].is_ascii_uppercase() { run.len() > 1 } else { run.len() == 1 && run[0].is_ascii_lowercase() }
    });
    odd.count() >= (value.len() / 8).max(3)
}

/// Whether a value beside the name of a secret looks like one: it has letters and digits, or random letters.
pub(super) fn strong(value: &[u8]) -> bool {
    may_be_strong(value, Traits::of(value, Traits::SHOWN)) && !placeholder(value)
}

/// The same for a value that may be a placeholder.
fn may_be_strong(value: &[u8], traits: Traits) -> bool {
    value.len() >= BARE_MIN_BYTES
        && traits.all(Traits::SHOWN)
        && ((traits.some(Traits::DIGIT) && traits.some(Traits::LETTER)) || has_random_letters(value, traits))
}

/// Whether a value has capitals, small letters and several digits, as passwords do and most names in code do not.
pub(super) fn mixed(value: &[u8]) -> bool {
    const MIN_BYTES: usize = 12;
    const MIN_DIGITS: usize = 2;
    let is_mixed =
        |traits: Traits| [Traits::DIGIT, Traits::CAPITAL, Traits::SMALL].iter().all(|class| traits.some(*class));
    value.len() >= MIN_BYTES
        && is_mixed(Traits::of(value, Traits::GRAPHIC))
        && value.iter().all(u8::is_ascii_alphanumeric)
        && value.iter().filter(|byte| byte.is_ascii_digit()).count() >= MIN_DIGITS
        && !placeholder(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_letters_are_told_from_names() {
        for value in [
            "qWxRtYbNmKlPzQaSdFgH",
            "hGtRfDeSwAqZxCvBnMkLjHuY",
            "YhTgRfVbNmJkLpOiUyTrEwQaSdFg",
            "abXYcdZWefVUghTSijRQ",
        ] {
            assert!(strong(value.as_bytes()), "{value}");
        }
        for value in [
            "getUserNameFromTokenStore",
            "XMLHttpRequestEventTarget",
            "passwordEncoderFactoryBean",
            "AWS_SECRET_ACCESS_KEY_NAME",
            "MyHTTPServerWithLongNames",
            "correct-horse-battery-staple",
            "src/components/AuthProvider",
            "AbstractSingletonProxyFactoryBean",
        ] {
            assert!(!strong(value.as_bytes()), "{value}");
        }
    }
}
