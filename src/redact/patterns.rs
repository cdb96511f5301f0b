//! The formats of known secrets, which are found under any name. Each format begins with a prefix, so one search finds all of
//! them; `verify` checks the characters behind the prefix.

mod checksum;
mod verify;

use self::checksum::{BODY_BYTES, checksum};
use super::finding::Show;
use super::runs::Class;

/// One format.
pub(super) struct Pattern {
    /// The id of its rule.
    pub(super) id: &'static str,
    /// The service whose tokens have it.
    pub(super) service: &'static str,
    /// The prefix. Its case matters, except for schemes.
    pub(super) prefix: &'static str,
    /// What follows the prefix.
    shape: Shape,
    /// The page, or the rule of a public set, that states the format.
    pub(super) source: &'static str,
}

/// What follows the prefix of a format.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// So many characters of a class, at least and at most.
    Run(Class, usize, usize),
    /// So many letters and digits at least. Of 36, the last six are a checksum of the others: with a right checksum the token is
    /// found even inside a longer word. With a wrong one it is masked as well.
    Checked(usize),
    /// So many letters, digits, `-` and `_` at least, but not words with hyphens: names of styles also begin with `sk-`.
    Mixed(usize),
    /// So many letters, digits, `-`, `_` and dots at least, with one dot or more.
    Dotted(usize),
    /// Three parts or more in base64url, of which the second (RFC 7516, section 7.1) or the last (RFC 7515, section 3.1) may
    /// be empty.
    Jwt,
    /// Up to the end of a private key (RFC 7468).
    Pem,
    /// The number of lines, then the lines in base64.
    Lines,
    /// Parts separated by `$`. The last has so many characters at least.
    Crypt(usize),
    /// Rounds, salt and keys, as a SCRAM server stores them.
    Scram,
    /// Credentials behind their scheme, which is shown (RFC 6750, section 2.1).
    Bearer,
    /// The base64 of `user:password` behind its scheme, which is shown (RFC 7617, section 2).
    Basic,
    /// A path that gives the right to post, behind a host that is shown: so many characters of a class at least.
    Behind(Class, usize),
    /// So many characters of a class before it, exactly, and so many after it, at least.
    Around(usize, Class, usize),
    /// `agent_<prefix>_<secret>`, OTAS's own.
    AgentKey,
    /// A token behind the number of a bot.
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

impl Pattern {
    /// A text that has this format.
    pub(super) fn example(&self) -> String {
        let of = |alphabet: &str, length: usize| alphabet.chars().cycle().take(length).collect::<String>();
        let rest = match self.shape {
            Shape::Run(class, min, _) => of(class.sample(), min),
            Shape::Checked(_) => {
                let body = of("aB3dE6gH9", BODY_BYTES);
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

    /// How it is masked. The end of a private key says nothing, and the end of a hash reveals too much.
    pub(super) fn show(&self) -> Show {
        match self.shape {
            Shape::Pem | Shape::Lines | Shape::Crypt(_) | Shape::Scram => Show::Password,
            _ => Show::Token,
        }
    }

    /// Whether the prefix is found in any case. People write schemes in every case.
    fn any_case(&self) -> bool {
        matches!(self.shape, Shape::Bearer | Shape::Basic)
    }
}

#[cfg(test)]
mod tests {
    use super::super::formats;
    use super::super::runs::Runs;

    fn found(text: &str, cut: bool) -> Option<&str> {
        let lower = text.to_ascii_lowercase();
        formats::all().find_map(|pattern| {
            let start = lower.find(&pattern.prefix.to_ascii_lowercase())?;
            Some(&text[pattern.verify(&mut Runs::of(text.as_bytes()), start, cut)?])
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
            ("agent_LVy-8u3nkxM_CTuL0DmCVU2u3_-twd9", "agent_LVy-8u3nkxM_CTuL0DmCVU2u3_-twd9"),
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
    fn other_texts_with_a_prefix_are_left() {
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
            "agent_definitions_of_2024_in_a_folder",
            "12:AAabcdefghijklmnopqrstuvwxyz012345678",
            "hf_transfer",
        ] {
            assert_eq!(found(text, false), None, "{text}");
        }
    }

    #[test]
    fn the_rest_of_a_cut_secret_is_found_too() {
        assert_eq!(found("x sk-ant-abcd", true), Some("sk-ant-abcd"));
        assert_eq!(found("x sk-ant-abcd", false), None);
        assert_eq!(found("x sk-ant-abcd y", true), None);
        assert_eq!(found("x eyJhbGci", true), Some("eyJhbGci"));
    }
}
