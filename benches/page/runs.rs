//! Long runs of one agent: each call sends the whole conversation again.

use otas_proxy::event::BodyText;
use otas_proxy::store::{NewEvent, Store};
use serde_json::{Value, json};

use crate::support::sample::Sample;
use crate::talk::call;
use crate::words::Words;

/// The ids of the runs. Each is looked at once for the first time.
pub const RUNS: [&str; 6] = [
    "0b9f5d4e-0001-4bb1-a7a5-7f0c4c2b9d01",
    "1b9f5d4e-0002-4bb1-a7a5-7f0c4c2b9d01",
    "2b9f5d4e-0003-4bb1-a7a5-7f0c4c2b9d01",
    "3b9f5d4e-0004-4bb1-a7a5-7f0c4c2b9d01",
    "4b9f5d4e-0005-4bb1-a7a5-7f0c4c2b9d01",
    "5b9f5d4e-0006-4bb1-a7a5-7f0c4c2b9d01",
];
/// Calls of a run, and what the result of a tool adds to the conversation.
const CALLS: i64 = 500;
const RESULT_BYTES: usize = 1_200;
/// How long a run lasts.
pub const LASTED_MS: i64 = CALLS * 2_000;

/// Adds the runs.
pub fn append(store: &Store) {
    for (number, id) in RUNS.iter().enumerate() {
        run(store, id, number as u64);
    }
}

fn run(store: &Store, id: &str, number: u64) {
    let session = store.begin_session(&format!("run-{id}"), "key", r#"{"command":"claude"}"#).unwrap();
    let (mut writer, mut words) = (store.writer().unwrap(), Words::new(number));
    let mut messages = vec![json!({ "role": "user", "content": "Look through the whole of it." })];
    let now = otas_proxy::event::unix_ms(std::time::SystemTime::now());
    for n in 0..CALLS {
        let tool = json!({ "type": "tool_use", "id": format!("t{n}"), "name": "Bash", "input": { "command": format!("sed -n {n}p") } });
        let cached = if n % 100 == 99 { 0 } else { 8_000 };
        let mut sample = Sample::claude(&messages, std::slice::from_ref(&tool), (9_000, cached, 100));
        for (name, value) in [("session.id", json!(id)), ("gen_ai.agent.name", json!("claude"))] {
            sample.llm[name] = value.clone();
            sample.event["custom_properties"][name] = value;
        }
        let (json, bodies) = apart(&mut sample);
        let llm = sample.llm.to_string();
        let event = NewEvent { llm: &llm, ..call(json.as_bytes(), &bodies, now - (CALLS - n) * 2_000) };
        writer.append(session, &[event]).unwrap();
        messages.push(json!({ "role": "assistant", "content": [tool] }));
        let result =
            json!({ "type": "tool_result", "tool_use_id": format!("t{n}"), "content": words.listing(RESULT_BYTES) });
        messages.push(json!({ "role": "user", "content": [result] }));
    }
}

/// The event without its bodies, and these for their places.
fn apart(sample: &mut Sample) -> (String, [BodyText; 2]) {
    let mut text = |name: &str| {
        let Value::String(text) = sample.event[name].take() else { panic!("{name} is no text") };
        sample.event[name] = "".into();
        text
    };
    let texts = [text("request_body"), text("response_body")];
    let json = sample.event.to_string();
    let place = |name: &str| json.find(name).map(|at| at + name.len()).unwrap();
    let [request, response] = texts;
    let bodies = [
        BodyText { at: place(r#""request_body":""#), text: request.into() },
        BodyText { at: place(r#""response_body":""#), text: response.into() },
    ];
    (json, bodies)
}
