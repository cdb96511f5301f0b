//! Why something cannot be shown.

use crate::store::StoreError;

/// Why something cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No event has this number.
    #[error("there is no event {0} in the store; `otas-proxy events` lists them")]
    NoEvent(i64),
    /// The event is no call to a model that converses, or its bodies were not recorded.
    #[error("event {0} is not a conversation with a model; `otas-proxy events --llm` lists the calls to models")]
    NoConversation(i64),
    /// A call is compared with itself.
    #[error("event {0} is compared with itself; name two events, or one alone to compare it with the previous call")]
    SameEvent(i64),
    /// No earlier call of the conversation is known.
    #[error("event {0} continues no stored call; name the event to compare it with")]
    NoPrevious(i64),
}
