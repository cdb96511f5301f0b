//! Header fields: which hold secrets, and what is shown of each.

use super::masking::Masking;
use super::names::{HeaderKind, Kind};

/// A subprotocol of at least this length is a key, not a name.
const SUBPROTOCOL_MAX_BYTES: usize = 40;
/// A subprotocol that has a word such as `token` is a key from this length on.
const SPOKEN_MIN_BYTES: usize = 20;

/// The rule on fields that name a session.
const OF_SESSIONS: &str = "header.*-session-id";
/// The field of MCP, whose value works like a bearer token.
const MCP_SESSION: &str = "mcp-session-id";

impl<'a> Masking<'a> {
    /// Masks the value of the header field `name` (lower case, as `http` keeps it). `None`: nothing to mask.
    pub fn header(&mut self, name: &str, value: &str) -> Option<String> {
        if value.is_empty() {
            return None;
        }
        let redactor = self.redactor;
        let Some((rule, kind)) = redactor.names.header(name) else { return self.other(value) };
        match kind {
            // The operator's own rules have other names, so they hold for these fields too.
            HeaderKind::Secret if rule == OF_SESSIONS && self.is_identity_field(name, value) => self.other(value),
            HeaderKind::Secret => self.shown_as(value, Kind::Token, rule),
            HeaderKind::Credentials => self.shown_as(value, Kind::Credentials, rule),
            HeaderKind::Cookies => self.cookies(value, usize::MAX, rule),
            HeaderKind::SetCookie => self.cookies(value, 1, rule),
            HeaderKind::Challenge => self.challenge(value, rule),
            HeaderKind::Subprotocols => self.subprotocols(value, rule),
            HeaderKind::Url => {
                let urls = self.urls(value);
                self.path(urls.as_deref().unwrap_or(value)).or(urls)
            }
        }
    }

    /// Whether a field with a name of a session holds an id of the agent.
    fn is_identity_field(&self, name: &str, value: &str) -> bool {
        name != MCP_SESSION && (self.identity.names(name) || self.is_id(value))
    }

    fn other(&mut self, value: &str) -> Option<String> {
        // One byte is found faster than three, so the colon is searched for first.
        let urls = if value.as_bytes().contains(&b':') && value.contains("://") { self.urls(value) } else { None };
        self.path(urls.as_deref().unwrap_or(value)).or(urls)
    }

    /// Masks the first `count` values of `name=value; name=value`; the others are attributes.
    fn cookies(&mut self, value: &str, count: usize, rule: &'a str) -> Option<String> {
        let mut out = String::with_capacity(value.len().min(1024));
        let mut found = false;
        for (index, part) in value.split(';').enumerate() {
            if index > 0 {
                out.push(';');
            }
            let (name, secret) = match part.split_once('=') {
                _ if index >= count => ("", ""),
                Some((name, secret)) if !name.trim().contains(' ') => (&part[..=name.len()], secret),
                // A name has no space (RFC 6265, section 4.1.1).
                Some(_) => ("", part),
                None if part.trim().is_empty() => ("", ""),
                None => ("", part),
            };
            match if secret.is_empty() { None } else { self.shown_as(secret, Kind::Token, rule) } {
                Some(shown) => {
                    out.push_str(name);
                    out.push_str(&shown);
                    found = true;
                }
                None => out.push_str(part),
            }
        }
        found.then_some(out)
    }

    /// Masks nonces, tokens, and the blob of `Negotiate <blob>`. Schemes, realms and errors are shown.
    fn challenge(&mut self, value: &str, rule: &'a str) -> Option<String> {
        let mut out = String::with_capacity(value.len().min(1024));
        let mut found = false;
        for (index, item) in outside_quotes(value, ',').into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            let secret = secret_of_challenge(item).filter(|start| *start < item.len());
            match secret.and_then(|start| Some((start, self.shown_as(&item[start..], Kind::Password, rule)?))) {
                Some((start, shown)) => {
                    out.push_str(&item[..start]);
                    out.push_str(&shown);
                    found = true;
                }
                None => out.push_str(item),
            }
        }
        found.then_some(out)
    }

    /// Masks keys among subprotocols: browsers cannot set headers on a WebSocket, so some APIs take the key there
    /// (`openai-insecure-api-key.sk-…`, or `bearer, <token>`).
    fn subprotocols(&mut self, value: &str, rule: &'a str) -> Option<String> {
        let mut out = String::with_capacity(value.len().min(1024));
        let (mut found, mut announced) = (false, false);
        for (index, item) in value.split(',').enumerate() {
            if index > 0 {
                out.push(',');
            }
            let lower = item.to_ascii_lowercase();
            let speaks =
                ["bearer", "api-key", "apikey", "token", "authorization"].iter().any(|word| lower.contains(word));
            let secret = item.trim();
            let masked =
                announced || secret.len() >= SUBPROTOCOL_MAX_BYTES || (speaks && secret.len() >= SPOKEN_MIN_BYTES);
            match if masked { self.shown_as(secret, Kind::Token, rule) } else { None } {
                Some(shown) => {
                    out.push_str(&item[..item.len() - item.trim_start().len()]);
                    out.push_str(&shown);
                    found = true;
                }
                None => out.push_str(item),
            }
            announced = speaks;
        }
        found.then_some(out)
    }
}

/// Where the secret begins in one comma-separated item of a challenge.
fn secret_of_challenge(item: &str) -> Option<usize> {
    let body = item.trim_end();
    if let Some(equals) = body.trim_end_matches('=').find('=') {
        let name = body[..equals].trim_end().rsplit(' ').next().unwrap_or_default().to_ascii_lowercase();
        let secret = name.contains("nonce")
            || name.contains("token")
            || matches!(name.as_str(), "opaque" | "rspauth" | "response" | "signature");
        return secret.then_some(equals + 1);
    }
    let scheme = body.len() - body.trim_start().len();
    body[scheme..].find(' ').map(|space| scheme + space + 1)
}

fn outside_quotes(value: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    value
        .split(|char| {
            quoted ^= char == '"';
            char == separator && !quoted
        })
        .collect()
}
