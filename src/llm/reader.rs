//! Reads one call: its request and its response, in pieces of any size.

use std::io::{self, Write};
use std::time::Duration;

use super::api::{Api, Call, FETCH};
use super::facts::{Fact, Facts};
use super::reading::{Reading, Request};
use super::refusal::Refusal;
use super::replies::{Framing, Objects, Replies};
use super::sieve::Sieve;
use super::usage::Tokens;
use super::{frames, messages, names, request};
use crate::codings::{Failed, Unpacker};

/// Reads a call to a model, or to a tool.
pub struct Reader {
    call: Call,
    question: Option<Unpacker<Question>>,
    question_whole: bool,
    /// The API, once it is settled.
    api: Option<Api>,
    answer: Option<Unpacker<Replies>>,
    answer_whole: bool,
    /// Bytes of the response body so far.
    answer_bytes: u64,
    /// The number of bytes after which the answer was complete by its own format.
    ended_after: Option<u64>,
    /// A response whose status is an error, and the error type in its header fields.
    refusal: Option<(Unpacker<Refusal>, String)>,
    request_id: Option<String>,
    first_byte: Option<Duration>,
    /// Why facts are missing.
    parse_error: Option<&'static str>,
    /// Whether facts of the answer cannot be trusted.
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
    /// Begins reading a call, before its bodies.
    pub fn new(call: Call) -> Self {
        let coding = call.field("content-encoding").unwrap_or_default();
        let question =
            Unpacker::new([coding.as_bytes()], Question(Sieve::listing(request::WANTED, messages::MEMBERS)));
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

    /// Takes a piece of the request body, which [`Reader::work`] reads.
    pub fn feed_request(&mut self, bytes: &[u8]) {
        if let Some(question) = &mut self.question {
            question.feed(bytes);
        }
    }

    /// Takes a piece of the response body, which [`Reader::work`] reads. `after`: time since the request was forwarded.
    pub fn feed_response(&mut self, bytes: &[u8], after: Option<Duration>) {
        self.first_byte = self.first_byte.or(after);
        self.answer_bytes += bytes.len() as u64;
        if let Some(answer) = self.answer.as_mut().filter(|_| !self.spoilt) {
            answer.inner_mut().reading.set_time(after);
            answer.feed(bytes);
        }
        if let Some((refusal, _)) = &mut self.refusal {
            refusal.feed(bytes);
        }
    }

    /// Reads a little, at most some 32 KiB of content. False: everything taken so far is read.
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

    /// Takes a piece of the request body and reads it at once.
    pub fn read_request(&mut self, bytes: &[u8]) {
        self.feed_request(bytes);
        while self.work() {}
    }

    /// Takes a piece of the response body and reads it at once. `after`: time since the request was forwarded.
    pub fn read_response(&mut self, bytes: &[u8], after: Option<Duration>) {
        self.feed_response(bytes, after);
        while self.work() {}
    }

    /// The request body has ended. `whole`: as its sender intended.
    pub fn end_request(&mut self, whole: bool) {
        if let Some(question) = &mut self.question {
            question.end_input();
        }
        while self.work() {}
        self.question_whole = whole;
        if let Some(members) = self.members()
            && whole
            && members.has_begun()
            && !members.is_whole()
        {
            self.parse_error = Some("request_json");
        }
    }

    /// The response head: its status, and its fields by lower-case name (several fields of one name are joined).
    pub fn response_head(&mut self, status: u16, field: &dyn Fn(&str) -> Option<Vec<u8>>) {
        self.settle();
        let text = |name: &str| field(name).and_then(|value| String::from_utf8(value).ok()).unwrap_or_default();
        self.request_id = REQUEST_IDS.iter().map(|name| text(name)).find(|id| !id.is_empty());
        let Some(api) = self.api else { return };
        let coding = text("content-encoding");
        // A response without a success status is not an answer of a model.
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
        let streams = self.call.stream.or_else(|| self.members()?.get("stream")?.as_bool()) == Some(true);
        self.answer = Some(Unpacker::new([coding.as_bytes()], Replies::new(api, framing, reading, streams)));
    }

    /// The response comes as messages of a WebSocket.
    pub fn response_in_messages(&mut self) {
        self.settle();
        if let Some(api) = self.api {
            let replies = Replies::new(api, Framing::Objects(Objects::Messages), self.reading(true), true);
            self.answer = Some(Unpacker::new([], replies));
        }
    }

    /// The response body has ended. `whole`: as its sender intended.
    pub fn end_response(&mut self, whole: bool) {
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

    /// Whether the answer was complete by its own format, or had failed, within the bytes that the agent got before it
    /// left. If so, it counts as whole.
    pub fn ended_within(&mut self, delivered_bytes: u64) -> bool {
        let ended = self.ended_after.is_some_and(|end| end <= delivered_bytes) && !self.spoilt;
        self.answer_whole |= ended;
        ended
    }

    /// Gives up reading the request (`question`) or the response, for this reason.
    pub fn give_up(&mut self, question: bool, why: &'static str) {
        self.parse_error = Some(why);
        if question {
            self.question = None;
        } else {
            (self.spoilt, self.refusal) = (true, None);
        }
    }

    /// The facts so far. `None`: it does not seem to be a model call.
    pub fn facts(&self) -> Option<Facts> {
        let replies = self.answer.as_ref().map(Unpacker::inner);
        let api = self.api.or_else(|| self.interface_by_question())?;
        if !self.call.certain && !self.is_one(api, replies) {
            return None;
        }
        if self.members().is_some_and(request::only_warms_up) {
            return None;
        }
        let mut facts = Facts { claims: self.members().map(request::claims).unwrap_or_default(), ..Facts::default() };
        facts.add(names::API, Some(Fact::Text(api.name().to_owned())));
        if api != Api::Mcp {
            facts.add(names::PROVIDER, self.call.provider.map(|provider| Fact::Text(provider.to_owned())));
            let operation = match self.call.operation {
                Some(FETCH) => Some(FETCH),
                by_path => request::operation(self.members(), api, &self.call, by_path),
            };
            facts.add(names::OPERATION, operation.map(|operation| Fact::Text(operation.to_owned())));
        }
        if self.call.operation != Some(FETCH) {
            let empty = Sieve::new(request::WANTED);
            let members = self.members().unwrap_or(&empty);
            for (name, fact) in request::facts(members, api, &self.call) {
                facts.add(name, Some(fact));
            }
        }
        let mut parse_error = self.parse_error;
        if let Some(replies) = replies {
            parse_error = parse_error.or(replies.broken);
            let counts = !self.spoilt && replies.broken.is_none() && self.call.operation != Some(FETCH);
            replies.reading.add_to(&mut facts, self.answer_whole, counts);
            facts.skipped.clone_from(&replies.skipped);
        }
        facts.refusal = self.refusal.as_ref().and_then(|(refusal, kind)| refusal.inner().message(kind));
        facts.first_byte = self.first_byte;
        let asked = self.members().filter(|members| self.question_whole && members.is_whole());
        facts.messages = asked.map(|members| members.elements().to_vec()).unwrap_or_default();
        facts.add(names::PROVIDER_REQUEST_ID, self.request_id.clone().map(Fact::Text));
        facts.add(names::PARSE_ERROR, parse_error.map(|why| Fact::Text(why.to_owned())));
        facts.add(names::SEMCONV, Some(Fact::Text(names::SEMCONV_VERSION.to_owned())));
        Some(facts)
    }

    /// Whether it is a call of this API: the path and the request match it, and the response does not contradict.
    fn is_one(&self, api: Api, replies: Option<&Replies>) -> bool {
        let fits = self.members().is_some_and(|members| request::fits(members, api, &self.call));
        match replies {
            _ if api == Api::Mcp => fits,
            Some(replies) if replies.reading.is_confirmed() => true,
            Some(replies) if replies.reading.has_pieces() && !replies.reading.has_failed() => false,
            // Without a response that confirms it, a similar request is not enough. Many chat services have the paths
            // and the requests of Cohere and Ollama, so these always need a response that confirms it.
            _ if matches!(api, Api::CohereChat | Api::Ollama) => false,
            _ => fits && (self.call.api.is_some() || self.is_refused_conversation(api)),
        }
    }

    /// Whether a service at an unknown path answered a request for a conversation with an error message. A request of another form
    /// is too much like those of other services.
    fn is_refused_conversation(&self, api: Api) -> bool {
        let conversation = matches!(api, Api::OpenAiChat | Api::AnthropicMessages | Api::Gemini);
        let refused = |(refusal, kind): &(Unpacker<Refusal>, String)| refusal.inner().message(kind).is_some();
        conversation && self.refusal.as_ref().is_some_and(refused)
    }

    fn members(&self) -> Option<&Sieve> {
        self.question.as_ref().map(|question| &question.inner().0)
    }

    /// The API, as far as the request shows.
    fn interface_by_question(&self) -> Option<Api> {
        self.call.api.or_else(|| request::shape(self.members()?, &self.call))
    }

    /// Settles the API when the response begins.
    fn settle(&mut self) {
        let api = self.interface_by_question();
        let denied = |api: Api| {
            let read = self.members().filter(|_| self.question_whole);
            !self.call.certain && read.is_some_and(|members| !request::fits(members, api, &self.call))
        };
        self.api = api.filter(|api| !denied(*api));
    }

    fn reading(&self, streamed: bool) -> Reading {
        let members = |name: &str| self.members().and_then(|members| members.get(name));
        let request = Request {
            host: self.call.host.clone(),
            id: members("id").map(|id| id.to_string()),
            tool: members("params.name").and_then(|name| name.as_str().map(str::to_owned)),
        };
        Reading::new(request, streamed)
    }
}

/// Endings of media types of JSON, in one piece or in lines.
const JSON: [&str; 4] = ["json", "jsonl", "jsonlines", "json-lines"];

/// Header fields with the provider's id of the request.
const REQUEST_IDS: [&str; 5] =
    ["x-request-id", "request-id", "x-amzn-requestid", "apim-request-id", "x-goog-request-id"];
