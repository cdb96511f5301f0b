//! What known secrets look like, whatever name they stand under. Each begins with characters that its maker chose, so that one
//! search finds all of them; what follows is checked here, in one step forward for each byte.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::runs::{Class, Runs};
use super::scan::Show;

/// One format.
pub(super) struct Pattern {
    /// The id of its rule.
    pub(super) id: &'static str,
    /// Whose it is.
    pub(super) service: &'static str,
    /// What it begins with, in the case that it has.
    pub(super) prefix: &'static str,
    /// What it goes on with.
    shape: Shape,
    /// The page, or the rule of a public set, that states all this.
    pub(super) source: &'static str,
}

/// What stands after the prefix.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// So many characters of a class, at least and at most.
    Run(Class, usize, usize),
    /// So many letters and digits at least. With 36, the last six are a checksum of the others, by which it is known even
    /// where other letters touch it. A wrong one does not make it harmless.
    Checked(usize),
    /// So many of letters, digits, `-` and `_` at least, but not words with hyphens: `sk-` also begins names of styles.
    Mixed(usize),
    /// As `Word`, with dots, of which there is at least one.
    Dotted(usize),
    /// Three parts or more in base64url, of which the second (RFC 7516, section 7.1) or the last (RFC 7515, section 3.1) may
    /// be empty.
    Jwt,
    /// To the end of a private key (RFC 7468).
    Pem,
    /// The number of lines, then these, in base64.
    Lines,
    /// Parts between `$`, of which the last has so many characters at least.
    Crypt(usize),
    /// Rounds, salt and keys, as a server of SCRAM stores them.
    Scram,
    /// Credentials after their scheme, which stays (RFC 6750, section 2.1).
    Bearer,
    /// The same, in base64 of `user:password` (RFC 7617, section 2).
    Basic,
    /// A path behind a host, which stays, that gives the right to post: so many characters of a class at least.
    Behind(Class, usize),
    /// So many characters of a class before it, exactly, and so many after it, at least.
    Around(usize, Class, usize),
    /// `agent_<8>_<secret>`, OTAS's own.
    AgentKey,
    /// After the number of a bot.
    Bot,
}

/// A row of the table.
pub(super) const fn format(
    id: &'static str,
    service: &'static str,
    prefix: &'static str,
    shape: Shape,
    source: &'static str,
) -> Pattern {
    Pattern { id, service, prefix, shape, source }
}

pub(super) const fn at_least(class: Class, min: usize) -> Shape {
    Shape::Run(class, min, usize::MAX)
}

pub(super) const fn exactly(class: Class, count: usize) -> Shape {
    Shape::Run(class, count, count)
}

pub(super) const fn between(class: Class, min: usize, max: usize) -> Shape {
    Shape::Run(class, min, max)
}

pub(super) const fn checked(min: usize) -> Shape {
    Shape::Checked(min)
}

pub(super) const fn behind(class: Class, min: usize) -> Shape {
    Shape::Behind(class, min)
}

pub(super) const fn around(before: usize, class: Class, after: usize) -> Shape {
    Shape::Around(before, class, after)
}

pub(super) const fn crypt(last: usize) -> Shape {
    Shape::Crypt(last)
}

/// Fewer characters than this of a secret that a cut leaves give nothing away.
const CUT_MIN_BYTES: usize = 4;

/// A hash of a password has not more than this many bytes behind its last `$`.
const HASH_MAX_BYTES: usize = 256;

/// The random part of tokens of GitHub and npm, and its checksum behind it.
const CHECKED_BODY_BYTES: usize = 30;
const CHECKSUM_BYTES: usize = 6;

/// A private key has not more than this many bytes.
const PEM_MAX_BYTES: usize = 64 * 1024;

impl Pattern {
    /// A text that it finds, made up from its shape.
    pub(super) fn example(&self) -> String {
        let of = |alphabet: &str, length: usize| alphabet.chars().cycle().take(length).collect::<String>();
        let rest = match self.shape {
            Shape::Run(class, min, _) => of(class.sample(), min),
            Shape::Checked(_) => {
                let body = of("aB3dE6gH9", CHECKED_BODY_BYTES);
                format!("{body}{}", String::from_utf8_lossy(&checksum(body.as_bytes())))
            }
            Shape::Mixed(min) | Shape::Behind(_, min) => of("aB3dE6gH9", min),
            Shape::Dotted(min) => format!("{}.{}", of("aB3dE6", min / 2), of("gH9jK2", min / 2 + 1)),
            Shape::Jwt => format!("{}.{}.{}", of("hbGciOi9", 12), of("eyJzdWIi", 12), of("aB3dE6gH9", 12)),
            Shape::Pem => "PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----".to_owned(),
            Shape::Lines => format!("1\n{}\nPrivate-MAC: 00", of("aB3dE6gH9", 64)),
            Shape::Crypt(last) => format!("10${}${}", of("aB3dE6", 8), of("gH9jK2", last)),
            Shape::Scram => {
                format!("4096:{}$", of("aB3dE6gH9", 24)) + &of("gH9jK2", 43) + "=:" + &of("aB3dE6", 43) + "="
            }
            Shape::Bearer => of("aB3dE6gH9", 24),
            Shape::Basic => "YWRhOnBhNTV3MHJk".to_owned(),
            Shape::Around(_, class, after) => of(class.sample(), after),
            Shape::AgentKey => format!("{}_{}", of("aB3dE6", 8), of("gH9jK2", 24)),
            Shape::Bot => of("aB3dE6gH9", 33),
        };
        let before = match self.shape {
            Shape::Bot => "123456789".to_owned(),
            Shape::Around(before, class, _) => of(class.sample(), before),
            _ => String::new(),
        };
        format!("{before}{}{rest}", self.prefix)
    }

