//! The names of secrets: header fields, JSON members, form fields and query parameters.
//!
//! A name matches if it ends in whole segments of a known one: `user_access_token`, `userAccessToken` and `user-access-token` end
//! in `access_token`, and `max_tokens` does not.

mod headers;
mod keys;

use std::collections::HashMap;

use foldhash::fast::RandomState;

pub(super) use self::headers::{HEADERS, HeaderKind};
pub(super) use self::keys::{KEYS, Kind, WORDS};

use self::keys::{HARMLESS_TOKENS, SPELLINGS};

/// Longer names are not looked up, in bytes.
const LONGEST: usize = 64;

/// The rule on a key: its id, and how the value is masked.
pub(super) type KeyRule<'a> = (&'a str, Kind);

/// All names, with those of the operator.
pub(super) struct Names {
    /// The names are ours and the operator's, so nobody can choose ones with the same hash.
    keys: HashMap<Box<[u8]>, (Box<str>, Kind), RandomState>,
    headers: Vec<(Box<str>, HeaderKind)>,
    /// The places of whole names in [`HEADERS`], and of the ends of names there.
    known: HashMap<&'static str, usize, RandomState>,
    ends: Vec<(&'static str, usize)>,
}

impl Names {
    /// Our names, and these header fields and keys of the operator.
    pub(super) fn new(headers: &[String], keys: &[String]) -> Self {
        let mut all: HashMap<Box<[u8]>, (Box<str>, Kind), RandomState> = HashMap::default();
        let mut add = |name: &str, id: &str, kind| all.insert(name.as_bytes().into(), (id.into(), kind));
        for (id, kind) in KEYS {
            add(id.trim_start_matches("key."), id, *kind);
        }
        for (name, id) in SPELLINGS {
            if let Some((id, kind)) = KEYS.iter().find(|(known, _)| known == id) {
                add(name, id, *kind);
            }
        }
        for key in keys {
            let name = String::from_utf8_lossy(normal(key.as_bytes(), &mut [0; LONGEST])).into_owned();
            add(&name, &format!("key.{name}"), Kind::Token);
        }
        let header = |name: &String| (format!("header.{}", name.to_ascii_lowercase()).into(), HeaderKind::Secret);
        let patterns = || HEADERS.iter().map(|(id, _)| &id["header.".len()..]).zip(0..);
        let known = patterns().filter(|(pattern, _)| !pattern.starts_with('*')).collect();
        let ends = patterns().filter_map(|(pattern, at)| Some((pattern.strip_prefix('*')?, at))).collect();
        Self { keys: all, headers: headers.iter().map(header).collect(), known, ends }
    }

    /// The ids of all rules on names.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        let headers = HEADERS.iter().map(|(id, _)| *id).chain(self.headers.iter().map(|(id, _)| &**id));
        headers.chain(self.keys.values().map(|(id, _)| &**id))
    }

    /// The rule on a header field (lower case). `_` counts as `-`: some gateways pass fields on as variables.
    pub(super) fn header(&self, name: &str) -> Option<(&str, HeaderKind)> {
        if name.contains('_') {
            return self.header(&name.replace('_', "-"));
        }
        // This is called for every field of every event. The last letter rules most names out.
        if !self.headers.is_empty()
            && let Some((id, kind)) = self.headers.iter().find(|(id, _)| covers(&id["header.".len()..], name))
        {
            return Some((id, *kind));
        }
        if !matches!(
            name.as_bytes().last(),
            Some(b'n' | b'e' | b'o' | b'l' | b'r' | b'k' | b'h' | b'y' | b't' | b'd')
        ) {
            return None;
        }
        // The first rule that covers the name.
        let ends = self.ends.iter().find(|(end, _)| name.ends_with(end)).map(|(_, at)| at);
        let first = self.known.get(name).into_iter().chain(ends).min()?;
        HEADERS.get(*first).copied()
    }

