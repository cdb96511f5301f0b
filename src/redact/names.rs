//! The names that secrets go by: of header fields, of JSON members, form fields and query parameters.
//!
//! Names match by whole segments, from the end: `user_access_token`, `userAccessToken` and `user-access-token` end in
//! `access_token`, and `max_tokens` does not.

use std::collections::HashMap;

/// How the value of a header field is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderKind {
    /// All of it.
    Secret,
    /// All but the scheme.
    Credentials,
    /// `name=value; name=value`.
    Cookies,
    /// `name=value; attributes`.
    SetCookie,
    /// `Scheme nonce=…, realm=…`.
    Challenge,
    /// A list that may hold a key.
    Subprotocols,
    /// URLs in it.
    Url,
}

/// Header fields by name (lower case), or by its end where it begins with `*`.
pub(super) const HEADERS: &[(&str, HeaderKind)] = &[
    ("header.authorization", HeaderKind::Credentials),
    ("header.proxy-authorization", HeaderKind::Credentials),
    ("header.cookie", HeaderKind::Cookies),
    ("header.set-cookie", HeaderKind::SetCookie),
    ("header.www-authenticate", HeaderKind::Challenge),
    ("header.proxy-authenticate", HeaderKind::Challenge),
    ("header.authentication-info", HeaderKind::Challenge),
    ("header.proxy-authentication-info", HeaderKind::Challenge),
    ("header.sec-websocket-protocol", HeaderKind::Subprotocols),
    ("header.location", HeaderKind::Url),
    ("header.content-location", HeaderKind::Url),
    ("header.referer", HeaderKind::Url),
    ("header.link", HeaderKind::Url),
    ("header.refresh", HeaderKind::Url),
    ("header.api-key", HeaderKind::Secret),
    ("header.apikey", HeaderKind::Secret),
    ("header.x-otas-agent-key", HeaderKind::Secret),
    ("header.ocp-apim-subscription-key", HeaderKind::Secret),
    ("header.*-token", HeaderKind::Secret),
    ("header.*-secret", HeaderKind::Secret),
    ("header.*-api-key", HeaderKind::Secret),
    ("header.*-apikey", HeaderKind::Secret),
    ("header.*-auth-key", HeaderKind::Secret),
    ("header.*-rapidapi-key", HeaderKind::Secret),
    ("header.*-mashape-key", HeaderKind::Secret),
    ("header.*-functions-key", HeaderKind::Secret),
    ("header.*-application-key", HeaderKind::Secret),
    ("header.*-secret-key", HeaderKind::Secret),
    ("header.*-access-key", HeaderKind::Secret),
    ("header.*-private-key", HeaderKind::Secret),
    ("header.*-master-key", HeaderKind::Secret),
    ("header.*-admin-key", HeaderKind::Secret),
    ("header.*-service-key", HeaderKind::Secret),
    ("header.*-subscription-key", HeaderKind::Secret),
    ("header.*-account-key", HeaderKind::Secret),
    ("header.*-license-key", HeaderKind::Secret),
    ("header.*-app-key", HeaderKind::Secret),
    ("header.*-customer-key", HeaderKind::Secret),
    ("header.*-session-key", HeaderKind::Secret),
    ("header.*-passphrase", HeaderKind::Secret),
    ("header.*-assertion", HeaderKind::Secret),
    ("header.access-key", HeaderKind::Secret),
    ("header.secret-key", HeaderKind::Secret),
    ("header.fastly-key", HeaderKind::Secret),
    ("header.accesskey", HeaderKind::Secret),
    ("header.subscription-key", HeaderKind::Secret),
    ("header.password", HeaderKind::Secret),
    ("header.secret", HeaderKind::Secret),
    ("header.*-signature", HeaderKind::Secret),
    ("header.*-authorization", HeaderKind::Secret),
    ("header.*-password", HeaderKind::Secret),
    ("header.token", HeaderKind::Secret),
    ("header.*-session-id", HeaderKind::Secret),
];

/// How much the value of a key may show, and when it is masked at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Made by a machine: the end tells two apart and gives nothing away.
    Token,
    /// Made by a person: its end is a good part of it.
    Password,
    /// The same, and a secret also when it is a number.
    Digits,
    /// `Bearer abc`: the scheme is kept.
    Credentials,
    /// In a text only if it looks like a key: the name has other meanings there. In a query or a form always.
    Opaque,
    /// A secret in a query or a form; elsewhere its name means something else.
    Parameter,
}

