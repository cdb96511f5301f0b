//! The conversations in `tests/fixtures/llm`: a request, its response, and the expected facts.
//!
//! ```text
//! METHOD HOST PATH
//! name: value
//!
//! body
//! === STATUS, or STATUS (then the connection breaks off)
//! name: value
//!
//! body
//! === facts
//! JSON
//! ```
//!
//! A body in Amazon's event stream encoding is written as its frames, one on each line: the name (`!` before it: an
//! exception; `*` after it: in base64 within the payload) and the payload.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::frames::testing::frame;
use super::{Call, Fact, Facts, Head, Reader};

pub(super) struct Conversation {
    pub(super) name: String,
    line: Vec<String>,
    fields: Vec<(String, String)>,
    pub(super) question: Vec<u8>,
    status: u16,
    answer_fields: Vec<(String, String)>,
    pub(super) answer: Vec<u8>,
    /// Whether the connection breaks off after it.
    pub(super) breaks_off: bool,
    pub(super) facts: Value,
}

/// All conversations.
pub(super) fn conversations() -> Vec<Conversation> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llm");
    let mut all: Vec<Conversation> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| {
            Conversation::parse(path.file_stem().unwrap().to_str().unwrap(), &std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// The conversation of this name.
pub(super) fn conversation(name: &str) -> Conversation {
    conversations().into_iter().find(|conversation| conversation.name == name).unwrap()
}

impl Conversation {
    pub(super) fn parse(name: &str, text: &str) -> Self {
        let (question, rest) = text.split_once("\n=== ").unwrap();
        let (answer, facts) = rest.split_once("\n=== facts\n").unwrap();
        let (line, question) = question.split_once('\n').unwrap();
        let (status, answer) = answer.split_once('\n').unwrap();
        let (status, breaks_off) = status
            .split_once(" (then the connection breaks off)")
            .map_or((status, false), |(status, _)| (status, true));
        let (fields, question) = message(question);
        let (answer_fields, answer) = message(answer);
        let frames = answer_fields.iter().any(|(_, value)| value.ends_with("eventstream"));
        Self {
            name: name.to_owned(),
            line: line.split(' ').map(str::to_owned).collect(),
            fields,
            question: question.into(),
            status: status.parse().unwrap(),
            answer: if frames { answer.lines().flat_map(frame_of).collect() } else { answer.into() },
            breaks_off,
            answer_fields,
            facts: serde_json::from_str(facts).unwrap(),
        }
    }

    /// A reader that has seen the request head.
    pub(super) fn reader(&self) -> Option<Reader> {
        let [method, host, path] = &self.line[..] else { panic!("{}: {:?}", self.name, self.line) };
        let path = path.split_once('?').map_or(path.as_str(), |(path, _)| path);
        let field = |name: &str| self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_bytes());
        Call::of(&Head { method, host, path, field: &field }).map(Reader::new)
    }

    /// A reader that has read the request, in pieces of this size.
    pub(super) fn after_request(&self, piece: usize) -> Option<Reader> {
        let mut reader = self.reader()?;
        self.question.chunks(piece.max(1)).for_each(|piece| reader.read_request(piece));
        reader.end_request(true);
        Some(reader)
    }

    /// Begins the response, in this coding.
    pub(super) fn begins(&self, reader: &mut Reader, coding: &str) {
        reader.response_head(self.status, &|name| match name {
            "content-encoding" if !coding.is_empty() => Some(coding.as_bytes().to_vec()),
            name => self.answer_fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone().into_bytes()),
        });
    }

    /// The facts when the response comes in these pieces.
    pub(super) fn read<'a>(
        &self,
        coding: &str,
        pieces: impl Iterator<Item = &'a [u8]>,
        whole: bool,
    ) -> Option<Facts> {
        let mut reader = self.after_request(usize::MAX)?;
        self.begins(&mut reader, coding);
        pieces.for_each(|piece| reader.read_response(piece, None));
        reader.end_response(whole && !self.breaks_off);
        reader.facts()
    }
}

fn message(text: &str) -> (Vec<(String, String)>, &str) {
    let (fields, body) = text.strip_prefix('\n').map_or_else(|| text.split_once("\n\n").unwrap(), |body| ("", body));
    let fields = fields.lines().filter_map(|line| line.split_once(": "));
    (fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), body)
}

fn frame_of(line: &str) -> Vec<u8> {
    let (name, payload) = line.split_once(' ').unwrap();
    let json = (":content-type", "application/json");
    if let Some(name) = name.strip_prefix('!') {
        return frame(&[(":exception-type", name), json, (":message-type", "exception")], payload.as_bytes());
    }
    match name.strip_suffix('*') {
        Some(name) => {
            let inside = json!({ "bytes": STANDARD.encode(payload), "p": "abcdefgh" }).to_string();
            frame(&[(":event-type", name), json, (":message-type", "event")], inside.as_bytes())
        }
        None => frame(&[(":event-type", name), json, (":message-type", "event")], payload.as_bytes()),
    }
}

/// Facts in the format of a conversation file.
pub(super) fn as_json(facts: Option<Facts>) -> Value {
    let Some(facts) = facts else { return Value::Null };
    let value = |fact: Fact| match fact {
        Fact::Text(text) => Value::String(text),
        Fact::Number(number) => Value::Number(number),
        Fact::Flag(flag) => Value::Bool(flag),
    };
    let properties: Map<String, Value> =
        facts.properties.into_iter().map(|(name, fact)| (name.to_owned(), value(fact))).collect();
    let mut json = json!({
        "properties": properties,
        "usage_raw": facts.usage_raw.map(|raw| serde_json::from_str::<Value>(&raw).unwrap()),
        "answer": facts.answer,
        "complete": facts.complete,
        "failure": facts.failure.map(|failure| format!("{}: {}", failure.id, failure.detail)),
        "skipped": facts.skipped,
    });
    if !facts.limits.is_empty() {
        json["limits"] = facts.limits.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    }
    json
}

/// A time in milliseconds.
pub(super) fn ms(ms: u64) -> Option<Duration> {
    Some(Duration::from_millis(ms))
}
