//! `metadata.links`: related calls, by the ids of their events. Only certain relations are written.

use uuid::Uuid;

use super::json::Json;

/// The relations of a call to other calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Links {
    /// Set if this call is a retry.
    pub retry: Option<Retry>,
    /// The call whose response redirected to this one.
    pub redirect_of: Option<Uuid>,
    /// Set if this call continues a conversation with a model.
    pub conversation: Option<Turn>,
}

/// A retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The previous attempt.
    pub of: Uuid,
    /// The first attempt.
    pub first: Uuid,
    /// The number of retries so far: 1 for the second attempt.
    pub count: u32,
}

/// A place in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The previous call.
    pub previous: Uuid,
    /// The first call.
    pub first: Uuid,
}

impl Links {
    /// Writes the member, unless there are no relations.
    pub(super) fn write(&self, json: &mut Json) {
        let Self { retry, redirect_of, conversation } = self;
        if *self == Self::default() {
            return;
        }
        let id = |json: &mut Json, key: &str, id: Uuid| {
            json.string(key, id.hyphenated().encode_lower(&mut [0; 36]));
        };
        json.open("links");
        if let Some(Retry { of, first, count }) = retry {
            id(json, "retry_of", *of);
            id(json, "first_attempt", *first);
            json.number("retry_count", u64::from(*count));
        }
        if let Some(before) = redirect_of {
            id(json, "redirect_of", *before);
        }
        if let Some(Turn { previous, first }) = conversation {
            id(json, "continues", *previous);
            id(json, "conversation", *first);
        }
        json.close();
    }
}
