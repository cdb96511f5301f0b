//! Session tokens: JWTs (RFC 7519) signed with HMAC-SHA256 (`HS256`, RFC 7518 3.2), and nothing else of JOSE.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The lifetime of a token, in seconds.
const LIFETIME_SECONDS: i64 = 30 * 24 * 60 * 60;
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The claims of a session token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The session.
    pub(super) agent_session_id: String,
    /// The agent that opened the session.
    pub(super) agent_id: String,
    /// When it was issued, in Unix seconds.
    pub(super) iat: i64,
    /// When it expires, in Unix seconds.
    pub(super) exp: i64,
}

impl Claims {
    /// Claims that are valid from `now` (Unix seconds) for 30 days.
    pub(super) fn new(session: Uuid, agent: Uuid, now: i64) -> Self {
        let exp = now.saturating_add(LIFETIME_SECONDS);
        Self { agent_session_id: session.to_string(), agent_id: agent.to_string(), iat: now, exp }
    }
}

/// Signs tokens and verifies its own.
pub(super) struct Signer(hmac::Key);

impl Signer {
    /// A signer with the secret of a database.
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The signed token.
    ///
    /// # Errors
    /// Does not happen: [`Claims`] always serialise.
    pub(super) fn sign(&self, claims: &Claims) -> Result<String, serde_json::Error> {
        let claims = serde_json::to_vec(claims)?;
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
        let tag = hmac::sign(&self.0, signed.as_bytes());
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag)))
    }

    /// The claims of a token that this signer made and that has not expired at `now` (Unix seconds). The signature is checked
    /// first and always as HS256, so the algorithm in the header does not matter.
    pub(super) fn verify(&self, token: &str, now: i64) -> Option<Claims> {
        let (signed, tag) = token.rsplit_once('.')?;
        let (_, claims) = signed.split_once('.')?;
        hmac::verify(&self.0, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        (claims.exp > now).then_some(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn claims() -> Claims {
        Claims::new(Uuid::from_u128(1), Uuid::from_u128(2), NOW)
    }

    #[test]
    fn a_token_is_valid_for_thirty_days() {
        let signer = Signer::new(b"secret");
        let token = signer.sign(&claims()).unwrap();
        assert_eq!(signer.verify(&token, NOW), Some(claims()));
        assert_eq!(signer.verify(&token, NOW + LIFETIME_SECONDS - 1), Some(claims()));
        assert_eq!(signer.verify(&token, NOW + LIFETIME_SECONDS), None);
    }

    #[test]
    fn other_secrets_changed_claims_and_other_text_are_refused() {
        let signer = Signer::new(b"secret");
        let token = signer.sign(&claims()).unwrap();
        assert_eq!(Signer::new(b"other").verify(&token, NOW), None);

        let mut parts: Vec<&str> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&Claims { exp: i64::MAX, ..claims() }).unwrap());
        parts[1] = &forged;
        assert_eq!(signer.verify(&parts.join("."), NOW), None);

        for token in ["", "a", "a.b", "a.b.c", "..", "é.é.é"] {
            assert_eq!(signer.verify(token, NOW), None, "{token}");
        }
    }

    #[test]
    fn a_token_without_a_signature_is_refused_whatever_its_header_says() {
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims()).unwrap());
        assert_eq!(Signer::new(b"secret").verify(&format!("{none}.{body}."), NOW), None);
    }

    /// The example of RFC 7515 A.1, whose claims are not ours: only its signature is checked here.
    #[test]
    fn the_signature_is_the_one_of_rfc_7515() {
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let signed = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let tag = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let signer = Signer::new(&URL_SAFE_NO_PAD.decode(secret).unwrap());
        assert_eq!(URL_SAFE_NO_PAD.encode(hmac::sign(&signer.0, signed.as_bytes())), tag);
    }
}
