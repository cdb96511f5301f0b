//! What is no secret arrives as it was sent: hashes, ids, images, counts of tokens, prose, code.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::origin::TestOrigin;
use crate::support::otas::TestOtas;
use crate::support::proxy::TestProxy;

/// Numbers that are the same each time.
fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed | 1), |n| Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)))
        .map(|n| n >> 16)
}

fn hex(seed: u64, length: usize) -> String {
    let mut text = numbers(seed).take(length.div_ceil(12)).fold(String::new(), |mut text, n| {
        write!(text, "{:012x}", n & 0xFFFF_FFFF_FFFF).unwrap();
        text
    });
    text.truncate(length);
    text
}

fn base64(seed: u64, length: usize) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    numbers(seed).take(length).map(|n| char::from(ALPHABET[n as usize % 64])).collect()
}

fn uuid(seed: u64) -> String {
    let hex = hex(seed, 32);
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// Bodies, by what they are.
fn corpus() -> Vec<(&'static str, String)> {
    let prose = "In this session we keep the secret of a good token economy: a password is what one knows, a key what one has. \
        She signed in, turned the key, and passed the cookies around; the bearer of bad news had no credentials. \
        \"What is the code?\" he asked. The state of the session: closed. Basic training begins at 9:30.\n"
        .repeat(300);
    let hashes: String = (0..400).map(|n| format!("{} {} file-{n}.rs\n", hex(n, 40), hex(n + 1_000, 64))).collect();
    let ids: Vec<Value> = (0..300)
        .map(|n| json!({ "id": uuid(n), "request_id": format!("req_{}", hex(n, 24)), "object": "chat.completion", "created": 1_795_000_000 + n }))
        .collect();
    let image = format!("data:image/png;base64,{}", base64(7, 120_000));
    let question = json!({
        "model": "gpt-4o", "max_tokens": 4096, "max_completion_tokens": 100, "session": { "instructions": "be kind", "voice": "alloy" },
        "messages": [
            { "role": "system", "content": prose },
            { "role": "user", "content": [{ "type": "image_url", "image_url": { "url": image } }] },
        ],
        "tools": [{ "name": "login", "parameters": { "type": "object", "properties": {
            "password": { "type": "string", "description": "The password" }, "token": { "type": "string", "description": "A token" },
        }, "required": ["password", "token"] } }],
    });
    let answer = json!({
        "usage": { "prompt_tokens": 120, "completion_tokens": 30, "total_tokens": 150, "completion_tokens_details": { "reasoning_tokens": 5 } },
        "choices": [{ "logprobs": { "content": [{ "token": " Hello", "logprob": -0.1, "bytes": [32, 72], "top_logprobs": [{ "token": "tokenization" }] }] } }],
        "system_fingerprint": format!("fp_{}", hex(3, 10)), "next_page_token": "CAUQAA0123456789abcdef", "etag": hex(4, 40),
    });
    let deltas: String = prose.as_bytes()[..6_000]
        .chunks(4)
        .map(|piece| {
            format!(
                "data: {}\n\n",
                json!({ "choices": [{ "delta": { "content": String::from_utf8_lossy(piece) } }] })
            )
        })
        .collect();
    let diff = format!(
        "diff --git a/auth.py b/auth.py\nindex {}..{} 100644\n--- a/auth.py\n+++ b/auth.py\n@@ -1,4 +1,4 @@\n-    token = get_token()\n\
         +    token = self.tokens[session.key]\n     if password is None:\n         raise KeyError('password')\n",
        hex(1, 7),
        hex(2, 7)
    );
    let mut all = vec![
        ("text/plain", prose),
        ("text/plain", hashes),
        ("text/plain", diff),
        ("application/json", json!(ids).to_string()),
        ("application/json", serde_json::to_string_pretty(&ids).unwrap()),
        ("application/json", question.to_string()),
        ("application/json", answer.to_string()),
        ("application/json", json!({ "embedding": base64(9, 16_384), "b64_json": base64(11, 60_000) }).to_string()),
        ("text/event-stream", deltas + "data: [DONE]\n\n"),
        (
            "application/x-www-form-urlencoded",
            "q=session+token+count&max_tokens=5&page_token=CAUQ&id=550e8400-e29b-41d4-a716-446655440000".to_owned(),
        ),
    ];
    // Code that speaks of tokens, keys and secrets all the time.
    for code in [
        include_str!("../../src/deliver/sessions.rs"),
        include_str!("../../src/proxy/destination.rs"),
        include_str!("../../src/callers/tokens.rs"),
        include_str!("../../src/redact/names.rs"),
        include_str!("../../src/store/key.rs"),
        include_str!("../../ARCHITECTURE.md"),
    ] {
        all.push(("text/plain", code.to_owned()));
        all.push(("application/json", json!({ "content": code }).to_string()));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_without_secrets_is_shown_as_it_was_sent() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas).run().await;
    let client = proxy.client();
    let corpus = corpus();
    for (number, (content_type, body)) in corpus.iter().enumerate() {
        let url = origin.url(&format!("/echo/{}/{number}", hex(number as u64, 40)));
        let post = client.post(url).header("content-type", *content_type).header("x-request-id", uuid(number as u64));
        let post = post.header("etag", format!("\"{}\"", hex(number as u64, 32))).header("idempotency-key", uuid(5));
        post.body(body.clone()).send().await.unwrap().bytes().await.unwrap();
    }
    let events = otas.events_at_least(corpus.len() as u64, Duration::from_secs(60)).await;
    proxy.stop().await;
    for event in events {
        let number: usize = event["path"].as_str().unwrap().rsplit_once('/').unwrap().1.parse().unwrap();
        let (content_type, body) = &corpus[number];
        let shown = event["request_body"].as_str().unwrap();
        let differs = shown.bytes().zip(body.bytes()).position(|(shown, sent)| shown != sent).unwrap_or(shown.len());
        let from = (0..=differs.saturating_sub(80)).rev().find(|at| shown.is_char_boundary(*at)).unwrap();
        assert!(shown == body, "{number} ({content_type}): {:.200}", &shown[from..]);
        assert_eq!(event["metadata"]["redactions"], 0, "{number}: {}", event["metadata"]["redaction_rules"]);
    }
}
