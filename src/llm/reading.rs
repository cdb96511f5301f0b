//! What the pieces of an answer add up to. The readers of the interfaces say what a piece means; here it is put together, and
//! decided what is certain enough to be told.
//!
//! Tokens are told once the answer has ended. What a stream that was broken off had said until then is kept as it came, but is
//! no fact.

use std::time::Duration;

use serde_json::{Map, Value};

use super::answer::{Answer, Kind};
use super::calls::{Calls, Mention};
use super::counting::Counting;
use super::facts::{Fact, Facts, Failure};
use super::text::cut;
use super::usage::Tokens;
use super::{names, refusal};

/// Texts that name something (a model, an id, a reason) are cut to this many bytes.
const NAME_MAX_BYTES: usize = 256;
/// Bytes of what an error says.
const ERROR_MAX_BYTES: usize = 2048;
/// Reasons that are kept, one for each answer.
const FINISHES_MAX: usize = 16;
/// Bytes of the provider's usage object.
const USAGE_MAX_BYTES: usize = 8 << 10;

/// An answer while it comes.
#[derive(Default)]
pub(super) struct Reading {
    asked: Asked,
    /// The answer comes in pieces.
    pub(super) streamed: bool,
    id: Option<String>,
    model: Option<String>,
    finishes: Vec<(u64, String)>,
    usage: Map<String, Value>,
    tokens: Tokens,
    usage_is_final: bool,
    usage_lost: bool,
    counting: Counting,
    /// The output that was told is that of an answer that has only begun.
    output_is_begun: bool,
    closed: bool,
    last: Last,
    confirmed: bool,
    pieces: bool,
    answer: Answer,
    calls: Calls,
    failure: Option<Failure>,
    further: Vec<(&'static str, Fact)>,
    times: Times,
}

/// Whether the last piece of a stream without a mark of its end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Last {
    #[default]
    NotYet,
    /// It says that it is the last one.
    Came,
    /// Others came after it: in this stream that says nothing.
    SaysNothing,
}

/// What an answer must be held against.
#[derive(Default)]
pub(super) struct Asked {
    /// Who was asked.
    pub(super) host: String,
    /// The id of the JSON-RPC request, as its JSON.
    pub(super) id: Option<String>,
    /// The tool that was asked for.
    pub(super) tool: Option<String>,
}

/// When things came, counted from the request being forwarded.
#[derive(Default, Clone, Copy)]
struct Times {
    now: Option<Duration>,
    first_chunk: Option<Duration>,
    first_content: Option<Duration>,
    last_content: Option<Duration>,
    longest_gap: Option<Duration>,
}

impl Reading {
    /// Nothing has come yet.
    pub(super) fn new(asked: Asked, streamed: bool) -> Self {
        Self { asked, streamed, ..Self::default() }
    }

    /// What was asked.
    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// What follows came then.
    pub(super) fn at(&mut self, now: Option<Duration>) {
        self.times.now = now;
    }

    /// A piece of the answer has come, whatever is in it.
    pub(super) fn chunk(&mut self) {
        self.pieces = true;
        self.times.first_chunk = self.times.first_chunk.or(self.times.now);
    }

    /// The answer's id.
    pub(super) fn id(&mut self, id: Option<String>) {
        self.id = self.id.take().or(id.filter(|id| !id.is_empty()).map(named));
    }

    /// The model that answers.
    pub(super) fn model(&mut self, model: Option<String>) {
        self.model = self.model.take().or(model.filter(|model| !model.is_empty()).map(named));
    }

