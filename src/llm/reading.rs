//! Collects the pieces of an answer. The readers of the APIs say what a piece means; here the pieces are combined, and
//! it is decided which facts are certain.
//!
//! Token counts become facts when the answer is complete. The usage of a truncated stream is kept as it came, but is
//! not a fact.

use std::time::Duration;

use serde_json::{Map, Value};

use super::answer::{Answer, Kind};
use super::calls::{Calls, Mention};
use super::counting::Counting;
use super::facts::{AnswerError, Fact, Facts};
use super::text::cut;
use super::usage::Tokens;
use super::{names, refusal};

/// The longest name of something (a model, an id, a stop reason).
const NAME_MAX_BYTES: usize = 256;
/// The longest error message.
const ERROR_MAX_BYTES: usize = 2048;
/// The most stop reasons, one for each answer.
const FINISHES_MAX: usize = 16;
/// The most ids of calls to tools that are kept, and the longest one.
const TOOL_IDS_MAX: usize = 8;
const TOOL_ID_MAX_BYTES: usize = 128;
/// The most fields of quotas and rate limits that are kept.
const LIMITS_MAX: usize = 32;
/// The largest usage object.
const USAGE_MAX_BYTES: usize = 8 << 10;

/// An answer while it arrives.
#[derive(Default)]
pub(super) struct Reading {
    request: Request,
    /// Whether the answer is streamed.
    pub(super) streamed: bool,
    id: Option<String>,
    model: Option<String>,
    service_tier: Option<String>,
    finishes: Vec<(u64, String)>,
    usage: Map<String, Value>,
    tokens: Tokens,
    usage_is_final: bool,
    usage_lost: bool,
    counting: Counting,
    /// The last output count is only a start value.
    output_is_begun: bool,
    closed: bool,
    last: Last,
    confirmed: bool,
    pieces: bool,
    answer: Answer,
    calls: Calls,
    tool_ids: Vec<String>,
    failure: Option<AnswerError>,
    limits: Vec<(String, String)>,
    further: Vec<(&'static str, Fact)>,
    times: Times,
}

/// Whether the last piece of a stream without an end mark has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Last {
    #[default]
    NotYet,
    /// A piece looked like the last one.
    Came,
    /// More content came after it, so this sign means nothing in this stream.
    SaysNothing,
}

/// Facts of the request that an answer is compared with.
#[derive(Default)]
pub(super) struct Request {
    /// The host.
    pub(super) host: String,
    /// The id of the JSON-RPC request, as its JSON.
    pub(super) id: Option<String>,
    /// The requested tool.
    pub(super) tool: Option<String>,
}

/// Times since the request was forwarded.
#[derive(Default, Clone, Copy)]
struct Times {
    now: Option<Duration>,
    first_chunk: Option<Duration>,
    first_content: Option<Duration>,
    last_content: Option<Duration>,
    longest_gap: Option<Duration>,
}

impl Reading {
    /// Before the first piece.
    pub(super) fn new(request: Request, streamed: bool) -> Self {
        Self { request, streamed, ..Self::default() }
    }

    /// The request.
    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    /// Sets the arrival time of the next pieces.
    pub(super) fn set_time(&mut self, now: Option<Duration>) {
        self.times.now = now;
    }

    /// Notes a piece of the answer, whatever its content.
    pub(super) fn chunk(&mut self) {
        self.pieces = true;
        self.times.first_chunk = self.times.first_chunk.or(self.times.now);
    }

    /// Sets the answer's id, unless it is known.
    pub(super) fn id(&mut self, id: Option<String>) {
        self.id = self.id.take().or(id.filter(|id| !id.is_empty()).map(named));
    }

    /// Sets the model that answers, unless it is known.
    pub(super) fn model(&mut self, model: Option<String>) {
        self.model = self.model.take().or(model.filter(|model| !model.is_empty()).map(named));
    }

    /// Sets how the provider served the call. The last one counts.
    pub(super) fn service_tier(&mut self, tier: Option<String>) {
        self.service_tier = tier.filter(|tier| !tier.is_empty()).map(named).or(self.service_tier.take());
    }

