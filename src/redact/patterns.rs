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
    /// What it begins with, in the case that it has.
    pub(super) prefix: &'static str,
    /// What it goes on with.
    shape: Shape,
}

/// What stands after the prefix.
#[derive(Clone, Copy)]
enum Shape {
    /// So many letters and digits at least.
    Alnum(usize),
    /// So many of letters, digits, `-` and `_` at least.
    Word(usize),
    /// So many hexadecimal digits at least.
    Hex(usize),
    /// Exactly so many capitals and digits.
    Capitals(usize),
    /// As `Word`, but not words with hyphens: `sk-` also begins names of styles.
    Mixed(usize),
    /// As `Word`, with dots, of which there is at least one.
    Dotted(usize),
    /// Three parts or more in base64url, the last of which may be empty (RFC 7515, section 3.1).
    Jwt,
    /// To the end of a private key (RFC 7468).
    Pem,
    /// Credentials after their scheme, which stays (RFC 6750, section 2.1).
    Bearer,
    /// The same, in base64 of `user:password` (RFC 7617, section 2).
    Basic,
    /// A path behind a host that gives the right to post.
    Path(usize),
    /// `agent_<8>_<secret>`, OTAS's own.
    AgentKey,
    /// After the number of a bot.
    Bot,
}

const fn pattern(id: &'static str, prefix: &'static str, shape: Shape) -> Pattern {
    Pattern { id, prefix, shape }
}

/// All of them. The longer of two prefixes that begin alike is tried alone.
pub(super) const PATTERNS: &[Pattern] = &[
    pattern("pattern.anthropic", "sk-ant-", Shape::Word(16)),
    pattern("pattern.openai", "sk-", Shape::Mixed(16)),
    pattern("pattern.openai", "sess-", Shape::Alnum(32)),
    pattern("pattern.aws", "AKIA", Shape::Capitals(16)),
    pattern("pattern.aws", "ASIA", Shape::Capitals(16)),
    pattern("pattern.aws", "ABIA", Shape::Capitals(16)),
    pattern("pattern.aws", "ACCA", Shape::Capitals(16)),
    pattern("pattern.github", "ghp_", Shape::Alnum(20)),
    pattern("pattern.github", "gho_", Shape::Alnum(20)),
    pattern("pattern.github", "ghu_", Shape::Alnum(20)),
    pattern("pattern.github", "ghs_", Shape::Alnum(20)),
    pattern("pattern.github", "ghr_", Shape::Alnum(20)),
    pattern("pattern.github", "github_pat_", Shape::Word(20)),
    pattern("pattern.gitlab", "glpat-", Shape::Word(16)),
    pattern("pattern.gitlab", "gldt-", Shape::Word(16)),
    pattern("pattern.gitlab", "glrt-", Shape::Word(16)),
    pattern("pattern.gitlab", "glptt-", Shape::Word(16)),
    pattern("pattern.gitlab", "glcbt-", Shape::Word(16)),
    pattern("pattern.gitlab", "glsoat-", Shape::Word(16)),
    pattern("pattern.slack", "xoxb-", Shape::Word(10)),
    pattern("pattern.slack", "xoxa-", Shape::Word(10)),
    pattern("pattern.slack", "xoxp-", Shape::Word(10)),
    pattern("pattern.slack", "xoxr-", Shape::Word(10)),
    pattern("pattern.slack", "xoxs-", Shape::Word(10)),
    pattern("pattern.slack", "xoxe-", Shape::Word(10)),
    pattern("pattern.slack", "xoxc-", Shape::Word(10)),
    pattern("pattern.slack", "xoxd-", Shape::Word(10)),
    pattern("pattern.slack", "xapp-", Shape::Word(10)),
    pattern("pattern.slack", "hooks.slack.com/services/", Shape::Path(20)),
    pattern("pattern.google", "AIza", Shape::Word(30)),
    pattern("pattern.google", "ya29.", Shape::Word(20)),
    pattern("pattern.google", "GOCSPX-", Shape::Word(20)),
    pattern("pattern.huggingface", "hf_", Shape::Alnum(20)),
    pattern("pattern.sendgrid", "SG.", Shape::Dotted(32)),
    pattern("pattern.stripe", "sk_live_", Shape::Alnum(16)),
    pattern("pattern.stripe", "sk_test_", Shape::Alnum(16)),
    pattern("pattern.stripe", "rk_live_", Shape::Alnum(16)),
    pattern("pattern.stripe", "rk_test_", Shape::Alnum(16)),
    pattern("pattern.stripe", "whsec_", Shape::Alnum(16)),
    pattern("pattern.npm", "npm_", Shape::Alnum(30)),
    pattern("pattern.pypi", "pypi-", Shape::Word(40)),
    pattern("pattern.docker", "dckr_pat_", Shape::Word(20)),
    pattern("pattern.digitalocean", "dop_v1_", Shape::Hex(32)),
    pattern("pattern.digitalocean", "doo_v1_", Shape::Hex(32)),
    pattern("pattern.shopify", "shpat_", Shape::Hex(32)),
    pattern("pattern.shopify", "shpss_", Shape::Hex(32)),
    pattern("pattern.shopify", "shpca_", Shape::Hex(32)),
    pattern("pattern.shopify", "shppa_", Shape::Hex(32)),
    pattern("pattern.groq", "gsk_", Shape::Alnum(20)),
    pattern("pattern.perplexity", "pplx-", Shape::Alnum(20)),
    pattern("pattern.xai", "xai-", Shape::Alnum(20)),
    pattern("pattern.replicate", "r8_", Shape::Alnum(30)),
    pattern("pattern.tavily", "tvly-", Shape::Word(16)),
    pattern("pattern.langsmith", "lsv2_", Shape::Word(30)),
    pattern("pattern.nvidia", "nvapi-", Shape::Word(30)),
    pattern("pattern.databricks", "dapi", Shape::Hex(32)),
    pattern("pattern.linear", "lin_api_", Shape::Alnum(20)),
    pattern("pattern.notion", "ntn_", Shape::Alnum(30)),
    pattern("pattern.vault", "hvs.", Shape::Word(20)),
    pattern("pattern.vault", "hvb.", Shape::Word(20)),
    pattern("pattern.grafana", "glsa_", Shape::Word(20)),
    pattern("pattern.grafana", "glc_", Shape::Word(20)),
    pattern("pattern.sentry", "sntrys_", Shape::Word(20)),
    pattern("pattern.atlassian", "ATATT3", Shape::Word(20)),
    pattern("pattern.postman", "PMAK-", Shape::Word(20)),
    pattern("pattern.mailgun", "key-", Shape::Hex(32)),
    pattern("pattern.newrelic", "NRAK-", Shape::Alnum(20)),
    pattern("pattern.square", "sq0atp-", Shape::Word(20)),
    pattern("pattern.square", "sq0csp-", Shape::Word(20)),
    pattern("pattern.age", "AGE-SECRET-KEY-1", Shape::Alnum(40)),
    pattern("pattern.telegram", ":AA", Shape::Bot),
    pattern("pattern.otas", "agent_", Shape::AgentKey),
    pattern("pattern.jwt", "eyJ", Shape::Jwt),
    pattern("pattern.pem", "-----BEGIN ", Shape::Pem),
    pattern("pattern.bearer", "bearer ", Shape::Bearer),
    pattern("pattern.basic", "basic ", Shape::Basic),
];

