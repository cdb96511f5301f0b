//! Splits a response into the pieces of its API: events of a stream, binary frames, JSON objects. Each piece goes
//! through a [`Sieve`], and the members that it kept go to the reader of the API.

use std::io::{self, Write};

use super::api::Api;
use super::frames;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};
use super::sse;
use super::{anthropic, bedrock, cohere, gemini, mcp, ollama, openai, responses};

/// The most members that are reported as too long.
const SKIPPED_MAX: usize = 8;

/// The end mark of a stream.
const DONE: &[u8] = b"[DONE]";

/// Whether this is the end mark of a stream. Some servers send it as a JSON string.
fn is_done(sieve: &Sieve) -> bool {
    let start = sieve.start();
    start.strip_prefix(b"\"").unwrap_or(start).starts_with(DONE)
}

/// The pieces of an answer as they arrive, and what was read from them.
pub(super) struct Replies {
    api: Api,
    framing: Framing,
    wanted: &'static [Wanted],
    sieve: Sieve,
    pub(super) reading: Reading,
    /// Why a part of it could not be read.
    pub(super) broken: Option<&'static str>,
    pub(super) skipped: Vec<&'static str>,
    /// Several objects are expected, so the end of the first is not the end of the answer.
    several: bool,
}

/// How an answer is framed.
pub(super) enum Framing {
    /// An event stream.
    Events(sse::Scanner),
    /// `application/vnd.amazon.eventstream`
    Frames(frames::Scanner),
    /// One JSON object, or an array of them, or one after the other.
    Objects(Objects),
}

/// The position in a sequence of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objects {
    /// Before the first byte of a response with the type of an event stream.
    StartOfEvents,
    /// Before the first.
    Start,
    /// In the first object, or after it.
    Single,
    /// In one of several lines, or between them.
    Lines,
    /// In a line that is not an object and is skipped.
    OtherLine,
    /// In an array of objects.
    Array,
    /// In messages of one object each.
    Messages,
    /// After the end.
    Over,
}

impl Replies {
    /// For an answer of this API with this framing. `streams`: a streamed answer was requested.
    pub(super) fn new(api: Api, framing: Framing, reading: Reading, streams: bool) -> Self {
        let wanted = match (api, &framing) {
            (Api::OpenAiChat, _) => openai::WANTED,
            (Api::OpenAiEmbeddings, _) => openai::WANTED_OF_EMBEDDINGS,
            (Api::OpenAiResponses | Api::OpenAiRealtime, _) => responses::WANTED,
            (Api::AnthropicMessages, _) => anthropic::WANTED,
            (Api::Gemini, _) => gemini::WANTED,
            (Api::BedrockConverse, _) => bedrock::WANTED,
            (Api::BedrockInvoke, Framing::Frames(_)) => bedrock::WANTED_OF_CHUNK,
            (Api::BedrockInvoke, _) => bedrock::WANTED_OF_MODEL,
            (Api::CohereChat, _) => cohere::WANTED,
            (Api::Ollama, _) => ollama::WANTED,
            (Api::Mcp, _) => mcp::WANTED,
        };
        // Ollama marks the last object itself.
        let several = streams || api == Api::Ollama;
        Self { api, framing, wanted, sieve: Sieve::new(wanted), reading, broken: None, skipped: Vec::new(), several }
    }

    fn read(&mut self, mut bytes: &[u8]) {
        if let Framing::Objects(Objects::Start | Objects::StartOfEvents) = self.framing {
            bytes = self.start(bytes);
        }
        // Taken out while its pieces are read.
        let mut framing = std::mem::replace(&mut self.framing, Framing::Objects(Objects::Over));
        match &mut framing {
            Framing::Events(scanner) => scanner.read(bytes, &mut |part| match part {
                // Some servers send no blank lines between events. Then each line is a piece.
                sse::Part::Data(b"\n") if self.is_line_over() => self.piece_ends(),
                sse::Part::Data(data) => {
                    self.sieve.read(data);
                }
                sse::Part::Ends { .. } => self.piece_ends(),
            }),
            Framing::Frames(scanner) => {
                scanner.read(bytes, &mut |frame| self.frame(&frame));
                if scanner.is_damaged() {
                    self.broken = Some("response_frames");
                }
                if scanner.skipped() > 0 {
                    self.skip("frame");
                }
            }
            Framing::Objects(objects) => *objects = self.objects(*objects, bytes),
        }
        self.framing = framing;
    }