    /// Sets the stop reason of one of the answers. The last one counts.
    pub(super) fn finish(&mut self, answer: u64, reason: &str) {
        // Some servers send an empty reason in each piece.
        if matches!(reason, "" | "null") {
            return;
        }
        let reason = named(reason.to_owned());
        let room = self.finishes.len() < FINISHES_MAX;
        match self.finishes.iter_mut().find(|(known, _)| *known == answer) {
            Some((_, known)) => *known = reason,
            None if room => self.finishes.push((answer, reason)),
            None => {}
        }
    }

    /// Updates the provider's usage object. New values replace old ones, except that zeros never do.
    pub(super) fn usage(&mut self, usage: Option<Value>, tokens: fn(&Value) -> Tokens) {
        let Some(Value::Object(update)) = usage else { return };
        let update = Value::Object(update);
        if let Some(output) = tokens(&update).output {
            self.counting.count(output);
            self.output_is_begun &= output == 0;
        }
        let Value::Object(update) = update else { return };
        merge(&mut self.usage, update);
        self.tokens = tokens(&Value::Object(self.usage.clone()));
    }

    /// The usage object was too large to be read.
    pub(super) fn usage_lost(&mut self) {
        self.usage_lost = true;
    }

    /// Adds token counts from outside the usage object.
    pub(super) fn count(&mut self, tokens: Tokens) {
        let before = self.tokens;
        self.tokens = Tokens {
            input: before.input.or(tokens.input),
            output: before.output.filter(|_| !self.output_is_begun).or(tokens.output),
            cache_read: before.cache_read.or(tokens.cache_read),
            cache_write: before.cache_write.or(tokens.cache_write),
            reasoning: before.reasoning.or(tokens.reasoning),
        };
        self.output_is_begun &= tokens.output.is_none();
    }

    /// The output count so far is only a start value.
    pub(super) fn output_is_begun(&mut self) {
        self.output_is_begun = true;
    }

    /// The provider's counts are final, even if the answer is an error.
    pub(super) fn usage_is_final(&mut self) {
        self.usage_is_final = true;
    }

    /// The answer is complete.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// The answer continues, although it seemed complete.
    pub(super) fn reopen(&mut self) {
        self.closed = false;
    }

    /// A piece of a stream without an end mark arrived. `last`: it looks like the last one. `content`: it has content.
    pub(super) fn perhaps_last(&mut self, last: bool, content: bool) {
        self.last = match self.last {
            Last::NotYet if last => Last::Came,
            Last::Came if content => Last::SaysNothing,
            other => other,
        };
    }

    /// Whether the answer is complete by its own format, or has failed.
    pub(super) fn has_ended(&self) -> bool {
        self.closed || self.last == Last::Came || self.failure.is_some()
    }

    /// Whether it carries an error.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Whether any piece has arrived.
    pub(super) fn has_pieces(&self) -> bool {
        self.pieces
    }

    /// Whether there is a stop reason.
    pub(super) fn has_finished(&self) -> bool {
        !self.finishes.is_empty()
    }

    /// Confirms that it is an answer of this API.
    pub(super) fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Whether it is confirmed as an answer of this API.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// The answer so far.
    pub(super) fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Appends text to a part of the answer.
    pub(super) fn append(&mut self, kind: Kind, key: u64, text: &str) {
        if !text.is_empty() {
            self.content();
            self.answer.add(kind, key, text);
        }
    }

    /// Sets the whole text of a part so far, pieces of which may have come before.
    pub(super) fn append_whole(&mut self, kind: Kind, key: u64, text: &str) {
        let known = self.answer.known(kind, key);
        let more = text.strip_prefix(known).unwrap_or(if known.is_empty() { text } else { "" }).to_owned();
        self.append(kind, key, &more);
    }

    /// Adds a tool call. `id`: the member that ties the result to it.
    pub(super) fn tool(&mut self, key: u64, id: &Value, name: &str) {
        self.tool_id(id.as_str().unwrap_or_default());
        self.content();
        self.answer.tool(key, name);
    }

