//! From the bytes of an answer to the pieces that its interface has: events of a stream, binary frames, JSON objects. Each piece
//! goes through a [`Sieve`], and what that kept to the interface's reader.

use std::io::{self, Write};

use super::api::Api;
use super::frames;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};
use super::sse;
use super::{anthropic, bedrock, cohere, gemini, mcp, ollama, openai, responses};

/// Members that are named as too long.
const SKIPPED_MAX: usize = 8;

/// What stands where a stream's last piece would.
const DONE: &[u8] = b"[DONE]";

/// Whether this is the mark of a stream's end. Some quote it as a JSON string.
fn is_done(sieve: &Sieve) -> bool {
    let start = sieve.start();
    start.strip_prefix(b"\"").unwrap_or(start).starts_with(DONE)
}

/// An answer's pieces, as they come, and what they add up to.
pub(super) struct Replies {
    api: Api,
    framing: Framing,
    wanted: &'static [Wanted],
    sieve: Sieve,
    pub(super) reading: Reading,
    /// Why something of it could not be read.
    pub(super) broken: Option<&'static str>,
    pub(super) skipped: Vec<&'static str>,
    /// Several objects are expected: the end of the first is no end of the answer.
    several: bool,
}

/// How an answer is cut into pieces.
pub(super) enum Framing {
    /// An event stream.
    Events(sse::Scanner),
    /// `application/vnd.amazon.eventstream`
    Frames(frames::Scanner),
    /// One JSON object, or an array of them, or one after the other.
    Objects(Objects),
}

/// Where in a sequence of objects we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objects {
    /// Before the first byte of what is called an event stream.
    StartOfEvents,
    /// Before the first.
    Start,
    /// In the first one, or after it.
    Single,
    /// In a line of several, or between them.
    Lines,
    /// In a line that is no object, which does not matter.
    OtherLine,
    /// In an array of them.
    Array,
    /// In messages that are one object each.
    Messages,
    /// After all.
    Over,
}

impl Replies {
    /// Of an answer in this interface, cut into pieces like this. `streams`: it was asked for in pieces.
    pub(super) fn new(api: Api, framing: Framing, reading: Reading, streams: bool) -> Self {
        let wanted = match (api, &framing) {
            (Api::OpenAiChat, _) => openai::WANTED,
            (Api::OpenAiEmbeddings, _) => openai::WANTED_OF_EMBEDDINGS,
            (Api::OpenAiResponses, _) => responses::WANTED,
            (Api::AnthropicMessages, _) => anthropic::WANTED,
            (Api::Gemini, _) => gemini::WANTED,
            (Api::BedrockConverse, _) => bedrock::WANTED,
            (Api::BedrockInvoke, Framing::Frames(_)) => bedrock::WANTED_OF_CHUNK,
            (Api::BedrockInvoke, _) => bedrock::WANTED_OF_MODEL,
            (Api::CohereChat, _) => cohere::WANTED,
            (Api::Ollama, _) => ollama::WANTED,
            (Api::Mcp, _) => mcp::WANTED,
        };
        // Those of Ollama say by themselves which is the last one.
        let several = streams || api == Api::Ollama;
        Self { api, framing, wanted, sieve: Sieve::new(wanted), reading, broken: None, skipped: Vec::new(), several }
    }

    fn read(&mut self, mut bytes: &[u8]) {
        if let Framing::Objects(Objects::Start | Objects::StartOfEvents) = self.framing {
            bytes = self.start(bytes);
        }
        // Taken out while what it finds is read.
        let mut framing = std::mem::replace(&mut self.framing, Framing::Objects(Objects::Over));
        match &mut framing {
            Framing::Events(scanner) => scanner.read(bytes, &mut |part| match part {
                // Some have no blank line between their events: each line has a piece of its own.
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

    /// The first byte that matters tells what no header field may have told: events instead of objects.
    fn start<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let is_mark = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0xEF | 0xBB | 0xBF);
        let from = bytes.iter().position(|byte| !is_mark(byte)).unwrap_or(bytes.len());
        let rest = &bytes[from..];
        let called_events = matches!(self.framing, Framing::Objects(Objects::StartOfEvents));
        match rest.first() {
            None => {}
            // Errors, above all, are one object though the header says otherwise.
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

    /// The body has come to its end.
    pub(super) fn end(&mut self) {
        // Not all have a blank line after the last event.
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
                // It was not the only one.
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

    /// The brace that an object begins with.
    fn begin(&mut self, bytes: &mut &[u8]) {
        self.sieve.read(&bytes[..1]);
        *bytes = &bytes[1..];
    }

    /// Whether the line of an event that has passed is a piece by itself.
    fn is_line_over(&self) -> bool {
        self.sieve.is_whole() || (self.sieve.is_bad() && !self.sieve.is_object())
    }

    /// A piece that is an object has come to its end.
    fn piece_ends(&mut self) {
        let sieve = std::mem::replace(&mut self.sieve, Sieve::new(self.wanted));
        if !sieve.has_begun() {
            return;
        }
        if is_done(&sieve) {
            self.reading.chunk();
            return self.reading.close();
        }
        // What keeps a stream alive (`ping`, an empty string, a comment that a gateway wrapped) is no piece of the answer.
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
            Api::OpenAiChat | Api::OpenAiEmbeddings => openai::read(reading, &sieve),
            Api::OpenAiResponses => responses::read(reading, &sieve),
            Api::AnthropicMessages => anthropic::read(reading, &sieve),
            Api::Gemini => gemini::read(reading, &sieve),
            Api::BedrockConverse => bedrock::whole(reading, &sieve),
            Api::BedrockInvoke => bedrock::model(reading, &sieve),
            Api::CohereChat => cohere::read(reading, &sieve),
            Api::Ollama => ollama::read(reading, &sieve),
            Api::Mcp => mcp::read(reading, &sieve),
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
