//! Each call has exactly one event with the right facts, however the call ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::support::agent::{self, Agent, full, tunnel};
use crate::support::manual::{ManualOrigin, piece, piecewise};
use crate::support::nobody::Nobody;
use crate::support::origin::{Certificate, TestCa, TestOrigin, hex, pattern};
use crate::support::proxy::{PATIENCE, Running, TestProxy, eventually, read_until};

const HTTP11: &[&[u8]] = &[b"http/1.1"];
const H2: &[&[u8]] = &[b"h2"];
const MIB: usize = 1 << 20;

/// A proxy to be started, and a CA that it trusts.
fn trusting() -> (TestCa, TestProxy) {
    let proxy = TestProxy::new();
    let ca = TestCa::new(proxy.folder());
    let proxy = proxy.trusting(&ca);
    (ca, proxy)
}

/// The proxy, an origin under manual control, and an agent's connection to it with `alpn`.
async fn by_hand(alpn: &[&[u8]]) -> (Running, ManualOrigin, Agent) {
    let (ca, proxy) = trusting();
    let proxy = proxy.with(|c| c.proxy.shutdown_grace = Duration::from_millis(50)).run().await;
    let origin = ManualOrigin::start(Some(ca.server(Certificate::Good, alpn))).await;
    let agent = Agent::named(&proxy, "localhost", origin.addr.port(), alpn).await;
    (proxy, origin, agent)
}

fn failed(event: &Value, id: &str) {
    assert!(event["error"].as_str().unwrap().starts_with(&format!("{id}: ")), "{id}: {event:#}");
}

/// The only event.
fn only(mut events: Vec<Value>) -> Value {
    assert_eq!(events.len(), 1, "{events:#?}");
    events.remove(0)
}

/// Asserts the sizes of an event, also in `metadata`.
fn sizes(event: &Value, request: u64, response: u64) {
    assert_eq!(
        (&event["request_size_bytes"], &event["response_size_bytes"]),
        (&request.into(), &response.into()),
        "{event:#}"
    );
    assert_eq!(event["metadata"]["capture"]["request"]["bytes"], request);
    assert_eq!(event["metadata"]["capture"]["response"]["bytes"].as_u64().unwrap_or_default(), response);
}

