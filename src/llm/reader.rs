//! Reads one call: its question and its answer, in pieces of any size, each with the time when it passed.

use std::io::{self, Write};
use std::time::Duration;

use super::api::{Api, Call, FETCH};
use super::facts::{Fact, Facts};
use super::reading::{Asked, Reading};
use super::replies::{Framing, Objects, Replies};
use super::sieve::Sieve;
use super::unpack::Unpacker;
use super::usage::Tokens;
use super::{frames, names, request, sse};

/// Reads a call to a model, or to a tool.
pub struct Reader {
    call: Call,
    question: Option<Unpacker<Question>>,
    question_whole: bool,
    /// The interface, once it is certain that it is one.
    api: Option<Api>,
    answer: Option<Unpacker<Replies>>,
    answer_whole: bool,
    request_id: Option<String>,
    first_byte: Option<Duration>,
    /// Why facts are missing.
    parse_error: Option<&'static str>,
    /// Facts of the answer cannot be trusted.
    spoilt: bool,
}

struct Question(Sieve);

impl Write for Question {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.read(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Reader {
    /// Of this call, nothing of whose bodies has passed.
    pub fn new(call: Call) -> Self {
        let coding = call.field("content-encoding").unwrap_or_default().trim().to_ascii_lowercase();
        let question = Unpacker::new(&coding, Question(Sieve::new(request::WANTED)));
        let parse_error = question.is_none().then_some("request_coding");
        Self {
            call,
            question,
            question_whole: false,
            api: None,
            answer: None,
            answer_whole: false,
            request_id: None,
            first_byte: None,
            parse_error,
            spoilt: false,
        }
    }

    /// Some of the question's body passed.
    pub fn asked(&mut self, bytes: &[u8]) {
        if let Some(question) = &mut self.question
            && !question.write(bytes)
        {
            self.question = None;
            self.parse_error = Some("request_coding");
        }
    }

    /// It has ended; `whole`: as its sender meant it to.
    pub fn asked_all(&mut self, whole: bool) {
        self.question_whole = whole;
        if let Some(said) = self.said()
            && whole
            && said.has_begun()
            && !said.is_whole()
        {
            self.parse_error = Some("request_json");
        }
    }

    /// The answer's head: its status, and its fields by their names in lower case.
    pub fn answered(&mut self, status: u16, field: &dyn Fn(&str) -> Option<Vec<u8>>) {
        self.settle();
        let text = |name: &str| field(name).and_then(|value| String::from_utf8(value).ok()).unwrap_or_default();
        self.request_id = REQUEST_IDS.iter().map(|name| text(name)).find(|id| !id.is_empty());
        let Some(api) = self.api else { return };
        // What is no answer of a model's is an error page or a redirect, and its status says so.
        if !(200..300).contains(&status) {
            return;
        }
        let kind = text("content-type").to_ascii_lowercase();
        let framing = match kind.split(';').next().unwrap_or_default().trim() {
            "text/event-stream" => Framing::Events(sse::Scanner::default()),
            "application/vnd.amazon.eventstream" => Framing::Frames(frames::Scanner::default()),
            kind if kind.is_empty() || kind.ends_with("json") => Framing::Objects(Objects::Start),
            _ => return,
        };
        let mut reading = self.reading(!matches!(framing, Framing::Objects(_)) && api != Api::Mcp);
        let count = |name: &str| text(name).parse().ok();
        reading.count(Tokens {
            input: count("x-amzn-bedrock-input-token-count"),
            output: count("x-amzn-bedrock-output-token-count"),
            ..Tokens::default()
        });
        let coding = text("content-encoding").trim().to_ascii_lowercase();
        self.answer = Unpacker::new(&coding, Replies::new(api, framing, reading));
        if self.answer.is_none() {
            self.parse_error = Some("response_coding");
        }
    }

    /// The answer comes as messages of a WebSocket.
    pub fn answered_in_messages(&mut self) {
        self.settle();
        if let Some(api) = self.api {
            let replies = Replies::new(api, Framing::Objects(Objects::Messages), self.reading(true));
            self.answer = Unpacker::new("", replies);
        }
    }

    /// Some of the answer's body passed, so long after the question was forwarded.
    pub fn told(&mut self, bytes: &[u8], after: Option<Duration>) {
        self.first_byte = self.first_byte.or(after);
        let Some(answer) = &mut self.answer else { return };
        if let Some(replies) = answer.inner_mut() {
            replies.reading.at(after);
        }
        if !answer.write(bytes) && !self.spoilt {
            (self.parse_error, self.spoilt) = (Some("response_coding"), true);
        }
    }

    /// It has ended; `whole`: as its sender meant it to.
    pub fn told_all(&mut self, whole: bool) {
        self.answer_whole = whole;
        if let Some(replies) = self.answer.as_mut().and_then(Unpacker::inner_mut)
            && whole
        {
            replies.end();
        }
    }

    /// Nothing more of the question, or of the answer, can be read.
    pub fn give_up(&mut self, question: bool, why: &'static str) {
        self.parse_error = Some(why);
        if question {
            self.question = None;
        } else {
            self.spoilt = true;
        }
    }

    /// What is known by now; `None`: it is, as far as can be seen, no call to a model.
    pub fn facts(&self) -> Option<Facts> {
        let replies = self.answer.as_ref().and_then(Unpacker::inner);
        let api = self.api.or_else(|| self.told_by_question())?;
        let sure = self.call.certain
            || self.said().is_some_and(|said| request::fits(said, api))
            || replies.is_some_and(|replies| replies.reading.is_one());
        if !sure {
            return None;
        }
        let mut facts = Facts::default();
        facts.tell(names::API, Some(Fact::Text(api.name().to_owned())));
        if api != Api::Mcp {
            facts.tell(names::PROVIDER, self.call.provider.map(|provider| Fact::Text(provider.to_owned())));
            let operation = self.call.operation.or(api.operation());
            facts.tell(names::OPERATION, operation.map(|operation| Fact::Text(operation.to_owned())));
        }
        if self.call.operation != Some(FETCH) {
            let empty = Sieve::new(request::WANTED);
            let said = self.said().unwrap_or(&empty);
            for (name, fact) in request::facts(said, api, &self.call) {
                facts.tell(name, Some(fact));
            }
        }
        let mut parse_error = self.parse_error;
        if let Some(replies) = replies {
            parse_error = parse_error.or(replies.broken);
            let counts = !self.spoilt && replies.broken.is_none() && self.call.operation != Some(FETCH);
            replies.reading.tell_into(&mut facts, self.answer_whole, counts);
            facts.skipped.clone_from(&replies.skipped);
        }
        facts.first_byte = self.first_byte;
        facts.tell(names::PROVIDER_REQUEST_ID, self.request_id.clone().map(Fact::Text));
        facts.tell(names::PARSE_ERROR, parse_error.map(|why| Fact::Text(why.to_owned())));
        facts.tell(names::SEMCONV, Some(Fact::Text(names::SEMCONV_VERSION.to_owned())));
        Some(facts)
    }

    fn said(&self) -> Option<&Sieve> {
        self.question.as_ref().and_then(Unpacker::inner).map(|question| &question.0)
    }

    /// The interface, as far as the question tells by now.
    fn told_by_question(&self) -> Option<Api> {
        let anthropic = self.call.field("anthropic-version").is_some();
        self.call.api.or_else(|| request::shape(self.said()?, anthropic))
    }

    /// Decides what the call is: the answer begins.
    fn settle(&mut self) {
        let api = self.told_by_question();
        let denied = |api: Api| {
            let read = self.said().filter(|_| self.question_whole);
            !self.call.certain && read.is_some_and(|said| !request::fits(said, api))
        };
        self.api = api.filter(|api| !denied(*api));
    }

    fn reading(&self, streamed: bool) -> Reading {
        let said = |name: &str| self.said().and_then(|said| said.get(name));
        let asked = Asked {
            host: self.call.host.clone(),
            id: said("id").map(|id| id.to_string()),
            tool: said("params.name").and_then(|name| name.as_str().map(str::to_owned)),
        };
        Reading::new(asked, streamed)
    }
}

/// Fields in which providers name the request.
const REQUEST_IDS: [&str; 5] =
    ["x-request-id", "request-id", "x-amzn-requestid", "apim-request-id", "x-goog-request-id"];
