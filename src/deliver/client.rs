//! The contract's three calls. The answers are judged elsewhere.

use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, redirect};
use serde_json::{Value, json};
use url::Url;

use super::{DeliverError, Reply, TransportClass, TransportError, reply};
use crate::config;
use crate::secret::Secret;

/// The agent key's header (contract: Credentials).
const KEY_HEADER: &str = "x-otas-agent-key";

/// The session token's header (contract: Credentials).
const TOKEN_HEADER: &str = "x-otas-agent-session-token";

/// Longer answers are cut: OTAS's have some hundred bytes.
const REPLY_LIMIT_BYTES: usize = 256 << 10;

/// Connections idle for longer are not reused. Servers close idle connections, and a post that meets the close loses its
/// answer. During a backlog connections are never idle.
const IDLE_LIMIT: Duration = Duration::from_secs(1);

/// OTAS's two services.
pub(super) struct OtasClient {
    http: Client,
    create_session: Url,
    verify_key: Url,
    log_event: Url,
}

impl OtasClient {
    /// `tls` sets which certificates are accepted. `attempt_timeout` limits each call as a whole.
    pub(super) fn new(
        otas: &config::Otas,
        tls: rustls::ClientConfig,
        attempt_timeout: Duration,
    ) -> Result<Self, DeliverError> {
        Ok(Self {
            http: http(tls, attempt_timeout)?,
            create_session: join(&otas.uasam_url, "api/agent/v1/session/create/")?,
            verify_key: join(&otas.uasam_url, "api/agent/v1/auth/verify/")?,
            // The trailing slash is required (contract: Log an event).
            log_event: join(&otas.brain_url, "api/v1/backend/log/agent/")?,
        })
    }

    /// The same services with other settings.
    pub(super) fn with(&self, tls: rustls::ClientConfig, attempt_timeout: Duration) -> Result<Self, DeliverError> {
        let [create_session, verify_key, log_event] =
            [&self.create_session, &self.verify_key, &self.log_event].map(Url::clone);
        Ok(Self { http: http(tls, attempt_timeout)?, create_session, verify_key, log_event })
    }

    /// Opens a session (contract: Create a session).
    pub(super) async fn create_session(&self, key: &Secret, meta: &Value) -> Result<Reply, TransportError> {
        // Older versions read "Meta".
        let body = json!({ "meta": meta, "Meta": meta });
        self.call(self.http.post(self.create_session.clone()), key, None, body.to_string().into_bytes()).await
    }

    /// Asks UASAM about a key (contract: Check a key).
    pub(super) async fn verify_key(&self, key: &Secret) -> Result<Reply, TransportError> {
        self.call(self.http.post(self.verify_key.clone()), key, None, b"{}".to_vec()).await
    }

    /// Posts an event (contract: Log an event); `body` as [`super::bodies`] makes it.
    pub(super) async fn log_event(
        &self,
        key: &Secret,
        token: &Secret,
        body: Vec<u8>,
    ) -> Result<Reply, TransportError> {
        self.call(self.http.post(self.log_event.clone()), key, Some(token), body).await
    }

    async fn call(
        &self,
        request: RequestBuilder,
        key: &Secret,
        token: Option<&Secret>,
        body: Vec<u8>,
    ) -> Result<Reply, TransportError> {
        let mut request =
            request.header(KEY_HEADER, header(key)?).header(CONTENT_TYPE, "application/json").body(body);
        if let Some(token) = token {
            request = request.header(TOKEN_HEADER, header(token)?);
        }
        let mut response = request.send().await?;
        let retry_after = response.headers().get(RETRY_AFTER).map(HeaderValue::as_bytes);
        let retry_after = retry_after.and_then(|value| reply::retry_after(value, SystemTime::now()));
        let mut reply = Reply { status: response.status().as_u16(), body: Vec::new(), retry_after };
        while let Some(chunk) = response.chunk().await? {
            reply.body.extend_from_slice(&chunk);
            if reply.body.len() > REPLY_LIMIT_BYTES {
                break;
            }
        }
        Ok(reply)
    }
}

/// The HTTP client for calls to OTAS.
fn http(tls: rustls::ClientConfig, attempt_timeout: Duration) -> Result<Client, DeliverError> {
    Client::builder()
        // This process is itself a proxy, and the credentials are for OTAS only: no proxy, no redirects.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .tls_backend_preconfigured(tls)
        .timeout(attempt_timeout)
        // Shorter than the whole timeout, so that "could not connect" differs from "did not answer".
        .connect_timeout(attempt_timeout / 2)
        .pool_idle_timeout(IDLE_LIMIT)
        .build()
        .map_err(DeliverError::Client)
}

/// Joins a path to a base URL, with or without a trailing slash or a path.
fn join(base: &Url, path: &str) -> Result<Url, DeliverError> {
    let mut joined = base.clone();
    joined.set_query(None);
    joined.set_fragment(None);
    joined.path_segments_mut().map_err(|()| DeliverError::Url(base.clone()))?.pop_if_empty().extend(path.split('/'));
    Ok(joined)
}

/// A header that is never logged.
fn header(secret: &Secret) -> Result<HeaderValue, TransportError> {
    let unfit = |_| TransportError {
        class: TransportClass::Unreachable,
        detail: "the agent key or session token has characters that are not allowed in a header".to_owned(),
    };
    let mut value = HeaderValue::from_str(secret.expose()).map_err(unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_to_any_base() {
        let joined = |base: &str| join(&Url::parse(base).unwrap(), "api/v1/x/").unwrap().to_string();
        assert_eq!(joined("http://localhost:8002"), "http://localhost:8002/api/v1/x/");
        assert_eq!(joined("https://otas.example/brain/"), "https://otas.example/brain/api/v1/x/");
        assert_eq!(joined("https://otas.example/brain?x=1#y"), "https://otas.example/brain/api/v1/x/");
        assert!(join(&Url::parse("mailto:a@b").unwrap(), "x").is_err());
    }

    #[test]
    fn an_invalid_secret_is_an_error_that_does_not_show_it() {
        let error = header(&Secret::new("top\nsecret")).unwrap_err();
        assert!(!error.to_string().contains("secret\""), "{error}");
        assert!(header(&Secret::new("agent_a_b")).unwrap().is_sensitive());
    }
}
