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
    let first = value.first().map(u8::to_ascii_lowercase);
    if !matches!(first, Some(b'$' | b'{' | b'%' | b'<' | b'p' | b'i' | b'o' | b's' | b'v' | b'e' | b'a')) {
        return false;
    }
    let begins = |reference: &&[u8]| {
        first == reference.first().copied()
            && value.get(..reference.len()).is_some_and(|start| start.eq_ignore_ascii_case(reference))
    };
    let variable = |name: &[u8]| !name.is_empty() && all(name, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let brackets: [(&[u8], &[u8]); 4] = [(b"${", b"}"), (b"$(", b")"), (b"{{", b"}}"), (b"%(", b")s")];
    // One pair around the whole value: a password may begin with `<>`.
    let angled = |inner: &[u8]| all(inner, |byte| !matches!(byte, b'<' | b'>'));
    value.strip_prefix(b"$").is_some_and(variable)
        || brackets.iter().any(|(open, close)| value.starts_with(open) && value.ends_with(close))
        || value.strip_prefix(b"<").and_then(|rest| rest.strip_suffix(b">")).is_some_and(angled)
        || REFERENCES.iter().any(begins)
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

/// Whether a value without quotes may be a secret. Few words of a text may.
pub(super) fn may_be_secret(value: &[u8]) -> bool {
    value.len() >= LETTERS_MIN_BYTES || value.iter().any(u8::is_ascii_digit) || is_user_and_password(value)
}

/// Whether a value under an unclear name is a secret: a machine made it, or it is the base64 of a name and a password (`auth` of
/// Docker and npm).
pub(super) fn looks_secret(value: &[u8]) -> bool {
    opaque(value) || random_letters(value) || is_user_and_password(value)
}

/// Whether a machine made a text: it is long, has letters and digits, and no space.
pub(super) fn opaque(text: &[u8]) -> bool {
    (16..=OPAQUE_MAX_BYTES).contains(&text.len())
        && text.iter().all(u8::is_ascii_graphic)
        && text.iter().any(u8::is_ascii_digit)
        && text.iter().any(u8::is_ascii_alphabetic)
}

/// Whether a text is the base64 of a name, a colon and a password.
pub(super) fn is_user_and_password(text: &[u8]) -> bool {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    // Most texts fail at their first characters, which saves the work for the rest.
    let first = |text: &[u8]| {
        let (high, low) = (base64_value(text[0]), base64_value(text[1]));
        (high < 64 && low < 64).then_some(high << 2 | low >> 4)
    };
    (6..=OPAQUE_MAX_BYTES).contains(&text.len())
        && first(text).is_some_and(|byte| !matches!(byte, 0..0x20 | 0x7F..0xC0))
        && text.iter().all(|byte| base64_value(*byte) < 64 || *byte == b'=')
        && STANDARD.decode(text).is_ok_and(|plain| {
            plain.contains(&b':') && std::str::from_utf8(&plain).is_ok_and(|text| !text.contains(char::is_control))
        })
}

/// Whether the case of a value's letters changes as in no name. Names in code are words of several small letters behind one
/// capital, and a few abbreviations.
fn random_letters(value: &[u8]) -> bool {
    if !(LETTERS_MIN_BYTES..=OPAQUE_MAX_BYTES).contains(&value.len())
        || !value.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_'))
    {
        return false;
    }
    // Capitals side by side, or a single small letter between capitals.
    let odd = value.chunk_by(|a, b| a.is_ascii_uppercase() == b.is_ascii_uppercase()).filter(|run| {
        if run[0].is_ascii_uppercase() { run.len() > 1 } else { run.len() == 1 && run[0].is_ascii_lowercase() }
    });
    let small = value.iter().any(u8::is_ascii_lowercase);
    small && odd.count() >= (value.len() / 8).max(3)
}

/// Whether a value beside the name of a secret looks like one: it has letters and digits, or random letters.
pub(super) fn strong(value: &[u8]) -> bool {
    value.len() >= BARE_MIN_BYTES
        && value.iter().all(|byte| byte.is_ascii_graphic() || *byte >= 0x80)
        && (random_letters(value)
            || (value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic)))
        && !placeholder(value)
}

/// Whether a value has capitals, small letters and several digits, as passwords do and most names in code do not.
pub(super) fn mixed(value: &[u8]) -> bool {
    const MIN_BYTES: usize = 12;
    const MIN_DIGITS: usize = 2;
    value.len() >= MIN_BYTES
        && strong(value)
        && value.iter().all(u8::is_ascii_alphanumeric)
        && value.iter().filter(|byte| byte.is_ascii_digit()).count() >= MIN_DIGITS
        && value.iter().any(u8::is_ascii_uppercase)
        && value.iter().any(u8::is_ascii_lowercase)
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