    fn tool_id(&mut self, id: &str) {
        let fits = !id.is_empty() && id.len() <= TOOL_ID_MAX_BYTES && self.tool_ids.len() < TOOL_IDS_MAX;
        if fits && !self.tool_ids.iter().any(|known| known == id) {
            self.tool_ids.push(id.to_owned());
        }
    }

    /// Adds a piece of a tool call.
    pub(super) fn tool_piece(&mut self, mention: &Mention<'_>, arguments: &str) {
        self.tool_id(mention.id);
        let key = self.calls.key(mention, &self.answer);
        let known = self.answer.call(key).1;
        // Some servers repeat a whole call, with or without more of it.
        let restated = !(mention.name.is_empty() && mention.id.is_empty()) && known.starts_with('{');
        let rest = arguments.strip_prefix(known).filter(|_| restated).unwrap_or(arguments).to_owned();
        if !mention.name.is_empty() {
            self.content();
            self.answer.tool_piece(key, mention.name);
        }
        self.append(Kind::Tool, key, &rest);
    }

    /// Sets the initial text of a part. Pieces that follow replace it.
    pub(super) fn begin(&mut self, kind: Kind, key: u64, text: &str) {
        self.content();
        self.answer.begin(kind, key, text);
    }

    /// A key for a tool call without an index.
    pub(super) fn next_tool(&self) -> u64 {
        self.answer.tool_count()
    }

    fn content(&mut self) {
        self.counting.content();
        let Times { now: Some(now), last_content, .. } = self.times else { return };
        self.times.first_content = self.times.first_content.or(Some(now));
        if let Some(gap) = last_content.map(|last| now.saturating_sub(last)) {
            self.times.longest_gap = self.times.longest_gap.max(Some(gap));
        }
        self.times.last_content = Some(now);
    }

    /// The answer carries an error.
    pub(super) fn fail(&mut self, id: &'static str, kind: &str, message: &str) {
        let message = [kind, message].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        let message = cut(message, ERROR_MAX_BYTES);
        let detail = match id {
            "tool_error" => format!("the tool {message} of {} returned an error", self.request.host),
            _ => format!("{} sent an error in its response: {message}", self.request.host),
        };
        self.failure.get_or_insert(AnswerError { id, detail });
    }

    /// Reads an error in the usual format. Some servers send an empty one in each piece, which is not an error.
    pub(super) fn fail_with(&mut self, error: Option<&Value>) {
        if let Some((kind, message)) = error.and_then(refusal::parts) {
            self.fail("stream_error", &kind, &message);
        }
    }

