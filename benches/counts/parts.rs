//! The parts of the proxy that work on each call, one at a time.

use std::hint::black_box;
use std::time::Duration;

use otas_proxy::config::Redact;
use otas_proxy::llm::{Call, Head, Reader};
use otas_proxy::redact::{Fingerprint, Redactor};
use otas_proxy::store::Store;

use crate::callgrind;
use crate::talk::{Conversation, call};
use crate::words::Words;

/// A part, how often it works in a run, and how many runs are made. It works often enough that the start of the program, which varies by
/// a few million instructions, adds less than a per cent. It runs more than once where a random key decides how much there is to do.
pub const PARTS: [(&str, u64, usize); 6] = [
    ("masking: 64 KiB of prose, new", 40, 1),
    ("masking: 64 KiB of prose, searched before", 4_000, 1),
    ("masking: 8 KiB of settings with secrets", 120, 1),
    ("llm: a request of 64 KiB and a stream of 300 events", 30, 1),
    // Chunks have random names, so the pages of the store are split elsewhere in each run: 4 % between the extremes.
    ("store: 8 events with a conversation of 64 KiB, stored before", 100, 7),
    ("store: 8 events without bodies", 3_000, 1),
];

/// The instructions of one time: the median of the runs.
pub fn count(name: &str, times: u64, runs: usize) -> u64 {
    let program = std::env::current_exe().unwrap().display().to_string();
    let of = |times: u64| {
        let times = times.to_string();
        callgrind::instructions(callgrind::start(&program, &["--part", name, "--times", &times]))
    };
    // The start is not counted.
    let mut counts: Vec<u64> = (0..runs).map(|_| of(1 + times).saturating_sub(of(1)) / times).collect();
    counts.sort_unstable();
    counts[runs / 2]
}

/// Works so many times.
pub fn run(name: &str, times: u64) {
    match name {
        "masking: 64 KiB of prose, new" => masking(times, |n| Words::new(n).listing(64 << 10)),
        "masking: 64 KiB of prose, searched before" => {
            let text = Words::new(1).listing(64 << 10);
            masking(times, |_| text.clone());
        }
        "masking: 8 KiB of settings with secrets" => masking(times, settings),
        "llm: a request of 64 KiB and a stream of 300 events" => (0..times).for_each(model_call),
        "store: 8 events with a conversation of 64 KiB, stored before" => events(times, 64 << 10),
        "store: 8 events without bodies" => events(times, 0),
        _ => panic!("no part {name}"),
    }
}

fn masking(times: u64, text: impl Fn(u64) -> String) {
    let (headers, keys, patterns, allow) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let settings = Redact { headers, keys, patterns, allow, budget: Duration::from_secs(60) };
    let redactor = Redactor::new(&settings, &[], Fingerprint::new(b"counts")).unwrap();
    // The text is made once more, so that making it is counted as little as the start.
    for n in 0..=times {
        let text = text(n);
        black_box(redactor.masking("api.test", 443, "/").message(&text));
    }
}

fn settings(n: u64) -> String {
    (0..170).map(|line| format!("export SERVICE_{line}_API_KEY=aB3dE6gH9jK{n}m{line}x\nPORT={line}\n")).collect()
}

fn model_call(n: u64) {
    let field = |name: &str| (name == "content-type").then_some(&b"application/json"[..]);
    let head = Head { method: "POST", host: "api.anthropic.com", path: "/v1/messages", field: &field };
    let mut reader = Reader::new(Call::of(&head).unwrap());
    let text = Words::new(n).listing(64 << 10);
    let request = serde_json::json!({ "model": "claude-sonnet-5", "max_tokens": 4096, "stream": true,
        "messages": [{ "role": "user", "content": text }] });
    reader.read_request(request.to_string().as_bytes());
    reader.end_request(true);
    reader.response_head(200, &|name| (name == "content-type").then(|| b"text/event-stream".to_vec()));
    let began = serde_json::json!({ "type": "message_start", "message": { "id": "msg_1", "model": "claude-sonnet-5",
        "role": "assistant", "content": [], "usage": { "input_tokens": 9, "output_tokens": 1 } } });
    let mut send = |kind: &str, data: serde_json::Value| {
        reader.read_response(format!("event: {kind}\ndata: {data}\n\n").as_bytes(), Some(Duration::from_millis(3)));
    };
    send("message_start", began);
    for piece in 0..300 {
        let delta = serde_json::json!({ "type": "content_block_delta", "index": 0,
            "delta": { "type": "text_delta", "text": format!("piece {piece} ") } });
        send("content_block_delta", delta);
    }
    send("message_stop", serde_json::json!({ "type": "message_stop" }));
    reader.end_response(true);
    assert!(black_box(reader.facts()).is_some());
}

fn events(times: u64, conversation_bytes: usize) {
    const JSON: &[u8] = br#"{"path":"/v1/messages","request_body":"","response_body":""}"#;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("events.db")).unwrap();
    let session = store.begin_session("counts", "key", "{}").unwrap();
    let mut writer = store.writer().unwrap();
    let mut talk = Conversation::new(1, conversation_bytes);
    for n in 0..=times {
        let bodies = match conversation_bytes {
            0 => Vec::new(),
            _ => talk.next([39, 58]).to_vec(),
        };
        let started_at_ms = 1_790_000_000_000 + n as i64;
        // As many as one transaction has under load.
        let events: Vec<_> = (0..8).map(|_| call(JSON, &bodies, started_at_ms)).collect();
        writer.append(session, &events).unwrap();
    }
}