    /// What is shown of it: the end of a private key says nothing, that of a hash too much.
    pub(super) fn show(&self) -> Show {
        match self.shape {
            Shape::Pem | Shape::Lines | Shape::Crypt(_) | Shape::Scram => Show::Password,
            _ => Show::Token,
        }
    }

    /// Whether case matters for the prefix. Schemes are written as people like.
    fn any_case(&self) -> bool {
        matches!(self.shape, Shape::Bearer | Shape::Basic)
    }

    /// Where the secret is whose prefix was found at `start` (in any case). `cut`: the text breaks off at its end, maybe in
    /// the middle of a secret.
    pub(super) fn verify(&self, runs: &mut Runs<'_>, start: usize, cut: bool) -> Option<(usize, usize)> {
        let text = runs.text();
        let after = start + self.prefix.len();
        if !self.any_case() && text.get(start..after)? != self.prefix.as_bytes() {
            return None;
        }
        let inside = matches!(self.shape, Shape::Bot | Shape::Pem | Shape::Behind(..) | Shape::Around(..));
        if !inside && !begins(text, start) {
            let glued = matches!(self.shape, Shape::Checked(_)) && is_checked(text, after);
            return glued.then_some((start, after + CHECKED_BODY_BYTES + CHECKSUM_BYTES));
        }
        let plain = |end: usize, min: usize| {
            let breaks_off = cut && end == text.len() && end - after >= CUT_MIN_BYTES;
            (end - after >= min || breaks_off).then_some((start, end))
        };
        match self.shape {
            Shape::Run(class, min, max) => {
                let end = runs.end(class, after);
                // Where only the length tells it, words are none.
                let made = max == usize::MAX || runs.end(Class::Small, after) < end;
                if end - after <= max && made { plain(end, min) } else { None }
            }
            Shape::Checked(min) => {
                let end = runs.end(Class::Alnum, after);
                // More letters behind the checksum are no part of it.
                if is_checked(text, after) {
                    return Some((start, after + CHECKED_BODY_BYTES + CHECKSUM_BYTES));
                }
                plain(end, min)
            }
            Shape::Mixed(min) => {
                let end = runs.end(Class::Word, after);
                let made = runs.end(Class::Small, after) < end;
                let hyphens = runs.end(Class::Unbroken, after) < end;
                if made || !hyphens { plain(end, min) } else { None }
            }
            Shape::Dotted(min) => {
                let end = runs.end(Class::Dotted, after);
                let dots = runs.end(Class::Word, after) < end;
                plain(end, if dots { min } else { usize::MAX })
            }
            Shape::Jwt => {
                let end = runs.end(Class::Dotted, start);
                let first = runs.end(Class::Word, start);
                let second = runs.end_of_second(Class::Word, (first + 1).min(end));
                // A key that both sides know is not sent: the second part of an encrypted token is empty.
                let direct = second == first + 1 && end - second > 40;
                let sound = second < end && first - start >= 10 && (second - first > 4 || direct);
                if sound { Some((start, end)) } else { plain(end, usize::MAX) }
            }
            Shape::Pem => pem(runs, start, after),
            Shape::Lines => {
                let digits = runs.end(Class::Alnum, after);
                let number = digits - after <= 3 && text[after..digits].iter().all(u8::is_ascii_digit);
                let line_ends = text.get(digits).is_some_and(|byte| matches!(byte, b'\r' | b'\n' | b'\\'));
                if number && digits > after && line_ends { plain(runs.end(Class::Lines, after), 40) } else { None }
            }
            Shape::Crypt(last) => {
                let end = runs.end(Class::Hash, after);
                let reach = &text[after.max(end.saturating_sub(HASH_MAX_BYTES))..end];
                let begin = memchr::memrchr(b'$', reach).map_or(0, |dollar| dollar + 1);
                plain(end, if reach.len() - begin >= last { last } else { usize::MAX })
            }
            Shape::Scram => {
                let end = runs.end(Class::Scram, after);
                let rounds = text[after..end].iter().take_while(|byte| byte.is_ascii_digit()).count();
                if rounds > 0 { plain(end, 60) } else { None }
            }
            Shape::Bearer => {
                let end = runs.end(Class::Token68, after);
                let breaks_off = cut && end == text.len() && end - after >= CUT_MIN_BYTES;
                (breaks_off || opaque(&text[after..end])).then_some((after, end))
            }
            Shape::Basic => {
                let end = runs.end(Class::Token68, after);
                let breaks_off = cut && end == text.len() && end - after >= CUT_MIN_BYTES;
                // In a path it ends before the next `/`.
                let first = text[after..end].iter().position(|byte| *byte == b'/').map_or(end, |slash| after + slash);
                let end = [end, first].into_iter().find(|end| is_user_and_password(&text[after..*end]));
                end.or(breaks_off.then_some(text.len())).map(|end| (after, end))
            }
            Shape::Behind(class, min) => plain(runs.end(class, after), min).map(|(_, end)| (after, end)),
            Shape::Around(before, class, min) => {
                let begin = start.checked_sub(before)?;
                let alone = text[begin..start].iter().all(|byte| class.has(*byte))
                    && begin.checked_sub(1).is_none_or(|at| !class.has(text[at]));
                let end = runs.end(class, after);
                (alone && end - after >= min).then_some((begin, end))
            }
            Shape::AgentKey => {
                let end = runs.end(Class::Word, after);
                let (prefix, secret) = text[after..end].split_at_checked(8)?;
                let breaks_off = cut && end == text.len() && secret.len() > CUT_MIN_BYTES;
                let sound = secret.first() == Some(&b'_')
                    && prefix.iter().all(u8::is_ascii_alphanumeric)
                    && (breaks_off || (secret.len() > 16 && secret.iter().any(u8::is_ascii_digit)));
                if sound { Some((start, end)) } else { None }
            }
            Shape::Bot => {
                let digits = text[..start].iter().rev().take_while(|byte| byte.is_ascii_digit()).take(11).count();
                let end = runs.end(Class::Word, after);
                if (8..=10).contains(&digits) { plain(end, 30).map(|(_, end)| (start - digits, end)) } else { None }
            }
        }
    }
}