    /// The rule on a JSON member, a form field or a query parameter. `user[password]` counts as `password`.
    pub(super) fn key(&self, name: &[u8]) -> Option<KeyRule<'_>> {
        let name = match name {
            [b'"', inner @ .., b'"'] => inner,
            name => name,
        };
        let name = name.strip_suffix(b"[]").unwrap_or(name);
        let name = match name.strip_suffix(b"]") {
            Some(inner) => inner.rsplit(|byte| *byte == b'[').next().unwrap_or(name),
            None => name,
        };
        if name.is_empty() || name.len() > LONGEST - 8 {
            return None;
        }
        let mut buffer = [0; LONGEST];
        let name = normal(name, &mut buffer);
        let mut rest = name;
        loop {
            if let Some((id, kind)) = self.keys.get(rest) {
                let whole = rest.len() == name.len();
                // Short names have a meaning only alone.
                return match kind {
                    Kind::Parameter if !whole => None,
                    Kind::Password if !whole && rest == b"pass" => None,
                    Kind::Opaque if harmless(&name[..name.len() - rest.len()]) => None,
                    kind => Some((id, *kind)),
                };
            }
            let Some(next) = rest.iter().position(|byte| *byte == b'_') else { break };
            rest = &rest[next + 1..];
        }
        session(name)
    }
}

/// An example of what a rule on names finds. `None` for the operator's own rules.
pub(super) fn example(id: &str) -> Option<String> {
    if let Some(name) = id.strip_prefix("header.") {
        HEADERS.iter().find(|(known, _)| *known == id)?;
        return Some(format!("{}: …", name.replace('*', "x")));
    }
    let (_, kind) = KEYS.iter().find(|(known, _)| *known == id)?;
    let name = id.trim_start_matches("key.");
    Some(if *kind == Kind::Parameter { format!("?{name}=…") } else { format!("{name}=…, \"{name}\": \"…\"") })
}

/// The last segment of a key. Each spelling of the key contains it, in some case.
pub(super) fn last_segment(key: &str) -> String {
    let mut buffer = [0; LONGEST];
    let name = normal(key.as_bytes(), &mut buffer);
    String::from_utf8_lossy(name.rsplit(|byte| *byte == b'_').next().unwrap_or(name)).into_owned()
}

/// `*-token` covers `x-auth-token`.
fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => name.ends_with(end),
        None => pattern == name,
    }
}

fn harmless(before: &[u8]) -> bool {
    let before = before.strip_suffix(b"_").unwrap_or(before);
    before.split(|byte| *byte == b'_').any(|segment| HARMLESS_TOKENS.iter().any(|word| word.as_bytes() == segment))
}

/// The rule on `session_…`, unless the rest names a fact about a session.
fn session(name: &[u8]) -> Option<KeyRule<'static>> {
    let rest = name.strip_prefix(b"session_")?;
    let last = rest.rsplit(|byte| *byte == b'_').next()?;
    const SECRETIVE: [&[u8]; 7] = [b"id", b"key", b"token", b"secret", b"cookie", b"data", b"value"];
    SECRETIVE.contains(&last).then_some(("key.session_id", Kind::Token))
}

