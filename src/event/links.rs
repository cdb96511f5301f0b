//! `metadata.links`: the calls that a call belongs to, by the ids of their events. Only what is sure is said.

use uuid::Uuid;

use super::json::Json;

/// The calls that one belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Links {
    /// The call that failed and was made again by this one.
    pub retry: Option<Retry>,
    /// The call that was answered with a redirect to this one.
    pub redirect_of: Option<Uuid>,
    /// The call that this one goes on from in a conversation with a model.
    pub conversation: Option<Turn>,
}

/// One of several attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The attempt before.
    pub of: Uuid,
    /// The first attempt.
    pub first: Uuid,
    /// How often the call was made again by now: 1 for the second attempt.
    pub count: u32,
}

/// A place in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The call before.
    pub previous: Uuid,
    /// The first call.
    pub first: Uuid,
}

impl Links {
    /// Writes the member, if there is anything to say.
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
