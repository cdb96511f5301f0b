//! What delivery tells about itself.

use crate::store::Counts;

/// How delivery goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The OTAS session.
    pub session: SessionState,
    /// Calls to OTAS under way.
    pub in_flight: usize,
    /// This session's events, as last read from the store.
    pub counts: Counts,
    /// Why OTAS takes no events at the moment. `None`: it does.
    pub trouble: Option<String>,
    /// Posts whose answer was lost: each may have been saved, and is sent again all the same.
    pub lost_answers: u64,
}

/// How the OTAS session stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SessionState {
    /// Not open yet, or being renewed.
    #[default]
    Opening,
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
            Self::Open { otas_session_id: Some(id) } => write!(f, "open ({id})"),
            Self::Open { otas_session_id: None } => f.write_str("open"),
            Self::Paused { reason } => write!(f, "paused: {reason}"),
        }
    }
}
