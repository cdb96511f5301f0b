//! Chooses the next call to OTAS, from the state of the worker.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::Worker;
use crate::config::Order;
use crate::deliver::sessions::{Standing, Token};
use crate::store::SessionRow;

/// Up to this many pending events of a session are posted in order. At OTAS's usual 200 ms an event, they arrive within some 13
/// seconds.
const LITTLE_WAITS: usize = 64;

/// The next step, if a call may start.
pub(super) enum Step {
    CheckKey,
    Open(SessionRow),
    Post(i64, Arc<Token>),
    /// Wait until this time, or until something happens.
    Wait(Option<Instant>),
}

/// What the next due event needs.
pub(super) enum Need {
    /// Its session must be read from the store.
    Read(SessionRow),
    /// Its session must be opened at OTAS.
    Open(SessionRow),
    /// Its JSON must be read from the store.
    Load(i64),
    /// Ready to post.
    Post(i64, Arc<Token>),
}

impl Worker {
    /// A key is checked only while no other call is in flight. So there is one check at a time, and no post is judged by a key
    /// in doubt.
    pub(super) fn next_step(&mut self, now: Instant) -> Step {
        let alone = self.calls.is_empty();
        if self.key_in_doubt {
            return if alone { Step::CheckKey } else { Step::Wait(None) };
        }
        let is_wanted = |session: &&SessionRow| matches!(self.sessions.standing(**session, now), Standing::Wanted);
        let need = match self.wanted.iter().find(is_wanted) {
            // An agent is waiting for it.
            Some(wanted) => Some(Need::Open(*wanted)),
            None => self.needs(now, 1).pop(),
        };
        let step = match need {
            Some(Need::Read(_) | Need::Load(_)) => return Step::Wait(Some(now)),
            Some(Need::Open(session)) => Step::Open(session),
            Some(Need::Post(row, token)) => Step::Post(row, token),
            None if self.own_is_unread(now) => return Step::Wait(Some(now)),
            None if self.key_is_to_be_proved() && alone => return Step::CheckKey,
            None => return Step::Wait(self.queue.next_due(now).into_iter().chain(self.sessions.held().1).min()),
        };
        match self.identity {
            Some(_) => step,
            None if alone => Step::CheckKey,
            None => Step::Wait(None),
        }
    }

    /// So that a wrong key is reported at the start, although no session is opened before its first event. A relay also learns by it
    /// that a key replaces the one that sessions in its store have.
    fn key_is_to_be_proved(&self) -> bool {
        let held = self.own.and_then(|own| self.sessions.held_for(own));
        (self.process.is_some() || self.settled.is_some()) && self.identity.is_none() && held.is_none()
    }

    /// The token from the settings is checked before there is an event for it.
    fn own_is_unread(&self, now: Instant) -> bool {
        self.own.is_some_and(|own| matches!(self.sessions.standing(own, now), Standing::Unread))
    }

    /// What the first due events need, for at most this many of them.
    pub(super) fn needs(&self, now: Instant, many: usize) -> Vec<Need> {
        let mut needs = Vec::new();
        let mut passed: Vec<SessionRow> = Vec::new();
        for item in self.queue.in_order() {
            if needs.len() >= many {
                break;
            }
            if passed.contains(&item.session) {
                continue;
            }
            let one_by_one = self.is_one_by_one(item.session);
            if one_by_one && (self.queue.is_posting(item.session) || item.holds_others_back(now)) {
                passed.push(item.session);
                continue;
            }
            if !item.is_due(now) {
                continue;
            }
            let need = match self.sessions.standing(item.session, now) {
                Standing::Opening | Standing::Held => None,
                Standing::Unread => Some(Need::Read(item.session)),
                Standing::Wanted => Some(Need::Open(item.session)),
                Standing::Open(_) if item.json.is_none() => Some(Need::Load(item.id)),
                Standing::Open(token) => Some(Need::Post(item.id, token)),
            };
            if one_by_one || !matches!(need, Some(Need::Load(_) | Need::Post(..))) {
                passed.push(item.session);
            }
            needs.extend(need);
        }
        needs
    }

    /// Whether a session's events are posted one at a time, to arrive in order.
    fn is_one_by_one(&self, session: SessionRow) -> bool {
        match self.order {
            Order::Strict => true,
            Order::Window => false,
            Order::Adaptive => !self.rushed.contains(&session),
        }
    }

    /// Finds the sessions whose backlog is so large that speed matters more than order, if parallel posts are faster at all.
    pub(super) fn rush(&mut self, now: Instant) {
        if self.order != Order::Adaptive {
            return;
        }
        let waiting = if self.pace.gains_by_more(now) { self.queue.waiting_by_session() } else { HashMap::new() };
        self.rushed.retain(|session| waiting.get(session).is_some_and(|many| *many > LITTLE_WAITS / 4));
        self.rushed.extend(waiting.iter().filter(|(_, many)| **many > LITTLE_WAITS).map(|(session, _)| session));
    }
}
