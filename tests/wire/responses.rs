//! What origins send that breaks the rules, and what the agent gets of it: what its own client would get without us. In literal
//! bytes, in clear and over TLS, each call with one event.

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::agent;
use crate::support::origin::{Act, Certificate, RawOrigin, TestCa};
use crate::support::otas::TestOtas;
use crate::support::proxy::{PATIENCE, TestProxy};

/// What one call came to.
struct Seen {
    /// All that the agent got.
    reply: Vec<u8>,
    /// The agent's TLS with us ended as it should; in clear: its connection.
    is_clean: bool,
    event: Value,
}

impl Seen {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.reply).into_owned()
    }

    /// The head in lower case, and the content as the framing has it. `None`: it is cut short.
    fn parts(&self) -> (String, Option<String>) {
        let text = self.text();
        let (head, content) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        let head = head.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).map(|rest| rest.split("\r\n").next().unwrap());
        let content = match length {
            Some(length) => content.get(..length.parse().unwrap()).map(str::to_owned),
            None if head.contains("chunked") => dechunked(content),
            None => Some(content.to_owned()),
        };
        (head, content)
    }

    fn faults(&self) -> Vec<&str> {
        let faults = self.event["metadata"]["origin_faults"].as_array();
        faults.into_iter().flatten().map(|fault| fault.as_str().unwrap()).collect()
    }

    fn error(&self) -> &str {
        self.event["error"].as_str().unwrap_or_default()
    }
}

fn dechunked(mut rest: &str) -> Option<String> {
    let mut content = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no chunk: {rest:?}"));
        if size == 0 {
            return Some(content);
        }
        content.push_str(after.get(..size)?);
        rest = after.get(size + 2..)?;
    }
}

/// In clear.
async fn plain(response: &[u8]) -> Seen {
    asked("GET", response, None).await
}

/// Over TLS; the origin ends it with `close_notify`, or just closes.
async fn over_tls(response: &[u8], notifies: bool) -> Seen {
    asked("GET", response, Some(notifies)).await
}

/// Asks once, on a connection of its own, an origin that answers `response` and closes.
async fn asked(method: &str, response: &[u8], tls: Option<bool>) -> Seen {
    let proxy = TestProxy::new();
    let ca = TestCa::new(proxy.folder());
    let last = if tls == Some(true) { Act::Shutdown } else { Act::Close };
    let acts = vec![Act::Write(response.to_vec()), last];
    let origin = match tls {
        Some(_) => RawOrigin::tls(ca.server(Certificate::Good, &[]), acts).await,
        None => RawOrigin::start(acts).await,
    };
    let otas = TestOtas::start().await;
    let proxy = proxy.otas(&otas).trusting(&ca).run().await;
    let host = format!("localhost:{}", origin.addr.port());
    let request = |target: &str| format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut reply = Vec::new();
    let read = match tls {
        Some(_) => {
            let tunnel = agent::tunnel(&proxy, &host).await;
            let mut stream = agent::tls(tunnel, "localhost", proxy.client_tls(&[])).await.unwrap();
            stream.write_all(request("/").as_bytes()).await.unwrap();
            tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply)).await
        }
        None => {
            let mut stream = proxy.connect().await;
            stream.write_all(request(&format!("http://{host}/")).as_bytes()).await.unwrap();
            tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply)).await
        }
    };
    let is_clean = read.expect("the connection does not end").is_ok();
    let mut events = proxy.events().await;
    assert_eq!(events.len(), 1, "{events:#?}");
    Seen { reply, is_clean, event: events.remove(0) }
}

/// All content arrives whole, and the event knows these faults and no error.
fn is_whole(seen: &Seen, content: &str, faults: &[&str]) {
    let (head, got) = seen.parts();
    assert!(seen.is_clean, "{head}");
    assert_eq!(got.as_deref(), Some(content), "{head}");
    assert_eq!(seen.faults(), faults, "{}", seen.event);
    assert_eq!(seen.event["metadata"]["outcome"], "complete", "{}", seen.event);
}