    /// Why one of the answers ended; the last word counts.
    pub(super) fn finish(&mut self, answer: u64, reason: &str) {
        // Some have a reason in each piece that says that there is none yet.
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

    /// What the provider counted so far: what it says now stands for what it said before, but zeros for nothing.
    pub(super) fn usage(&mut self, usage: Option<Value>, tokens: fn(&Value) -> Tokens) {
        let Some(Value::Object(said)) = usage else { return };
        let said = Value::Object(said);
        if let Some(output) = tokens(&said).output {
            self.counting.told(output);
            self.output_is_begun &= output == 0;
        }
        let Value::Object(said) = said else { return };
        merge(&mut self.usage, said);
        self.tokens = tokens(&Value::Object(self.usage.clone()));
    }

    /// The provider counted, but in too many words to be read.
    pub(super) fn usage_lost(&mut self) {
        self.usage_lost = true;
    }

    /// Tokens that are told elsewhere than in a usage object.
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

    /// The output that was told so far is none of the whole answer's.
    pub(super) fn output_is_begun(&mut self) {
        self.output_is_begun = true;
    }

    /// What the provider counted is its last word, even if the answer is an error.
    pub(super) fn usage_is_final(&mut self) {
        self.usage_is_final = true;
    }

    /// The answer has come to its end.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// The answer goes on, though it seemed to have ended.
    pub(super) fn reopen(&mut self) {
        self.closed = false;
    }

    /// A piece of a stream without a mark of its end has come: does it say that it is the last one, and has it content?
    pub(super) fn perhaps_last(&mut self, last: bool, content: bool) {
        self.last = match self.last {
            Last::NotYet if last => Last::Came,
            Last::Came if content => Last::SaysNothing,
            other => other,
        };
    }

    /// Whether the answer has come to its end by its own form, or in an error.
    pub(super) fn has_ended(&self) -> bool {
        self.closed || self.last == Last::Came || self.failure.is_some()
    }

    /// Whether it carries an error.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Whether any piece of it has come.
    pub(super) fn has_pieces(&self) -> bool {
        self.pieces
    }

    /// Whether a reason was given why an answer ended.
    pub(super) fn has_finished(&self) -> bool {
        !self.finishes.is_empty()
    }

    /// It has been seen to be an answer in this interface.
    pub(super) fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Whether it has been seen to be an answer in this interface.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// What has come of the answer.
    pub(super) fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Some of the answer.
    pub(super) fn say(&mut self, kind: Kind, key: u64, text: &str) {
        if !text.is_empty() {
            self.content();
            self.answer.add(kind, key, text);
        }
    }

    /// All that has come of a part of the answer by now, of which pieces may have come before.
    pub(super) fn say_all(&mut self, kind: Kind, key: u64, text: &str) {
        let known = self.answer.known(kind, key);
        let more = text.strip_prefix(known).unwrap_or(if known.is_empty() { text } else { "" }).to_owned();
        self.say(kind, key, &more);
    }

    /// The model calls a tool.
    pub(super) fn tool(&mut self, key: u64, name: &str) {
        self.content();
        self.answer.tool(key, name);
    }

    /// The model calls a tool, or goes on to, with this much of its name and its arguments.
    pub(super) fn tool_piece(&mut self, mention: &Mention<'_>, arguments: &str) {
        let key = self.calls.key(mention, &self.answer);
        let known = self.answer.call(key).1;
        // Some say all that they said of a call again, with the rest of it or without.
        let restated = !(mention.name.is_empty() && mention.id.is_empty()) && known.starts_with('{');
        let rest = arguments.strip_prefix(known).filter(|_| restated).unwrap_or(arguments).to_owned();
        if !mention.name.is_empty() {
            self.content();
            self.answer.tool_piece(key, mention.name);
        }
        self.say(Kind::Tool, key, &rest);
    }

    /// What a part begins with: it is said again if pieces of it come.
    pub(super) fn begin(&mut self, kind: Kind, key: u64, text: &str) {
        self.content();
        self.answer.begin(kind, key, text);
    }

    /// A key for a tool call that has no place of its own.
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
        let said = [kind, message].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        let said = cut(said, ERROR_MAX_BYTES);
        let detail = match id {
            "tool_error" => format!("the tool {said} of {} says of its result that it is an error", self.asked.host),
            _ => format!("{} sent an error in its answer: {said}", self.asked.host),
        };
        self.failure.get_or_insert(Failure { id, detail });
    }

    /// An error as most providers put it. Some have an empty one in each piece, which is none.
    pub(super) fn fail_with(&mut self, error: Option<&Value>) {
        if let Some((kind, message)) = error.and_then(refusal::parts) {
            self.fail("stream_error", &kind, &message);
        }
    }

    /// A fact that only some interfaces have.
    pub(super) fn tell(&mut self, name: &'static str, fact: Fact) {
        if !self.further.iter().any(|(known, _)| *known == name) {
            self.further.push((name, fact));
        }
    }

