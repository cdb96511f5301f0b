//! The end of a call: what it means for the event, its session, the key and the pace.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::disk::Note;
use super::{Call, FinishedCall, Worker};
use crate::clock::now_ms;
use crate::deliver::backoff::random;
use crate::deliver::pace::Slip;
use crate::deliver::queue::{Fate, Item};
use crate::deliver::session::{
    self, KeyCheck, NotOpen, REFUSED_AFTER_GOOD, created, judge_key, refusal_is_in_doubt, refused_key,
};
use crate::deliver::sessions::Token;
use crate::deliver::verdict::{CredentialFacts, Scope, TokenOrigin};
use crate::deliver::{Blame, Reply, TransportError, Verdict, verdict};
use crate::store::{Outcome, SessionRow, Settlement};

/// After UASAM has verified a key, refusals by Brain are not checked again for this long.
const KEY_CLEARED_FOR: Duration = Duration::from_secs(30);

type Answer = Result<Reply, TransportError>;

impl Worker {
    pub(super) fn finish(&mut self, done: Result<FinishedCall, JoinError>, call: Option<Call>) {
        match done {
            Ok(FinishedCall::Posted { item, token, ticket, answer }) => self.posted(item, &token, ticket, &answer),
            Ok(FinishedCall::Opened { session, ticket, answer }) => self.opened(session, ticket, &answer),
            Ok(FinishedCall::KeyChecked { ticket, answer }) => self.key_checked(ticket, &answer),
            Err(error) => {
                error!(%error, "a call to OTAS panicked");
                let ticket = self.pace.begin(Instant::now(), self.calls.len());
                self.failed(&ticket, "an internal error".to_owned(), None);
                match call {
                    Some(Call::Post(row)) => {
                        self.queue.settled(row);
                        self.queue.stale();
                    }
                    Some(Call::Open(session)) => self.sessions.not_opened(session),
                    Some(Call::CheckKey) | None => {}
                }
            }
        }
    }

    fn posted(&mut self, mut item: Item, token: &Arc<Token>, ticket: Slip, answer: &Answer) {
        item.attempts = item.attempts.saturating_add(1);
        if answer.as_ref().is_err_and(TransportError::answer_lost) {
            self.shown.lost_answers += 1;
        }
        let origin = self.sessions.origin(item.session, token);
        let verdict = verdict(answer, self.known(origin));
        self.shown.verdicts.count(&verdict);
        match verdict {
            Verdict::Delivered { event_id } => self.accepted(&item, token, ticket, event_id),
            Verdict::Retry { reason } => {
                self.failed(&ticket, reason.clone(), retry_after(answer));
                self.again(item, reason);
            }
            Verdict::CheckKey => {
                self.key_in_doubt = true;
                let reason = "the key was refused, or OTAS was too busy to check it".to_owned();
                self.failed(&ticket, reason.clone(), None);
                self.again(item, reason);
            }
            Verdict::RenewSession { reason } => {
                self.token_refused(item.session, token, origin, &reason);
                self.again(item, reason);
            }
            // The reply to a replaced token says nothing about the new one.
            Verdict::Pause { reason, .. } if origin.is_none() => self.again(item, reason),
            Verdict::Pause { scope: Scope::Key, reason, advice } => {
                self.pause(format!("OTAS {reason}; {advice}"));
                self.again(item, reason);
            }
            Verdict::Pause { scope: Scope::Session, reason, advice } => {
                self.hold(item.session, format!("OTAS {reason}; {advice}"));
                self.settle_again(&item, reason, Instant::now() + self.backoff.slowest());
                self.queue.settled(item.id);
            }
            Verdict::Refused { reason, blame } => self.refused(item, ticket, reason, blame),
        }
    }

    fn known(&self, origin: Option<TokenOrigin>) -> CredentialFacts {
        let key_is_good = self.key_cleared_at.is_some_and(|at| at.elapsed() < KEY_CLEARED_FOR);
        CredentialFacts { key_is_good, token: origin.unwrap_or(TokenOrigin::Opened) }
    }