/// Rule ids and kinds; the name is what follows `key.`. Some have a second spelling without separators.
pub(super) const KEYS: &[(&str, Kind)] = &[
    ("key.password", Kind::Password),
    ("key.passwd", Kind::Password),
    ("key.pass", Kind::Password),
    ("key.pwd", Kind::Password),
    ("key.passphrase", Kind::Password),
    ("key.passcode", Kind::Password),
    ("key.otp", Kind::Digits),
    ("key.pin", Kind::Digits),
    ("key.pin_code", Kind::Digits),
    ("key.cvv", Kind::Digits),
    ("key.cvc", Kind::Digits),
    ("key.card_number", Kind::Digits),
    ("key.secret", Kind::Token),
    ("key.secrets", Kind::Token),
    ("key.client_secret", Kind::Token),
    ("key.secret_key", Kind::Token),
    ("key.access_key", Kind::Token),
    ("key.api_key", Kind::Token),
    ("key.api_keys", Kind::Token),
    ("key.private_key", Kind::Token),
    ("key.agent_key", Kind::Token),
    ("key.account_key", Kind::Token),
    ("key.signing_key", Kind::Token),
    ("key.encryption_key", Kind::Token),
    ("key.subscription_key", Kind::Token),
    ("key.access_token", Kind::Token),
    ("key.refresh_token", Kind::Token),
    ("key.id_token", Kind::Token),
    ("key.auth_token", Kind::Token),
    ("key.bearer_token", Kind::Token),
    ("key.session_token", Kind::Token),
    ("key.security_token", Kind::Token),
    ("key.csrf_token", Kind::Token),
    ("key.jwt_token", Kind::Token),
    ("key.authorization", Kind::Credentials),
    ("key.credential", Kind::Token),
    ("key.credentials", Kind::Token),
    ("key.cookie", Kind::Token),
    ("key.cookies", Kind::Token),
    ("key.assertion", Kind::Token),
    ("key.code_verifier", Kind::Token),
    ("key.device_code", Kind::Token),
    ("key.samlresponse", Kind::Token),
    ("key.token", Kind::Opaque),
    ("key.auth", Kind::Opaque),
    ("key.session", Kind::Opaque),
    ("key.session_id", Kind::Token),
    ("key.session_key", Kind::Token),
    ("key.sessid", Kind::Token),
    ("key.key", Kind::Parameter),
    ("key.sig", Kind::Parameter),
    ("key.signature", Kind::Parameter),
    ("key.code", Kind::Parameter),
    ("key.state", Kind::Parameter),
    ("key.x_amz_signature", Kind::Token),
    ("key.x_amz_credential", Kind::Token),
    ("key.x_amz_security_token", Kind::Token),
    ("key.x_goog_signature", Kind::Token),
    ("key.x_goog_credential", Kind::Token),
    ("key.awsaccesskeyid", Kind::Token),
    ("key.sv", Kind::Parameter),
    ("key.se", Kind::Parameter),
    ("key.hdnts", Kind::Parameter),
];

/// Other spellings of keys above.
const SPELLINGS: &[(&str, &str)] = &[
    ("accesstoken", "key.access_token"),
    ("refreshtoken", "key.refresh_token"),
    ("idtoken", "key.id_token"),
    ("authtoken", "key.auth_token"),
    ("sessiontoken", "key.session_token"),
    ("csrftoken", "key.csrf_token"),
    ("xsrf_token", "key.csrf_token"),
    ("apikey", "key.api_key"),
    ("apikeys", "key.api_keys"),
    ("accesskey", "key.access_key"),
    ("secretkey", "key.secret_key"),
    ("secret_access_key", "key.secret_key"),
    ("privatekey", "key.private_key"),
    ("accountkey", "key.account_key"),
    ("subscriptionkey", "key.subscription_key"),
    ("clientsecret", "key.client_secret"),
    ("cardnumber", "key.card_number"),
    ("card_no", "key.card_number"),
    ("cvv2", "key.cvv"),
    ("passwort", "key.password"),
    ("kennwort", "key.password"),
    ("passe", "key.password"),
    ("contraseña", "key.password"),
    // UTF-8 that was declared as Latin-1.
    ("contraseÃ±a", "key.password"),
    ("pgpassword", "key.password"),
    ("db_pass", "key.password"),
    ("smtp_pass", "key.password"),
    ("become_pass", "key.password"),
    ("user_pass", "key.password"),
    ("mysql_pass", "key.password"),
    ("redis_pass", "key.password"),
    ("set_cookie", "key.cookie"),
    ("sessionid", "key.session_id"),
    ("sessionkey", "key.session_key"),
    ("phpsessid", "key.sessid"),
    ("jsessionid", "key.sessid"),
    ("saml_response", "key.samlresponse"),
    ("aws_access_key_id", "key.awsaccesskeyid"),
];

