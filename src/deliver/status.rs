//! What delivery tells about itself.

use super::Verdict;
use crate::store::Counts;

/// How delivery goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The OTAS session.
    pub session: SessionState,
    /// This process delivers; if not, another one that shares the store may.
    pub delivering: bool,
    /// Calls to OTAS under way.
    pub in_flight: usize,
    /// How many may be at the moment.
    pub limit: usize,
    /// The events of all sessions that this process began (of all the key's, if it makes no events), as last read from the
    /// store.
    pub counts: Counts,
    /// Pending events of all sessions of the agent key: those of this process, and those of earlier and other processes.
    pub backlog: u64,
    /// Why OTAS takes no events at the moment. `None`: it does.
    pub trouble: Option<String>,
    /// Posts whose answer was lost: each may have been saved, and is sent again all the same.
    pub lost_answers: u64,
    /// What came of the posts so far.
    pub verdicts: Verdicts,
    /// Something that a person should know, though events are delivered.
    pub warning: Option<String>,
}

impl Status {
    /// Two deliveries under different keys as one: what is counted adds up, and one that is in trouble is the one that is told of.
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
            lost_answers: self.lost_answers + other.lost_answers,
            verdicts: self.verdicts.and(other.verdicts),
            warning: self.warning.or(other.warning),
        }
    }
}

/// How often each verdict was passed by this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdicts {
    /// Taken.
    pub delivered: u64,
    /// Not the event's fault: sent again.
    pub retry: u64,
    /// The key was refused, which UASAM was asked about.
    pub check_key: u64,
    /// The session's token was refused.
    pub renew_session: u64,
    /// A person was needed.
    pub pause: u64,
    /// The event may have been at fault.
    pub refused: u64,
    /// Events that were given up.
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

/// How the OTAS session stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SessionState {
    /// Not open yet, or being renewed.
    #[default]
    Opening,
    /// The key is good. A session is opened with the first event, so that none stays empty.
    Ready,
    /// OTAS could not be asked whether the key is good. Events are sent all the same: the first one opens the session.
    Unchecked,
    /// Open.
    Open {
        /// OTAS's id of it, when the token tells.
        otas_session_id: Option<String>,
    },
    /// Something must be put right by a person. Events are kept, and OTAS is tried again slowly.
    Paused {
        /// What is wrong, and what to do.
        reason: String,
    },
}

impl std::fmt::Display for SessionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Opening => f.write_str("opening"),
            Self::Ready => f.write_str("ready: the key is good, and the first event opens the session"),
            Self::Unchecked => f.write_str(
                "ready: the key could not be checked, as UASAM does not answer, and the first event opens the session",
            ),
            Self::Open { otas_session_id: Some(id) } => write!(f, "open ({id})"),
            Self::Open { otas_session_id: None } => f.write_str("open"),
            Self::Paused { reason } => write!(f, "paused: {reason}"),
        }
    }
}