    fn accepted(&mut self, item: &Item, token: &Token, ticket: Slip, event_id: String) {
        self.delivered += 1;
        self.key_was_good = true;
        self.sessions.token_taken(item.session, token);
        self.settle(item, Outcome::Delivered { otas_event_id: event_id });
        self.queue.settled(item.id);
        if self.pace.success(&ticket, Instant::now()) {
            info!("OTAS accepts events again");
            self.queue.release();
            self.resume();
        }
    }

    fn refused(&mut self, mut item: Item, ticket: Slip, reason: String, blame: Blame) {
        let now = Instant::now();
        let fate = item.refused(blame, self.delivered);
        let aside_until = now + self.backoff.delay(item.refusals(), random());
        match fate {
            Fate::Dead => {
                self.pace.probe_at_once(now);
                self.mark_dead(item, reason);
            }
            Fate::First => {
                self.failed(&ticket, reason.clone(), None);
                self.again(item, reason);
            }
            Fate::Aside { suspect } => {
                if suspect {
                    // The others need not wait for this one.
                    self.pace.probe_at_once(now);
                } else {
                    self.failed(&ticket, reason.clone(), None);
                }
                self.settle_again(&item, reason, aside_until);
                self.queue.set_aside(item, now, aside_until);
            }
        }
    }

    /// All posts that used the old token end here. The first one requests a new token.
    fn token_refused(&mut self, session: SessionRow, token: &Token, origin: Option<TokenOrigin>, reason: &str) {
        if !self.sessions.token_refused(session, token) {
            return;
        }
        if origin == Some(TokenOrigin::Settings) {
            self.session_token = None;
            warn!(reason, "OTAS refused the configured session token: opening a session with the agent key instead");
        } else {
            info!(reason, "OTAS refused the session token: opening a new session");
        }
    }

    fn opened(&mut self, session: SessionRow, ticket: Slip, answer: &Answer) {
        let reason = match created(answer) {
            Ok(token) => {
                self.pace.probe_at_once(Instant::now());
                // A renewed session must have an event accepted first.
                if !self.sessions.is_renewed(session) {
                    self.resume();
                }
                let Some(kept) = self.seals.last().and_then(|seal| self.sessions.opened(session, token, seal)) else {
                    error!("cannot seal a session token: later runs cannot use it");
                    return;
                };
                info!(session = kept.otas_session_id, "OTAS session open");
                self.notes.push(Note::Token(session, kept));
                return;
            }
            Err(NotOpen::KeyRefused) => {
                self.key_in_doubt = true;
                "opening a session: the key was refused".to_owned()
            }
            Err(NotOpen::Retry { reason }) => reason,
        };
        self.sessions.not_opened(session);
        self.failed(&ticket, reason, retry_after(answer));
        if self.key_in_doubt {
            self.pace.probe_at_once(Instant::now());
        }
    }

    fn key_checked(&mut self, ticket: Slip, answer: &Answer) {
        match judge_key(answer) {
            KeyCheck::Good { project_id, agent_id } => self.key_is_good(project_id, agent_id),
            KeyCheck::Refused => self.key_refused(&ticket, retry_after(answer)),
            KeyCheck::Unclear { reason } => {
                self.failed(&ticket, reason, retry_after(answer));
                // Brain may reach UASAM where we cannot, and the settings have all that UASAM would tell us.
                if let (Some(project_id), false) = (&self.project_id, self.key_in_doubt) {
                    self.identity = session::identity(None, None, Some(project_id)).ok();
                }
            }
        }
    }

    fn key_refused(&mut self, ticket: &Slip, retry_after: Option<Duration>) {
        let since = *self.key_refused_since.get_or_insert_with(Instant::now);
        if refusal_is_in_doubt(self.key_was_good, since.elapsed()) {
            self.key_in_doubt = true;
            return self.failed(ticket, REFUSED_AFTER_GOOD.to_owned(), retry_after);
        }
        self.notes.push(Note::KeyRefused);
        if let Some(credentials) = &self.credentials {
            let trouble = refused_key(&credentials.key, credentials.are_from_file());
            self.pause(trouble.to_string());
        }
    }

