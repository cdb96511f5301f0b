//! The claims of a session token. Only OTAS has the key to check its signature.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use thiserror::Error;

use super::seal::Seal;
use crate::clock::now_ms;
use crate::config::read_key_file;
use crate::secret::Secret;
use crate::store::KeptToken;

/// The claims that are used here (contract: Credentials).
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// `agent_session_id`.
    pub otas_session_id: Option<String>,
    /// `agent_id`.
    pub agent_id: Option<String>,
    /// `iat`, in Unix seconds by OTAS's clock.
    pub issued_at_s: Option<f64>,
    /// `exp`, in Unix seconds by OTAS's clock.
    pub expires_at_s: Option<f64>,
}

impl Claims {
    /// The lifetime of a token that was just issued. Independent of the two clocks.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        let lifetime = self.expires_at_s? - self.issued_at_s?;
        Duration::try_from_secs_f64(lifetime).ok().filter(|lifetime| !lifetime.is_zero())
    }
}

/// Why a configured token cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not a JWT: three parts with JSON in the middle.
    #[error(
        "the session token is not an OTAS token (a JWT in three parts, `eyJ…`): copy the whole `jwt_token`, \
         or remove `otas.session_token`, and a session is opened for you"
    )]
    NotAToken,
    /// Past its `exp`.
    #[error(
        "the session token expired {0} s ago: create a new session, \
         or remove `otas.session_token`, and one is opened for you"
    )]
    Expired(i64),
}

/// Reads a token's claims. Refuses a token past its `exp` at `now_s` (Unix seconds).
///
/// # Errors
/// When it is not a JWT, or has expired.
pub fn check_token(token: &Secret, now_s: i64) -> Result<Claims, TokenError> {
    let claims = claims(token).ok_or(TokenError::NotAToken)?;
    // JWT dates may have a fraction (RFC 7519, section 2).
    match claims.expires_at_s.map(|expires| expires as i64) {
        // Clocks differ a little. Within the tolerance OTAS decides.
        Some(expires) if expires.saturating_add(CLOCK_TOLERANCE_S) < now_s => {
            Err(TokenError::Expired(now_s.saturating_sub(expires)))
        }
        _ => Ok(claims),
    }
}

/// The agent id in a token. `None`: not an OTAS token, or expired.
pub fn agent_of_token(token: &Secret) -> Option<String> {
    // `{"` in base64url: every OTAS token starts with it. Tokens that agents merely sent are recognised by it.
    if !token.expose().starts_with("eyJ") {
        return None;
    }
    let claims = check_token(token, now_ms() / 1_000).ok()?;
    claims.otas_session_id.and(claims.agent_id)
}

/// Seals a token that an agent opened itself. `None`: it is not a token, or the system gives no random bytes.
pub fn seal_token(agent_key: &Secret, salt: &[u8], token: &Secret, run_id: &str) -> Option<KeptToken> {
    let claims = claims(token)?;
    let sealed = Seal::new(agent_key, salt).ok()?.seal(token, run_id).ok()?;
    let expires_at_ms = claims.expires_at_s.map(|at| (at * 1_000.0) as i64);
    Some(KeptToken { otas_session_id: claims.otas_session_id, sealed, expires_at_ms, mark: None })
}

/// Opens a sealed token with the agent key from the start, or with the key that its file has now. Blocks.
pub fn unseal_token(
    key: &Secret,
    key_file: Option<&Path>,
    salt: &[u8],
    sealed: &[u8],
    run_id: &str,
) -> Option<Secret> {
    let open = |key: &Secret| Seal::new(key, salt).ok()?.open(sealed, run_id);
    open(key).or_else(|| open(&read_key_file(key_file?).ok()?))
}

/// The tolerated clock difference.
const CLOCK_TOLERANCE_S: i64 = 60;

/// The claims of a token, if it is one.
pub(super) fn claims(token: &Secret) -> Option<Claims> {
    let mut parts = token.expose().split('.');
    let (_header, payload, _signature, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: RawClaims = serde_json::from_slice(&payload).ok()?;
    Some(Claims {
        otas_session_id: claims.agent_session_id,
        agent_id: claims.agent_id,
        issued_at_s: claims.iat,
        expires_at_s: claims.exp,
    })
}

#[derive(Deserialize)]
struct RawClaims {
    agent_session_id: Option<String>,
    agent_id: Option<String>,
    iat: Option<f64>,
    exp: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> Secret {
        Secret::new(&format!("eyJhbGciOiJIUzI1NiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(payload)))
    }

    #[test]
    fn a_valid_token_names_its_session() {
        let claims = check_token(&token(r#"{"agent_session_id":"s-1","agent_id":"a","iat":1,"exp":2000}"#), 1_000);
        let claims = claims.unwrap();
        assert_eq!((claims.otas_session_id.as_deref(), claims.expires_at_s), (Some("s-1"), Some(2_000.0)));
        assert_eq!(claims.lifetime(), Some(Duration::from_secs(1_999)));
    }

    #[test]
    fn an_invalid_lifetime_is_unknown() {
        for claims in [
            r#"{"exp":1}"#,
            r#"{"iat":1}"#,
            r#"{"iat":2,"exp":1}"#,
            r#"{"iat":1,"exp":1}"#,
            r#"{"iat":-1e300,"exp":1e300}"#,
        ] {
            assert_eq!(super::claims(&token(claims)).unwrap().lifetime(), None, "{claims}");
        }
    }

    #[test]
    fn a_token_names_its_agent_or_is_rejected() {
        let agent = |claims: &str| agent_of_token(&token(claims));
        assert_eq!(agent(r#"{"agent_session_id":"s","agent_id":"a"}"#).as_deref(), Some("a"));
        for claims in [
            r#"{"agent_id":"a"}"#,
            r#"{"agent_session_id":"s"}"#,
            r#"{"agent_session_id":"s","agent_id":"a","exp":1}"#,
        ] {
            assert_eq!(agent(claims), None, "{claims}");
        }
        let odd = token(r#"{"agent_session_id":"s","agent_id":"a"}"#).expose().replace("eyJhbGciOiJIUzI1NiJ9", "x");
        assert_eq!(agent_of_token(&Secret::told(&odd)), None);
    }

    #[test]
    fn an_expired_token_is_refused_with_some_tolerance() {
        let token = token(r#"{"agent_session_id":"s-1","exp":1000.5}"#);
        assert!(check_token(&token, 1_030).is_ok());
        assert_eq!(check_token(&token, 1_061), Err(TokenError::Expired(61)));
    }

    #[test]
    fn other_text_is_refused_as_a_token() {
        for text in ["", "abc", "a.b", "a.b.c", "a.e30.c.d", "a.bm90IGpzb24.c"] {
            assert_eq!(check_token(&Secret::new(text), 0), Err(TokenError::NotAToken), "{text}");
        }
        assert!(check_token(&token("{}"), 0).is_ok());
    }
}
