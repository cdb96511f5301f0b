//! Model calls that continue an earlier one. They name the id of its response or of the conversation, or their messages begin with
//! all messages of the earlier call, followed by an answer. Messages are compared by meaning ([`messages`](super::messages)). Where
//! several calls had the same messages, as two sub-agents with one task have, the ids of their answers' tool calls tell them apart.

use quick_cache::unsync::Cache;
use uuid::Uuid;

use super::messages::{Hashed, Messages};
use super::{REMEMBERED, failed};
use crate::capture::Exchange;
use crate::event::{Llm, Turn};
use crate::llm::names;

/// The most calls with the same messages that are remembered.
const ALIKE_MAX: usize = 8;

pub(super) struct Conversations {
    /// By the hash of a call's messages.
    talks: Cache<Hashed, Talk>,
    /// By the id of a call's response, or of its conversation.
    named: Cache<String, Turn>,
}

/// The calls that had the same messages.
enum Talk {
    /// Only one.
    One { call: Answered, failed: bool },
    /// Several.
    Several(Vec<Answered>),
}

/// A call and its answer.
struct Answered {
    turn: Turn,
    /// The ids of the answer's tool calls.
    tool_ids: Vec<String>,
}

impl Conversations {
    pub(super) fn new() -> Self {
        Self { talks: Cache::new(REMEMBERED), named: Cache::new(REMEMBERED) }
    }

    /// The call that this one continues, by its messages.
    pub(super) fn link(&mut self, exchange: &Exchange, messages: Option<Messages<'_>>) -> Option<Turn> {
        let messages = messages?;
        let longest = messages.beginnings().rev().find_map(|(hash, next)| Some((self.talks.get(hash)?, next)));
        let link = longest
            .filter(|(_, next)| messages.is_answer(next))
            .and_then(|(talk, next)| talk.answered_in(messages.from(next)));
        let tool_ids = exchange.llm.as_ref().map(|facts| facts.tool_ids.clone()).unwrap_or_default();
        let call = Answered { turn: turn(exchange.id, link), tool_ids };
        let talk = match self.talks.remove(messages.all()) {
            // A retry of a failed call has the same messages.
            None | Some((_, Talk::One { failed: true, .. })) => Talk::One { call, failed: failed(exchange) },
            Some((_, Talk::One { call: first, .. })) => Talk::Several(vec![first, call]),
            Some((_, Talk::Several(mut calls))) => {
                if calls.len() == ALIKE_MAX {
                    calls.remove(0);
                }
                calls.push(call);
                Talk::Several(calls)
            }
        };
        self.talks.insert(*messages.all(), talk);
        link
    }

    /// The call that this one continues, by the ids that it names.
    pub(super) fn named(&self, llm: &Llm) -> Option<Turn> {
        let of = |name: &str| self.named.get(&under(name, llm.facts().get(name)?.as_str()?)).copied();
        let answer = llm.facts().get(names::REQUEST_PREVIOUS).and_then(|id| id.as_str());
        match answer {
            Some(id) => self.named.get(&under(names::RESPONSE_ID, id)).copied(),
            None => of(names::CONVERSATION),
        }
    }

    /// Remembers the ids of a call.
    pub(super) fn note(&mut self, id: Uuid, llm: &Llm, link: Option<Turn>) {
        let turn = turn(id, link.or_else(|| self.named(llm)));
        for name in [names::RESPONSE_ID, names::CONVERSATION] {
            if let Some(value) = llm.facts().get(name).and_then(|value| value.as_str()) {
                self.named.insert(under(name, value), turn);
            }
        }
    }
}

impl Talk {
    /// The call whose answer the messages `after` begin with. `None`: unknown.
    fn answered_in(&self, after: &[u8]) -> Option<Turn> {
        let has = |id: &String| memchr::memmem::find(after, id.as_bytes()).is_some();
        match self {
            Self::One { call, .. } => Some(call.turn),
            Self::Several(calls) => {
                let mut found = calls.iter().filter(|call| call.tool_ids.iter().any(has));
                found.next().filter(|_| found.next().is_none()).map(|call| call.turn)
            }
        }
    }
}

/// The link that calls get which continue this one.
fn turn(id: Uuid, link: Option<Turn>) -> Turn {
    Turn { previous: id, first: link.map_or(id, |link| link.first) }
}

fn under(name: &str, id: &str) -> String {
    format!("{name} {id}")
}
