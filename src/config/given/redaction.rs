//! `[redact]`: further names and patterns to mask, and exceptions.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};
use toml::Spanned;
use toml::de::DeValue;

use super::value::{Given, Refused, Value, bad};
use crate::redact::RedactAllow;

const HEADERS: &str = "a list of header fields such as `[\"x-acme-ticket\", \"*-ticket\"]`";
const KEYS: &str = "a list of names such as `[\"employee_number\"]`";
const PATTERNS: &str = "a table of names and regular expressions such as `acme = \"acme_[0-9a-f]{32}\"`";
const ALLOW: &str =
    "a list such as `[{ hosts = [\"api.example.com\"], path = \"/v1/*\", rules = [\"key.session_id\"] }]`";
/// The most memory that one regular expression may take.
const REGEX_MAX_BYTES: usize = 1 << 20;

impl Given<'_> {
    /// Header fields, by name or by their end.
    pub(in crate::config) fn header_names(&self) -> Result<Vec<String>, Refused> {
        self.list(HEADERS, |name| {
            let bare = name.strip_prefix('*').unwrap_or(name);
            match http::HeaderName::from_bytes(bare.as_bytes()) {
                Ok(_) if !bare.contains('*') => Ok(name.to_ascii_lowercase()),
                _ => Err("this is not the name of a header field, nor `*` and the end of one"),
            }
        })
    }

    /// Names of JSON members, form fields and query parameters.
    pub(in crate::config) fn redacted_keys(&self) -> Result<Vec<String>, Refused> {
        self.list(KEYS, |name| {
            let fits = (3..=48).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
                && name.bytes().last().is_some_and(|byte| byte.is_ascii_alphanumeric());
            if fits {
                Ok(name.to_owned())
            } else {
                Err("a name has 3 to 48 letters, digits, `_`, `-` and `.`, and ends in a letter or digit")
            }
        })
    }

    /// Regular expressions, each with a name.
    pub(in crate::config) fn patterns(&self) -> Result<Vec<(String, Regex)>, Refused> {
        let Value::Toml(value) = self.value else { return Err(self.wrong_type(PATTERNS)) };
        let table = value.get_ref().as_table().ok_or_else(|| self.wrong_type(PATTERNS))?;
        let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &Cow<'_, str> = name.get_ref();
            let refused = |reason: &str| Refused {
                span: Some(value.span()),
                entry: Some(name.clone().into_owned()),
                ..bad("a regular expression", reason)
            };
            let text = value.get_ref().as_str().ok_or_else(|| refused("it is not a text in quotes"))?;
            let regex = RegexBuilder::new(text).size_limit(REGEX_MAX_BYTES).build().map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => {
                    refused("it is too large, so searching with it would take long; limit or lower its repetitions")
                }
                // The last line of the message says why. The others repeat the expression.
                other => {
                    refused(&match other.to_string().lines().last().and_then(|line| line.strip_prefix("error: ")) {
                        Some(why) => format!("it is not valid: {why}"),
                        None => "it is not valid".to_owned(),
                    })
                }
            })?;
            if regex.is_match("") {
                return Err(refused("it matches the empty text"));
            }
            Ok((name.clone().into_owned(), regex))
        };
        table.iter().map(entry).collect()
    }

    /// Redaction rules that do not apply to some calls.
    pub(in crate::config) fn redact_allow(&self) -> Result<Vec<RedactAllow>, Refused> {
        self.tables(ALLOW, &["hosts", "path", "rules"], |entry| {
            let path = |given: Given<'_>| given.text("a path such as `\"/v1/*\"`").map(str::to_owned);
            let rules = |given: Given<'_>| {
                given.list("a list of rules such as `[\"key.session_id\"]`", |rule| Ok(rule.to_owned()))
            };
            Ok(RedactAllow {
                hosts: entry.required("hosts", |given| given.hosts())?,
                path: entry.optional("path", path)?,
                rules: entry.required("rules", rules)?,
            })
        })
    }
}
