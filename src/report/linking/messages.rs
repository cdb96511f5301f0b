//! The messages of a model call, hashed so that calls can be compared. Agents send all messages with each call, in almost the same
//! bytes: Claude Code moves its `cache_control` marks to the newest ones. So messages are compared by meaning, and what a message
//! means is remembered by its bytes.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, Hash};
use std::ops::Range;

use foldhash::quality::RandomState;
use quick_cache::sync::Cache;
use serde_json::value::RawValue;

use super::{Parts, REMEMBERED, same, whole_body};
use crate::agents::{self, Identity, Part};
use crate::capture::Exchange;
use crate::llm::message_places;

/// Endings of the paths of APIs whose requests hold all messages so far, for calls that were not answered like a model's.
const PATHS: [&str; 3] = ["/chat/completions", "/messages", "/responses"];

/// For each call that is remembered, the meanings of so many messages are remembered: conversations of hundreds are common.
const MESSAGES_A_CALL: usize = 8;

/// What messages mean, by the hash of their bytes.
pub(super) struct Meanings {
    /// Two random seeds: nobody can construct messages with equal hashes, and all messages of a conversation are hashed with each
    /// call, so a fast hash matters.
    seeds: [RandomState; 2],
    known: Cache<Hashed, [u8; 32]>,
}

/// The hash of something, with both seeds.
pub(super) type Hashed = [u64; 2];

impl Meanings {
    pub(super) fn new() -> Self {
        let seeds = [RandomState::default(), RandomState::default()];
        Self { seeds, known: Cache::new(REMEMBERED * MESSAGES_A_CALL) }
    }

    /// A hash of a message that is the same whatever the order of its members, its white space, its marks for the cache and its id.
    /// `None`: it is not JSON.
    fn of(&self, message: &[u8]) -> Option<[u8; 32]> {
        let bytes = self.hash(message);
        if let Some(meaning) = self.known.get(&bytes) {
            return Some(meaning);
        }
        let json: &RawValue = serde_json::from_slice(message).ok()?;
        let meaning = digest(|parts| same::add_message(parts, json.get()));
        self.known.insert(bytes, meaning);
        Some(meaning)
    }

    fn hash(&self, of: impl Hash) -> Hashed {
        self.seeds.each_ref().map(|seed| seed.hash_one(&of))
    }
}

/// The messages of a call.
pub(super) struct Messages<'a> {
    /// For each message: the hash of all messages up to it, and its range in the body.
    hashed: Vec<(Hashed, Range<usize>)>,
    /// The hash of all messages.
    all: Hashed,
    body: Cow<'a, [u8]>,
}

/// A request that only warms the connection up has `false` here (Codex).
#[derive(serde::Deserialize)]
struct Generates {
    generate: Option<bool>,
}

#[derive(serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

impl<'a> Messages<'a> {
    /// The messages of a model call, if the whole body is known.
    pub(super) fn of(exchange: &'a Exchange, caller: u64, meanings: &Meanings) -> Option<Self> {
        let request = &exchange.request;
        let may_have = exchange.llm.is_some() || PATHS.iter().any(|end| request.path.ends_with(end));
        if request.method != http::Method::POST || !may_have {
            return None;
        }
        let body = whole_body(exchange)?;
        let body = body.kept();
        let body = match same::content(&body, same::codings(&request.headers)) {
            Cow::Owned(decoded) => Cow::Owned(decoded),
            Cow::Borrowed(_) => body,
        };
        let listed = exchange.llm.as_ref().map(|facts| &facts.messages[..]).filter(|places| !places.is_empty());
        let places = listed.map_or_else(|| places(&body), |listed| Some(listed.to_vec()))?;
        let mut so_far = meanings.hash(start(exchange, caller));
        let hashed = places.into_iter().map(|place| {
            so_far = meanings.hash((so_far, meanings.of(body.get(place.clone())?)?));
            Some((so_far, place))
        });
        let hashed = hashed.collect::<Option<Vec<_>>>()?;
        let (all, _) = hashed.last()?;
        Some(Self { all: *all, hashed, body })
    }

    /// The hash of all messages.
    pub(super) fn all(&self) -> &Hashed {
        &self.all
    }

    /// For each message but the last: the hash of all messages up to it, and the place of the next one.
    pub(super) fn beginnings(&self) -> impl DoubleEndedIterator<Item = (&Hashed, &Range<usize>)> {
        let next = self.hashed.iter().skip(1).map(|(_, place)| place);
        self.hashed.iter().map(|(hash, _)| hash).take(self.hashed.len() - 1).zip(next)
    }

    /// This message and what follows it in the body.
    pub(super) fn from(&self, place: &Range<usize>) -> &[u8] {
        self.body.get(place.start..).unwrap_or_default()
    }

    /// Whether a message is from the model. In OpenAI's responses, an answer has several items: what it thought, said and called.
    pub(super) fn is_answer(&self, place: &Range<usize>) -> bool {
        let message = self.body.get(place.clone()).unwrap_or_default();
        serde_json::from_slice::<Message<'_>>(message).is_ok_and(|message| {
            let is_from_model = |role: &str| matches!(role, "assistant" | "model");
            let is_made_by_model = |kind: &str| kind == "reasoning" || kind.ends_with("_call");
            message.role.as_deref().is_some_and(is_from_model)
                || message.kind.as_deref().is_some_and(is_made_by_model)
        })
    }
}

/// Where the messages stand, for a call whose reader did not list them. `None`: the body is not JSON, or asks for no answer.
fn places(body: &[u8]) -> Option<Vec<Range<usize>>> {
    let Generates { generate } = serde_json::from_slice(body).ok()?;
    let asks = generate != Some(false);
    asks.then(|| str::from_utf8(body).ok().map(message_places))?
}

fn digest(add: impl FnOnce(&mut Parts)) -> [u8; 32] {
    let mut parts = Parts::new();
    add(&mut parts);
    parts.digest()
}

/// What conversations of different callers, agents and interfaces begin with.
fn start(exchange: &Exchange, caller: u64) -> [u8; 32] {
    digest(|parts| {
        parts.add(&caller.to_le_bytes());
        parts.add(exchange.origin.to_string().as_bytes());
        parts.add(exchange.request.path.as_bytes());
        // Two sub-agents may begin with the same words.
        for name in agents::fields_of_conversations() {
            parts.add(exchange.request.headers.get(name).unwrap_or_default());
        }
        let claims = exchange.llm.as_ref().map_or(&[][..], |facts| &facts.claims);
        let in_body = if claims.is_empty() { None } else { Identity::of(exchange.request.headers.iter(), claims) };
        for part in [Part::Session, Part::Agent, Part::Thread] {
            let id = in_body.as_ref().and_then(|identity| identity.get(part));
            parts.add(id.unwrap_or_default().as_bytes());
        }
    })
}