/// What, in lower case, is somewhere in each name that is looked for in texts. Whoever searches a text searches for these.
pub(super) const WORDS: &[&str] = &[
    "pass",
    "kennwort",
    "contraseña",
    "contraseÃ±a",
    "pwd",
    "otp",
    "pin",
    "cvv",
    "cvc",
    "card",
    "secret",
    "key",
    "token",
    "auth",
    "credential",
    "cookie",
    "assertion",
    "verifier",
    "device_code",
    "devicecode",
    "saml",
    "sess",
    "sig",
];

/// Last segments that make of `…_token` the name of a place in a list or of a symbol, not of a secret.
const HARMLESS_TOKENS: &[&str] = &[
    "page",
    "next",
    "prev",
    "previous",
    "sync",
    "continuation",
    "cursor",
    "pagination",
    "resume",
    "delta",
    "eos",
    "bos",
    "pad",
    "unk",
    "sep",
    "cls",
    "mask",
    "stop",
    "start",
    "end",
    "special",
    "added",
    "last",
    "first",
];

/// The longest name that is looked at, in bytes.
const LONGEST: usize = 64;

/// A key's rule: what it is called, and how its value is masked.
pub(super) type KeyRule<'a> = (&'a str, Kind);

/// All names, the operator's own among them.
pub(super) struct Names {
    keys: HashMap<Box<[u8]>, (Box<str>, Kind)>,
    headers: Vec<(Box<str>, HeaderKind)>,
}

impl Names {
    /// Ours, and these header fields and keys of the operator's.
    pub(super) fn new(headers: &[String], keys: &[String]) -> Self {
        let mut all: HashMap<Box<[u8]>, (Box<str>, Kind)> = HashMap::new();
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
        Self { keys: all, headers: headers.iter().map(header).collect() }
    }

    /// The ids of all rules on names.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        let headers = HEADERS.iter().map(|(id, _)| *id).chain(self.headers.iter().map(|(id, _)| &**id));
        headers.chain(self.keys.values().map(|(id, _)| &**id))
    }

    /// What holds for a header field (lower case). `_` is `-` to the gateways that pass fields on as variables.
    pub(super) fn header(&self, name: &str) -> Option<(&str, HeaderKind)> {
        if name.contains('_') {
            return self.header(&name.replace('_', "-"));
        }
        // Asked for every field of every event: most names end like none of ours.
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
        HEADERS.iter().find(|(id, _)| covers(&id["header.".len()..], name)).copied()
    }

    /// What holds for a JSON member, a form field or a query parameter. `user[password]` counts as `password`.
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
                // Short names mean something only alone.
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

/// What a rule on names finds, as an example. `None`: the operator's own.
pub(super) fn example(id: &str) -> Option<String> {
    if let Some(name) = id.strip_prefix("header.") {
        HEADERS.iter().find(|(known, _)| *known == id)?;
        return Some(format!("{}: …", name.replace('*', "x")));
    }
    let (_, kind) = KEYS.iter().find(|(known, _)| *known == id)?;
    let name = id.trim_start_matches("key.");
    Some(if *kind == Kind::Parameter { format!("?{name}=…") } else { format!("{name}=…, \"{name}\": \"…\"") })
}

/// The last segment of a key: it stands in each writing of it, but for its case.
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

/// `session_…`, unless the rest says that it is a fact about a session.
fn session(name: &[u8]) -> Option<KeyRule<'static>> {
    let rest = name.strip_prefix(b"session_")?;
    let last = rest.rsplit(|byte| *byte == b'_').next()?;
    const SECRETIVE: [&[u8]; 7] = [b"id", b"key", b"token", b"secret", b"cookie", b"data", b"value"];
    SECRETIVE.contains(&last).then_some(("key.session_id", Kind::Token))
}

/// Lower case, with `_` between segments; what does not fit is cut off.
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
            assert!(names.header(&name).is_some(), "{id} is passed over by its last letter");
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