/// The name in lower case, with `_` between segments, cut off at the end of the buffer.
fn normal<'b>(name: &[u8], buffer: &'b mut [u8; LONGEST]) -> &'b [u8] {
    let mut length = 0;
    let mut push = |byte: u8, length: &mut usize| {
        if let Some(place) = buffer.get_mut(*length) {
            *place = byte;
            *length += 1;
        }
    };
    for (at, byte) in name.iter().copied().enumerate() {
        let before = at.checked_sub(1).map(|at| name[at]);
        let lower_follows = name.get(at + 1).is_some_and(u8::is_ascii_lowercase);
        let humps = byte.is_ascii_uppercase()
            && before
                .is_some_and(|before| before.is_ascii_lowercase() || (before.is_ascii_uppercase() && lower_follows));
        if humps {
            push(b'_', &mut length);
        }
        let separates = matches!(byte, b'-' | b'.' | b' ' | b':' | b'/' | b'$');
        push(if separates { b'_' } else { byte.to_ascii_lowercase() }, &mut length);
    }
    &buffer[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Option<(String, Kind)> {
        let names = Names::new(&["X-Acme".to_owned()], &["employeeNumber".to_owned()]);
        names.key(name.as_bytes()).map(|(id, kind)| (id.to_owned(), kind))
    }

    #[test]
    fn keys_match_by_whole_segments_however_they_are_spelt() {
        for (name, id) in [
            ("password", "key.password"),
            ("userPassword", "key.password"),
            ("DB_PASSWORD", "key.password"),
            ("spring.datasource.password", "key.password"),
            ("openaiAPIKey", "key.api_key"),
            ("x-api-key", "key.api_key"),
            ("apikey", "key.api_key"),
            ("AWS_SECRET_ACCESS_KEY", "key.secret_key"),
            ("user[password]", "key.password"),
            ("token[]", "key.token"),
            ("X-Amz-Signature", "key.x_amz_signature"),
            ("bot_token", "key.token"),
            ("session_id", "key.session_id"),
            ("session_refresh_token", "key.refresh_token"),
            ("session_cookie_value", "key.session_id"),
            ("the_employee_number", "key.employee_number"),
        ] {
            assert_eq!(key(name).map(|(id, _)| id).as_deref(), Some(id), "{name}");
        }
        for name in [
            "max_tokens",
            "total_tokens",
            "tokens",
            "token_count",
            "tokenizer",
            "next_page_token",
            "nextPageToken",
            "eos_token",
            "monkey",
            "cache_key",
            "idempotency_key",
            "spin",
            "pinned",
            "passage",
            "author",
            "session_title",
            "sessions",
            "opinion",
            "public_key",
            "status_code",
            "",
        ] {
            assert_eq!(key(name), None, "{name}");
        }
    }

    #[test]
    fn header_fields_match_by_name_or_by_their_end() {
        let names = Names::new(&["X-Acme".to_owned(), "*-ticket".to_owned()], &[]);
        for (name, id) in [
            ("authorization", Some("header.authorization")),
            ("x-goog-api-key", Some("header.*-api-key")),
            ("x-amz-security-token", Some("header.*-token")),
            ("x-acme", Some("header.x-acme")),
            ("x-kerberos-ticket", Some("header.*-ticket")),
            ("x_api_key", Some("header.*-api-key")),
            ("dd-application-key", Some("header.*-application-key")),
            ("fastly-key", Some("header.fastly-key")),
            ("x-ratelimit-limit-tokens", None),
            ("surrogate-key", None),
            ("sec-websocket-key", None),
            ("etag", None),
            ("idempotency-key", None),
        ] {
            assert_eq!(names.header(name).map(|(id, _)| id), id, "{name}");
        }
        for (id, _) in HEADERS {
            let name = id.trim_start_matches("header.").replace('*', "x");
            assert!(names.header(&name).is_some(), "{id} is ruled out by its last letter");
            let first = HEADERS.iter().find(|(id, _)| covers(&id["header.".len()..], &name)).copied();
            assert_eq!(names.header(&name), first, "{name}");
        }
    }

    #[test]
    fn every_key_that_texts_are_searched_for_holds_a_word_of_the_search() {
        let spelt = SPELLINGS.iter().map(|(name, id)| (*name, *id));
        let named = KEYS.iter().map(|(id, _)| (&id["key.".len()..], *id));
        for (name, id) in named.chain(spelt) {
            let kind = KEYS.iter().find(|(known, _)| *known == id).unwrap().1;
            assert!(kind == Kind::Parameter || WORDS.iter().any(|word| name.contains(word)), "{name}");
        }
    }
}
