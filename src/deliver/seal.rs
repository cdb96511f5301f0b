//! Session tokens as the store keeps them: sealed with a key derived from the agent key, which is not in the store. So the file
//! alone reveals nothing, and a token opens only with its agent key and its run.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hkdf, hmac};

use crate::secret::Secret;

/// The purpose of the derived key (HKDF's `info`, RFC 5869, section 3.2).
const PURPOSE: &[u8] = b"otas-proxy session token v1";

/// Seals and opens.
pub(super) struct Seal(RandomizedNonceKey);

impl Seal {
    /// Derives the sealing key (HKDF-SHA256). `salt` comes from the store.
    ///
    /// # Errors
    /// Does not happen with keys and salts of the lengths used here.
    pub(super) fn new(agent_key: &Secret, salt: &[u8]) -> Result<Self, Unspecified> {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(agent_key.expose().as_bytes());
        let mut key = [0; 32];
        extracted.expand(&[PURPOSE], hkdf::HKDF_SHA256)?.fill(&mut key)?;
        RandomizedNonceKey::new(&AES_256_GCM, &key).map(Self)
    }

    /// Seals a token for a run. The result is the nonce, the ciphertext and the tag.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(super) fn seal(&self, token: &Secret, run_id: &str) -> Result<Vec<u8>, Unspecified> {
        let mut sealed = token.expose().as_bytes().to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(run_id.as_bytes()), &mut sealed)?;
        sealed.splice(..0, nonce.as_ref().iter().copied());
        Ok(sealed)
    }

    /// Opens a token sealed for this run. `None`: it was sealed with another agent key or for another run, or it is damaged.
    pub(super) fn open(&self, sealed: &[u8], run_id: &str) -> Option<Secret> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let token = self.0.open_in_place(nonce, Aad::from(run_id.as_bytes()), &mut opened).ok()?;
        std::str::from_utf8(token).ok().map(Secret::new)
    }
}

/// A fingerprint of a token from the settings, which identifies it without keeping it.
pub(super) fn mark(token: &Secret, salt: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
    hmac::sign(&key, token.expose().as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(key: &str, salt: &[u8]) -> Seal {
        Seal::new(&Secret::new(key), salt).unwrap()
    }

    #[test]
    fn a_token_opens_only_with_its_key_salt_and_run() {
        let token = Secret::new("e30.eyJhIjoxfQ.c2ln");
        let sealed = seal("agent_a_b", b"salt").seal(&token, "run-1").unwrap();
        assert!(seal("agent_a_b", b"salt").open(&sealed, "run-1") == Some(token));
        assert!(seal("agent_a_c", b"salt").open(&sealed, "run-1").is_none());
        assert!(seal("agent_a_b", b"other").open(&sealed, "run-1").is_none());
        assert!(seal("agent_a_b", b"salt").open(&sealed, "run-2").is_none());
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(seal("agent_a_b", b"salt").open(&damaged, "run-1").is_none(), "byte {at}");
            assert!(seal("agent_a_b", b"salt").open(&sealed[..at], "run-1").is_none(), "cut at {at}");
        }
    }

    #[test]
    fn sealings_differ_and_do_not_contain_the_token() {
        let (seal, token) = (seal("agent_a_b", b"salt"), Secret::new("e30.eyJhIjoxfQ.c2ln"));
        let (one, other) = (seal.seal(&token, "r").unwrap(), seal.seal(&token, "r").unwrap());
        assert_ne!(one, other);
        assert!(!one.windows(4).any(|bytes| token.expose().as_bytes().windows(4).any(|part| part == bytes)));
    }

    #[test]
    fn a_mark_is_the_same_for_the_same_token_in_the_same_store() {
        let mark = |token: &str, salt: &[u8]| mark(&Secret::new(token), salt);
        assert_eq!(mark("t", b"salt"), mark("t", b"salt"));
        assert_ne!(mark("t", b"salt"), mark("u", b"salt"));
        assert_ne!(mark("t", b"salt"), mark("t", b"other"));
    }
}