/// The CRC32 of a token's random part in base62, as GitHub and npm put it behind that:
/// <https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/>.
fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32fast::hash(body);
    let mut digits = [b'0'; CHECKSUM_BYTES];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// Whether a random part and its checksum stand at a place.
fn is_checked(text: &[u8], at: usize) -> bool {
    let Some(whole) = text.get(at..at + CHECKED_BODY_BYTES + CHECKSUM_BYTES) else { return false };
    let (body, digits) = whole.split_at(CHECKED_BODY_BYTES);
    body.iter().all(u8::is_ascii_alphanumeric) && checksum(body) == digits
}

/// Whether a text is one that only a machine makes: long, without a space, with letters and digits.
pub(super) fn opaque(text: &[u8]) -> bool {
    (16..=4096).contains(&text.len())
        && text.iter().all(u8::is_ascii_graphic)
        && text.iter().any(u8::is_ascii_digit)
        && text.iter().any(u8::is_ascii_alphabetic)
}

/// Whether this is base64 of a name, a colon and a password.
pub(super) fn is_user_and_password(text: &[u8]) -> bool {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    // Most texts fail here, without the work for all of them.
    let begins = |text: &[u8]| {
        let mut first = [0; 3];
        STANDARD.decode_slice(text, &mut first).is_ok() && !matches!(first[0], 0..0x20 | 0x7F..0xC0)
    };
    (6..=4096).contains(&text.len())
        && begins(&text[..4])
        && STANDARD.decode(text).is_ok_and(|plain| {
            plain.contains(&b':') && std::str::from_utf8(&plain).is_ok_and(|text| !text.contains(char::is_control))
        })
}

/// Whether something begins at `start`: no letter, digit or `_` stands before it. The `n` of an escaped line end is none, nor
/// the digits of `%20` or `\u0022`.
pub(super) fn begins(text: &[u8], start: usize) -> bool {
    let before = &text[..start];
    match before {
        [] => true,
        [.., b'%', first, second] if first.is_ascii_hexdigit() && second.is_ascii_hexdigit() => true,
        [.., b'\\', b'u', a, b, c, d] if [a, b, c, d].iter().all(|byte| byte.is_ascii_hexdigit()) => true,
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
        [.., last] => !(last.is_ascii_alphanumeric() || *last == b'_'),
    }
}

