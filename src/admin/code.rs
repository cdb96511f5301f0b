//! One-time codes that open the page. A browser keeps every address in its history, so an address must hold no lasting secret.
//! A code works once, for a few minutes, and only at the proxy that it was made for.
//!
//! A code is signed with the lasting token. So whoever may read the token can make a code without asking the proxy, and the
//! token itself is never shown, not even to another program that listens on the proxy's port.

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;

use crate::clock;
use crate::secret::Secret;

/// The URL parameter that holds a code.
pub(super) const PARAMETER: &str = "code";
/// How long a code is valid.
const GOOD_FOR: Duration = Duration::from_secs(600);
/// How many used codes are remembered. When the list is full, no code is accepted until the oldest has expired.
const REMEMBERED: usize = 4096;

const NONCE_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
/// What the tag covers, with nonce, time and port. Tags made with the same key for other purposes differ.
const PURPOSE: &[u8] = b"otas-proxy page code";

/// A URL that opens the page once in a browser. `listening` is the address of the proxy's admin port.
///
/// # Errors
/// When the system gives no random bytes.
pub fn link(listening: SocketAddr, token: &Secret) -> std::io::Result<String> {
    let mut at = listening;
    if at.ip().is_unspecified() {
        at.set_ip(if at.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let mut nonce = [0; NONCE_BYTES];
    rand::fill(&mut nonce).map_err(|_| std::io::Error::other("the system gave no random bytes"))?;
    Ok(format!("http://{at}/?{PARAMETER}={}", code(token, listening.port(), nonce, clock::now_ms().cast_unsigned())))
}

/// The codes that one proxy accepts.
pub(super) struct Codes {
    port: u16,
    /// Older codes were made for an earlier proxy, which may have accepted them already.
    since_ms: u64,
    taken: Mutex<Vec<([u8; NONCE_BYTES], u64)>>,
}

impl Codes {
    /// For a proxy that starts now with this admin port.
    pub(super) fn new(port: u16) -> Self {
        Self { port, since_ms: clock::now_ms().cast_unsigned(), taken: Mutex::default() }
    }

    /// Whether `code` is valid. This uses it up.
    pub(super) fn take(&self, code: &str, token: &Secret) -> bool {
        self.take_at(code, token, clock::now_ms().cast_unsigned())
    }

    fn take_at(&self, code: &str, token: &Secret, now_ms: u64) -> bool {
        let Some((nonce, made_ms)) = verified(code, token, self.port) else { return false };
        let oldest_ms = now_ms.saturating_sub(millis(GOOD_FOR)).max(self.since_ms);
        if made_ms < oldest_ms || made_ms > now_ms {
            return false;
        }
        let mut taken = self.taken.lock();
        taken.retain(|(_, made_ms)| *made_ms >= oldest_ms);
        if taken.len() >= REMEMBERED || taken.iter().any(|(other, _)| *other == nonce) {
            return false;
        }
        taken.push((nonce, made_ms));
        true
    }
}

fn code(token: &Secret, port: u16, nonce: [u8; NONCE_BYTES], made_ms: u64) -> String {
    let head = [&nonce[..], &made_ms.to_be_bytes()].concat();
    let tag = hmac::sign(&key(token), &signed(&head, port));
    URL_SAFE_NO_PAD.encode([&head, tag.as_ref()].concat())
}

/// Nonce and time of a code made with this token for this port.
fn verified(code: &str, token: &Secret, port: u16) -> Option<([u8; NONCE_BYTES], u64)> {
    let bytes = URL_SAFE_NO_PAD.decode(code).ok()?;
    let (head, tag) = bytes.split_at_checked(NONCE_BYTES + TIME_BYTES)?;
    hmac::verify(&key(token), &signed(head, port), tag).ok()?;
    let (nonce, made_ms) = head.split_first_chunk::<NONCE_BYTES>()?;
    Some((*nonce, u64::from_be_bytes(made_ms.try_into().ok()?)))
}

fn signed(head: &[u8], port: u16) -> Vec<u8> {
    [PURPOSE, &port.to_be_bytes(), head].concat()
}

fn key(token: &Secret) -> Key {
    Key::new(HMAC_SHA256, token.expose().as_bytes())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_works_once_for_some_minutes_at_one_proxy() {
        let (token, other) = (Secret::told("a-token"), Secret::told("another"));
        let codes = Codes::new(8081);
        let now = codes.since_ms + 3_600_000;
        let made = |token: &Secret, port, ago_ms: u64, nonce| code(token, port, [nonce; NONCE_BYTES], now - ago_ms);
        let fresh = made(&token, 8081, 1_000, 1);
        assert!(codes.take_at(&fresh, &token, now), "the first time");
        assert!(!codes.take_at(&fresh, &token, now + 1), "the second time");
        for (bad, why) in [
            (made(&token, 8081, 600_001, 2), "too old"),
            (made(&token, 8081, 3_600_001, 3), "made for a proxy before this one"),
            (made(&token, 9, 1, 4), "of another port"),
            (made(&other, 8081, 1, 5), "of another token"),
            (code(&token, 8081, [6; NONCE_BYTES], now + 1), "of the future"),
            (fresh[..20].to_owned(), "cut"),
            (String::new(), "none"),
            ("é".to_owned(), "no code"),
        ] {
            assert!(!codes.take_at(&bad, &token, now), "{why}");
        }
        assert!(codes.take_at(&made(&token, 8081, 600_000, 7), &token, now));
        assert!(!code(&token, 8081, [1; NONCE_BYTES], 1).contains(token.expose()));
    }

    #[test]
    fn used_codes_are_forgotten_when_they_have_expired() {
        let (token, codes) = (Secret::told("a-token"), Codes::new(1));
        for number in 0..200_u64 {
            let now = codes.since_ms + number * 60_000;
            let mut nonce = [0; NONCE_BYTES];
            nonce[..8].copy_from_slice(&number.to_be_bytes());
            assert!(codes.take_at(&code(&token, 1, nonce, now), &token, now));
        }
        assert!(codes.taken.lock().len() <= 11);
    }
}
