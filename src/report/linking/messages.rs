//! The messages of a model call, hashed so that calls can be compared. Agents send all messages with each call, in almost the same
//! bytes: Claude Code moves its `cache_control` marks to the newest ones. So messages are compared by meaning, and what a message
//! means is remembered by its bytes.

use std::borrow::Cow;
use std::ops::Range;

use quick_cache::sync::Cache;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Parts, REMEMBERED, same, whole_body};
use crate::capture::Exchange;

/// Endings of the paths of APIs whose requests hold all messages so far, for calls that were not answered like a model's.
const PATHS: [&str; 3] = ["/chat/completions", "/messages", "/responses"];

/// Fields in which agents name their session, agent or thread: two sub-agents may begin with the same words.
const IDENTITIES: [&str; 6] = [
    "x-claude-code-session-id",
    "x-claude-code-agent-id",
    "session-id",
    "thread-id",
    "x-session-id",
    "x-opencode-session",
];

/// How many messages a call has, that their meanings are worth remembering: conversations of hundreds of messages are common.
const MESSAGES_A_CALL: usize = 8;

/// What messages mean, by the hash of their bytes.
pub(super) struct Meanings(Cache<[u8; 32], [u8; 32]>);

impl Meanings {
    pub(super) fn new() -> Self {
        Self(Cache::new(REMEMBERED * MESSAGES_A_CALL))
    }

    /// A hash of a message that is the same whatever the order of its members, its white space, its marks for the cache and its id.
    fn of(&self, message: &RawValue) -> [u8; 32] {
        // In one piece, which is several times faster than piece by piece.
        let bytes = blake3::hash(message.get().as_bytes()).into();
        if let Some(meaning) = self.0.get(&bytes) {
            return meaning;
        }
        let meaning = digest(|parts| same::add_message(parts, message.get()));
        self.0.insert(bytes, meaning);
        meaning
    }
}

/// The messages of a call.
pub(super) struct Messages {
    /// For each message: the hash of all messages up to it, and its range in the body.
    hashed: Vec<([u8; 32], Range<usize>)>,
    /// The hash of all messages.
    all: [u8; 32],
    body: Vec<u8>,
}

/// The members that hold messages: of OpenAI's chat and Anthropic's interface, of OpenAI's responses, of Gemini's.
#[derive(Deserialize)]
struct RequestBody<'a> {
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    contents: Option<&'a RawValue>,
    /// False: Codex only warms the connection up.
    generate: Option<bool>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

impl Messages {
    /// The messages of a model call, if the whole body is known.
    pub(super) fn of(exchange: &Exchange, caller: u64, meanings: &Meanings) -> Option<Self> {
        let request = &exchange.request;
        let may_have = exchange.llm.is_some() || PATHS.iter().any(|end| request.path.ends_with(end));
        if request.method != http::Method::POST || !may_have {
            return None;
        }
        let body = whole_body(exchange)?;
        let body = body.kept();
        let body = match same::content(&body, same::codings(&request.headers)) {
            Cow::Owned(decoded) => decoded,
            Cow::Borrowed(_) => body,
        };
        let sent: RequestBody<'_> = serde_json::from_slice(&body).ok()?;
        if sent.generate == Some(false) {
            return None;
        }
        let list = sent.messages.or(sent.input).or(sent.contents)?;
        let messages: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
        let mut so_far = start(exchange, caller);
        let hashed = messages.iter().map(|message| {
            let meaning = meanings.of(message);
            so_far = digest(|parts| {
                parts.add(&so_far);
                parts.add(&meaning);
            });
            let start = message.get().as_ptr().addr() - body.as_ptr().addr();
            (so_far, start..start + message.get().len())
        });
        let hashed: Vec<_> = hashed.collect();
        let (all, _) = hashed.last()?;
        Some(Self { all: *all, hashed, body })
    }

    /// The hash of all messages.
    pub(super) fn all(&self) -> &[u8; 32] {
        &self.all
    }

    /// For each message but the last: the hash of all messages up to it, and the place of the next one.
    pub(super) fn beginnings(&self) -> impl DoubleEndedIterator<Item = (&[u8; 32], &Range<usize>)> {
        let next = self.hashed.iter().skip(1).map(|(_, place)| place);
        self.hashed.iter().map(|(hash, _)| hash).take(self.hashed.len() - 1).zip(next)
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
        for name in IDENTITIES {
            parts.add(exchange.request.headers.get(name).unwrap_or_default());
        }
    })
}