/// It arrives in part, the agent can tell so, and the event has this error.
fn is_cut(seen: &Seen, content: &str, error: &str) {
    let (head, got) = seen.parts();
    assert!(head.starts_with("http/1.1 200 ok\r\n") && got.is_none(), "{head}: {got:?}");
    assert!(seen.text().contains(content), "{}", seen.text());
    assert!(seen.error().starts_with(error), "{}", seen.event);
    assert_eq!(seen.event["status_code"], 200, "{}", seen.event);
}

/// It is answered with a 502 that says why.
fn is_refused(seen: &Seen, why: &str) {
    let text = seen.text();
    assert!(text.starts_with("HTTP/1.1 502 ") && text.contains(why), "{text}");
    assert!(seen.error().starts_with("origin_bad_response: ") && seen.error().contains(why), "{}", seen.event);
}

const OK: &str = "HTTP/1.1 200 OK\r\n";
const CHUNKS: &str = "\r\n5\r\nhello\r\n0\r\n\r\n";

#[tokio::test]
async fn transfer_encoding_wins_over_a_length() {
    let both = "length_beside_transfer_encoding";
    for (fields, content, faults) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", CHUNKS, vec![both]),
        ("Transfer-Encoding: chunked\r\nContent-Length: 500\r\n", CHUNKS, vec![both]),
        ("Transfer-Encoding: chunked\r\nContent-Length: none\r\n", CHUNKS, vec![both]),
        ("Transfer-Encoding: chunked, identity\r\nContent-Length: 5\r\n", CHUNKS, vec!["transfer_encoding", both]),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKS, vec!["transfer_encoding"]),
        ("Transfer-Encoding: gzip, gzip\r\nContent-Length: 5\r\n", "\r\nhello", vec![both, "transfer_encoding"]),
        ("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", "\r\nhello", vec!["transfer_encoding"]),
        ("Transfer-Encoding: \r\nContent-Length: 5\r\n", "\r\nhello", vec!["transfer_encoding"]),
        ("Transfer-Encoding: identity\r\n", "\r\nhello", vec!["transfer_encoding"]),
        ("Transfer-Encoding: gzip\r\nConnection: close\r\n", "\r\nhello", vec!["transfer_encoding"]),
        ("Transfer-Encoding: xyz\r\n", "\r\nhello", vec!["transfer_encoding"]),
        ("Transfer-Encoding: gzip, chunked\r\n", CHUNKS, vec![]),
    ] {
        let seen = plain(format!("{OK}{fields}{content}").as_bytes()).await;
        is_whole(&seen, "hello", &faults);
        let (head, _) = seen.parts();
        assert!(!head.contains("identity"), "{head}");
        assert!(!(head.contains("content-length") && head.contains("transfer-encoding")), "{head}");
        assert!(!head.contains("close, chunked") && !head.contains("chunked, chunked"), "{head}");
        for coding in ["gzip, gzip", "gzip, chunked", "xyz"] {
            assert_eq!(head.contains(&format!("{coding}\r\n")), fields.contains(coding), "{head}");
        }
        assert!(!head.contains("gzip, gzip, chunked") && !head.contains("xyz, chunked"), "{head}");
    }
}

#[tokio::test]
async fn an_answer_to_head_may_have_both() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5, 5\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
    ] {
        let seen = asked("HEAD", format!("{OK}{fields}\r\n").as_bytes(), None).await;
        assert!(seen.text().starts_with(OK) && seen.text().ends_with("\r\n\r\n"), "{}", seen.text());
        assert_eq!(seen.event["metadata"]["outcome"], "complete", "{}", seen.event);
    }
}

#[tokio::test]
async fn framing_fields_of_responses_without_content_break_nothing() {
    for status in ["204 No Content", "304 Not Modified"] {
        for fields in ["Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 5, 6\r\n"] {
            let seen = plain(format!("HTTP/1.1 {status}\r\n{fields}\r\n").as_bytes()).await;
            assert!(seen.text().starts_with(&format!("HTTP/1.1 {status}\r\n")), "{}", seen.text());
            assert_eq!(seen.event["metadata"]["outcome"], "complete", "{}", seen.event);
        }
    }
}