    /// Takes quotas and rate limits, by the names of header fields. The last statement counts.
    pub(super) fn limits(&mut self, stated: Vec<(String, String)>) {
        for (name, value) in stated {
            let room = self.limits.len() < LIMITS_MAX;
            match self.limits.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None if room => self.limits.push((name, value)),
                None => {}
            }
        }
    }

    /// Adds a fact that only some APIs have.
    pub(super) fn add_fact(&mut self, name: &'static str, fact: Fact) {
        if !self.further.iter().any(|(known, _)| *known == name) {
            self.further.push((name, fact));
        }
    }

    /// Adds everything to `facts`. `whole`: the body has ended. `counts`: token counts belong to this call and were
    /// read correctly.
    pub(super) fn add_to(&self, facts: &mut Facts, whole: bool, counts: bool) {
        let mut add = |name, fact: Option<Fact>| facts.add(name, fact);
        let text = |text: &Option<String>| text.clone().map(Fact::Text);
        add(names::RESPONSE_MODEL, text(&self.model));
        add(names::RESPONSE_ID, text(&self.id));
        // Anthropic states it with the usage.
        let of_usage = || self.usage.get("service_tier").and_then(Value::as_str).map(|tier| named(tier.to_owned()));
        add(names::SERVICE_TIER, self.service_tier.clone().or_else(of_usage).map(Fact::Text));
        let mut finishes = self.finishes.clone();
        finishes.sort_by_key(|(answer, _)| *answer);
        let finishes = finishes.into_iter().map(|(_, reason)| reason).collect::<Vec<_>>().join(",");
        add(names::FINISH_REASONS, (!finishes.is_empty()).then_some(Fact::Text(finishes)));
        let ended = self.closed || (whole && !self.finishes.is_empty());
        // After an error, earlier counts may be incomplete.
        let certain = ended && !self.usage_lost && (self.usage_is_final || self.failure.is_none());
        let tokens = if certain && counts { self.counted() } else { Tokens::default() };
        for (name, count) in [
            (names::INPUT_TOKENS, tokens.input),
            (names::OUTPUT_TOKENS, tokens.output),
            (names::CACHE_READ_TOKENS, tokens.cache_read),
            (names::CACHE_WRITE_TOKENS, tokens.cache_write),
            (names::REASONING_TOKENS, tokens.reasoning),
        ] {
            add(name, count.map(Fact::from));
        }
        let tools: Vec<&str> = self.answer.tools(ended).collect();
        add(names::TOOL_CALLS, (!tools.is_empty()).then(|| Fact::Text(tools.join(","))));
        add(names::TOOL_CALL_COUNT, (self.answer.tool_count() > 0).then(|| self.answer.tool_count().into()));
        if self.streamed {
            let Times { first_chunk, first_content, longest_gap, .. } = self.times;
            add(names::TIME_TO_FIRST_CHUNK, first_chunk.and_then(Fact::seconds));
            add(names::TIME_TO_FIRST_TOKEN, first_content.and_then(Fact::seconds));
            add(names::LONGEST_GAP, longest_gap.and_then(Fact::seconds));
            add(names::TOKENS_PER_SECOND, self.pace(tokens).and_then(Fact::rate));
        }
        for (name, fact) in &self.further {
            facts.add(name, Some(fact.clone()));
        }
        facts.answer = self.answer.text();
        facts.tool_ids.clone_from(&self.tool_ids);
        facts.hosts = self.answer.hosts();
        facts.limits.clone_from(&self.limits);
        facts.complete = ended;
        facts.failure.clone_from(&self.failure);
        let raw = (!self.usage.is_empty()).then(|| Value::Object(self.usage.clone()).to_string());
        // OTAS's database does not take a NUL, and no provider sends one.
        facts.usage_raw = raw.filter(|raw| raw.len() <= USAGE_MAX_BYTES && !raw.contains("\\u0000"));
    }

    /// The token counts, without invalid ones. A request never has zero tokens, nor does an answer with content: such a
    /// zero means unknown.
    fn counted(&self) -> Tokens {
        let Tokens { input, output, cache_read, cache_write, reasoning } = self.tokens;
        let input = input.filter(|count| *count > 0);
        let output = output.filter(|count| *count > 0 || self.answer.is_empty());
        let output = output.filter(|count| !self.output_is_begun && self.counting.may_be_all(*count));
        let of = |part: Option<u64>, whole: Option<u64>| part.filter(|count| *count > 0 || whole.is_some());
        Tokens {
            input,
            output,
            cache_read: of(cache_read, input),
            cache_write: of(cache_write, input),
            reasoning: of(reasoning, output),
        }
    }

    /// Output tokens per second while content arrived. Hidden reasoning happened before and does not count.
    fn pace(&self, tokens: Tokens) -> Option<f64> {
        let span = self.times.last_content?.checked_sub(self.times.first_content?)?.as_secs_f64();
        let hidden = if self.answer.has_reasoning() { 0 } else { tokens.reasoning.unwrap_or(0) };
        let shown = tokens.output?.checked_sub(hidden)?;
        (span > 0.0 && shown > 1).then(|| shown as f64 / span)
    }
}

/// Merges an update member by member. A zero never replaces a count.
fn merge(known: &mut Map<String, Value>, update: Map<String, Value>) {
    for (name, value) in update {
        match (known.get_mut(&name), value) {
            (_, Value::Null) => {}
            (Some(Value::Object(known)), Value::Object(update)) => merge(known, update),
            (Some(Value::Number(_)), Value::Number(update)) if update.as_f64() == Some(0.0) => {}
            (_, value) => {
                known.insert(name, value);
            }
        }
    }
}

fn named(text: String) -> String {
    cut(text, NAME_MAX_BYTES)
}
