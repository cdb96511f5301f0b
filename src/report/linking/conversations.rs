//! Model calls that continue an earlier one. They name the id of its response or of the conversation, or their messages begin with
//! all messages of the earlier call, followed by an answer. Messages are compared by meaning ([`messages`](super::messages)).

use quick_cache::unsync::Cache;
use uuid::Uuid;

use super::messages::Messages;
use super::{REMEMBERED, failed};
use crate::capture::Exchange;
use crate::event::{Llm, Turn};
use crate::llm::names;

pub(super) struct Conversations {
    /// By the hash of a call's messages.
    talks: Cache<[u8; 32], Talk>,
    /// By the id of a call's response, or of its conversation.
    named: Cache<String, Turn>,
}

#[derive(Clone, Copy)]
enum Talk {
    /// The only call that had these messages.
    One { turn: Turn, failed: bool },
    /// Several calls had these messages, so it is unknown which one is continued.
    Several,
}

impl Conversations {
    pub(super) fn new() -> Self {
        Self { talks: Cache::new(REMEMBERED), named: Cache::new(REMEMBERED) }
    }

    /// The call that this one continues, by its messages.
    pub(super) fn link(&mut self, exchange: &Exchange, messages: Option<Messages>) -> Option<Turn> {
        let messages = messages?;
        let link = messages.beginnings().rev().find_map(|(hash, next)| match self.talks.get(hash)? {
            Talk::One { turn, .. } if messages.is_answer(next) => Some(Some(*turn)),
            Talk::One { .. } | Talk::Several => Some(None),
        });
        let link = link.flatten();
        let turn = turn(exchange.id, link);
        let talk = match self.talks.get(messages.all()) {
            // A retry of a failed call has the same messages.
            None | Some(Talk::One { failed: true, .. }) => Talk::One { turn, failed: failed(exchange) },
            Some(_) => Talk::Several,
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

/// The link that calls get which continue this one.
fn turn(id: Uuid, link: Option<Turn>) -> Turn {
    Turn { previous: id, first: link.map_or(id, |link| link.first) }
}

fn under(name: &str, id: &str) -> String {
    format!("{name} {id}")
}
