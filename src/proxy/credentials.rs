//! The credentials that agents give the proxy (`session.scope = "credential"`): a name, with or without a label after a `+`,
//! and a secret (RFC 7617; RFC 1929 over SOCKS).

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use crate::capture::{Caller, Credential};
use crate::secret::Secret;

/// The longest label. Longer labels, and labels with control characters, are refused.
const LABEL_BYTES: usize = 128;

/// The user name of a `run`'s command.
pub const RUN: &str = "run";

/// Who may use the proxy.
pub struct Credentials {
    /// Names, with the hash of each secret. Comparing hashes takes the same time for any input.
    agents: HashMap<String, Digest>,
    /// The credentials only grant access. They do not decide who the caller is.
    of_run: bool,
}

impl Credentials {
    /// Names and their secrets.
    pub fn new<'a>(agents: impl IntoIterator<Item = (&'a str, &'a Secret)>) -> Self {
        let hashed = |(name, secret): (&str, &Secret)| (name.to_owned(), digest(&SHA256, secret.expose().as_bytes()));
        Self { agents: agents.into_iter().map(hashed).collect(), of_run: false }
    }

    /// The credentials of a `run`'s command. Its calls are the proxy's own.
    pub fn of_run(secret: &Secret) -> Self {
        Self { of_run: true, ..Self::new([(RUN, secret)]) }
    }

    /// The caller with this `Proxy-Authorization`. `None`: the credentials are unknown.
    pub(super) fn of_header(&self, value: Option<&HeaderValue>) -> Option<Caller> {
        let (scheme, encoded) = value?.to_str().ok()?.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = STANDARD.decode(encoded.trim()).ok()?;
        let at = decoded.iter().position(|byte| *byte == b':')?;
        self.of(&decoded[..at], &decoded[at + 1..])
    }

    /// The caller with this user name and secret.
    pub(super) fn of(&self, user: &[u8], secret: &[u8]) -> Option<Caller> {
        let user = str::from_utf8(user).ok()?;
        let (agent, label) = user.split_once('+').map_or((user, None), |(agent, label)| (agent, Some(label)));
        let known = self.agents.get(agent)?;
        verify_slices_are_equal(known.as_ref(), digest(&SHA256, secret).as_ref()).ok()?;
        if self.of_run {
            return Some(Caller::Proxy);
        }
        let label = label.filter(|label| !label.is_empty());
        if label.is_some_and(|label| label.len() > LABEL_BYTES || label.contains(char::is_control)) {
            return None;
        }
        let label = label.map(str::to_owned);
        Some(Caller::Credential(Arc::new(Credential { agent: agent.to_owned(), label })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str) -> Option<(String, Option<String>)> {
        let secrets = [("planner", Secret::new("s:1")), ("writer", Secret::new("s2"))];
        let credentials = Credentials::new(secrets.iter().map(|(name, secret)| (*name, secret)));
        match credentials.of_header(Some(&HeaderValue::from_str(header).unwrap()))? {
            Caller::Credential(of) => Some((of.agent.clone(), of.label.clone())),
            _ => panic!("not by credentials"),
        }
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn a_name_with_its_secret_is_its_agent_with_or_without_a_label() {
        assert_eq!(of(&basic("planner:s:1")), Some(("planner".into(), None)));
        assert_eq!(of(&basic("planner+run-42:s:1")), Some(("planner".into(), Some("run-42".into()))));
        assert_eq!(of(&basic("planner+a+b:s:1")), Some(("planner".into(), Some("a+b".into()))));
        assert_eq!(of(&basic("planner+:s:1")), Some(("planner".into(), None)));
        assert_eq!(of(&basic("writer:s2").replace("Basic", "bAsIc")), Some(("writer".into(), None)));
    }

    #[test]
    fn other_credentials_name_no_agent() {
        let long = format!("planner+{}:s:1", "x".repeat(LABEL_BYTES + 1));
        assert_eq!(of(&basic("planner+a\0b:s:1")), None, "OTAS takes no NUL");
        for text in ["planner:s2", "planner:", "planner", "writer:s:1", "nobody:s2", ":s2", "Planner:s:1", &long] {
            assert_eq!(of(&basic(text)), None, "{text}");
        }
        for header in ["Basic", "Basic ", "Basic !", "Bearer cGxhbm5lcjpzOjE=", "cGxhbm5lcjpzOjE="] {
            assert_eq!(of(header), None, "{header}");
        }
        assert!(Credentials::new([]).of_header(None).is_none());
    }
}