#[tokio::test]
async fn sizes_are_those_on_the_wire_and_bodies_are_readable() {
    for alpn in [HTTP11, H2] {
        let (ca, proxy) = trusting();
        let proxy = proxy.run().await;
        let origin = TestOrigin::h2(&ca).await;
        let mut agent = Agent::to(&proxy, &origin, alpn).await;
        let (_, json) = agent.post("POST", "/", r#"{"ask":"é"}"#).await;
        agent.ready().await;
        let (_, packed) = agent.get("/gzip").await;
        agent.ready().await;
        let (_, events) = agent.get("/sse/3/1").await;
        agent.close().await;
        let logged = proxy.events().await;
        assert_eq!(logged.len(), 3);
        sizes(&logged[0], 12, json.len() as u64);
        assert_eq!(logged[0]["request_body"], r#"{"ask":"é"}"#);
        assert_eq!(logged[0]["response_body"], std::str::from_utf8(&json).unwrap());
        sizes(&logged[1], 0, packed.len() as u64);
        assert!(packed.starts_with(b"\x1f\x8b"), "the agent gets what the origin sent");
        assert_eq!(logged[1]["response_body"], "compressed text, compressed text. ".repeat(100));
        sizes(&logged[2], 0, events.len() as u64);
        assert_eq!(logged[2]["response_body"], std::str::from_utf8(&events).unwrap());
        assert_eq!(logged[2]["response_content_type"], "text/event-stream");
    }
}

#[tokio::test]
async fn a_long_body_keeps_both_ends_and_its_true_size() {
    let (ca, proxy) = trusting();
    let proxy = proxy
        .with(|c| (c.capture.body_max_bytes, c.capture.body_head_bytes, c.capture.body_tail_bytes) = (0, 1000, 500))
        .run()
        .await;
    let origin = TestOrigin::h2(&ca).await;
    let text: String = (0..20_000).map(|i| format!("{i} ")).collect();
    let mut agent = Agent::to(&proxy, &origin, H2).await;
    assert!(agent.post("POST", "/echo", text.clone()).await.1 == text);
    agent.close().await;
    let event = only(proxy.events().await);
    sizes(&event, text.len() as u64, text.len() as u64);
    for (body, side) in [("request_body", "request"), ("response_body", "response")] {
        let kept = event[body].as_str().unwrap();
        assert!(
            kept.starts_with(&text[..900]) && kept.ends_with(&text[text.len() - 400..]) && kept.len() < 2000,
            "{kept}"
        );
        assert_eq!(event["metadata"]["capture"][side]["omitted"], text.len() as u64 - 1500);
    }
}

/// 32 MiB down and up at once, while the memory of captures is watched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_arrive_whole_and_the_capture_keeps_to_its_memory() {
    const SIZE: usize = 32 * MIB;
    const BUDGET: u64 = 300 << 10;
    for alpn in [HTTP11, H2] {
        let (ca, proxy) = trusting();
        let proxy = proxy.with(|c| c.capture.memory_bytes = BUDGET as usize).run().await;
        let origin = TestOrigin::h2(&ca).await;
        let (mut down, mut up) = (Agent::to(&proxy, &origin, alpn).await, Agent::to(&proxy, &origin, alpn).await);
        let block = pattern(0, 64 << 10);
        let mut whole = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        (0..SIZE / block.len()).for_each(|_| whole.update(&block));
        let wanted = hex(whole.finish().as_ref());

        let downloading = down.send(down.request("GET", &format!("/bytes/{SIZE}"), full("")));
        let downloading = async {
            let mut body = downloading.await.unwrap().into_body();
            let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
            while let Some(frame) = body.frame().await {
                digest.update(frame.unwrap().data_ref().unwrap());
            }
            hex(digest.finish().as_ref())
        };
        let (pieces, body) = piecewise();
        let uploading = up.send(up.request("PUT", "/count", body));
        let uploading = async {
            let feeding = async {
                for _ in 0..SIZE / block.len() {
                    pieces.send(piece(block.clone())).await.unwrap();
                }
                drop(pieces);
            };
            agent::whole(tokio::join!(feeding, uploading).1.unwrap()).await
        };
        let watching = async {
            let mut highest = 0;
            loop {
                let status = proxy.status().await;
                highest = highest.max(status["capture"]["memory_bytes"].as_u64().unwrap());
                if status["events"]["stored"] == 2 {
                    return highest;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let (got, counted, highest) = tokio::join!(downloading, uploading, watching);
        assert!(got == wanted, "the download differs");
        assert!(counted == format!("{SIZE} {wanted}"), "the upload differs: {counted:?}");
        assert!((1..=BUDGET).contains(&highest), "{highest}");
        down.close().await;
        up.close().await;
        assert_eq!(proxy.status().await["capture"]["memory_bytes"], 0);
        let mut events = proxy.events().await;
        events.sort_by_key(|e| e["path"].as_str().unwrap().to_owned());
        sizes(&events[0], 0, SIZE as u64);
        sizes(&events[1], SIZE as u64, counted.len() as u64);
        assert_eq!((&events[0]["error"], &events[1]["error"]), (&"".into(), &"".into()));
    }
}

#[tokio::test]
async fn each_piece_of_a_stream_reaches_the_agent_before_the_next_is_sent() {
    for alpn in [HTTP11, H2] {
        let (proxy, mut origin, mut agent) = by_hand(alpn).await;
        let answer = agent.send(agent.request("GET", "/stream", full("")));
        let (pieces, _) = origin.call().await.stream("text/event-stream");
        // Also the head, before any of the body.
        let mut body = answer.await.unwrap().into_body();
        let mut all = String::new();
        for i in 0..10 {
            let event = format!("data: {i}\n\n");
            pieces.send(piece(event.clone())).await.unwrap();
            let got = tokio::time::timeout(PATIENCE, body.frame()).await.expect("held back").unwrap().unwrap();
            assert_eq!(got.into_data().unwrap(), event);
            all += &event;
        }
        drop(pieces);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "");
        agent.close().await;
        let event = only(proxy.events().await);
        assert_eq!((event["response_body"].as_str().unwrap(), &event["error"]), (&all[..], &"".into()));
    }
}

#[tokio::test]
async fn each_piece_of_an_upload_reaches_the_origin_before_the_next_is_sent() {
    for alpn in [HTTP11, H2] {
        let (proxy, mut origin, mut agent) = by_hand(alpn).await;
        let (pieces, body) = piecewise();
        let answer = agent.send(agent.request("POST", "/upload", body));
        let mut call = origin.call().await;
        for i in 0..10 {
            pieces.send(piece(format!("{i}"))).await.unwrap();
            let got = tokio::time::timeout(PATIENCE, call.request.body_mut().frame()).await.expect("held back");
            assert_eq!(got.unwrap().unwrap().into_data().unwrap(), format!("{i}"));
        }
        drop(pieces);
        assert_eq!(call.request.body_mut().collect().await.unwrap().to_bytes(), "");
        call.answer.send(http::Response::new(full("thanks"))).unwrap();
        assert_eq!(agent::whole(answer.await.unwrap()).await, "thanks");
        agent.close().await;
        let event = only(proxy.events().await);
        sizes(&event, 10, 6);
        assert_eq!(event["request_body"], "0123456789");
    }
}

#[tokio::test]
async fn a_reset_of_the_origin_in_mid_body_is_an_error_for_the_agent_and_in_the_event() {
    for alpn in [HTTP11, H2] {
        let (proxy, mut origin, mut agent) = by_hand(alpn).await;
        let answer = agent.send(agent.request("GET", "/", full("")));
        let (pieces, _) = origin.call().await.stream("text/plain");
        let mut body = answer.await.unwrap().into_body();
        pieces.send(piece("so far")).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "so far");
        pieces.send(Err(std::io::ErrorKind::ConnectionReset.into())).await.unwrap();
        let end = tokio::time::timeout(PATIENCE, body.frame()).await.expect("no end");
        assert!(matches!(end, Some(Err(_))), "a clean end: {end:?}");
        agent.vanish().await;
        let event = only(proxy.events().await);
        failed(&event, "origin_reset");
        sizes(&event, 0, 6);
        assert_eq!((&event["status_code"], &event["response_body"]), (&200.into(), &"so far".into()));
        assert_eq!(event["metadata"]["capture"]["response"]["end"], "sender_failed");
    }
}

#[tokio::test]
async fn an_agent_that_leaves_in_mid_download_frees_the_origin_at_once() {
    for alpn in [HTTP11, H2] {
        let (proxy, mut origin, mut agent) = by_hand(alpn).await;
        let answer = agent.send(agent.request("GET", "/", full("")));
        let (pieces, _) = origin.call().await.stream("text/plain");
        let mut body = answer.await.unwrap().into_body();
        pieces.send(piece("so far")).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "so far");
        agent.vanish().await;
        drop(body);
        tokio::time::timeout(PATIENCE, pieces.closed()).await.expect("the origin still sends to nobody");
        let event = only(proxy.events().await);
        failed(&event, "agent_left");
        sizes(&event, 0, 6);
        assert_eq!(event["response_body"], "so far");
    }
}

#[tokio::test]
async fn an_agent_that_leaves_in_mid_upload_frees_the_origin_at_once() {
    for alpn in [HTTP11, H2] {
        let (proxy, mut origin, mut agent) = by_hand(alpn).await;
        let (pieces, body) = piecewise();
        let answer = agent.start(agent.request("POST", "/", body));
        let mut call = origin.call().await;
        pieces.send(piece("so far")).await.unwrap();
        assert_eq!(call.request.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "so far");
        agent.vanish().await;
        answer.abort();
        let end = tokio::time::timeout(PATIENCE, call.request.body_mut().frame()).await.expect("the upload hangs");
        assert!(matches!(end, Some(Err(_))), "a clean end: {end:?}");
        let event = only(proxy.events().await);
        failed(&event, "agent_left");
        sizes(&event, 6, 0);
        assert_eq!((&event["status_code"], &event["request_body"]), (&0.into(), &"so far".into()));
    }
}

/// Only HTTP/2: over HTTP/1.1 the agent's end is behind bytes that nobody reads, so no origin would notice it, with or
/// without a proxy.
#[tokio::test]
async fn an_agent_that_leaves_a_stalled_upload_frees_the_origin_too() {
    let (proxy, mut origin, mut agent) = by_hand(H2).await;
    let answer = agent.start(agent.request("POST", "/", full(vec![7; 8 * MIB])));
    // The origin reads nothing of the body, so the windows and buffers in between fill up.
    let mut call = origin.call().await;
    agent.vanish().await;
    answer.abort();
    tokio::time::timeout(PATIENCE, call.answer.closed()).await.expect("the origin still works for nobody");
    failed(&only(proxy.events_so_far(1).await), "agent_left");
}

#[tokio::test]
async fn an_agent_that_leaves_before_any_answer_frees_the_origin_at_once() {
    for alpn in [HTTP11, H2] {
        let (proxy, mut origin, mut agent) = by_hand(alpn).await;
        let answer = agent.start(agent.request("GET", "/never", full("")));
        let mut call = origin.call().await;
        agent.vanish().await;
        answer.abort();
        tokio::time::timeout(PATIENCE, call.answer.closed()).await.expect("the origin still works for nobody");
        let event = only(proxy.events().await);
        failed(&event, "agent_left");
        assert_eq!((&event["status_code"], &event["response_headers"]), (&0.into(), &"{}".into()));
    }
}

#[tokio::test]
async fn a_call_in_flight_at_a_shutdown_is_an_event_that_says_so() {
    for alpn in [HTTP11, H2] {
        // Before the response.
        let (proxy, mut origin, mut agent) = by_hand(alpn).await;
        let _answer = agent.start(agent.request("GET", "/never", full("")));
        let _call = origin.call().await;
        let event = only(proxy.events().await);
        failed(&event, "proxy_shutdown");
        assert_eq!(event["status_code"], 0);
        // In the middle of the response.
        let (proxy, mut origin, mut agent) = by_hand(alpn).await;
        let answer = agent.send(agent.request("GET", "/", full("")));
        let (pieces, _) = origin.call().await.stream("text/plain");
        let mut body = answer.await.unwrap().into_body();
        pieces.send(piece("so far")).await.unwrap();
        body.frame().await.unwrap().unwrap();
        let event = only(proxy.events().await);
        failed(&event, "proxy_shutdown");
        sizes(&event, 0, 6);
        // In the middle of the request.
        let (proxy, mut origin, mut agent) = by_hand(alpn).await;
        let (pieces, body) = piecewise();
        let _answer = agent.start(agent.request("POST", "/", body));
        let mut call = origin.call().await;
        pieces.send(piece("so far")).await.unwrap();
        call.request.body_mut().frame().await.unwrap().unwrap();
        let event = only(proxy.events().await);
        failed(&event, "proxy_shutdown");
        sizes(&event, 6, 0);
    }
}

#[tokio::test]
async fn timings_are_those_of_this_call() {
    for alpn in [HTTP11, H2] {
        let (ca, proxy) = trusting();
        let proxy = proxy.run().await;
        let origin = TestOrigin::h2(&ca).await;
        // Each measured time is within the time seen from outside, however busy the machine is.
        let ms = |began: std::time::Instant| began.elapsed().as_secs_f64() * 1000.0;
        let opening = std::time::Instant::now();
        let mut agent = Agent::to(&proxy, &origin, alpn).await;
        let began = std::time::Instant::now();
        agent.get("/slow/300").await;
        let (opened, seen) = (ms(opening), ms(began));
        agent.ready().await;
        let began = std::time::Instant::now();
        agent.get("/").await;
        let seen_again = ms(began);
        agent.close().await;
        let events = proxy.events().await;
        let latency = events[0]["latency_ms"].as_f64().unwrap();
        assert!((300.0..=seen).contains(&latency), "{latency} of {seen}");
        let timings = &events[0]["metadata"]["timings"];
        assert!(
            timings["wait"].as_f64().unwrap() >= 300.0 && timings["total"].as_f64().unwrap() >= latency,
            "{timings}"
        );
        let steps = ["dns", "connect", "tls", "receive"].map(|step| timings[step].as_f64().unwrap_or(-1.0));
        assert!(steps.iter().all(|step| *step >= 0.0), "{timings}");
        let [dns, connect, tls, receive] = steps;
        assert!(dns + connect + tls <= opened + 0.1 && receive <= seen - 299.0, "{timings} of {opened}, {seen}");
        assert_eq!(events[0]["metadata"]["upstream"]["reused"], false);
        let timings = &events[1]["metadata"]["timings"];
        assert!(timings["dns"].is_null() && timings["connect"].is_null() && timings["tls"].is_null(), "{timings}");
        assert!(events[1]["latency_ms"].as_f64().unwrap() <= seen_again + 0.1);
        assert_eq!(events[1]["metadata"]["upstream"]["reused"], true);
    }
}

#[tokio::test]
async fn a_body_that_breaks_its_framing_is_the_agents_mistake() {
    let (ca, proxy) = trusting();
    let proxy = proxy.run().await;
    let origin = ManualOrigin::start(Some(ca.server(Certificate::Good, HTTP11))).await;
    let authority = format!("localhost:{}", origin.addr.port());
    let mut stream =
        agent::tls(tunnel(&proxy, &authority).await, "localhost", proxy.client_tls(HTTP11)).await.unwrap();
    let request = format!(
        "POST /form HTTP/1.1\r\nHost: {authority}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let reply = read_until(&mut stream, "\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
    drop(stream);
    let event = only(proxy.events().await);
    failed(&event, "bad_request");
    assert_eq!(event["request_body"], "hello");
}

/// The origin accepts connections and requests, but then neither reads nor answers, so uploads stall.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shutdown_in_the_middle_of_many_calls_loses_none() {
    for alpn in [HTTP11, H2] {
        for _ in 0..5 {
            let (ca, proxy) = trusting();
            let proxy = proxy.with(|c| c.proxy.shutdown_grace = Duration::from_millis(1));
            let proxy = proxy
                .with(|c| {
                    (c.capture.body_max_bytes, c.capture.body_head_bytes, c.capture.body_tail_bytes) = (0, 1000, 1000)
                })
                .run()
                .await;
            let mut origin = ManualOrigin::start(Some(ca.server(Certificate::Good, alpn))).await;
            let (mut agents, mut calls, mut answers) = (Vec::new(), Vec::new(), Vec::new());
            for i in 0..20 {
                let mut agent = Agent::named(&proxy, "localhost", origin.addr.port(), alpn).await;
                let body = if i % 2 == 0 { full("") } else { full(vec![7; 8 * MIB]) };
                answers.push(agent.start(agent.request("PUT", &format!("/{i}"), body)));
                agents.push(agent);
                let call = origin.call().await;
                calls.push(if i % 4 < 2 { Ok(call) } else { Err(call.stream("text/plain")) });
            }
            let events = proxy.events().await;
            assert_eq!(events.len(), 20, "{:?}", events.iter().map(|e| &e["path"]).collect::<Vec<_>>());
            events.iter().for_each(|event| failed(event, "proxy_shutdown"));
            drop((agents, calls, answers));
        }
    }
}

#[tokio::test]
async fn tunnels_in_any_state_at_a_shutdown_are_one_event_each() {
    let proxy = TestProxy::new().with(|c| c.proxy.shutdown_grace = Duration::from_millis(50)).run().await;
    let origin = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = origin.local_addr().unwrap().to_string();
    // No bytes yet; half a ClientHello; relayed.
    let _idle = tunnel(&proxy, &authority).await;
    let mut hello = tunnel(&proxy, &authority).await;
    hello.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    let mut relayed = tunnel(&proxy, &authority).await;
    relayed.write_all(b"\x00abc").await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(origin.accept().await.unwrap().0);
    }
    let mut got = [0; 4];
    tokio::io::AsyncReadExt::read_exact(&mut streams[2], &mut got).await.unwrap();
    let events = proxy.events().await;
    assert_eq!(events.len(), 3, "{events:#?}");
    for event in &events {
        failed(event, "proxy_shutdown");
        assert_eq!(event["metadata"]["kind"], "tunnel");
    }
    assert_eq!(events.iter().map(|e| e["request_size_bytes"].as_u64().unwrap()).max(), Some(4));
}