    /// What is known. `whole`: the body has come to its end. `counts`: its tokens are this call's, and were read well.
    pub(super) fn tell_into(&self, facts: &mut Facts, whole: bool, counts: bool) {
        let mut tell = |name, fact: Option<Fact>| facts.tell(name, fact);
        let text = |text: &Option<String>| text.clone().map(Fact::Text);
        tell(names::RESPONSE_MODEL, text(&self.model));
        tell(names::RESPONSE_ID, text(&self.id));
        let mut finishes = self.finishes.clone();
        finishes.sort_by_key(|(answer, _)| *answer);
        let finishes = finishes.into_iter().map(|(_, reason)| reason).collect::<Vec<_>>().join(",");
        tell(names::FINISH_REASONS, (!finishes.is_empty()).then_some(Fact::Text(finishes)));
        let ended = self.closed || (whole && !self.finishes.is_empty());
        // After an error nothing more is counted, but what was counted before it may have been on the way.
        let certain = ended && !self.usage_lost && (self.usage_is_final || self.failure.is_none());
        let tokens = if certain && counts { self.counted() } else { Tokens::default() };
        for (name, count) in [
            (names::INPUT_TOKENS, tokens.input),
            (names::OUTPUT_TOKENS, tokens.output),
            (names::CACHE_READ_TOKENS, tokens.cache_read),
            (names::CACHE_WRITE_TOKENS, tokens.cache_write),
            (names::REASONING_TOKENS, tokens.reasoning),
        ] {
            tell(name, count.map(Fact::from));
        }
        let tools: Vec<&str> = self.answer.tools(ended).collect();
        tell(names::TOOL_CALLS, (!tools.is_empty()).then(|| Fact::Text(tools.join(","))));
        tell(names::TOOL_CALL_COUNT, (self.answer.tool_count() > 0).then(|| self.answer.tool_count().into()));
        if self.streamed {
            let Times { first_chunk, first_content, longest_gap, .. } = self.times;
            tell(names::TIME_TO_FIRST_CHUNK, first_chunk.and_then(Fact::seconds));
            tell(names::TIME_TO_FIRST_TOKEN, first_content.and_then(Fact::seconds));
            tell(names::LONGEST_GAP, longest_gap.and_then(Fact::seconds));
            tell(names::TOKENS_PER_SECOND, self.pace(tokens).and_then(Fact::rate));
        }
        for (name, fact) in &self.further {
            facts.tell(name, Some(fact.clone()));
        }
        facts.answer = self.answer.text();
        facts.complete = ended;
        facts.failure.clone_from(&self.failure);
        let raw = (!self.usage.is_empty()).then(|| Value::Object(self.usage.clone()).to_string());
        // No store takes a NUL, and no provider counts with one.
        facts.usage_raw = raw.filter(|raw| raw.len() <= USAGE_MAX_BYTES && !raw.contains("\\u0000"));
    }

    /// What was counted, without what is no count. No question is of no tokens, nor is an answer that says something: such a
    /// nought stands for an unknown number.
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

    /// Output tokens a second, of those that came while content came: reasoning that is not shown was done before.
    fn pace(&self, tokens: Tokens) -> Option<f64> {
        let span = self.times.last_content?.checked_sub(self.times.first_content?)?.as_secs_f64();
        let hidden = if self.answer.has_reasoning() { 0 } else { tokens.reasoning.unwrap_or(0) };
        let shown = tokens.output?.checked_sub(hidden)?;
        (span > 0.0 && shown > 1).then(|| shown as f64 / span)
    }
}

/// Puts what is said now over what was said before: member by member, and zeros never over what was counted.
fn merge(known: &mut Map<String, Value>, said: Map<String, Value>) {
    for (name, value) in said {
        match (known.get_mut(&name), value) {
            (_, Value::Null) => {}
            (Some(Value::Object(known)), Value::Object(said)) => merge(known, said),
            (Some(Value::Number(_)), Value::Number(said)) if said.as_f64() == Some(0.0) => {}
            (_, value) => {
                known.insert(name, value);
            }
        }
    }
}

fn named(text: String) -> String {
    cut(text, NAME_MAX_BYTES)
}
