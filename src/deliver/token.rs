//! What a session token says of itself. Its signature is OTAS's to check; we have no key for that.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use thiserror::Error;

use crate::secret::Secret;

/// The claims that matter here (contract: Credentials).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `agent_session_id`.
    pub otas_session_id: Option<String>,
    /// `exp`, in Unix seconds.
    pub expires_at_s: Option<i64>,
}

/// Why a configured token cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not three parts with JSON in the middle.
    #[error(
        "the session token is not one of OTAS's (a JWT in three parts, `eyJ…`): copy `jwt_token` whole, \
         or remove `otas.session_token` to let a session be opened"
    )]
    NotAToken,
    /// Past its `exp`.
    #[error(
        "the session token expired {0} s ago: create a new session, \
         or remove `otas.session_token` to let one be opened"
    )]
    Expired(i64),
}

/// Reads a token's claims, and refuses one that is past its `exp` at `now_s` (Unix seconds).
///
/// # Errors
/// When it is no JWT, or expired.
pub fn check_token(token: &Secret, now_s: i64) -> Result<Claims, TokenError> {
    let claims = claims(token).ok_or(TokenError::NotAToken)?;
    match claims.expires_at_s {
        // Clocks differ a little; OTAS's own decides in between.
        Some(expires) if expires.saturating_add(CLOCK_TOLERANCE_S) < now_s => {
            Err(TokenError::Expired(now_s.saturating_sub(expires)))
        }
        _ => Ok(claims),
    }
}

/// How far this machine's clock may be off.
const CLOCK_TOLERANCE_S: i64 = 60;

/// The claims of a token, when it has any.
pub(super) fn claims(token: &Secret) -> Option<Claims> {
    let mut parts = token.expose().split('.');
    let (_header, payload, _signature, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: RawClaims = serde_json::from_slice(&payload).ok()?;
    Some(Claims {
        otas_session_id: claims.agent_session_id,
        // JWT's dates may have a fraction (RFC 7519, section 2).
        expires_at_s: claims.exp.map(|exp| exp as i64),
    })
}

#[derive(Deserialize)]
struct RawClaims {
    agent_session_id: Option<String>,
    exp: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> Secret {
        Secret::new(&format!("eyJhbGciOiJIUzI1NiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(payload)))
    }

    #[test]
    fn a_good_token_tells_its_session() {
        let claims = check_token(&token(r#"{"agent_session_id":"s-1","agent_id":"a","iat":1,"exp":2000}"#), 1_000);
        assert_eq!(claims, Ok(Claims { otas_session_id: Some("s-1".into()), expires_at_s: Some(2_000) }));
    }

    #[test]
    fn an_expired_token_is_refused_with_some_tolerance() {
        let token = token(r#"{"agent_session_id":"s-1","exp":1000.5}"#);
        assert!(check_token(&token, 1_030).is_ok());
        assert_eq!(check_token(&token, 1_061), Err(TokenError::Expired(61)));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in ["", "abc", "a.b", "a.b.c", "a.e30.c.d", "a.bm90IGpzb24.c"] {
            assert_eq!(check_token(&Secret::new(text), 0), Err(TokenError::NotAToken), "{text}");
        }
        assert!(check_token(&token("{}"), 0).is_ok());
    }
}
