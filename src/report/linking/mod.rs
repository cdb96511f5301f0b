//! Links between calls. Each call passes here when it has ended, before its event is made. Earlier calls are remembered within
//! bounds of number and time. Only certain links are made.
//!
//! ```text
//!  retries        the same call by the same caller, after it failed
//!  redirects      the call that follows a redirect
//!  conversations  model calls that continue an earlier one
//!  sessions       the sessions of agents' threads
//! ```

mod conversations;
mod messages;
mod redirects;
mod retries;
mod same;

use std::hash::{BuildHasher, Hash, RandomState};
use std::time::{Duration, SystemTime};

use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use parking_lot::{Mutex, MutexGuard};
use quick_cache::unsync::Cache;
use uuid::Uuid;

use self::messages::Messages;
use crate::capture::{BodyEnd, Captured, Exchange, Kind, Outcome};
use crate::event::{Links, Llm, Turn};

/// The most calls that each kind of link remembers.
const REMEMBERED: usize = 4_096;

/// Finds links. Bodies are read outside the lock, because several threads use it.
pub(super) struct Linking {
    /// Random, so that nobody can construct calls with equal hashes.
    seed: RandomState,
    meanings: messages::Meanings,
    memory: Mutex<Memory>,
}

struct Memory {
    retries: retries::Retries,
    redirects: redirects::Redirects,
    conversations: conversations::Conversations,
    /// By thread, where it is not named like its session.
    sessions: Cache<String, String>,
}

impl Linking {
    pub(super) fn new() -> Self {
        let memory = Memory {
            retries: retries::Retries::new(),
            redirects: redirects::Redirects::new(),
            conversations: conversations::Conversations::new(),
            sessions: Cache::new(REMEMBERED),
        };
        Self { seed: RandomState::new(), meanings: messages::Meanings::new(), memory: Mutex::new(memory) }
    }

    /// The links of a call that has ended, as far as the exchange shows them.
    pub(super) fn links(&self, exchange: &Exchange) -> Links {
        if exchange.kind != Kind::Http || exchange.websocket.is_some() {
            return Links::default();
        }
        let caller = self.caller(exchange);
        let messages = Messages::of(exchange, caller, &self.meanings);
        let matters = self.memory().retries.matters(exchange, caller);
        let call = if matters { retries::call(exchange, caller) } else { None };
        let mut memory = self.memory();
        Links {
            retry: memory.retries.link(exchange, caller, call),
            redirect_of: memory.redirects.link(exchange, caller),
            conversation: memory.conversations.link(exchange, messages),
        }
    }

    /// The call that a model call continues, by the facts that were read.
    pub(super) fn continues(&self, llm: &Llm) -> Option<Turn> {
        self.memory().conversations.named(llm)
    }

    /// The session of an agent's thread, if that has another name.
    pub(super) fn session_of(&self, thread: &str) -> Option<String> {
        self.memory().sessions.get(thread).cloned()
    }

    /// Remembers the facts of a model call.
    pub(super) fn note(&self, id: Uuid, llm: Option<&Llm>, links: &Links) {
        let Some(llm) = llm else { return };
        let mut memory = self.memory();
        memory.conversations.note(id, llm, links.conversation);
        if let (Some(thread), Some(session)) = (llm.thread(), llm.session())
            && thread != session
        {
            memory.sessions.insert(thread.to_owned(), session.to_owned());
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock()
    }

    fn caller(&self, exchange: &Exchange) -> u64 {
        self.seed.hash_one((&exchange.caller, exchange.agent.ip()))
    }
}

/// When a call ended.
fn ended(exchange: &Exchange) -> SystemTime {
    exchange.started_at + exchange.timings.total
}

/// Whether a call began after `ended`, and no later than `within`.
fn follows(exchange: &Exchange, ended: SystemTime, within: Duration) -> bool {
    exchange.started_at.duration_since(ended).is_ok_and(|since| since <= within)
}

/// Whether a call failed in a way that makes a retry likely: without a response, or with a status that invites one.
fn failed(exchange: &Exchange) -> bool {
    let status = exchange.response.as_ref().map_or(0, |response| response.status.as_u16());
    matches!(exchange.outcome, Outcome::Failed(_)) || matches!(status, 408 | 409 | 425 | 429 | 500..)
}

/// The request's body, if all of it is known. If the call failed early, the body may not have been read.
fn whole_body(exchange: &Exchange) -> Option<&Captured> {
    let request = &exchange.request;
    // A request without header fields was refused before it was read.
    request.headers.iter().next()?;
    let field = |name: http::HeaderName| request.headers.get(name.as_str());
    let announced = field(CONTENT_LENGTH).map(|length| str::from_utf8(length).ok()?.trim().parse::<u64>().ok());
    let none = || {
        let bare = field(TRANSFER_ENCODING).is_none() && field(CONTENT_TYPE).is_none();
        bare && matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE)
    };
    let read = match announced {
        Some(length) => length == Some(request.body.total_bytes),
        None => exchange.timings.send.is_some() || none(),
    };
    (read && request.body.omitted_bytes() == 0 && request.body.end == BodyEnd::Complete).then_some(&request.body)
}

/// A cryptographic hash (BLAKE3) of a list of parts.
struct Parts(blake3::Hasher);

impl Parts {
    fn new() -> Self {
        Self(blake3::Hasher::new())
    }

    /// Adds a part with its length, so that different lists never hash the same bytes.
    fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn digest(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// A hash for look-ups.
fn key(seed: &RandomState, of: impl Hash) -> u64 {
    seed.hash_one(of)
}

#[cfg(test)]
mod tests;
