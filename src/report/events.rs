//! Makes events of exchanges: with the context of this process, their links, and their rows for the store.

use super::Facts;
use super::linking::Linking;
use crate::callers::CallerSession;
use crate::capture::Exchange;
use crate::event::{self, Context, Event, Links, Llm};
use crate::known_agents;
use crate::secret::Secret;

/// A call with at most this many bytes to search is searched by the reporting thread. Handing it to another thread would cost as
/// much.
pub(super) const SMALL_BYTES: usize = 16 << 10;
/// Bytes of larger calls that the reporting thread still searches between two checks of the queue. The searchers get the rest.
pub(super) const ALLOWANCE_BYTES: usize = 512 << 10;

/// Whether the reporting thread makes a call's event itself: there is little to search, or `allowance` has room for it.
pub(super) fn is_searched_here(exchange: &Exchange, facts: &Facts, allowance: &mut usize) -> bool {
    let bytes = event::searched_bytes(exchange, facts.text_max_bytes);
    if bytes <= SMALL_BYTES {
        return true;
    }
    let left = allowance.checked_sub(bytes);
    *allowance = left.unwrap_or(*allowance);
    left.is_some()
}

/// Makes the event of a call that has ended, with its links to other calls.
pub(super) fn build(
    exchange: &Exchange,
    facts: &Facts,
    session: &CallerSession,
    seq: u64,
    linking: &Linking,
) -> Event {
    let links = linking.links(exchange);
    let (continues, session_of) = (|llm: &Llm| linking.continues(llm), |thread: &str| linking.session_of(thread));
    let context = Context { continues: &continues, session_of: &session_of, ..context(facts, session, seq, links) };
    let event = event::build(exchange, &context);
    let llm = Llm::parse(&event.llm);
    linking.note(event.id, llm.as_ref(), &links);
    note_quotas(exchange, &event, llm.as_ref(), facts);
    event
}

/// Notes the quotas that the response to a model call states.
fn note_quotas(exchange: &Exchange, event: &Event, llm: Option<&Llm>, facts: &Facts) {
    let Some(response) = exchange.response.as_ref().filter(|_| exchange.llm.is_some()) else { return };
    let fields = response.headers.iter().filter_map(|(name, value)| Some((name, str::from_utf8(value).ok()?)));
    // What the stream states is newer than its head.
    let of_stream = exchange.llm.iter().flat_map(|of| &of.limits).map(|(name, value)| (&**name, &**value));
    let fields = fields.chain(of_stream);
    facts.quotas.note(&event.host, llm, fields, event.started_at_ms);
}

/// What an event of this session holds besides its exchange.
pub(super) fn context<'a>(facts: &'a Facts, session: &CallerSession, seq: u64, links: Links) -> Context<'a> {
    let Facts { run_id, error_from_status, properties, prices, redactor, text_max_bytes, .. } = facts;
    let (error_from_status, prices, text_max_bytes) = (*error_from_status, Some(prices), *text_max_bytes);
    let rule = session.rule;
    Context {
        seq,
        run_id,
        rule,
        error_from_status,
        properties,
        prices,
        links,
        continues: &|_| None,
        session_of: &|_| None,
        redactor,
        text_max_bytes,
    }
}

/// The header field in which an agent names its own session.
const TOKEN_FIELD: &str = "x-otas-agent-session-token";

/// The token of the session that the agent names in its call, if it names exactly one.
pub(super) fn named_token(exchange: &Exchange) -> Option<Secret> {
    let mut all = exchange.request.headers.get_all(TOKEN_FIELD);
    let (one, none) = (all.next()?, all.next());
    // The agent's claim is not verified: see `Secret::told`.
    none.is_none().then(|| str::from_utf8(one).ok().map(Secret::told)).flatten()
}

/// The known agent program that the request's `User-Agent` names.
pub(super) fn agent_program(exchange: &Exchange) -> Option<&'static str> {
    let value = exchange.request.headers.get(http::header::USER_AGENT.as_str())?;
    known_agents::of_user_agent(std::str::from_utf8(value).ok()?)
}
