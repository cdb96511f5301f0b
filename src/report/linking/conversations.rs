//! Model calls that continue an earlier one. They name the id of its response or of the conversation, or their messages begin with
//! all messages of the earlier call, followed by an answer.

use std::borrow::Cow;
use std::ops::Range;

use quick_cache::unsync::Cache;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Parts, REMEMBERED, failed, whole_body};
use crate::capture::Exchange;
use crate::event::{Llm, Turn};
use crate::llm::names;

/// Endings of the paths of APIs whose requests hold all messages so far.
const PATHS: [&str; 2] = ["/chat/completions", "/messages"];

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

#[derive(Deserialize)]
struct RequestBody<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
}

impl Conversations {
    pub(super) fn new() -> Self {
        Self { talks: Cache::new(REMEMBERED), named: Cache::new(REMEMBERED) }
    }

    /// The call that this one continues, by its messages.
    pub(super) fn link(&mut self, exchange: &Exchange, talked: Option<Talked>) -> Option<Turn> {
        let Talked { before, all, body } = talked?;
        let link = before.iter().rev().find_map(|(hash, next)| match self.talks.get(hash)? {
            Talk::One { turn, .. } if is_answer(body.get(next.clone())?) => Some(Some(*turn)),
            Talk::One { .. } | Talk::Several => Some(None),
        });
        let link = link.flatten();
        let turn = turn(exchange.id, link);
        let talk = match self.talks.get(&all) {
            // A retry of a failed call has the same messages.
            None | Some(Talk::One { failed: true, .. }) => Talk::One { turn, failed: failed(exchange) },
            Some(_) => Talk::Several,
        };
        self.talks.insert(all, talk);
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

/// The hashed messages of a call.
pub(super) struct Talked {
    /// For each message but the last: the hash of all messages up to it, and the range of the next one in the body.
    before: Vec<([u8; 32], Range<usize>)>,
    /// The hash of all messages.
    all: [u8; 32],
    body: Vec<u8>,
}

/// The messages of a model call, if the whole body is known.
pub(super) fn talked(exchange: &Exchange, caller: u64) -> Option<Talked> {
    let request = &exchange.request;
    if request.method != http::Method::POST || !PATHS.iter().any(|end| request.path.ends_with(end)) {
        return None;
    }
    let body = whole_body(exchange)?;
    let body: Vec<u8> = body.head.iter().chain(&body.tail).flatten().copied().collect();
    let sent: RequestBody<'_> = serde_json::from_slice(&body).ok()?;
    let mut so_far = start(exchange, caller);
    let hashes = sent.messages.iter().map(|message| {
        let mut parts = Parts::new();
        parts.add(&so_far);
        parts.add(message.get().as_bytes());
        so_far = parts.digest();
        so_far
    });
    let mut hashes: Vec<_> = hashes.collect();
    let all = hashes.pop()?;
    let place = |message: &RawValue| {
        let start = message.get().as_ptr().addr() - body.as_ptr().addr();
        start..start + message.get().len()
    };
    let before = hashes.into_iter().zip(&sent.messages[1..]).map(|(hash, next)| (hash, place(next))).collect();
    Some(Talked { before, all, body })
}

/// The link that calls get which continue this one.
fn turn(id: Uuid, link: Option<Turn>) -> Turn {
    Turn { previous: id, first: link.map_or(id, |link| link.first) }
}

fn under(name: &str, id: &str) -> String {
    format!("{name} {id}")
}

fn is_answer(message: &[u8]) -> bool {
    serde_json::from_slice::<Message<'_>>(message).is_ok_and(|message| message.role == "assistant")
}

fn start(exchange: &Exchange, caller: u64) -> [u8; 32] {
    let mut parts = Parts::new();
    parts.add(&caller.to_le_bytes());
    parts.add(exchange.origin.to_string().as_bytes());
    parts.add(exchange.request.path.as_bytes());
    parts.digest()
}
