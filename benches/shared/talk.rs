//! Conversations as a store gets them: each call sends all of its conversation again.

use otas_proxy::event::BodyText;
use otas_proxy::store::NewEvent;
use uuid::Uuid;

use crate::words::Words;

/// What a conversation begins with: the system prompt and the tools.
const SYSTEM_BYTES: usize = 8 << 10;
/// What a call adds, beside the answer before it.
const RESULT_BYTES: usize = 1_200;
const ANSWER_BYTES: usize = 600;

/// A conversation.
pub struct Conversation {
    words: Words,
    text: String,
}

impl Conversation {
    /// With a beginning of so many bytes at the least. The same number says the same.
    pub fn new(number: u64, begins_with: usize) -> Self {
        let mut words = Words::new(number);
        let text = words.listing(SYSTEM_BYTES.max(begins_with));
        Self { words, text }
    }

    /// The bodies of the next call, for a place each.
    pub fn next(&mut self, places: [usize; 2]) -> [BodyText; 2] {
        self.text += &self.words.listing(RESULT_BYTES);
        let answer = self.words.listing(ANSWER_BYTES);
        let texts = [self.text.clone(), answer.clone()];
        self.text += &answer;
        let [request, response] = texts;
        [BodyText { at: places[0], text: request.into() }, BodyText { at: places[1], text: response.into() }]
    }
}

/// A call to a model, without its bodies' sizes.
pub fn call<'a>(json: &'a [u8], bodies: &'a [BodyText], started_at_ms: i64) -> NewEvent<'a> {
    NewEvent {
        event_id: Uuid::now_v7(),
        seq: 1,
        started_at_ms,
        method: "POST",
        host: "api.anthropic.com",
        path: "/v1/messages",
        status_code: 200,
        latency_ms: 1_800.0,
        request_bytes: bodies.first().map_or(0, |body| body.text.len() as u64),
        response_bytes: bodies.last().map_or(0, |body| body.text.len() as u64),
        error: "",
        outline: r#"{"scheme":"https","read":true,"ms":{"send":0.4,"wait":20.5,"receive":1700.0}}"#,
        llm: r#"{"gen_ai.request.model":"claude-sonnet-5","gen_ai.usage.input_tokens":120000,"gen_ai.usage.output_tokens":300}"#,
        json,
        bodies,
    }
}

/// A text of so many bytes that compresses little.
pub fn base64(words: &mut Words, bytes: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..bytes).map(|_| char::from(DIGITS[words.below(DIGITS.len())])).collect()
}
