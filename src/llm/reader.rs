//! Reads one call: its question and its answer, in pieces of any size, each with the time when it passed.

use std::io::{self, Write};
use std::time::Duration;

use super::api::{Api, Call, FETCH};
use super::facts::{Fact, Facts};
use super::reading::{Asked, Reading};
use super::refusal::Refusal;
use super::replies::{Framing, Objects, Replies};
use super::sieve::Sieve;
use super::usage::Tokens;
use super::{frames, names, request};
use crate::codings::{Failed, Unpacker};

/// Reads a call to a model, or to a tool.
pub struct Reader {
    call: Call,
    question: Option<Unpacker<Question>>,
    question_whole: bool,
    /// The interface, once it is certain that it is one.
    api: Option<Api>,
    answer: Option<Unpacker<Replies>>,
    answer_whole: bool,
    /// Bytes of the answer that were taken.
    answer_bytes: u64,
    /// After so many of them it had come to its end, by its own form.
    ended_after: Option<u64>,
    /// An answer whose status is an error, and what a header field says of that.
    refusal: Option<(Unpacker<Refusal>, String)>,
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
        let coding = call.field("content-encoding").unwrap_or_default();
        let question = Unpacker::new([coding.as_bytes()], Question(Sieve::new(request::WANTED)));
        Self {
            call,
            question: Some(question),
            question_whole: false,
            api: None,
            answer: None,
            answer_whole: false,
            answer_bytes: 0,
            ended_after: None,
            refusal: None,
            request_id: None,
            first_byte: None,
            parse_error: None,
            spoilt: false,
        }
    }

    /// Some of the question's body passed. It is read by [`Reader::work`].
    pub fn take_question(&mut self, bytes: &[u8]) {
        if let Some(question) = &mut self.question {
            question.feed(bytes);
        }
    }

    /// Some of the answer's body passed, so long after the question was forwarded. It is read by [`Reader::work`].
    pub fn take_answer(&mut self, bytes: &[u8], after: Option<Duration>) {
        self.first_byte = self.first_byte.or(after);
        self.answer_bytes += bytes.len() as u64;
        if let Some(answer) = self.answer.as_mut().filter(|_| !self.spoilt) {
            answer.inner_mut().reading.at(after);
            answer.feed(bytes);
        }
        if let Some((refusal, _)) = &mut self.refusal {
            refusal.feed(bytes);
        }
    }

    /// Reads a little of what was taken, some 32 KiB of content at most. False: all of it is read.
    pub fn work(&mut self) -> bool {
        let question = self.question.as_mut().is_some_and(Unpacker::step);
        if question || self.answer.as_mut().filter(|_| !self.spoilt).is_some_and(Unpacker::step) {
            return true;
        }
        if self.refusal.as_mut().is_some_and(|(refusal, _)| refusal.step()) {
            return true;
        }
        if let Some(failed) = self.question.as_ref().and_then(Unpacker::failed) {
            self.question = None;
            self.parse_error = Some(match failed {
                Failed::Damaged => "request_coding",
                Failed::TooLarge => "request_too_large",
            });
        }
        if let Some(answer) = &self.answer {
            let ended = answer.inner().reading.has_ended();
            self.ended_after = if ended { self.ended_after.or(Some(self.answer_bytes)) } else { None };
            if let Some(failed) = answer.failed().filter(|_| !self.spoilt) {
                self.spoilt = true;
                self.parse_error = Some(match failed {
                    Failed::Damaged => "response_coding",
                    Failed::TooLarge => "response_too_large",
                });
            }
        }
        false
    }

    /// Some of the question's body passed, and is read at once.
    pub fn asked(&mut self, bytes: &[u8]) {
        self.take_question(bytes);
        while self.work() {}
    }

    /// Some of the answer's body passed, so long after the question was forwarded, and is read at once.
    pub fn told(&mut self, bytes: &[u8], after: Option<Duration>) {
        self.take_answer(bytes, after);
        while self.work() {}
    }

    /// The question has ended; `whole`: as its sender meant it to.
    pub fn asked_all(&mut self, whole: bool) {
        if let Some(question) = &mut self.question {
            question.end_input();
        }
        while self.work() {}
        self.question_whole = whole;
        if let Some(said) = self.said()
            && whole
            && said.has_begun()
            && !said.is_whole()
        {
            self.parse_error = Some("request_json");
        }
    }

    /// The answer's head: its status, and its fields by their names in lower case (of several with one name, a list).
    pub fn answered(&mut self, status: u16, field: &dyn Fn(&str) -> Option<Vec<u8>>) {
        self.settle();
        let text = |name: &str| field(name).and_then(|value| String::from_utf8(value).ok()).unwrap_or_default();
        self.request_id = REQUEST_IDS.iter().map(|name| text(name)).find(|id| !id.is_empty());
        let Some(api) = self.api else { return };
        let coding = text("content-encoding");
        // What is no answer of a model's is an error page or a redirect, and its status says so.
        if !(200..300).contains(&status) {
            // `ThrottlingException:http://internal.amazon.com/…`
            let kind = text("x-amzn-errortype").split(':').next().unwrap_or_default().to_owned();
            self.refusal = (status >= 400).then(|| (Unpacker::new([coding.as_bytes()], Refusal::new()), kind));
            return;
        }
        let kind = text("content-type").to_ascii_lowercase();
        let framing = match kind.split(';').next().unwrap_or_default().trim() {
            "text/event-stream" => Framing::Objects(Objects::StartOfEvents),
            "application/vnd.amazon.eventstream" => Framing::Frames(frames::Scanner::default()),
            "" | "text/plain" | "application/octet-stream" => Framing::Objects(Objects::Start),
            kind if JSON.iter().any(|end| kind.ends_with(end)) => Framing::Objects(Objects::Start),
            _ => return,
        };
        let streamed = !matches!(framing, Framing::Objects(Objects::Start));
        let mut reading = self.reading(streamed && api != Api::Mcp);
        let count = |name: &str| text(name).parse().ok();
        let counted = Tokens {
            input: count("x-amzn-bedrock-input-token-count"),
            output: count("x-amzn-bedrock-output-token-count"),
            ..Tokens::default()
        };
        if counted != Tokens::default() {
            reading.confirm();
        }
        reading.count(counted);
        let streams = self.call.stream.or_else(|| self.said()?.get("stream")?.as_bool()) == Some(true);
        self.answer = Some(Unpacker::new([coding.as_bytes()], Replies::new(api, framing, reading, streams)));
    }

    /// The answer comes as messages of a WebSocket.
    pub fn answered_in_messages(&mut self) {
        self.settle();
        if let Some(api) = self.api {
            let replies = Replies::new(api, Framing::Objects(Objects::Messages), self.reading(true), true);
            self.answer = Some(Unpacker::new([], replies));
        }
    }

    /// The answer has ended; `whole`: as its sender meant it to.
    pub fn told_all(&mut self, whole: bool) {
        if let Some(answer) = &mut self.answer {
            answer.end_input();
        }
        if let Some((refusal, _)) = &mut self.refusal {
            refusal.end_input();
        }
        while self.work() {}
        self.answer_whole = whole;
        if let Some(answer) = self.answer.as_mut().filter(|_| whole) {
            answer.inner_mut().end();
        }
    }

    /// The agent took so many bytes of the answer and left. True: by its own form the answer had come to its end by then, or
    /// to an error.
    pub fn left_after(&mut self, delivered_bytes: u64) -> bool {
        let ended = self.ended_after.is_some_and(|end| end <= delivered_bytes) && !self.spoilt;
        self.answer_whole |= ended;
        ended
    }

    /// Nothing more of the question, or of the answer, can be read.
    pub fn give_up(&mut self, question: bool, why: &'static str) {
        self.parse_error = Some(why);
        if question {
            self.question = None;
        } else {
            (self.spoilt, self.refusal) = (true, None);
        }
    }

    /// What is known by now; `None`: it is, as far as can be seen, no call to a model.
    pub fn facts(&self) -> Option<Facts> {
        let replies = self.answer.as_ref().map(Unpacker::inner);
        let api = self.api.or_else(|| self.told_by_question())?;
        if !self.call.certain && !self.is_one(api, replies) {
            return None;
        }
        let mut facts = Facts::default();
        facts.tell(names::API, Some(Fact::Text(api.name().to_owned())));
        if api != Api::Mcp {
            facts.tell(names::PROVIDER, self.call.provider.map(|provider| Fact::Text(provider.to_owned())));
            let operation = match self.call.operation {
                Some(FETCH) => Some(FETCH),
                by_path => request::operation(self.said(), api, &self.call, by_path),
            };
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
        facts.refusal = self.refusal.as_ref().and_then(|(refusal, kind)| refusal.inner().said(kind));
        facts.first_byte = self.first_byte;
        facts.tell(names::PROVIDER_REQUEST_ID, self.request_id.clone().map(Fact::Text));
        facts.tell(names::PARSE_ERROR, parse_error.map(|why| Fact::Text(why.to_owned())));
        facts.tell(names::SEMCONV, Some(Fact::Text(names::SEMCONV_VERSION.to_owned())));
        Some(facts)
    }

    /// Whether it is a call in this interface: the path and the question say so, and the answer does not deny it.
    fn is_one(&self, api: Api, replies: Option<&Replies>) -> bool {
        let fits = self.said().is_some_and(|said| request::fits(said, api, &self.call));
        match replies {
            _ if api == Api::Mcp => fits,
            Some(replies) if replies.reading.is_confirmed() => true,
            Some(replies) if replies.reading.has_pieces() && !replies.reading.has_failed() => false,
            // Without an answer that tells, a question that looks like one is not enough.
            // Many a chat has the paths and the questions of Cohere and Ollama, so theirs needs an answer that confirms it.
            _ => fits && self.call.api.is_some() && !matches!(api, Api::CohereChat | Api::Ollama),
        }
    }

    fn said(&self) -> Option<&Sieve> {
        self.question.as_ref().map(|question| &question.inner().0)
    }

    /// The interface, as far as the question tells by now.
    fn told_by_question(&self) -> Option<Api> {
        self.call.api.or_else(|| request::shape(self.said()?, &self.call))
    }

    /// Decides what the call is: the answer begins.
    fn settle(&mut self) {
        let api = self.told_by_question();
        let denied = |api: Api| {
            let read = self.said().filter(|_| self.question_whole);
            !self.call.certain && read.is_some_and(|said| !request::fits(said, api, &self.call))
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

/// How media types of JSON end, in one piece or in lines.
const JSON: [&str; 4] = ["json", "jsonl", "jsonlines", "json-lines"];

/// Fields in which providers name the request.
const REQUEST_IDS: [&str; 5] =
    ["x-request-id", "request-id", "x-amzn-requestid", "apim-request-id", "x-goog-request-id"];
