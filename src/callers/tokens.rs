//! The tokens that calls into a project's domain carry: each of its caller's own session, which is opened for it if need be.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{CallerSession, Callers};
use crate::capture::Caller;
use crate::deliver::unseal_token;
use crate::proxy::SessionTokens;
use crate::secret::Secret;
use crate::store::StoreError;

/// How long a call waits for its session to be opened.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to see whether it is.
const LOOK: Duration = Duration::from_millis(25);
/// After waiting in vain, calls go without a token for so long.
const GIVEN_UP_FOR: Duration = Duration::from_secs(5);
/// A token that expires sooner is not used any more.
const LIFE_LEFT: Duration = Duration::from_secs(60);

/// Finds tokens: those that delivery keeps in the store, by whichever process opened the session.
pub struct Tokens {
    callers: Arc<Callers>,
    /// Tells delivery that something is wanted of it.
    wake: Box<dyn Fn() + Send + Sync>,
}

/// What is known of one session's token, for as long as the session is open here.
#[derive(Default)]
pub(super) struct Held {
    known: Mutex<Option<Known>>,
    /// Taken by the one who waits for the session to be opened.
    waiting: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Known {
    /// `None`: it was waited for in vain.
    token: Option<Secret>,
    until: Instant,
}

/// What the store says.
enum Found {
    Token(Secret, Duration),
    NotYet,
}

impl Held {
    fn known(&self) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone().filter(|known| known.until > Instant::now())
    }

    fn keep(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }
}

impl Tokens {
    /// `wake` is called when a session is to be opened.
    pub fn new(callers: Arc<Callers>, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { callers, wake: Box::new(wake) }
    }

    /// What the call names itself, if that is of its agent; else the token of its caller's session.
    async fn choose(&self, caller: &Caller, named: Option<Secret>) -> Option<Secret> {
        let Some(named) = named else { return self.find(caller).await };
        let is_own = match (self.is_own(caller, &named).await, caller) {
            (Some(is_own), _) => is_own,
            // All have the proxy's own key: there is no other agent to be taken for.
            (None, Caller::Proxy | Caller::Process(_)) => true,
            // Opening a session tells whose the key is.
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
            Some((token, life)) => Known { token: Some(token.clone()), until: Instant::now() + *life },
            None => {
                tracing::warn!(
                    "no session could be opened in time: calls into the project's domain go without a token, and are logged here"
                );
                Known { token: None, until: Instant::now() + GIVEN_UP_FOR }
            }
        });
        found.map(|(token, _)| token)
    }

    async fn session_of(&self, caller: Caller) -> Option<Arc<CallerSession>> {
        let callers = self.callers.clone();
        let session = tokio::task::spawn_blocking(move || callers.of(&caller, None)).await.ok()?;
        session.inspect_err(|error| tracing::warn!(%error, "a session cannot be noted")).ok()
    }

    async fn wait_for(&self, session: &Arc<CallerSession>) -> Option<(Secret, Duration)> {
        let deadline = Instant::now() + PATIENCE;
        let mut asked = false;
        while Instant::now() < deadline {
            let (callers, session) = (self.callers.clone(), session.clone());
            let looked = tokio::task::spawn_blocking(move || look(&callers, &session, !asked)).await;
            match looked {
                Ok(Ok(Found::Token(token, life))) => return Some((token, life)),
                Ok(Ok(Found::NotYet)) if !std::mem::replace(&mut asked, true) => (self.wake)(),
                Ok(Ok(Found::NotYet)) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the store does not tell a session's token"),
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

/// Looks for a session's token; if there is none, notes that one is wanted.
fn look(callers: &Callers, session: &CallerSession, ask: bool) -> Result<Found, StoreError> {
    let Some(key) = &session.key else { return Ok(Found::NotYet) };
    let record = callers.store.session(session.row)?.unwrap_or_default();
    let left = record.life_left().saturating_sub(LIFE_LEFT);
    if let Some(sealed) = record.token_sealed.as_deref().filter(|_| !left.is_zero()) {
        let token = unseal_token((&key.key, key.file.as_deref()), &callers.store.salt()?, sealed, &session.run_id);
        if let Some(token) = token {
            return Ok(Found::Token(token, left));
        }
    }
    if ask {
        callers.store.want_token(session.row)?;
    }
    Ok(Found::NotYet)
}