/// Fewer characters than this of a secret that a cut leaves give nothing away.
const CUT_MIN_BYTES: usize = 4;

/// A private key has not more than this many bytes.
const PEM_MAX_BYTES: usize = 64 * 1024;

impl Pattern {
    /// A text that it finds, made up from its shape.
    pub(super) fn example(&self) -> String {
        let of = |alphabet: &str, length: usize| alphabet.chars().cycle().take(length).collect::<String>();
        let rest = match self.shape {
            Shape::Alnum(min) | Shape::Word(min) | Shape::Mixed(min) | Shape::Path(min) => of("aB3dE6gH9", min),
            Shape::Hex(min) => of("0123456789abcdef", min),
            Shape::Capitals(count) => of("AB3DE6", count),
            Shape::Dotted(min) => format!("{}.{}", of("aB3dE6", min / 2), of("gH9jK2", min / 2 + 1)),
            Shape::Jwt => format!("{}.{}.{}", of("hbGciOi9", 12), of("eyJzdWIi", 12), of("aB3dE6gH9", 12)),
            Shape::Pem => "PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----".to_owned(),
            Shape::Bearer => of("aB3dE6gH9", 24),
            Shape::Basic => "YWRhOnBhNTV3MHJk".to_owned(),
            Shape::AgentKey => format!("{}_{}", of("aB3dE6", 8), of("gH9jK2", 24)),
            Shape::Bot => of("aB3dE6gH9", 33),
        };
        let before = if matches!(self.shape, Shape::Bot) { "123456789" } else { "" };
        format!("{before}{}{rest}", self.prefix)
    }

    /// What is shown of it: the end of a private key says nothing.
    pub(super) fn show(&self) -> Show {
        if matches!(self.shape, Shape::Pem) { Show::Password } else { Show::Token }
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
        if !matches!(self.shape, Shape::Bot | Shape::Pem | Shape::Path(_)) && !begins(text, start) {
            return None;
        }
        let plain = |end: usize, min: usize| {
            let breaks_off = cut && end == text.len() && end - after >= CUT_MIN_BYTES;
            (end - after >= min || breaks_off).then_some((start, end))
        };
        match self.shape {
            Shape::Alnum(min) => plain(runs.end(Class::Alnum, after), min),
            Shape::Word(min) => plain(runs.end(Class::Word, after), min),
            Shape::Hex(min) => plain(runs.end(Class::Hex, after), min),
            Shape::Capitals(count) => {
                let end = runs.end(Class::Capitals, after);
                if end - after > count { None } else { plain(end, count) }
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
                let sound = second < end && first - start >= 10 && second - first > 4;
                if sound { Some((start, end)) } else { plain(end, usize::MAX) }
            }
            Shape::Pem => pem(runs, start, after),
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
            Shape::Path(min) => plain(runs.end(Class::Path, after), min).map(|(_, end)| (after, end)),
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
    (6..=4096).contains(&text.len())
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
    use super::*;

    fn found(text: &str, cut: bool) -> Option<&str> {
        let lower = text.to_ascii_lowercase();
        PATTERNS.iter().find_map(|pattern| {
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
        for pattern in PATTERNS {
            let example = pattern.example();
            let start = example.find(pattern.prefix).unwrap();
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