#[tokio::test]
async fn a_length_is_said_once_and_two_are_refused() {
    for lengths in ["Content-Length: 6, 6", "Content-Length: 6\r\nContent-Length: 6", "Content-Length: 6,6,6"] {
        let seen = plain(format!("{OK}{lengths}\r\n\r\nhello!").as_bytes()).await;
        is_whole(&seen, "hello!", &["content_length"]);
        assert!(seen.parts().0.contains("\r\ncontent-length: 6"), "{}", seen.text());
    }
    for lengths in ["Content-Length: 6, 7", "Content-Length: 6\r\nContent-Length: 7", "Content-Length: six"] {
        is_refused(
            &plain(format!("{OK}{lengths}\r\n\r\nhello!").as_bytes()).await,
            "Content-Length is not one decimal",
        );
    }
}

#[tokio::test]
async fn chunks_of_an_http_1_0_origin_are_followed() {
    let seen = plain(format!("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n{CHUNKS}").as_bytes()).await;
    is_whole(&seen, "hello", &["transfer_encoding_in_http_1_0"]);
}

/// hyper drops what it has not written when a body fails at once.
#[tokio::test]
async fn bytes_before_an_error_reach_the_agent_even_if_the_error_comes_at_once() {
    for (content, begins, error) in [
        ("Transfer-Encoding: chunked\r\n\r\nzz\r\n", "", "origin_bad_response: "),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n-1\r\n", "hello", "origin_bad_response: "),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhelloo\r\n", "hello", "origin_bad_response: "),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "hello", "origin_reset: "),
        ("Transfer-Encoding: chunked\r\n\r\n", "", "origin_reset: "),
        ("Content-Length: 10\r\n\r\nhello", "hello", "origin_reset: "),
        ("Content-Length: 10\r\n\r\n", "", "origin_reset: "),
    ] {
        for tls in [None, Some(true), Some(false)] {
            is_cut(&asked("GET", format!("{OK}{content}").as_bytes(), tls).await, begins, error);
        }
    }
}