    /// Decides by the first significant byte between events and objects, because header fields may be wrong.
    fn start<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let is_mark = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0xEF | 0xBB | 0xBF);
        let from = bytes.iter().position(|byte| !is_mark(byte)).unwrap_or(bytes.len());
        let rest = &bytes[from..];
        let called_events = matches!(self.framing, Framing::Objects(Objects::StartOfEvents));
        match rest.first() {
            None => {}
            // Errors in particular are often one object in spite of the header.
            Some(b'{' | b'[') if called_events => {
                self.framing = Framing::Objects(Objects::Start);
                self.reading.streamed = false;
            }
            Some(_) if called_events => self.framing = Framing::Events(sse::Scanner::default()),
            // `data:`, `event:`, `id:`, `retry:`, or a comment.
            Some(b'd' | b'e' | b'i' | b'r' | b':') => {
                self.framing = Framing::Events(sse::Scanner::default());
                self.reading.streamed = true;
            }
            Some(_) => {}
        }
        rest
    }

    /// The body has ended.
    pub(super) fn end(&mut self) {
        // Some servers send no blank line after the last event.
        if matches!(self.framing, Framing::Events(_)) && self.is_line_over() {
            self.piece_ends();
        }
        let broken = match &self.framing {
            Framing::Events(_) => None,
            Framing::Frames(scanner) => (!scanner.is_between()).then_some("response_frames"),
            Framing::Objects(Objects::Start | Objects::StartOfEvents | Objects::Over | Objects::OtherLine) => None,
            Framing::Objects(_) => self.sieve.has_begun().then_some("response_json"),
        };
        self.broken = self.broken.or(broken);
    }

    fn objects(&mut self, mut at: Objects, mut bytes: &[u8]) -> Objects {
        while let Some(&first) = bytes.first() {
            if self.sieve.has_begun() {
                let used = self.sieve.read(bytes);
                bytes = &bytes[used..];
                if self.sieve.is_bad() {
                    self.broken = Some("response_json");
                    return Objects::Over;
                }
                if self.sieve.is_whole() {
                    self.piece_ends();
                    if at == Objects::Single && !self.several {
                        self.reading.close();
                    }
                }
                continue;
            }
            match (at, first) {
                (Objects::Over, _) => return at,
                (Objects::OtherLine, _) => {
                    if first == b'\n' {
                        at = Objects::Lines;
                    }
                    bytes = &bytes[1..];
                }
                (_, b' ' | b'\t' | b'\r' | b'\n') => bytes = &bytes[1..],
                (Objects::Start, b'[') => {
                    self.reading.streamed = true;
                    (at, bytes) = (Objects::Array, &bytes[1..]);
                }
                (Objects::Array, b',') => bytes = &bytes[1..],
                (Objects::Array, b']') => {
                    if self.reading.has_finished() {
                        self.reading.close();
                    }
                    return Objects::Over;
                }
                (Objects::Start, b'{') => {
                    at = Objects::Single;
                    self.begin(&mut bytes);
                }
                // Another object follows the first one.
                (Objects::Single, b'{') => {
                    at = Objects::Lines;
                    self.reading.streamed = true;
                    if !self.several {
                        self.reading.reopen();
                    }
                    self.begin(&mut bytes);
                }
                (Objects::Array | Objects::Messages | Objects::Lines, b'{') => self.begin(&mut bytes),
                (Objects::Single | Objects::Lines, _) => at = Objects::OtherLine,
                _ => {
                    self.broken = Some("response_json");
                    return Objects::Over;
                }
            }
        }
        at
    }

    /// Reads the opening brace of an object.
    fn begin(&mut self, bytes: &mut &[u8]) {
        self.sieve.read(&bytes[..1]);
        *bytes = &bytes[1..];
    }

    /// Whether the last line of an event is a complete piece.
    fn is_line_over(&self) -> bool {
        self.sieve.is_whole() || (self.sieve.is_bad() && !self.sieve.is_object())
    }

    /// A piece is complete.
    fn piece_ends(&mut self) {
        let sieve = std::mem::replace(&mut self.sieve, Sieve::new(self.wanted));
        if sieve.has_begun() {
            self.piece(&sieve);
        }
        self.sieve = sieve.emptied();
    }

    fn piece(&mut self, sieve: &Sieve) {
        if is_done(sieve) {
            self.reading.chunk();
            return self.reading.close();
        }
        // Keep-alive data (`ping`, an empty string, a comment wrapped by a gateway) is not a piece of the answer.
        if sieve.is_bad() && !sieve.is_object() && !sieve.start().starts_with(b"[") {
            return;
        }
        self.reading.chunk();
        if !sieve.is_whole() {
            self.broken = Some("response_json");
            return;
        }
        let reading = &mut self.reading;
        match self.api {
            Api::OpenAiChat | Api::OpenAiEmbeddings => openai::read(reading, sieve),
            Api::OpenAiResponses | Api::OpenAiRealtime => responses::read(reading, sieve),
            Api::AnthropicMessages => anthropic::read(reading, sieve),
            Api::Gemini => gemini::read(reading, sieve),
            Api::BedrockConverse => bedrock::whole(reading, sieve),
            Api::BedrockInvoke => bedrock::model(reading, sieve),
            Api::CohereChat => cohere::read(reading, sieve),
            Api::Ollama => ollama::read(reading, sieve),
            Api::Mcp => mcp::read(reading, sieve),
        }
        sieve.too_long().for_each(|name| self.skip(name));
    }

    fn frame(&mut self, frame: &frames::Frame<'_>) {
        self.reading.chunk();
        let mut sieve = Sieve::new(self.wanted);
        sieve.read(frame.payload);
        if sieve.has_begun() && !sieve.is_whole() {
            self.broken = Some("response_json");
            return;
        }
        match self.api {
            Api::BedrockInvoke => bedrock::chunk(&mut self.reading, frame, &sieve),
            _ => bedrock::event(&mut self.reading, frame, &sieve),
        }
        sieve.too_long().for_each(|name| self.skip(name));
    }

    fn skip(&mut self, name: &'static str) {
        if name.ends_with("usage") || name.ends_with("usageMetadata") {
            self.reading.usage_lost();
        }
        if self.skipped.len() < SKIPPED_MAX && !self.skipped.contains(&name) {
            self.skipped.push(name);
        }
    }
}

impl Write for Replies {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.read(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
