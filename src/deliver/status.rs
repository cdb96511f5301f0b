//! The status of delivery.

use std::io;
use std::path::Path;

use tokio::sync::watch;

use super::Verdict;
use crate::store::Counts;

/// The status of delivery.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The OTAS session.
    pub session: SessionState,
    /// Whether this process delivers. If not, another one that shares the store may.
    pub delivering: bool,
    /// Calls to OTAS in flight.
    pub in_flight: usize,
    /// The current limit of calls in flight.
    pub limit: usize,
    /// The events of all sessions that this process began, as last read from the store. If it makes no events: all events of
    /// the key.
    pub counts: Counts,
    /// The backlog of the agent key: pending events of this process and of all others.
    pub backlog: u64,
    /// Of the pending events, those that are in the queue of a fleet and wait for a verdict.
    pub in_queue: u64,
    /// Why OTAS accepts no events at the moment. `None`: it does.
    pub trouble: Option<String>,
    /// Posts whose answer was lost. Each event may have been saved, and is sent again.
    pub lost_answers: u64,
    /// Verdicts of the posts so far.
    pub verdicts: Verdicts,
    /// A warning for people, although events are delivered.
    pub warning: Option<String>,
}

/// What is wrong when the delivery lock cannot be taken.
pub(super) fn cannot_lock(store: &Path, error: &io::Error) -> String {
    format!(
        "cannot lock a file beside the event store {}, so two processes might deliver the same events ({error}): put the store where \
         files can be made and locked",
        store.display()
    )
}

impl Status {
    /// Tells those who watch, if it is news.
    pub(super) fn tell(&self, watched: &watch::Sender<Self>) {
        watched.send_if_modified(|status| {
            let news = status != self;
            if news {
                status.clone_from(self);
            }
            news
        });
    }

    /// Combines two deliveries with different keys. Counts add up; a delivery in trouble determines the trouble.
    pub(super) fn and(self, other: Self) -> Self {
        let worse = if self.trouble.is_none() && other.trouble.is_some() { &other } else { &self };
        Self {
            session: worse.session.clone(),
            trouble: worse.trouble.clone(),
            delivering: self.delivering && other.delivering,
            in_flight: self.in_flight + other.in_flight,
            limit: self.limit + other.limit,
            counts: self.counts.and(other.counts),
            backlog: self.backlog + other.backlog,
            in_queue: self.in_queue + other.in_queue,
            lost_answers: self.lost_answers + other.lost_answers,
            verdicts: self.verdicts.and(other.verdicts),
            warning: self.warning.or(other.warning),
        }
    }
}

/// How often this process reached each verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdicts {
    /// Accepted.
    pub delivered: u64,
    /// The event is not at fault: sent again.
    pub retry: u64,
    /// The key was refused, and UASAM was asked about it.
    pub check_key: u64,
    /// The session token was refused.
    pub renew_session: u64,
    /// An operator was needed.
    pub pause: u64,
    /// The event may be at fault.
    pub refused: u64,
    /// Events that are dead.
    pub dead: u64,
}

impl Verdicts {
    fn and(self, other: Self) -> Self {
        Self {
            delivered: self.delivered + other.delivered,
            retry: self.retry + other.retry,
            check_key: self.check_key + other.check_key,
            renew_session: self.renew_session + other.renew_session,
            pause: self.pause + other.pause,
            refused: self.refused + other.refused,
            dead: self.dead + other.dead,
        }
    }

    pub(super) fn count(&mut self, verdict: &Verdict) {
        let count = match verdict {
            Verdict::Delivered { .. } => &mut self.delivered,
            Verdict::Retry { .. } => &mut self.retry,
            Verdict::CheckKey => &mut self.check_key,
            Verdict::RenewSession { .. } => &mut self.renew_session,
            Verdict::Pause { .. } => &mut self.pause,
            Verdict::Refused { .. } => &mut self.refused,
        };
        *count += 1;
    }
}

/// The state of the OTAS session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SessionState {
    /// Not open yet, or being renewed.
    #[default]
    Opening,
    /// The key is valid. The session is opened with the first event, so that no session stays empty.
    Ready,
    /// OTAS could not be asked whether the key is good. Events are sent all the same: the first one opens the session.
    Unchecked,
    /// Events go into the queue of a fleet: a relay opens the session.
    Queued,
    /// Open.
    Open {
        /// OTAS's session id, if the token contains it.
        otas_session_id: Option<String>,
    },
    /// An operator must fix something. Events are kept, and OTAS is tried again slowly.
    Paused {
        /// The problem, and what to do.
        reason: String,
    },
}

impl std::fmt::Display for SessionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Opening => f.write_str("opening"),
            Self::Ready => f.write_str("ready: the key is valid, and the first event opens the session"),
            Self::Unchecked => f.write_str(
                "ready: the key could not be checked, as UASAM does not answer, and the first event opens the session",
            ),
            Self::Queued => f.write_str("ready: events go into the queue, and a relay delivers them"),
            Self::Open { otas_session_id: Some(id) } => write!(f, "open ({id})"),
            Self::Open { otas_session_id: None } => f.write_str("open"),
            Self::Paused { reason } => write!(f, "paused: {reason}"),
        }
    }
}
