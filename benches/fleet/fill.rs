//! Stores with events that wait.

use std::path::Path;

use otas_proxy::event::BodyText;
use otas_proxy::secret::Secret;
use otas_proxy::store::{NewEvent, SessionRow, Store, Writer, key_id};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::words::Words;

/// Sessions of the events, as of as many agents at once.
const SESSIONS: usize = 16;
/// The bodies of an event.
const BODY_BYTES: usize = 4 << 10;

/// A conversation: the prompt that begins each call, what each turn adds, and the model's answer.
const SYSTEM_BYTES: usize = 12_000;
const RESULT_BYTES: usize = 6_000;
const ANSWER_BYTES: usize = 400;

struct Filling {
    store: Store,
    writer: Writer,
    key: String,
    seq: u64,
    json: String,
}

impl Filling {
    fn begin(path: &Path, key: &Secret) -> Self {
        let store = Store::open(path).unwrap();
        let writer = store.writer().unwrap();
        let json = format!(
            r#"{{"path":"/v1/messages","method":"POST","status_code":200,"latency_ms":12.5,"request_body":"","response_body":"","metadata":{{"pad":"{}"}}}}"#,
            "x".repeat(600)
        );
        Self { store, writer, key: key_id(key), seq: 0, json }
    }

    fn session(&self) -> SessionRow {
        self.store.begin_session(&Uuid::now_v7().to_string(), &self.key, "{}").unwrap()
    }

    fn append(&mut self, session: SessionRow, request: &str, response: &str) {
        let at = |name: &str| self.json.find(name).unwrap() + name.len();
        let places = [at(r#""request_body":""#), at(r#""response_body":""#)];
        let bodies =
            [(places[0], request), (places[1], response)].map(|(at, text)| BodyText { at, text: text.into() });
        let event = NewEvent {
            event_id: Uuid::now_v7(),
            seq: self.seq,
            started_at_ms: 1_700_000_000_000,
            method: "POST",
            host: "api.test",
            path: "/v1/messages",
            status_code: 200,
            latency_ms: 12.5,
            request_bytes: request.len() as u64,
            response_bytes: response.len() as u64,
            error: "",
            outline: "",
            llm: "",
            json: self.json.as_bytes(),
            bodies: &bodies,
        };
        self.seq += 1;
        self.writer.append(session, &[event]).unwrap();
    }
}

/// Events with short bodies, none of which is there twice.
pub fn short(path: &Path, key: &Secret, events: u64) {
    let mut filling = Filling::begin(path, key);
    let sessions: Vec<_> = (0..SESSIONS).map(|_| filling.session()).collect();
    for seq in 0..events {
        let text = |part: &str| -> String {
            let words =
                (0..BODY_BYTES / 40).map(|word| format!("{part} {seq} word {word} {} ", Uuid::new_v4().simple()));
            words.collect::<String>().chars().take(BODY_BYTES / 2).collect()
        };
        filling.append(sessions[usize::try_from(seq).unwrap() % SESSIONS], &text("question"), &text("answer"));
    }
}

/// What conversations are made of.
pub struct Conversations {
    pub agents: u64,
    pub turns: usize,
    /// Without, events have nothing but their facts.
    pub with_bodies: bool,
}

/// The calls of agents whose conversations grow and are sent whole each time. The bytes of their bodies, and of those that the store
/// keeps for them: each chunk once, compressed.
pub fn growing(path: &Path, key: &Secret, of: &Conversations) -> (u64, u64) {
    let mut filling = Filling::begin(path, key);
    let mut sent = 0;
    for agent in 0..of.agents {
        let (session, mut words) = (filling.session(), Words::new(!agent));
        let system = words.listing(SYSTEM_BYTES);
        let mut messages: Vec<Value> = Vec::new();
        for turn in 0..of.turns {
            let result = words.listing(RESULT_BYTES);
            messages.push(json!({ "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": format!("toolu_{turn:06}"), "content": result },
            ] }));
            let answer = words.listing(ANSWER_BYTES);
            if of.with_bodies {
                let request = json!({
                    "model": "claude-sonnet-5", "max_tokens": 4096, "stream": true, "system": system, "messages": messages,
                })
                .to_string();
                sent += (request.len() + answer.len()) as u64;
                filling.append(session, &request, &answer);
            } else {
                filling.append(session, "", "");
            }
            messages.push(json!({ "role": "assistant", "content": [{ "type": "text", "text": answer }] }));
        }
    }
    (sent, filling.store.viewer().sizes().unwrap().stored_bytes)
}
