//! The sessions whose events are delivered, with their tokens. A session is read from the store when its first event is due,
//! and opened at OTAS if it has no valid token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::seal::{self, Seal};
use super::verdict::TokenOrigin;
use super::{check_token, token};
use crate::clock::now_ms;
use crate::secret::Secret;
use crate::store::{KeptToken, SessionRecord, SessionRow};

/// A token is renewed this long before it expires, or after three quarters of a short lifetime.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// Above this many sessions, those without pending events are dropped from memory. They can be read again.
const KEPT: usize = 256;

/// The sessions that recently had events to deliver.
#[derive(Default)]
pub(super) struct Sessions {
    slots: HashMap<SessionRow, Slot>,
    generation: u64,
}

struct Slot {
    run_id: String,
    meta: Value,
    otas_session_id: Option<String>,
    state: State,
    /// The token was refused and renewed, and no event has been accepted with the new one yet.
    renewed: bool,
}

enum State {
    Wanted,
    Opening,
    Open(Arc<Token>),
    /// An operator must fix something.
    Held {
        reason: String,
        until: Instant,
    },
}

/// The token for a session's events.
pub(super) struct Token {
    pub(super) secret: Secret,
    origin: TokenOrigin,
    expires_at: Option<Instant>,
    renew_at: Option<Instant>,
    /// Increases with each token, so that a late refusal of an old token is recognised.
    generation: u64,
}

/// The state of a session.
pub(super) enum Standing {
    /// Not read from the store yet.
    Unread,
    /// Must be opened at OTAS.
    Wanted,
    /// Being opened.
    Opening,
    /// Its events can be posted.
    Open(Arc<Token>),
    /// Its events wait for an operator.
    Held,
}

impl Sessions {
    pub(super) fn standing(&self, session: SessionRow, now: Instant) -> Standing {
        match self.slots.get(&session).map(|slot| &slot.state) {
            None => Standing::Unread,
            Some(State::Wanted) => Standing::Wanted,
            Some(State::Opening) => Standing::Opening,
            Some(State::Open(token)) if token.renew_at.is_some_and(|due| due <= now) => Standing::Wanted,
            Some(State::Open(token)) => Standing::Open(token.clone()),
            Some(State::Held { .. }) => Standing::Held,
        }
    }

    /// Loads a session from the store. Its token is used if it has not expired and one of the seals opens it. The last seal
    /// belongs to the current key, earlier ones to keys that it replaced. Returns the token to store again, if it was sealed
    /// under a replaced key.
    pub(super) fn read(
        &mut self,
        session: SessionRow,
        record: Option<SessionRecord>,
        seals: &[Seal],
        configured: Option<&Secret>,
    ) -> Option<KeptToken> {
        let record = record.unwrap_or_default();
        let sealed = record.token_sealed.as_deref().unwrap_or_default();
        let current = seals.last()?;
        let mut opened = seals.iter().rev().filter_map(|seal| Some((seal.open(sealed, &record.run_id)?, seal)));
        let (token, is_current) = match opened.next() {
            Some((token, seal)) => (Some(token), std::ptr::eq(seal, current)),
            None => (None, true),
        };
        let left = record.token_expires_at_ms.map(|at| u64::try_from(at.saturating_sub(now_ms())).unwrap_or(0));
        let state = match token {
            Some(token) if left != Some(0) => {
                let is_configured = configured == Some(&token);
                let origin = if is_configured { TokenOrigin::Settings } else { TokenOrigin::Opened };
                self.open(token, origin, left.map(Duration::from_millis))
            }
            _ => State::Wanted,
        };
        let meta = serde_json::from_str(&record.meta).unwrap_or_else(|_| Value::Object(serde_json::Map::new()));
        let slot =
            Slot { run_id: record.run_id, meta, otas_session_id: record.otas_session_id, state, renewed: false };
        let anew = match &slot.state {
            State::Open(token) if !is_current => slot.kept(token, current),
            _ => None,
        };
        self.slots.insert(session, slot);
        anew
    }

    /// Uses the token from the settings for a session that has none. Returns the token to store. `None`: the session has a
    /// token already, or the configured one is invalid; then the session is held.
    pub(super) fn configure(
        &mut self,
        session: SessionRow,
        token: &Secret,
        seal: &Seal,
        salt: &[u8],
        until: Instant,
    ) -> Option<KeptToken> {
        if !matches!(self.slots.get(&session)?.state, State::Wanted) {
            return None;
        }
        match check_token(token, now_ms() / 1_000) {
            Ok(claims) => {
                let now_s = now_ms() as f64 / 1_000.0;
                let left = claims.expires_at_s.and_then(|at| Duration::try_from_secs_f64(at - now_s).ok());
                let mark = Some(seal::mark(token, salt));
                let kept = self.opened_as(session, token.clone(), TokenOrigin::Settings, left, seal)?;
                Some(KeptToken { mark, ..kept })
            }
            Err(error) => {
                self.hold(session, error.to_string(), until);
                None
            }
        }
    }

    /// Marks a session as being opened. Returns the `meta` to open it with.
    pub(super) fn opening(&mut self, session: SessionRow) -> Value {
        self.slots.get_mut(&session).map_or(Value::Null, |slot| {
            slot.state = State::Opening;
            slot.meta.clone()
        })
    }

