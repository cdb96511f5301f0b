//! Agent keys: `agent_<prefix>_<secret>`, both parts URL-safe base64.

use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// Random bytes of a prefix, and its length in characters.
const PREFIX_BYTES: usize = 8;
const PREFIX_CHARS: usize = 11;
const SECRET_BYTES: usize = 32;

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system's random number generator failed, so no key can be generated")]
pub struct RandomError;

/// Generates an agent key in OTAS's form. Unlike OTAS it never generates a prefix with `_`, because OTAS refuses such keys for
/// ever.
///
/// # Errors
/// When the system gives no random bytes.
pub fn issue_key() -> Result<Secret, RandomError> {
    let prefix = loop {
        let prefix = URL_SAFE_NO_PAD.encode(random::<PREFIX_BYTES>()?);
        if !prefix.contains('_') {
            break prefix;
        }
    };
    Ok(Secret::new(&format!("agent_{prefix}_{}", URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>()?))))
}

/// `N` random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| RandomError)?;
    Ok(bytes)
}

/// The prefix as the issuer knows it. In issued keys it has eleven characters; in handwritten keys it ends at the next `_`.
pub(super) fn issued_prefix(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("agent_")?;
    match (rest.get(..PREFIX_CHARS), rest.get(PREFIX_CHARS..)) {
        (Some(prefix), Some(rest)) if rest.len() > 1 && rest.starts_with('_') => Some(prefix),
        _ => presented_prefix(key),
    }
}

/// The prefix as the server reads it from a presented key: the text between the first two underscores. (Measured: it differs
/// from the issuer's when the prefix contains `_`, and such a key is never found.)
pub(super) fn presented_prefix(key: &str) -> Option<&str> {
    let (prefix, secret) = key.strip_prefix("agent_")?.split_once('_')?;
    (!prefix.is_empty() && !secret.is_empty()).then_some(prefix)
}

/// The stored hash of a key. A key has 256 random bits, so a plain hash is safe.
pub(super) fn hash(key: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, key.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issued_key_reads_the_same_on_both_sides() {
        for _ in 0..200 {
            let key = issue_key().unwrap();
            let prefix = issued_prefix(key.expose()).unwrap();
            assert_eq!(prefix.len(), PREFIX_CHARS);
            assert_eq!(presented_prefix(key.expose()), Some(prefix));
        }
    }

    #[test]
    fn an_underscore_in_the_prefix_splits_it_for_the_server() {
        let key = "agent_ab_defghijk_secret";
        assert_eq!(issued_prefix(key), Some("ab_defghijk"));
        assert_eq!(presented_prefix(key), Some("ab"));
    }

    #[test]
    fn other_text_has_no_prefix() {
        for key in ["", "agent", "agent_", "agent_x", "agent__x", "agent_x_", "sdk_abc_def", "agent_abcdefghijk_"] {
            assert_eq!(presented_prefix(key), None, "{key}");
            assert_eq!(issued_prefix(key), None, "{key}");
        }
        assert_eq!(issued_prefix("agent_hand_written"), Some("hand"));
    }
}
