//! One-time codes that open the page. A browser keeps each address it was sent to, so an address holds no lasting secret: a code
//! is taken once, within some minutes, by the proxy that it was made for.
//!
//! A code is signed with the lasting token, so whoever may read that can make one without asking the proxy: the token itself is
//! shown to nobody, not even to what listens on the proxy's port in its place.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// The parameter of the URL that holds it.
pub(super) const PARAMETER: &str = "code";
/// How long a code is good.
const GOOD_FOR: Duration = Duration::from_secs(600);
/// Codes that were taken and are remembered. When there are more, none is taken until one is too old.
const REMEMBERED: usize = 4096;

const NONCE_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
/// What the tag is of, beside nonce, time and port: tags of the same key for other purposes are others.
const PURPOSE: &[u8] = b"otas-proxy page code";

/// An address for a browser, which opens the page of the proxy whose admin port is `listening`, once.
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
    Ok(format!("http://{at}/?{PARAMETER}={}", code(token, listening.port(), nonce, now_ms())))
}

/// The codes of one proxy.
pub(super) struct Codes {
    port: u16,
    /// Older codes were for a proxy before this one, which may have taken them.
    since_ms: u64,
    taken: Mutex<Vec<([u8; NONCE_BYTES], u64)>>,
}

impl Codes {
    /// For the proxy whose admin port this is, and which starts now.
    pub(super) fn new(port: u16) -> Self {
        Self { port, since_ms: now_ms(), taken: Mutex::default() }
    }

    /// Whether `code` is good. It is not from then on.
    pub(super) fn take(&self, code: &str, token: &Secret) -> bool {
        self.take_at(code, token, now_ms())
    }

    fn take_at(&self, code: &str, token: &Secret, now_ms: u64) -> bool {
        let Some((nonce, made_ms)) = verified(code, token, self.port) else { return false };
        let oldest_ms = now_ms.saturating_sub(millis(GOOD_FOR)).max(self.since_ms);
        if made_ms < oldest_ms || made_ms > now_ms {
            return false;
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Nonce and time of a code that was made with this token for this port.
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

fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_good_once_for_some_minutes_for_one_proxy() {
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
    fn what_was_taken_is_forgotten_when_it_is_too_old_anyway() {
        let (token, codes) = (Secret::told("a-token"), Codes::new(1));
        for number in 0..200_u64 {
            let now = codes.since_ms + number * 60_000;
            let mut nonce = [0; NONCE_BYTES];
            nonce[..8].copy_from_slice(&number.to_be_bytes());
            assert!(codes.take_at(&code(&token, 1, nonce, now), &token, now));
        }
        assert!(codes.taken.lock().unwrap().len() <= 11);
    }
}