    fn key_is_good(&mut self, project_id: Option<String>, agent_id: Option<String>) {
        let Some(source) = self.credentials.as_ref().map(|credentials| credentials.source.clone()) else { return };
        if self.key_in_doubt {
            debug!("the agent key is valid: OTAS was too busy to check it");
            self.key_cleared_at = Some(Instant::now());
        }
        self.key_in_doubt = false;
        (self.key_was_good, self.key_refused_since) = (true, None);
        let identity = match session::identity(project_id, agent_id, self.project_id.as_deref()) {
            Ok(identity) => identity,
            Err(trouble) => return self.pause(trouble.to_string()),
        };
        if let (Some(own), Some(found)) = (&self.own_agent, &identity.agent_id)
            && own != found
        {
            return self.pause(format!(
                "the new agent key belongs to another agent ({found}) than this run's session ({own}): \
                 restore a key of agent {own}, or restart to log as the other agent; pending events stay in the store"
            ));
        }
        if let Some(agent_id) = &identity.agent_id {
            self.notes.push(Note::KeyOf { agent_id: agent_id.clone() });
            self.own_agent = Some(agent_id.clone());
        }
        self.notes.append(&mut self.sealed_anew);
        if self.identity.as_ref() != Some(&identity) {
            info!(project = identity.project_id, agent = identity.agent_id, "the agent key is valid");
            self.notes.push(Note::Adopt { agent_id: identity.agent_id.clone(), source });
            self.identity = Some(identity);
        }
        self.resume();
        self.pace.probe_at_once(Instant::now());
    }

    /// A call failed, and no event is at fault.
    pub(super) fn failed(&mut self, ticket: &Slip, reason: String, retry_after: Option<Duration>) {
        let now = Instant::now();
        let news = self.pace.failure(ticket, now, random(), retry_after);
        let next_in = self.pace.next_at(now) - now;
        if news {
            warn!(%reason, ?next_in, "OTAS accepts no events: keeping them");
        } else {
            debug!(%reason, ?next_in, "OTAS still accepts no events");
        }
        self.trouble = Some(reason);
    }

    /// An operator is needed: events are kept, and OTAS is tried slowly.
    pub(super) fn pause(&mut self, reason: String) {
        if self.paused.as_ref() != Some(&reason) {
            error!(%reason, "delivery is paused, events are kept");
        }
        self.pace.slow_down(Instant::now());
        self.paused = Some(reason);
        self.lets_others_try = true;
    }

    /// As [`Worker::pause`], for one session.
    pub(super) fn hold(&mut self, session: SessionRow, reason: String) {
        error!(%reason, "one session's events are kept, the others are delivered");
        self.sessions.hold(session, reason, Instant::now() + self.backoff.slowest());
        self.queue.forget_session(session);
    }

    pub(super) fn resume(&mut self) {
        self.paused = None;
        self.trouble = None;
    }

    fn again(&mut self, item: Item, reason: String) {
        self.settle_again(&item, reason, self.pace.next_at(Instant::now()));
        self.queue.put_back(item);
    }

    pub(super) fn mark_dead(&mut self, item: Item, reason: String) {
        error!(row = item.id, attempts = item.attempts, %reason, "OTAS refuses this event for good: it is kept as dead");
        self.shown.verdicts.dead += 1;
        self.settle(&item, Outcome::Dead { verdict: reason });
        self.queue.settled(item.id);
    }

    fn settle_again(&mut self, item: &Item, verdict: String, next_try: Instant) {
        let wait = next_try.saturating_duration_since(Instant::now());
        let next_try_at_ms = now_ms().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        self.settle(item, Outcome::Again { verdict, next_try_at_ms });
    }

    fn settle(&mut self, item: &Item, outcome: Outcome) {
        if self.settled.is_some() {
            self.fates.extend(outcome.fate(item.event_id, item.session));
        }
        self.unsettled.push(Settlement { id: item.id, attempts: item.attempts, outcome });
        self.counts_are_wanted = true;
    }
}

fn retry_after(answer: &Answer) -> Option<Duration> {
    answer.as_ref().ok().and_then(|reply| reply.retry_after)
}
