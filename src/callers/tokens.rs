//! The tokens for calls into a project's domain: each call carries the token of its caller's session, which is opened if
//! necessary.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{CallerSession, Callers};
use crate::capture::{Caller, SessionTokens};
use crate::deliver::unseal_token;
use crate::secret::Secret;
use crate::store::StoreError;

/// How long a call waits for its session to be opened.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to check for the token.
const LOOK: Duration = Duration::from_millis(25);
/// After a timeout, calls go without a token for this long.
const GIVEN_UP_FOR: Duration = Duration::from_secs(5);
/// A token that expires sooner is not used.
const LIFE_LEFT: Duration = Duration::from_secs(60);

/// Finds tokens in the store, where delivery keeps them, whichever process opened the session.
pub struct Tokens {
    callers: Arc<Callers>,
    /// Wakes delivery.
    wake: Box<dyn Fn() + Send + Sync>,
}

/// The token of one session, while the session is open here.
#[derive(Default)]
pub(super) struct TokenCache {
    known: Mutex<Option<CachedToken>>,
    /// Held by the call that waits for the session to be opened.
    waiting: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct CachedToken {
    /// `None`: waiting for it timed out.
    token: Option<Secret>,
    until: Instant,
}

/// The store's answer.
enum Lookup {
    Token(Secret, Duration),
    NotYet,
}

impl TokenCache {
    fn known(&self) -> Option<CachedToken> {
        let known = self.known.lock();
        known.clone().filter(|known| known.until > Instant::now())
    }

    fn keep(&self, known: CachedToken) {
        *self.known.lock() = Some(known);
    }
}

impl Tokens {
    /// `wake` is called when a session must be opened.
    pub fn new(callers: Arc<Callers>, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { callers, wake: Box::new(wake) }
    }

    /// The token that the call itself carries, if it belongs to its agent. Otherwise the token of its caller's session.
    async fn choose(&self, caller: &Caller, named: Option<Secret>) -> Option<Secret> {
        let Some(named) = named else { return self.find(caller).await };
        let is_own = match (self.is_own(caller, &named).await, caller) {
            (Some(is_own), _) => is_own,
            // They all use the proxy's own key, so there is no other agent.
            (None, Caller::Proxy | Caller::Process(_)) => true,
            // Opening a session reveals the agent of the key.
            (None, Caller::Credential(_)) => {
                self.find(caller).await;
                self.is_own(caller, &named).await.unwrap_or(false)
            }
        };
        if is_own { Some(named) } else { self.find(caller).await }
    }

    async fn is_own(&self, caller: &Caller, token: &Secret) -> Option<bool> {
        let (callers, caller, token) = (self.callers.clone(), caller.clone(), token.clone());
        tokio::task::spawn_blocking(move || callers.is_of(&caller, &token)).await.ok()?
    }

    async fn find(&self, caller: &Caller) -> Option<Secret> {
        let session = match caller {
            Caller::Proxy if !self.callers.adopted().has(caller) => self.callers.own.clone(),
            _ => self.session_of(caller.clone()).await?,
        };
        if let Some(known) = session.held.known() {
            return known.token;
        }
        let _waiting = session.held.waiting.lock().await;
        if let Some(known) = session.held.known() {
            return known.token;
        }
        let found = self.wait_for(&session).await;
        session.held.keep(match &found {
            Some((token, life)) => CachedToken { token: Some(token.clone()), until: Instant::now() + *life },
            None => {
                tracing::warn!(
                    "no session could be opened in time: calls into the project's domain go without a token and are logged by this proxy"
                );
                CachedToken { token: None, until: Instant::now() + GIVEN_UP_FOR }
            }
        });
        found.map(|(token, _)| token)
    }

    async fn session_of(&self, caller: Caller) -> Option<Arc<CallerSession>> {
        let callers = self.callers.clone();
        let session = tokio::task::spawn_blocking(move || callers.of(&caller, None)).await.ok()?;
        session.inspect_err(|error| tracing::warn!(%error, "cannot add a session")).ok()
    }

    async fn wait_for(&self, session: &Arc<CallerSession>) -> Option<(Secret, Duration)> {
        let deadline = Instant::now() + PATIENCE;
        let mut asked = false;
        while Instant::now() < deadline {
            let (callers, session) = (self.callers.clone(), session.clone());
            let looked = tokio::task::spawn_blocking(move || look(&callers, &session, !asked)).await;
            match looked {
                Ok(Ok(Lookup::Token(token, life))) => return Some((token, life)),
                Ok(Ok(Lookup::NotYet)) if !std::mem::replace(&mut asked, true) => (self.wake)(),
                Ok(Ok(Lookup::NotYet)) => {}
                Ok(Err(error)) => tracing::debug!(%error, "cannot read a session's token"),
                Err(_) => return None,
            }
            sleep(LOOK).await;
        }
        None
    }
}

impl SessionTokens for Tokens {
    fn token<'a>(
        &'a self,
        caller: &'a Caller,
        named: Option<Secret>,
    ) -> Pin<Box<dyn Future<Output = Option<Secret>> + Send + 'a>> {
        Box::pin(self.choose(caller, named))
    }
}

/// Looks for a session's token. If there is none and `ask` is set, requests one.
fn look(callers: &Callers, session: &CallerSession, ask: bool) -> Result<Lookup, StoreError> {
    let Some(key) = &session.key else { return Ok(Lookup::NotYet) };
    let record = callers.store.session(session.row)?.unwrap_or_default();
    let left = record.life_left().saturating_sub(LIFE_LEFT);
    if let Some(sealed) = record.token_sealed.as_deref().filter(|_| !left.is_zero()) {
        let token = unseal_token(&key.key, key.file.as_deref(), &callers.store.salt()?, sealed, &session.run_id);
        if let Some(token) = token {
            return Ok(Lookup::Token(token, left));
        }
    }
    if ask {
        callers.store.want_token(session.row)?;
    }
    Ok(Lookup::NotYet)
}