    /// Marks a session as open. Returns the token to store.
    pub(super) fn opened(&mut self, session: SessionRow, token: Secret, seal: &Seal) -> Option<KeptToken> {
        let lifetime = token::claims(&token).and_then(|claims| claims.lifetime());
        self.opened_as(session, token, TokenOrigin::Opened, lifetime, seal)
    }

    /// Opening failed.
    pub(super) fn not_opened(&mut self, session: SessionRow) {
        if let Some(slot) = self.slots.get_mut(&session) {
            slot.state = State::Wanted;
        }
    }

    /// A token was refused: a new session is needed. Returns false if the token is no longer in use.
    pub(super) fn token_refused(&mut self, session: SessionRow, token: &Token) -> bool {
        let Some(slot) = self.slots.get_mut(&session).filter(|slot| slot.uses(token)) else { return false };
        slot.state = State::Wanted;
        slot.renewed = true;
        true
    }

    /// An event was accepted with a token.
    pub(super) fn token_taken(&mut self, session: SessionRow, token: &Token) {
        if let Some(slot) = self.slots.get_mut(&session).filter(|slot| slot.uses(token)) {
            slot.renewed = false;
        }
    }

    /// The origin of a token, for the verdict. `None`: it is no longer in use.
    pub(super) fn origin(&self, session: SessionRow, token: &Token) -> Option<TokenOrigin> {
        let slot = self.slots.get(&session).filter(|slot| slot.uses(token))?;
        Some(if slot.renewed { TokenOrigin::Renewed } else { token.origin })
    }

    /// Whether the token was renewed and not yet accepted.
    pub(super) fn is_renewed(&self, session: SessionRow) -> bool {
        self.slots.get(&session).is_some_and(|slot| slot.renewed)
    }

    /// Holds its events until then.
    pub(super) fn hold(&mut self, session: SessionRow, reason: String, until: Instant) {
        if let Some(slot) = self.slots.get_mut(&session) {
            slot.state = State::Held { reason, until };
        }
    }

    /// Drops the sessions that have been held long enough; they are read again. True if there were any.
    pub(super) fn release(&mut self, now: Instant) -> bool {
        let before = self.slots.len();
        self.slots.retain(|_, slot| !matches!(slot.state, State::Held { until, .. } if until <= now));
        self.slots.len() < before
    }

    /// The held sessions, and when the first of them is tried again.
    pub(super) fn held(&self) -> (Vec<SessionRow>, Option<Instant>) {
        let held = self.slots.iter().filter_map(|(session, slot)| match &slot.state {
            State::Held { until, .. } => Some((*session, *until)),
            _ => None,
        });
        let (sessions, due): (Vec<_>, Vec<_>) = held.unzip();
        (sessions, due.into_iter().min())
    }

    /// Why a session is held, if it is.
    pub(super) fn held_for(&self, session: SessionRow) -> Option<&str> {
        match &self.slots.get(&session)?.state {
            State::Held { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// OTAS's id for an open session.
    pub(super) fn open_as(&self, session: SessionRow) -> Option<Option<&str>> {
        let slot = self.slots.get(&session)?;
        matches!(slot.state, State::Open(_)).then_some(slot.otas_session_id.as_deref())
    }

    /// When there are many sessions, drops those that are not `needed`.
    pub(super) fn tidy(&mut self, needed: impl Fn(SessionRow) -> bool) {
        if self.slots.len() > KEPT {
            self.slots.retain(|session, slot| matches!(slot.state, State::Opening) || needed(*session));
        }
    }

    fn opened_as(
        &mut self,
        session: SessionRow,
        secret: Secret,
        origin: TokenOrigin,
        left: Option<Duration>,
        seal: &Seal,
    ) -> Option<KeptToken> {
        let otas_session_id = token::claims(&secret).and_then(|claims| claims.otas_session_id);
        let state = self.open(secret, origin, left);
        let slot = self.slots.get_mut(&session)?;
        slot.otas_session_id = otas_session_id;
        slot.state = state;
        let State::Open(token) = &slot.state else { return None };
        slot.kept(token, seal)
    }

    fn open(&mut self, secret: Secret, origin: TokenOrigin, left: Option<Duration>) -> State {
        self.generation += 1;
        let now = Instant::now();
        let expires_at = left.and_then(|left| now.checked_add(left));
        let renew_at = left.and_then(|left| now.checked_add(left - RENEW_BEFORE.min(left / 4)));
        State::Open(Arc::new(Token { secret, origin, expires_at, renew_at, generation: self.generation }))
    }
}

impl Slot {
    fn uses(&self, token: &Token) -> bool {
        matches!(&self.state, State::Open(used) if used.generation == token.generation)
    }

    fn kept(&self, token: &Token, seal: &Seal) -> Option<KeptToken> {
        let sealed = seal.seal(&token.secret, &self.run_id).ok()?;
        let expires_at_ms = token.expires_at.map(|due| in_ms(due.saturating_duration_since(Instant::now())));
        Some(KeptToken { otas_session_id: self.otas_session_id.clone(), sealed, expires_at_ms, mark: None })
    }
}

fn in_ms(wait: Duration) -> i64 {
    now_ms().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}