#[tokio::test]
async fn lines_that_are_no_fields_reach_the_agent_as_they_are() {
    for line in [
        &b"Set-Cookie: a=\x01b; Path=/"[..],
        b"X: a\x7fb",
        b"Foo Bar: x",
        b": nameless",
        b"\"Quoted\": x",
        b"F\xf6o: x",
        b"no colon",
    ] {
        let response = [b"HTTP/1.1 200 OK\r\nA: b\r\n", line, b"\r\nContent-Length: 5\r\n\r\nhello"].concat();
        for tls in [None, Some(true)] {
            let seen = asked("GET", &response, tls).await;
            is_whole(&seen, "hello", &["invalid_field"]);
            let wanted = [b"\r\n", line, b"\r\n"].concat();
            assert!(seen.reply.windows(wanted.len()).any(|window| window == wanted), "{}", seen.text());
            assert!(seen.parts().0.contains("\r\na: b"), "{}", seen.text());
        }
    }
    let seen = plain(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=\x01b\r\nContent-Length: 5\r\n\r\nhello").await;
    assert!(seen.event["response_headers"].as_str().unwrap().contains("set-cookie"), "{}", seen.event);
}

#[tokio::test]
async fn fields_that_look_like_framing_stop_here() {
    let seen = plain(b"HTTP/1.1 200 OK\r\nTransfer\x01Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello").await;
    is_whole(&seen, "hello", &["invalid_field_dropped"]);
    assert!(!seen.text().contains("chunked"), "{}", seen.text());
    let seen = plain(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\nhello").await;
    is_refused(&seen, "a control character");
    is_refused(&plain(b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 5\r\n\r\nhello").await, "NUL");
}

#[tokio::test]
async fn a_reason_phrase_arrives_byte_for_byte() {
    for phrase in [&b"N\xe3o Autorizado"[..], "Não Autorizado".as_bytes(), b"", b"Nope", "Нет".as_bytes()] {
        let response = [b"HTTP/1.1 401 ", phrase, b"\r\nContent-Length: 5\r\n\r\nhello"].concat();
        let seen = plain(&response).await;
        is_whole(&seen, "hello", &[]);
        assert!(seen.reply.starts_with(&[b"HTTP/1.1 401 ", phrase, b"\r\n"].concat()), "{}", seen.text());
    }
}

#[tokio::test]
async fn a_close_without_close_notify_ends_what_only_the_end_frames() {
    for response in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nhello",
    ] {
        is_whole(&over_tls(response.as_bytes(), false).await, "hello", &["no_close_notify"]);
        is_whole(&over_tls(response.as_bytes(), true).await, "hello", &[]);
    }
    let coded = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello";
    is_whole(&over_tls(coded, false).await, "hello", &["transfer_encoding", "no_close_notify"]);
    for whole in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        is_whole(&over_tls(format!("{OK}{whole}").as_bytes(), false).await, "hello", &[]);
    }
    for head in ["", "HTTP/1.1 200 OK\r\nConte"] {
        let seen = over_tls(head.as_bytes(), false).await;
        assert!(
            seen.text().starts_with("HTTP/1.1 502 ") && seen.error().starts_with("origin_closed"),
            "{}",
            seen.text()
        );
    }
}

/// The inputs in `tests/fixtures/raw`, byte for byte, in clear and over TLS that ends without a word.
#[tokio::test]
async fn each_recorded_input_comes_to_its_right_end() {
    for (name, content, faults) in [
        ("control_char_in_cookie", Some("hello"), vec!["invalid_field"]),
        ("first_chunk_bad", None, vec![]),
        ("latin1_reason", Some("hello"), vec![]),
        ("space_in_name", Some("hello"), vec!["invalid_field"]),
        ("te_and_cl", Some("hello"), vec!["length_beside_transfer_encoding"]),
        ("te_identity_until_close", Some("hello"), vec!["transfer_encoding"]),
        ("until_close_over_tls_without_close_notify", Some("hello until close"), vec![]),
    ] {
        let response = std::fs::read(format!("tests/fixtures/raw/{name}.http")).unwrap();
        for tls in [None, Some(false)] {
            let seen = asked("GET", &response, tls).await;
            let mut faults = faults.clone();
            if tls.is_some() && name.contains("until_close") {
                faults.push("no_close_notify");
            }
            match content {
                Some(content) => is_whole(&seen, content, &faults),
                None => is_cut(&seen, "", "origin_bad_response: "),
            }
            let status_line = response.split(|byte| *byte == b'\n').next().unwrap();
            assert!(seen.reply.starts_with(status_line), "{name}: {}", seen.text());
            assert_ne!(seen.event["metadata"]["failure"], json!("agent_left"), "{name}");
        }
    }
}

/// Over HTTP/2 as well: the head, what came of the content, then the error.
#[tokio::test]
async fn over_http2_the_head_arrives_before_the_reset_that_came_with_it() {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let head = [0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];
    let data = [0, 0, 2, 0, 0, 0, 0, 0, 1, b'h', b'i'];
    let reset = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    for content in [&b""[..], &data] {
        let answer = [&head[..], content, &reset].concat();
        // A request's HEADERS with END_STREAM and END_HEADERS, on the first stream.
        let acts = vec![Act::Write(settings.to_vec()), Act::Await(vec![1, 5, 0, 0, 0, 1]), Act::Write(answer)];
        let origin = RawOrigin::start(acts).await;
        let proxy = TestProxy::new().run().await;
        let mut agent = agent::Agent::clear(&proxy, &origin.addr.to_string(), true).await;
        let response = agent.send(agent.request("GET", "/", agent::full(""))).await.expect("the head arrives");
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let mut got = Vec::new();
        let error = loop {
            match body.frame().await {
                Some(Ok(frame)) => got.extend_from_slice(&frame.into_data().unwrap()),
                other => break other,
            }
        };
        assert!(matches!(error, Some(Err(_))), "it never ends cleanly");
        assert_eq!(got, if content.is_empty() { &b""[..] } else { b"hi" });
        agent.vanish().await;
        let events = proxy.events().await;
        assert_eq!((events.len(), &events[0]["status_code"]), (1, &200.into()), "{events:#?}");
        assert!(events[0]["error"].as_str().unwrap().starts_with("origin_reset"), "{events:#?}");
    }
}