/// What an agent may do with one call.
#[derive(Debug, Clone, Copy)]
enum Way {
    Json,
    Gzip,
    Error,
    Upload,
    Broken,
    LeavesBeforeTheAnswer,
    LeavesInMidDownload,
    LeavesInMidUpload,
    Refused,
}

const WAYS: [Way; 9] = [
    Way::Json,
    Way::Gzip,
    Way::Error,
    Way::Upload,
    Way::Broken,
    Way::LeavesBeforeTheAnswer,
    Way::LeavesInMidDownload,
    Way::LeavesInMidUpload,
    Way::Refused,
];

/// Makes one call. Returns the path of its event and the beginning of its `error`.
async fn go(way: Way, n: usize, proxy: &Running, origin: &TestOrigin, alpn: &[&[u8]]) -> (String, &'static str) {
    if matches!(way, Way::Refused) {
        let closed = Nobody::new();
        assert!(agent::connect(proxy, &closed.to_string()).await.0.starts_with("HTTP/1.1 502 "));
        return (closed.to_string(), "connect_refused");
    }
    let mut agent = Agent::to(proxy, origin, alpn).await;
    let (path, error) = match way {
        Way::Json => ("/json", ""),
        Way::Gzip => ("/gzip", ""),
        Way::Error => ("/status/503", "http_503"),
        Way::Upload => ("/count", ""),
        Way::Broken => ("/break/1000", "origin_reset"),
        Way::LeavesInMidDownload => ("/bytes/40000000", "agent_left"),
        Way::LeavesInMidUpload => ("/hold", "agent_left"),
        _ => ("/never", "agent_left"),
    };
    let path = format!("{path}/{n}");
    match way {
        Way::Json | Way::Gzip | Way::Error => {
            agent.get(&path).await;
        }
        Way::Upload => {
            agent.post("PUT", &path, pattern(0, 200_000)).await;
        }
        Way::Broken => {
            let response = agent.send(agent.request("GET", &path, full(""))).await.unwrap();
            assert!(response.into_body().collect().await.is_err());
        }
        Way::LeavesInMidDownload => {
            let response = agent.send(agent.request("GET", &path, full(""))).await.unwrap();
            response.into_body().frame().await.unwrap().unwrap();
        }
        Way::LeavesBeforeTheAnswer => {
            let sent = agent.start(agent.request("GET", &path, full("")));
            eventually("the call reaches the origin", async || {
                origin.received().iter().any(|r| r.uri.ends_with(&path))
            })
            .await;
            agent.vanish().await;
            sent.abort();
            return (path, error);
        }
        Way::LeavesInMidUpload | Way::Refused => {
            let (pieces, body) = piecewise();
            let sent = agent.start(agent.request("PUT", &path, body));
            for _ in 0..3 {
                pieces.send(piece(Bytes::from_static(b"piece"))).await.unwrap();
            }
            eventually("the call reaches the origin", async || {
                origin.received().iter().any(|r| r.uri.ends_with(&path))
            })
            .await;
            agent.vanish().await;
            sent.abort();
            return (path, error);
        }
    }
    agent.vanish().await;
    (path, error)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_mix_of_calls_is_one_event_each(calls in prop::collection::vec((0..WAYS.len(), any::<bool>()), 200)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let (ca, proxy) = trusting();
            let proxy = proxy.run().await;
            let origin = TestOrigin::h2(&ca).await;
            let going = calls.iter().enumerate().map(|(n, (way, h2))| {
                go(WAYS[*way], n, &proxy, &origin, if *h2 { H2 } else { HTTP11 })
            });
            let mut wanted: Vec<_> =
                futures_util::StreamExt::collect(futures_util::StreamExt::buffer_unordered(futures_util::stream::iter(going), 16)).await;
            // All calls end before the proxy is stopped. Otherwise the shutdown would end some of them.
            proxy.events_so_far(wanted.len()).await;
            let events = proxy.events().await;
            let ids: HashSet<_> = events.iter().map(|e| e["metadata"]["event"]["id"].as_str().unwrap()).collect();
            assert_eq!((events.len(), ids.len()), (wanted.len(), wanted.len()));
            let mut got: Vec<_> = events
                .iter()
                .map(|e| (e["path"].as_str().unwrap().to_owned(), e["error"].as_str().unwrap().split(':').next().unwrap()))
                .collect();
            got.sort_unstable();
            wanted.sort_unstable();
            let different: Vec<_> = got.iter().zip(&wanted).filter(|(got, wanted)| got != wanted).collect();
            assert!(different.is_empty(), "{different:?}");
            let numbers: HashSet<_> = events.iter().map(|e| e["metadata"]["event"]["seq"].as_u64().unwrap()).collect();
            assert_eq!(numbers, (1..=events.len() as u64).collect());
        });
    }
}