/// From the beginning of a private key to the end of its last line, or as far as it can be followed.
fn pem(runs: &mut Runs<'_>, start: usize, after: usize) -> Option<(usize, usize)> {
    const PRIVATE: &[u8] = b"PRIVATE KEY";
    const END: &[u8] = b"-----END";
    let text = runs.text();
    let label = &text[after..text.len().min(after + 40)];
    let dashes = label.windows(5).position(|five| five == b"-----").unwrap_or(label.len());
    if !label[..dashes].windows(PRIVATE.len()).any(|part| part == PRIVATE) {
        return None;
    }
    let reach = &text[..text.len().min(start + PEM_MAX_BYTES)];
    let body = after + dashes;
    match runs.pem_end(body).map(|end| end + END.len()).filter(|end| *end <= reach.len()) {
        Some(end) => {
            let rest = &reach[end..reach.len().min(end + 45)];
            let close = rest.windows(5).position(|five| five == b"-----").map_or(rest.len(), |close| close + 5);
            Some((start, end + close))
        }
        None => {
            let of_key = |byte: &u8| {
                byte.is_ascii_alphanumeric()
                    || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
                    || matches!(byte, b'\\' | b' ' | b'\n' | b'\r' | b':' | b',')
            };
            let end = reach[body..].iter().position(|byte| !of_key(byte)).map_or(reach.len(), |length| body + length);
            Some((start, end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::formats;
    use super::*;

    fn found(text: &str, cut: bool) -> Option<&str> {
        let lower = text.to_ascii_lowercase();
        formats::all().find_map(|pattern| {
            let start = lower.find(&pattern.prefix.to_ascii_lowercase())?;
            let (start, end) = pattern.verify(&mut Runs::of(text.as_bytes()), start, cut)?;
            Some(&text[start..end])
        })
    }

    #[test]
    fn known_formats_are_found_whole() {
        for (text, secret) in [
            ("use sk-proj-0123456789abcdefWXYZ now", "sk-proj-0123456789abcdefWXYZ"),
            ("(AKIA0123456789ABCDEF)", "AKIA0123456789ABCDEF"),
            ("x\\nghp_0123456789abcdefghij0123456789abcdef", "ghp_0123456789abcdefghij0123456789abcdef"),
            ("%20xoxb-0123456789-abc", "xoxb-0123456789-abc"),
            ("Authorization: bEaReR 0123456789abcdef.x=", "0123456789abcdef.x="),
            ("Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA=="),
            ("eyJhbGciOiJub25lIn0.eyJhIjoxfQ.", "eyJhbGciOiJub25lIn0.eyJhIjoxfQ."),
            (
                "/bot123456789:AAabcdefghijklmnopqrstuvwxyz012345678/x",
                "123456789:AAabcdefghijklmnopqrstuvwxyz012345678",
            ),
            ("agent_abcdefgh_ijklmnopqrstuv1234", "agent_abcdefgh_ijklmnopqrstuv1234"),
            ("https://hooks.slack.com/services/T00000000/B00000000/abc", "T00000000/B00000000/abc"),
        ] {
            assert_eq!(found(text, false), Some(secret), "{text}");
        }
        let key = "-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----";
        assert_eq!(found(&format!("a {key} b"), false), Some(key));
        let escaped = "-----BEGIN PRIVATE KEY-----\\nMHcCab\\nMHcC";
        assert_eq!(found(&format!("{escaped}\",\"b\""), false), Some(escaped));
    }

    #[test]
    fn each_format_finds_its_own_example() {
        for pattern in formats::all() {
            let example = pattern.example();
            let start = example.find(pattern.prefix).unwrap_or_else(|| panic!("{example}"));
            assert!(pattern.verify(&mut Runs::of(example.as_bytes()), start, false).is_some(), "{example}");
        }
    }

    #[test]
    fn what_only_begins_alike_is_left() {
        for text in [
            "task-0123456789abcdefWXYZ",
            "sk-fading-circle-container-large",
            "AKIA0123456789ABCDEF0123",
            "the bearer authentication scheme",
            "a basic understanding",
            "Basic principles",
            "eyJhbGciOiJub25lIn0",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "agent_session_token_is_a_name",
            "12:AAabcdefghijklmnopqrstuvwxyz012345678",
            "hf_transfer",
        ] {
            assert_eq!(found(text, false), None, "{text}");
        }
    }

    #[test]
    fn what_a_cut_leaves_of_a_secret_is_found_too() {
        assert_eq!(found("x sk-ant-abcd", true), Some("sk-ant-abcd"));
        assert_eq!(found("x sk-ant-abcd", false), None);
        assert_eq!(found("x sk-ant-abcd y", true), None);
        assert_eq!(found("x eyJhbGci", true), Some("eyJhbGci"));
    }
}
