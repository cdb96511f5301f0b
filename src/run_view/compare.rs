//! One model call beside the one before it in its conversation.

use super::cache;
use super::error::ViewError;
use super::list::naming;
use super::tree::Miss;
use crate::conversation::{Changes, Conversation, cache_miss_reason, changes};
use crate::event::Stored;
use crate::llm::Llm;
use crate::store::{Filter, Viewer};

/// Earlier calls of a session that are looked at if no link names the previous call.
const CANDIDATES: usize = 200;
/// Conversations of those that are read.
const READ: usize = 5;

/// A stored call to a model.
pub struct ModelEvent {
    /// Its row.
    pub id: i64,
    /// The event.
    pub stored: Stored,
    /// Its facts.
    pub llm: Llm,
    /// What was said.
    pub conversation: Conversation,
}

/// Two model calls, and what differs.
pub struct Compared {
    /// The earlier call.
    pub before: ModelEvent,
    /// The later call.
    pub after: ModelEvent,
    /// What the later call changed.
    pub changes: Changes,
    /// Set if the later call read less from the prompt cache than the earlier one had left there.
    pub miss: Option<Miss>,
}

/// Reads a model call.
///
/// # Errors
/// When there is no such event, it is no conversation with a model, or the store cannot be read.
pub fn event(viewer: &Viewer, id: i64) -> Result<ModelEvent, ViewError> {
    let row = viewer.event(id)?.ok_or(ViewError::NoEvent(id))?;
    let stored = Stored::parse(&row.json);
    let (llm, conversation) = (stored.llm(), Conversation::of(&stored));
    let (Some(llm), Some(conversation)) = (llm, conversation) else { return Err(ViewError::NoConversation(id)) };
    Ok(ModelEvent { id, stored, llm, conversation })
}

/// The previous call of the conversation: the one that the event's links name, or else the newest earlier call of the same
/// thread whose messages this one begins with. `None`: none is known.
///
/// # Errors
/// When the store cannot be read, or the linked event is no conversation.
pub fn previous(viewer: &Viewer, of: &ModelEvent) -> Result<Option<ModelEvent>, ViewError> {
    let linked = of.stored.link("continues");
    if let Some(row) = linked.map(|event| viewer.row_before(event, of.id)).transpose()?.flatten() {
        return event(viewer, row).map(Some);
    }
    let Some(session) = of.llm.session() else { return Ok(None) };
    let place =
        |llm: &Llm| [llm.agent(), llm.session(), llm.thread(), llm.agent_id()].map(|id| id.map(str::to_owned));
    let here = place(&of.llm);
    let earlier = viewer.calls(&Filter { limit: CANDIDATES, ..naming(session) }, Some(of.id))?;
    let is_here = |llm: Llm| llm.is_model_call() && place(&llm) == here;
    let candidates = earlier.iter().map(|listed| &listed.call).filter(|call| call.error.is_empty());
    for call in candidates.filter(|call| Llm::parse(&call.llm).is_some_and(is_here)).take(READ) {
        let Ok(before) = event(viewer, call.id) else { continue };
        let is_beginning = changes(&before.conversation, &of.conversation).kept > 0;
        let has_tools = |of: &ModelEvent| !of.conversation.request.tools.is_empty();
        if is_beginning && has_tools(&before) == has_tools(of) {
            return Ok(Some(before));
        }
    }
    Ok(None)
}

/// Compares a call with another one, or with the previous one of its conversation.
///
/// # Errors
/// As [`event`], when both are the same call, and when no previous call is known.
pub fn compare(viewer: &Viewer, before: Option<i64>, after: i64) -> Result<Compared, ViewError> {
    if before == Some(after) {
        return Err(ViewError::SameEvent(after));
    }
    let after = event(viewer, after)?;
    let before = match before {
        Some(before) => event(viewer, before)?,
        None => previous(viewer, &after)?.ok_or(ViewError::NoPrevious(after.id))?,
    };
    let changes = changes(&before.conversation, &after.conversation);
    // A later call left nothing in the cache for an earlier one.
    let short = cache::short(&before.llm, &after.llm).filter(|_| before.id < after.id);
    let miss = short.map(|short| Miss {
        previous: before.id,
        expected: short.expected,
        read: short.read,
        reason: Some(cache_miss_reason(&before.conversation, &after.conversation)),
    });
    Ok(Compared { before, after, changes, miss })
}
