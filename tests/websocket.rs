//! WebSockets: every byte passes unchanged, and messages are recorded decompressed (wire checklist 39, 47, 48).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::agent::{tls, tunnel};
use crate::support::origin::{Certificate, TestCa};
use crate::support::proxy::{PATIENCE, Running, TestProxy, eventually};
use crate::support::websocket::{BINARY, CLOSE, DEFLATED, Deflater, Ends, PING, PONG, TEXT, bare, expect, masked};

const PLAIN: &str = "Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
const COMPRESSED: &str = "Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                          Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: chat\r\n";

async fn only_event(proxy: Running) -> Value {
    let mut events = proxy.events().await;
    assert_eq!(events.len(), 1, "{events:#?}");
    events.remove(0)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[tokio::test]
async fn checklist_47_a_compressed_conversation_passes_unchanged_and_is_recorded_in_clear() {
    let proxy = TestProxy::new().run().await;
    let mut ends = Ends::open(&proxy, "/socket?v=1", COMPRESSED).await;
    let (mut ask, mut tell) = (Deflater::new(), Deflater::new());
    let (mut from_agent, mut from_origin) = (Vec::new(), Vec::new());
    for n in 0..3 {
        let asked = ask.message(&format!(r#"{{"question":"how is the weather, please?","n":{n}}}"#));
        // In pieces, with a control frame between them.
        let (first, rest) = asked.split_at(asked.len() / 2);
        let frames = [masked(0x41, first), masked(PING, b"are you there"), masked(0x80, rest)].concat();
        ends.say(&frames).await;
        from_agent.extend(frames);
        let answer = tell.message(&format!(r#"{{"answer":"fine, café ☕","n":{n}}}"#));
        let frames = [bare(PONG, b"are you there"), bare(DEFLATED, answer)].concat();
        ends.answer(&frames).await;
        from_origin.extend(frames);
    }
    let (left, answered) = (masked(CLOSE, b"\x03\xE8bye"), bare(CLOSE, b"\x03\xE8"));
    ends.say(&left).await;
    ends.answer(&answered).await;
    from_agent.extend(left);
    from_origin.extend(answered);
    let addr = ends.addr;
    ends.end().await;
    let event = only_event(proxy).await;
    assert_eq!(
        (&event["method"], &event["path"], &event["status_code"], &event["error"]),
        (&json!("GET"), &json!("/socket"), &json!(101), &json!(""))
    );
    assert_eq!(event["custom_properties"]["server.port"], addr.port());
    let line = |n| format!("{{\"question\":\"how is the weather, please?\",\"n\":{n}}}\n");
    let asked = format!("{}{}{}…[otas-proxy: closed with 1000: bye]…\n", line(0), line(1), line(2));
    assert_eq!(event["request_body"], asked);
    let line = |n| format!("{{\"answer\":\"fine, café ☕\",\"n\":{n}}}\n");
    assert_eq!(event["response_body"], [line(0), line(1), line(2)].concat());
    assert_eq!(number(&event["request_size_bytes"]), from_agent.len() as u64);
    assert_eq!(number(&event["response_size_bytes"]), from_origin.len() as u64);
    let metadata = &event["metadata"];
    assert_eq!(metadata["kind"], "websocket");
    let socket = &metadata["websocket"];
    assert_eq!(
        (&socket["compression"], &socket["closed_by"], &socket["close_code"], &socket["close_answered"]),
        (&json!("permessage-deflate"), &json!("agent"), &json!(1000), &json!(true))
    );
    let counts = |side: &str| {
        ["messages", "compressed", "pings", "pongs"].map(|name| socket[side][name].as_u64().unwrap_or_default())
    };
    assert_eq!((counts("agent"), counts("origin")), ([3, 3, 3, 0], [3, 3, 0, 3]));
    assert!(number(&socket["agent"]["clear_bytes"]) > number(&socket["agent"]["bytes"]));
    for absent in ["violation", "unread", "given_up", "unfinished", "turns"] {
        assert_eq!(socket[absent], Value::Null, "{absent}");
    }
    assert!(!event.to_string().contains("sk-0123456789"), "{event}");
}

#[tokio::test]
async fn messages_of_any_size_pass_for_any_capture_limit_and_only_the_first_and_last_are_kept() {
    for (head, tail) in [(0, 0), (200, 300), (1 << 20, 0)] {
        let proxy = TestProxy::new()
            .with(|config| {
                (config.capture.body_max_bytes, config.capture.body_head_bytes, config.capture.body_tail_bytes) =
                    (0, head, tail)
            })
            .run()
            .await;
        let mut ends = Ends::open(&proxy, "/", PLAIN).await;
        for size in [0, 125, 126, 65_535, 65_536, 200_000] {
            ends.say(&masked(TEXT, "x".repeat(size))).await;
            ends.answer(&bare(BINARY, vec![0; size])).await;
        }
        ends.say(&masked(TEXT, "the last")).await;
        ends.end().await;
        let event = only_event(proxy).await;
        let socket = &event["metadata"]["websocket"];
        assert_eq!((number(&socket["agent"]["messages"]), number(&socket["agent"]["bytes"])), (7, 331_330));
        assert_eq!((number(&socket["origin"]["messages"]), number(&socket["origin"]["binary"])), (6, 6));
        let body = event["request_body"].as_str().unwrap();
        let marked = body.contains("of 331,337 bytes not kept");
        assert_eq!(marked, head < 331_337, "{head}");
        assert_eq!(body.ends_with("the last\n"), head + tail > 0);
        if head == 1 << 20 {
            assert!(event["response_body"].as_str().unwrap().ends_with("binary message, 200000 bytes]…\n"));
        }
    }
}

#[tokio::test]
async fn each_turn_of_openais_protocol_is_an_event_of_its_own() {
    let proxy = TestProxy::new().run().await;
    let mut ends = Ends::open(&proxy, "/v1/responses", COMPRESSED).await;
    let (mut ask, mut tell) = (Deflater::new(), Deflater::new());
    let asked = [
        r#"{"type":"response.create","model":"gpt-5","input":"one"}"#,
        r#"{"model":"gpt-5","input":[{"type":"message"}],"type":"response.create"}"#,
        r#"{"type":"response.create","model":"none"}"#,
    ];
    let delta = r#"{"type":"response.output_text.delta","delta":"Hel"}"#;
    let done = r#"{"type":"response.completed","response":{"usage":{"output_tokens":3}}}"#;
    let limits =
        r#"{"type":"codex.rate_limits","rate_limits":{"primary":{"used_percent":37.5,"window_minutes":300}}}"#;
    let failed = r#"{"type":"response.failed","response":{"error":{"code":"server_error"}}}"#;
    let refused = r#"{"type":"error","status":404,"error":{"code":"model_not_found"}}"#;
    let answers: [&[&str]; 3] =
        [&[limits, r#"{"type":"response.created"}"#, delta, done], &[delta, failed], &[refused]];
    ends.answer(&bare(TEXT, r#"{"type":"hello"}"#)).await;
    for (question, events) in asked.iter().zip(answers) {
        ends.say(&masked(DEFLATED, ask.message(question))).await;
        for event in events {
            ends.answer(&bare(DEFLATED, tell.message(event))).await;
        }
    }
    ends.say(&masked(CLOSE, b"\x03\xE8")).await;
    ends.end().await;
    let events = proxy.events().await;
    let (mut turns, sockets): (Vec<_>, Vec<_>) =
        events.iter().partition(|event| event["metadata"]["kind"] == "websocket_turn");
    turns.sort_by_key(|turn| turn["metadata"]["websocket"]["turn"].as_u64());
    let [socket] = sockets[..] else { panic!("{events:#?}") };
    assert_eq!(socket["metadata"]["websocket"]["turns"], 3);
    assert_eq!(turns.len(), 3, "{events:#?}");
    let expected = [(200, ""), (200, "turn_failed: "), (404, "turn_failed: ")];
    for (n, (turn, (status, error))) in turns.iter().zip(expected).enumerate() {
        assert_eq!(turn["request_body"], asked[n]);
        let lines: String = answers[n].iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(turn["response_body"], lines);
        assert_eq!((&turn["method"], &turn["path"]), (&json!("WEBSOCKET"), &json!("/v1/responses")));
        assert_eq!(turn["status_code"], status);
        let told = turn["error"].as_str().unwrap();
        assert!(told.starts_with(error) && told.is_empty() == error.is_empty(), "{told}");
        let metadata = &turn["metadata"];
        let (properties, text) = (&turn["custom_properties"], &metadata["llm"]["text"]);
        assert_eq!(properties["gen_ai.request.model"], ["gpt-5", "gpt-5", "none"][n]);
        assert_eq!(properties["otas_proxy.llm.api"], "openai.responses");
        assert_eq!(properties["gen_ai.usage.output_tokens"], if n == 0 { json!(3) } else { Value::Null });
        assert_eq!(properties["otas_proxy.llm.time_to_first_token"].is_number(), n < 2);
        assert_eq!(*text, if n < 2 { json!("Hel") } else { Value::Null });
        let limits = json!({ "x-codex-primary-used-percent": "37.5", "x-codex-primary-window-minutes": "300" });
        assert_eq!(metadata["rate_limit"], if n == 0 { limits } else { Value::Null });
        let place = json!({ "event_id": socket["metadata"]["event"]["id"], "turn": n + 1 });
        assert_eq!(metadata["websocket"], place);
        assert!(
            metadata["timings"]["wait"].is_number() && turn["latency_ms"].as_f64() <= socket["latency_ms"].as_f64()
        );
        assert_eq!(number(&turn["request_size_bytes"]), asked[n].len() as u64);
        let headers = turn["request_headers"].as_str().unwrap();
        assert!(headers.contains("Bearer ****WXYZ") && !headers.contains("sk-0123"), "{headers}");
    }
}

#[tokio::test]
async fn a_truncated_turn_says_so() {
    let proxy = TestProxy::new().run().await;
    let mut ends = Ends::open(&proxy, "/v1/responses", PLAIN).await;
    ends.say(&masked(TEXT, r#"{"type":"response.create","model":"m"}"#)).await;
    ends.answer(&bare(TEXT, r#"{"type":"response.created"}"#)).await;
    ends.answer(&bare(CLOSE, b"\x03\xF3restarting")).await;
    ends.end().await;
    let events = proxy.events().await;
    let turn = events.iter().find(|event| event["metadata"]["kind"] == "websocket_turn").unwrap();
    assert!(turn["error"].as_str().unwrap().starts_with("origin_closed: "), "{turn}");
    assert_eq!(
        (&turn["status_code"], &turn["response_body"]),
        (&json!(200), &json!("{\"type\":\"response.created\"}\n"))
    );
    let socket = events.iter().find(|event| event["metadata"]["kind"] == "websocket").unwrap();
    assert_eq!(socket["error"], "");
    assert_eq!(socket["metadata"]["websocket"]["closed_by"], "origin");
    assert!(socket["response_body"].as_str().unwrap().ends_with("closed with 1011: restarting]…\n"));
}

/// The events of a socket that the agent aborts after these messages, and of its turns.
async fn aborted_after(asked: &[&str], answered: &[&str]) -> (Value, Vec<Value>) {
    let proxy = TestProxy::new().run().await;
    let mut ends = Ends::open(&proxy, "/v1/responses", PLAIN).await;
    for message in asked {
        ends.say(&masked(TEXT, message)).await;
    }
    for message in answered {
        ends.answer(&bare(TEXT, message)).await;
    }
    ends.reset().await;
    let (sockets, turns): (Vec<_>, Vec<_>) =
        proxy.events().await.into_iter().partition(|event| event["metadata"]["kind"] == "websocket");
    (sockets.into_iter().next().unwrap(), turns)
}

#[tokio::test]
async fn a_socket_may_end_without_a_close_frame_while_no_turn_is_open() {
    const ASKS: &str = r#"{"type":"response.create","model":"m"}"#;
    const CREATED: &str = r#"{"type":"response.created"}"#;
    const COMPLETED: &str = r#"{"type":"response.completed","response":{"status":"completed"}}"#;
    let (socket, turns) = aborted_after(&[ASKS], &[CREATED, COMPLETED]).await;
    assert_eq!((&socket["error"], turns.len(), &turns[0]["error"]), (&json!(""), 1, &json!("")), "{socket:#}");
    assert_eq!(turns[0]["metadata"]["client"], socket["metadata"]["client"]);
    // It was opened in advance and never used.
    let (socket, turns) = aborted_after(&[], &[]).await;
    assert_eq!((&socket["error"], turns.len()), (&json!(""), 0));
    let (socket, turns) = aborted_after(&[ASKS], &[CREATED]).await;
    for event in [&socket, &turns[0]] {
        assert!(event["error"].as_str().unwrap().starts_with("agent_left: "), "{event:#}");
    }
}

#[tokio::test]
async fn a_side_that_sent_a_close_frame_may_abort_its_connection() {
    for (closes, error) in [(true, ""), (false, "agent_left: ")] {
        let proxy = TestProxy::new().run().await;
        let mut ends = Ends::open(&proxy, "/", PLAIN).await;
        ends.say(&masked(TEXT, b"hello")).await;
        if closes {
            ends.say(&masked(CLOSE, b"\x03\xE9")).await;
            ends.answer(&bare(CLOSE, b"\x03\xE9")).await;
        }
        ends.reset().await;
        let event = only_event(proxy).await;
        let told = event["error"].as_str().unwrap();
        assert!(told.starts_with(error) && told.is_empty() == closes, "{told}");
        let by = if closes { json!("agent") } else { Value::Null };
        assert_eq!(event["metadata"]["websocket"]["closed_by"], by);
    }
}

#[tokio::test]
async fn a_stopped_proxy_reports_sockets_and_turns_in_flight() {
    let proxy = TestProxy::new().with(|config| config.proxy.shutdown_grace = Duration::from_millis(50)).run().await;
    let mut ends = Ends::open(&proxy, "/v1/responses", PLAIN).await;
    ends.say(&masked(TEXT, r#"{"type":"response.create","model":"m"}"#)).await;
    ends.say(&masked(0x01, "a message that never en")).await;
    let events = proxy.events().await;
    assert_eq!(events.len(), 2, "{events:#?}");
    for event in &events {
        assert!(event["error"].as_str().unwrap().starts_with("proxy_shutdown: "), "{event}");
        assert!(event["request_body"].as_str().unwrap().contains("response.create"), "{event}");
    }
    let socket = events.iter().find(|event| event["metadata"]["kind"] == "websocket").unwrap();
    assert_eq!(socket["metadata"]["websocket"]["unfinished"], "agent");
}

#[tokio::test]
async fn unreadable_messages_pass_unchanged_and_are_reported() {
    let unknown = "Upgrade: websocket\r\nSec-WebSocket-Extensions: x-shuffle\r\n";
    for (answer, frames, key, told) in [
        (unknown, bare(0xF1, b"?"), "unread", json!({ "by": "agent", "what": "unknown_extension" })),
        (COMPRESSED, bare(DEFLATED, b"\xFF\xFF"), "unread", json!({ "by": "origin", "what": "damaged_compression" })),
        (
            PLAIN,
            vec![0x81, 127, 0xFF, 0, 0, 0, 0, 0, 0, 0],
            "unread",
            json!({ "by": "origin", "what": "impossible_length" }),
        ),
        (PLAIN, masked(TEXT, b"masked"), "violation", json!({ "by": "origin", "what": "wrong_masking" })),
    ] {
        let proxy = TestProxy::new().run().await;
        let mut ends = Ends::open(&proxy, "/", answer).await;
        ends.answer(&frames).await;
        ends.answer(b"and whatever follows").await;
        ends.say(&masked(TEXT, b"hello")).await;
        ends.end().await;
        let event = only_event(proxy).await;
        assert_eq!(event["metadata"]["websocket"][key], told, "{event}");
        assert_eq!(number(&event["response_size_bytes"]), frames.len() as u64 + 20);
    }
}

#[tokio::test]
async fn without_memory_to_keep_anything_messages_are_counted() {
    let proxy = TestProxy::new().with(|config| config.capture.memory_bytes = 0).run().await;
    let mut ends = Ends::open(&proxy, "/", PLAIN).await;
    ends.say(&masked(TEXT, b"hello")).await;
    ends.end().await;
    let event = only_event(proxy).await;
    assert_eq!(event["metadata"]["websocket"]["agent"], json!({ "messages": 1, "bytes": 5 }));
    assert_eq!((number(&event["request_size_bytes"]), &event["error"]), (11, &json!("")));
    assert_eq!(event["request_body"], "\n…[otas-proxy: 6 of 6 bytes not kept]…\n");
}

#[tokio::test]
async fn checklist_39_an_upgrade_to_something_else_is_relayed_and_counted() {
    let proxy = TestProxy::new().run().await;
    let mut ends = Ends::open(&proxy, "/", "Upgrade: other\r\n").await;
    ends.say(b"anything").await;
    ends.answer(b"at all").await;
    ends.end().await;
    let event = only_event(proxy).await;
    assert_eq!((&event["metadata"]["kind"], &event["metadata"]["websocket"]), (&json!("http"), &Value::Null));
    assert_eq!((number(&event["request_size_bytes"]), number(&event["response_size_bytes"])), (8, 6));
}

#[tokio::test]
async fn a_socket_in_flight_is_noted_with_its_messages_so_far() {
    let proxy = TestProxy::new().run().await;
    let mut ends = Ends::open(&proxy, "/", PLAIN).await;
    ends.say(&masked(TEXT, b"hello")).await;
    let store = proxy.app.store.path().to_owned();
    let noted = || -> i64 {
        let store = Connection::open_with_flags(&store, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let noted = "SELECT count(*) FROM open_exchanges WHERE json LIKE '%hello%' AND json LIKE '%\"given_up\":\"interrupted\"%'";
        store.query_row(noted, [], |row| row.get(0)).unwrap()
    };
    // The first snapshot requests the messages, so the second has them, although the socket is silent.
    eventually("a note with the message", async || noted() == 1).await;
    ends.end().await;
    assert_eq!(only_event(proxy).await["request_body"], "hello\n");
}

/// An HTTP/2 origin over TLS that echoes over extended CONNECT, and answers everything else with 204. `offers`: it
/// announces extended CONNECT.
async fn http2_origin(ca: &TestCa, offers: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(ca.server(Certificate::Good, &[b"h2"])));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            if offers {
                http2.enable_connect_protocol();
            }
            tokio::spawn(http2.serve_connection(TokioIo::new(stream), service_fn(echo)));
        }
    });
    port
}

async fn echo(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    let asked = request.extensions().get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
    if !asked || request.uri().path() == "/forbidden" {
        *response.status_mut() = if asked { StatusCode::FORBIDDEN } else { StatusCode::NO_CONTENT };
        return Ok(response);
    }
    assert_eq!(request.headers()["sec-websocket-version"], "13");
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut from, mut to) = tokio::io::split(TokioIo::new(upgrading.await.unwrap()));
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    });
    response.headers_mut().insert("sec-websocket-protocol", "chat".parse().unwrap());
    Ok(response)
}

/// An agent's HTTP/2 connection through the proxy, and whether it offers extended CONNECT.
async fn http2_agent(proxy: &Running, port: u16) -> (http2::SendRequest<Full<Bytes>>, bool) {
    let stream = tunnel(proxy, &format!("localhost:{port}")).await;
    let stream = tls(stream, "localhost", proxy.client_tls(&[b"h2"])).await.unwrap();
    let (mut sender, mut connection) =
        http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.unwrap();
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut tell = Some(tell);
    let mut asked = Box::pin(
        sender.send_request(Request::get(format!("https://localhost:{port}/")).body(Full::default()).unwrap()),
    );
    // A response comes after the settings.
    let mut answered = false;
    tokio::spawn(std::future::poll_fn(move |cx| {
        let ended = std::pin::Pin::new(&mut connection).poll(cx);
        if !answered && asked.as_mut().poll(cx).is_ready() {
            answered = true;
            let _ = tell.take().unwrap().send(connection.is_extended_connect_protocol_enabled());
        }
        ended
    }));
    let offered = tokio::time::timeout(PATIENCE, told).await.expect("no answer").unwrap();
    (sender, offered)
}

fn extended_connect(port: u16, path: &str, protocol: &'static str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(Method::CONNECT)
        .uri(format!("https://localhost:{port}{path}"))
        .header("sec-websocket-version", "13")
        .extension(Protocol::from_static(protocol))
        .body(Full::default())
        .unwrap()
}

#[tokio::test]
async fn checklist_48_websockets_over_http2_pass_where_the_origin_offers_them() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let port = http2_origin(&ca, true).await;
    let proxy = TestProxy::new().trusting(&ca).run().await;
    let (mut sender, offered) = http2_agent(&proxy, port).await;
    assert!(offered);
    let mut response = sender.send_request(extended_connect(port, "/chat", "websocket")).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["sec-websocket-protocol"]),
        (StatusCode::OK, &"chat".parse().unwrap())
    );
    let mut socket = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    for frame in [masked(TEXT, b"hello"), masked(BINARY, vec![1; 100_000]), masked(CLOSE, b"\x03\xE8")] {
        let (mut read, mut write) = tokio::io::split(&mut socket);
        let (written, ()) = tokio::join!(write.write_all(&frame), expect(&mut read, &frame));
        written.unwrap();
    }
    socket.shutdown().await.unwrap();
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.unwrap();
    // A refusal and another protocol get ordinary responses.
    let refused = sender.send_request(extended_connect(port, "/forbidden", "websocket")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let unknown = sender.send_request(extended_connect(port, "/chat", "connect-udp")).await.unwrap();
    assert_eq!(unknown.status(), StatusCode::NOT_IMPLEMENTED);
    drop((sender, socket));
    let events = proxy.events().await;
    let of = |path: &str, status: u16| {
        let mut found = events.iter().filter(|event| event["path"] == path && event["status_code"] == status);
        found.next().unwrap_or_else(|| panic!("{path} {status} is not in {events:#?}"))
    };
    let socket = of("/chat", 200);
    assert_eq!((&socket["method"], &socket["error"]), (&json!("CONNECT"), &json!("")));
    assert!(socket["request_body"].as_str().unwrap().starts_with("hello\n"));
    assert_eq!(socket["custom_properties"]["network.protocol.version"], "2");
    let facts = &socket["metadata"]["websocket"];
    assert_eq!((number(&facts["agent"]["messages"]), &facts["closed_by"]), (2, &json!("agent")));
    // Its echo is masked, which an origin must not do.
    assert_eq!(facts["violation"], json!({ "by": "origin", "what": "wrong_masking" }));
    assert_eq!(of("/forbidden", 403)["error"], "http_403: Forbidden");
    assert!(of("/chat", 501)["error"].as_str().unwrap().starts_with("protocol_not_offered: "));
    assert_eq!(events.len(), 4);
}

#[tokio::test]
async fn checklist_48_without_the_origins_offer_extended_connect_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let port = http2_origin(&ca, false).await;
    let proxy = TestProxy::new().trusting(&ca).run().await;
    let (mut sender, offered) = http2_agent(&proxy, port).await;
    assert!(!offered);
    let asked = sender.send_request(extended_connect(port, "/chat", "websocket"));
    let answered = tokio::time::timeout(PATIENCE, asked).await.expect("it hangs");
    assert!(answered.is_err(), "{:?}", answered.map(|answer| answer.status()));
    // The connection goes on.
    let again = Request::get(format!("https://localhost:{port}/")).body(Full::default()).unwrap();
    assert_eq!(sender.send_request(again).await.unwrap().status(), StatusCode::NO_CONTENT);
    drop(sender);
    let events = proxy.events().await;
    assert_eq!(events.len(), 3);
    assert!(events[1]["error"].as_str().unwrap().starts_with("protocol_not_offered: "), "{}", events[1]);
}
