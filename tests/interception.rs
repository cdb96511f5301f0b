//! HTTPS and other protocols inside CONNECT: what each side sees, and the events.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use otas_proxy::hosts::{HostRule, HostRules};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::agent::{self, Agent, connect, full, tls, tunnel};
use crate::support::manual::ManualOrigin;
use crate::support::nobody::Nobody;
use crate::support::origin::{Certificate, TestCa, TestOrigin, pattern};
use crate::support::proxy::{PATIENCE, Running, TestProxy, read_until};

const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];

/// A proxy that trusts the test origins, and the CA for them.
async fn trusting() -> (TestCa, Running) {
    let proxy = TestProxy::new();
    let ca = TestCa::new(proxy.folder());
    let proxy = proxy.trusting(&ca).run().await;
    (ca, proxy)
}

fn protocol(event: &Value) -> &str {
    event["custom_properties"]["network.protocol.version"].as_str().unwrap()
}

fn failed(event: &Value, id: &str) {
    assert!(event["error"].as_str().unwrap().starts_with(&format!("{id}: ")), "{id}: {event:#}");
    assert_eq!(event["metadata"]["failure"], id);
}

#[tokio::test]
async fn both_sides_speak_what_the_origin_selected_from_the_agents_offer() {
    for (origin_speaks_h2, offer, alpn, version, shown) in [
        (false, BOTH, Some(&b"http/1.1"[..]), Version::HTTP_11, "1.1"),
        (true, BOTH, Some(b"h2"), Version::HTTP_2, "2"),
        (true, &[b"http/1.1"], Some(b"http/1.1"), Version::HTTP_11, "1.1"),
        (true, &[b"h2"], Some(b"h2"), Version::HTTP_2, "2"),
        (true, &[], None, Version::HTTP_11, "1.1"),
    ] {
        let (ca, proxy) = trusting().await;
        let origin = if origin_speaks_h2 { TestOrigin::h2(&ca).await } else { TestOrigin::https(&ca).await };
        let mut agent = Agent::to(&proxy, &origin, offer).await;
        assert_eq!(agent.alpn.as_deref(), alpn);
        let (status, body) = agent.post("POST", "/echo?a=b", "hello").await;
        assert_eq!((status, &body[..]), (200, &b"hello"[..]));
        let received = origin.received();
        assert_eq!(received.len(), 1);
        assert_eq!((received[0].version, &received[0].body[..]), (version, &b"hello"[..]));
        assert!(received[0].uri.ends_with("/echo?a=b"), "{}", received[0].uri);
        agent.close().await;
        let events = proxy.events().await;
        assert_eq!(events.len(), 1, "the CONNECT is not an event of its own: {events:#?}");
        assert_eq!(protocol(&events[0]), shown);
        assert_eq!(events[0]["metadata"]["kind"], "http");
        assert_eq!(events[0]["custom_properties"]["url.scheme"], "https");
        assert_eq!(events[0]["metadata"]["upstream"]["alpn"].as_str().map(str::as_bytes), alpn);
        assert_eq!((&events[0]["path"], &events[0]["error"]), (&"/echo".into(), &"".into()));
    }
}

#[tokio::test]
async fn many_streams_share_one_connection_on_both_sides() {
    let (ca, proxy) = trusting().await;
    let origin = TestOrigin::h2(&ca).await;
    let mut agent = Agent::to(&proxy, &origin, BOTH).await;
    let sent: Vec<_> = (0..50)
        .map(|i| (i, agent.send(agent.request("POST", &format!("/echo?{i}"), full(pattern(i, 3000 + i as usize))))))
        .collect();
    for (i, response) in sent {
        assert!(agent::whole(response.await.unwrap()).await == pattern(i, 3000 + i as usize), "stream {i}");
    }
    assert_eq!(origin.accepted(), 1);
    agent.close().await;
    assert_eq!(proxy.events().await.len(), 50);
}

#[tokio::test]
async fn trailers_pass_both_ways_over_http2() {
    let (ca, proxy) = trusting().await;
    let origin = TestOrigin::h2(&ca).await;
    let mut agent = Agent::to(&proxy, &origin, BOTH).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("5"));
    let frames = futures_util::stream::iter([Ok(Frame::data(Bytes::from("hello"))), Ok(Frame::trailers(trailers))]);
    let response = agent.send(agent.request("POST", "/trailers", StreamBody::new(frames).boxed())).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-checksum"], "abc123");
    assert_eq!(collected.to_bytes(), "body with trailers");
    agent.close().await;
    let event = proxy.events().await.remove(0);
    assert_eq!(event["metadata"]["request_trailers"]["x-sum"], "5", "{event:#}");
    assert_eq!(event["metadata"]["response_trailers"]["x-checksum"], "abc123");
}

#[tokio::test]
async fn the_leaf_is_for_the_requested_name_or_address() {
    let (ca, proxy) = trusting().await;
    let origin = TestOrigin::https(&ca).await;
    for name in ["localhost", "127.0.0.1"] {
        // The handshake verifies the name: rustls accepts no certificate without the right SAN.
        let mut agent = Agent::named(&proxy, name, origin.addr.port(), BOTH).await;
        assert_eq!(agent.get("/").await.0, 200);
        let (_, leaf) = x509_parser::parse_x509_certificate(&agent.certificate).unwrap();
        let san = leaf.subject_alternative_name().unwrap().unwrap();
        assert_eq!(san.value.general_names.len(), 1, "{:?}", san.value);
        assert!(!leaf.is_ca() && leaf.extended_key_usage().unwrap().unwrap().value.server_auth);
        assert!(leaf.validity().is_valid());
        agent.close().await;
    }
}

#[tokio::test]
async fn a_bad_certificate_is_a_502_that_names_the_check_and_the_origin_gets_nothing() {
    for (certificate, id, words) in [
        (Certificate::Expired, "tls_certificate_expired", "expired"),
        (Certificate::NotYetValid, "tls_certificate_not_yet_valid", "only valid from"),
        (Certificate::SelfSigned, "tls_certificate_unknown_issuer", "self-signed"),
        (Certificate::WrongName, "tls_certificate_wrong_name", "other.test"),
    ] {
        for offer in [BOTH, &[b"http/1.1"], &[b"h2"]] {
            let (ca, proxy) = trusting().await;
            let origin = TestOrigin::tls(ca.server(certificate, BOTH)).await;
            let mut agent = Agent::to(&proxy, &origin, offer).await;
            let response = agent.send(agent.request("POST", "/echo", full("secret"))).await.unwrap();
            assert_eq!(response.status(), 502);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            let proxy_status = response.headers()["proxy-status"].to_str().unwrap().to_owned();
            assert!(proxy_status.starts_with("otas-proxy; error=tls_certificate_error; details="), "{proxy_status}");
            let problem: Value = serde_json::from_slice(&agent::whole(response).await).unwrap();
            assert_eq!(
                (&problem["error"]["code"], &problem["step"], &problem["status"]),
                (&id.into(), &"tls".into(), &502.into())
            );
            assert!(problem["detail"].as_str().unwrap().contains(words), "{problem:#}");
            agent.close().await;
            let events = proxy.events().await;
            assert_eq!(events.len(), 1);
            failed(&events[0], id);
            assert_eq!(events[0]["status_code"], 502);
            assert!(origin.received().is_empty());
        }
    }
}

#[tokio::test]
async fn a_stream_that_the_agent_resets_is_reset_at_the_origin_and_the_others_go_on() {
    let (ca, proxy) = trusting().await;
    let mut origin = ManualOrigin::start(Some(ca.server(Certificate::Good, BOTH))).await;
    let mut agent = Agent::named(&proxy, "localhost", origin.addr.port(), BOTH).await;
    // One is reset before its response, one in the middle of it, one goes on.
    let waiting = agent.start(agent.request("GET", "/waiting", full("")));
    let mut unanswered = origin.call().await;
    let reading = agent.send(agent.request("GET", "/reading", full("")));
    let (pieces, _) = origin.call().await.stream("text/plain");
    let mut reading = reading.await.unwrap().into_body();
    pieces.send(Ok(Frame::data(Bytes::from("first")))).await.unwrap();
    assert_eq!(reading.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    let staying = agent.send(agent.request("GET", "/staying", full("")));
    let call = origin.call().await;
    waiting.abort();
    drop(reading);
    tokio::time::timeout(PATIENCE, unanswered.answer.closed()).await.expect("the origin still works for nobody");
    tokio::time::timeout(PATIENCE, pieces.closed()).await.expect("the origin still sends to nobody");
    call.answer.send(http::Response::new(full("stayed"))).unwrap();
    assert_eq!(agent::whole(staying.await.unwrap()).await, "stayed");
    agent.close().await;
    let mut events = proxy.events().await;
    events.sort_by_key(|e| e["path"].as_str().unwrap().to_owned());
    assert_eq!(events.len(), 3);
    failed(&events[0], "agent_left");
    assert_eq!((&events[0]["status_code"], &events[0]["response_size_bytes"]), (&200.into(), &5.into()));
    assert_eq!(events[1]["error"], "");
    failed(&events[2], "agent_left");
    assert_eq!(events[2]["status_code"], 0);
}

#[tokio::test]
async fn an_origin_that_is_silent_in_the_handshake_is_a_504() {
    let proxy = TestProxy::new().with(|c| c.proxy.connect_timeout = Duration::from_millis(200)).run().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut agent = Agent::named(&proxy, "localhost", listener.local_addr().unwrap().port(), BOTH).await;
    let (status, problem) = agent.get("/").await;
    assert_eq!(status, 504);
    assert!(String::from_utf8_lossy(&problem).contains("TLS handshake"), "{problem:?}");
    agent.close().await;
    let events = proxy.events().await;
    assert_eq!(events.len(), 1);
    failed(&events[0], "connect_timeout");
}

#[tokio::test]
async fn an_origin_that_speaks_no_tls_is_a_502() {
    let proxy = TestProxy::new().run().await;
    let greeting = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clear = TestOrigin::http().await;
    let greeter = greeting.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = greeting.accept().await.unwrap();
        // Only after the ClientHello: an origin that speaks first would make this an unknown protocol.
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    for port in [greeter.port(), clear.addr.port()] {
        let mut agent = Agent::named(&proxy, "localhost", port, BOTH).await;
        let (status, problem) = agent.get("/").await;
        assert_eq!(status, 502);
        assert!(String::from_utf8_lossy(&problem).contains("\"step\":\"tls\""), "{problem:?}");
        agent.close().await;
    }
    task.await.unwrap();
    assert!(clear.received().is_empty());
    let events = proxy.events().await;
    assert_eq!(events.len(), 2);
    events.iter().for_each(|event| failed(event, "tls_handshake_failed"));
}

#[tokio::test]
async fn http_in_clear_inside_a_tunnel_is_served_as_http() {
    let proxy = TestProxy::new().run().await;
    let origin = TestOrigin::http().await;
    let mut agent = Agent::clear(&proxy, &origin.addr.to_string(), false).await;
    assert_eq!(agent.post("POST", "/echo", "in clear").await, (200, Bytes::from("in clear")));
    agent.ready().await;
    assert_eq!(agent.get("/status/404").await.0, 404);
    agent.close().await;
    assert_eq!(origin.accepted(), 1);
    let events = proxy.events().await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["custom_properties"]["url.scheme"], "http");
    assert_eq!((&events[0]["path"], &events[0]["request_body"]), (&"/echo".into(), &"in clear".into()));
    assert!(events[1]["error"].as_str().unwrap().starts_with("http_404"));
}

#[tokio::test]
async fn http2_with_prior_knowledge_inside_a_tunnel_is_served_as_http2() {
    let proxy = TestProxy::new().run().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper::service::service_fn(async |request: http::Request<hyper::body::Incoming>| {
            Ok::<_, std::convert::Infallible>(http::Response::new(full(format!("{:?}", request.version()))))
        });
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let _ = hyper::server::conn::http2::Builder::new(executor).serve_connection(io, service).await;
    });
    let mut agent = Agent::clear(&proxy, &address.to_string(), true).await;
    let request = http::Request::get(format!("http://{address}/h2c")).body(full("")).unwrap();
    assert_eq!(agent::whole(agent.send(request).await.unwrap()).await, "HTTP/2.0");
    agent.close().await;
    let events = proxy.events().await;
    assert_eq!((events.len(), protocol(&events[0])), (1, "2"));
}

/// An origin for one connection: what `with` makes of it.
async fn once<T, F>(with: impl FnOnce(TcpStream) -> F + Send + 'static) -> (String, tokio::task::JoinHandle<T>)
where
    T: Send + 'static,
    F: Future<Output = T> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    (authority, tokio::spawn(async move { with(listener.accept().await.unwrap().0).await }))
}

async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("no end").unwrap();
    all
}

fn relayed(event: &Value, sent: u64, received: u64) {
    assert_eq!(event["metadata"]["kind"], "tunnel", "{event:#}");
    assert_eq!((&event["method"], &event["status_code"]), (&"CONNECT".into(), &200.into()));
    assert_eq!((&event["request_size_bytes"], &event["response_size_bytes"]), (&sent.into(), &received.into()));
}

#[tokio::test]
async fn an_unknown_protocol_is_relayed_byte_for_byte_and_counted() {
    let sent: Vec<u8> = [b"\x00\x01SSH".to_vec(), pattern(1, 200_000).to_vec()].concat();
    let answer = pattern(5, 300_000);
    let (wanted, reply) = (sent.clone(), answer.clone());
    let (authority, origin) = once(async move |mut stream: TcpStream| {
        let mut got = vec![0; wanted.len()];
        stream.read_exact(&mut got).await.unwrap();
        stream.write_all(&reply).await.unwrap();
        got
    })
    .await;
    let proxy = TestProxy::new().run().await;
    let mut stream = tunnel(&proxy, &authority).await;
    stream.write_all(&sent).await.unwrap();
    assert!(rest(&mut stream).await == answer);
    assert!(origin.await.unwrap() == sent);
    drop(stream);
    let events = proxy.events().await;
    assert_eq!(events.len(), 1);
    relayed(&events[0], sent.len() as u64, answer.len() as u64);
    assert_eq!(events[0]["error"], "");
    assert_eq!(events[0]["custom_properties"]["url.scheme"], "tcp");
}

#[tokio::test]
async fn an_origin_that_speaks_first_is_relayed_at_once() {
    let (authority, origin) = once(async |mut stream: TcpStream| {
        stream.write_all(b"220 ready\r\n").await.unwrap();
        let mut got = [0; 6];
        stream.read_exact(&mut got).await.unwrap();
        got
    })
    .await;
    let proxy = TestProxy::new().run().await;
    let mut stream = tunnel(&proxy, &authority).await;
    assert_eq!(read_until(&mut stream, "\r\n").await, "220 ready\r\n");
    // After a greeting, bytes that look like HTTP are not HTTP.
    stream.write_all(b"GET /\r").await.unwrap();
    assert_eq!(&origin.await.unwrap(), b"GET /\r");
    drop(stream);
    let events = proxy.events().await;
    assert_eq!(events.len(), 1);
    relayed(&events[0], 6, 11);
}

#[tokio::test]
async fn a_half_closed_tunnel_goes_on_the_other_way() {
    // The agent finishes first: its close reaches the origin, and the response still arrives.
    let (authority, origin) = once(async |mut stream: TcpStream| {
        let got = rest(&mut stream).await;
        stream.write_all(b"answer").await.unwrap();
        got
    })
    .await;
    let proxy = TestProxy::new().run().await;
    let mut stream = tunnel(&proxy, &authority).await;
    stream.write_all(b"\x01question").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, b"answer");
    assert_eq!(origin.await.unwrap(), b"\x01question");
    // The origin finishes first.
    let (authority, origin) = once(async |mut stream: TcpStream| {
        stream.write_all(b"greeting").await.unwrap();
        stream.shutdown().await.unwrap();
        rest(&mut stream).await
    })
    .await;
    let mut stream = tunnel(&proxy, &authority).await;
    assert_eq!(rest(&mut stream).await, b"greeting");
    stream.write_all(b"more").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(origin.await.unwrap(), b"more");
    let events = proxy.events().await;
    assert_eq!(events.len(), 2);
    relayed(&events[0], 9, 6);
    relayed(&events[1], 4, 8);
}

#[tokio::test]
async fn a_reset_tunnel_shows_which_side_reset_it() {
    let proxy = TestProxy::new().run().await;
    let (authority, _origin) = once(async |mut stream: TcpStream| {
        stream.read_u8().await.unwrap();
        stream.set_zero_linger().unwrap();
    })
    .await;
    let mut stream = tunnel(&proxy, &authority).await;
    stream.write_all(b"\x01").await.unwrap();
    let mut all = Vec::new();
    // The system decides whether the reset arrives as a reset. We ensure that the connection ends.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("no end");
    let events = proxy.events_so_far(1).await;
    failed(&events[0], "origin_reset");
    let (authority, origin) = once(async |mut stream: TcpStream| {
        stream.write_all(b"x").await.unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
    })
    .await;
    let mut stream = tunnel(&proxy, &authority).await;
    stream.read_u8().await.unwrap();
    stream.set_zero_linger().unwrap();
    drop(stream);
    tokio::time::timeout(PATIENCE, origin).await.expect("the origin's side does not end").unwrap();
    let events = proxy.events().await;
    assert_eq!(events.len(), 2);
    // Many TLS clients close like this, so it is not an error in an unread tunnel. The event shows how the tunnel
    // ended.
    assert_eq!(
        (&events[1]["error"], &events[1]["metadata"]["capture"]["response"]["end"]),
        (&"".into(), &"receiver_left".into())
    );
}

#[tokio::test]
async fn a_passthrough_host_is_relayed_blind() {
    let proxy =
        TestProxy::new().with(|c| c.tls.passthrough = HostRules::new(vec![HostRule::parse("localhost").unwrap()]));
    let ca = TestCa::new(proxy.folder());
    let proxy = proxy.run().await;
    let origin = TestOrigin::https(&ca).await;
    let authority = format!("localhost:{}", origin.addr.port());
    let mut stream = tls(tunnel(&proxy, &authority).await, "localhost", ca.client(&[])).await.unwrap();
    stream.write_all(b"GET /private HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let reply = String::from_utf8(rest(&mut stream).await).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with(r#"{"hello":"agent"}"#), "{reply}");
    drop(stream);
    let events = proxy.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["metadata"]["kind"], &events[0]["error"]), (&"tunnel".into(), &"".into()));
    assert!(
        events[0]["request_size_bytes"].as_u64().unwrap() > 200
            && events[0]["response_size_bytes"].as_u64().unwrap() > 500
    );
    assert!(!events[0].to_string().contains("private"), "{:#}", events[0]);
}

#[tokio::test]
async fn an_agent_that_offers_only_an_unknown_protocol_is_relayed_blind() {
    let (ca, proxy) = trusting().await;
    let origin = TestOrigin::tls(ca.server(Certificate::Good, &[b"otas-test/1"])).await;
    let authority = format!("localhost:{}", origin.addr.port());
    let stream = tls(tunnel(&proxy, &authority).await, "localhost", ca.client(&[b"otas-test/1"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"otas-test/1"[..]));
    drop(stream);
    let events = proxy.events().await;
    assert_eq!((events.len(), &events[0]["metadata"]["kind"]), (1, &"tunnel".into()));
}

#[tokio::test]
async fn a_host_for_which_agents_refuse_our_certificate_is_relayed_blind_if_configured() {
    let proxy = TestProxy::new().with(|c| c.tls.learn_passthrough = Some(Duration::from_secs(600)));
    let ca = TestCa::new(proxy.folder());
    let proxy = proxy.trusting(&ca).run().await;
    let origin = TestOrigin::https(&ca).await;
    let authority = format!("localhost:{}", origin.addr.port());
    // The agent pins the origin's issuer: it refuses our certificate twice, then sees the origin's.
    let mut worked = Vec::new();
    for _ in 0..3 {
        let call = tls(tunnel(&proxy, &authority).await, "localhost", ca.client(&[])).await;
        worked.push(call.is_ok());
        let events = if call.is_ok() { 0 } else { worked.len() };
        drop(call);
        proxy.events_so_far(events).await;
    }
    assert_eq!(worked, [false, false, true]);
    let events = proxy.events().await;
    let blind: Vec<_> = events.iter().map(|event| event["metadata"]["blind"].clone()).collect();
    assert_eq!(blind, [Value::Null, Value::Null, "learned".into()]);
    assert_eq!(events[2]["error"], "");
}

#[tokio::test]
async fn an_agent_that_does_not_trust_our_ca_is_an_event_that_says_so() {
    let (ca, proxy) = trusting().await;
    let origin = TestOrigin::h2(&ca).await;
    let authority = format!("localhost:{}", origin.addr.port());
    for offer in [BOTH, &[]] {
        let refused = tls(tunnel(&proxy, &authority).await, "localhost", ca.client(offer)).await.unwrap_err();
        assert!(
            refused.to_string().contains("UnknownIssuer") || refused.to_string().contains("certificate"),
            "{refused}"
        );
    }
    let events = proxy.events().await;
    assert_eq!(events.len(), 2);
    for event in &events {
        failed(event, "client_refused_certificate");
        assert!(event["error"].as_str().unwrap().contains("this proxy signs with the CA in "), "{event:#}");
        assert_eq!(event["metadata"]["kind"], "tunnel");
    }
    assert!(origin.received().is_empty());
}

#[tokio::test]
async fn an_agent_that_does_not_finish_its_handshake_is_dropped() {
    let ca_folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(ca_folder.path());
    let proxy =
        TestProxy::new().trusting(&ca).with(|c| c.proxy.handshake_timeout = Duration::from_millis(50)).run().await;
    let origin = TestOrigin::h2(&ca).await;
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut hello = Vec::new();
    rustls::ClientConnection::new(ca.client(BOTH).into(), name).unwrap().write_tls(&mut hello).unwrap();
    // Half a ClientHello, and a whole one with nothing after it.
    for sent in [&hello[..hello.len() / 2], &hello] {
        let mut agent = tunnel(&proxy, &format!("localhost:{}", origin.addr.port())).await;
        agent.write_all(sent).await.unwrap();
        let mut rest = Vec::new();
        let _ = agent.read_to_end(&mut rest).await;
    }
    let events = proxy.events().await;
    assert_eq!(events.len(), 2);
    events.iter().for_each(|event| failed(event, "client_tls_timeout"));
}

#[tokio::test]
async fn an_agent_that_leaves_in_the_middle_of_its_handshake_has_refused_nothing() {
    let (ca, proxy) = trusting().await;
    let origin = TestOrigin::h2(&ca).await;
    let mut agent = tunnel(&proxy, &format!("localhost:{}", origin.addr.port())).await;
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut hello = Vec::new();
    rustls::ClientConnection::new(ca.client(BOTH).into(), name).unwrap().write_tls(&mut hello).unwrap();
    agent.write_all(&hello).await.unwrap();
    // The first byte of the proxy's handshake has arrived, so the proxy is in the middle of it.
    agent.read_u8().await.unwrap();
    drop(agent);
    let events = proxy.events().await;
    assert_eq!(events.len(), 1);
    failed(&events[0], "agent_left");
    assert!(events[0]["error"].as_str().unwrap().contains("during the TLS handshake"), "{:#}", events[0]);
}

#[tokio::test]
async fn the_next_agent_connection_uses_the_idle_upstream_connection() {
    for offer in [BOTH, &[b"http/1.1"]] {
        let (ca, proxy) = trusting().await;
        let origin = TestOrigin::h2(&ca).await;
        for call in 1..=3 {
            let mut agent = Agent::to(&proxy, &origin, offer).await;
            assert_eq!(agent.get("/").await.0, 200);
            agent.close().await;
            // The connection returns to the pool when the agent's side has ended, a moment later.
            proxy.events_so_far(call).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(origin.accepted(), 1, "{offer:?}");
        let events = proxy.events().await;
        let reused: Vec<_> = events.iter().map(|e| e["metadata"]["upstream"]["reused"].as_bool().unwrap()).collect();
        assert_eq!(reused, [false, true, true]);
    }
}

#[tokio::test]
async fn an_authenticated_connection_serves_no_other_agent() {
    for scheme in ["NTLM", "Negotiate"] {
        let (ca, proxy) = trusting().await;
        let mut origin = ManualOrigin::start(Some(ca.server(Certificate::Good, &[b"http/1.1"]))).await;
        let mut ports = Vec::new();
        for _ in 0..2 {
            let mut agent = Agent::named(&proxy, "localhost", origin.addr.port(), BOTH).await;
            for _ in 0..2 {
                agent.ready().await;
                let sent = agent.send(agent.request("GET", "/", full("")));
                let call = origin.call().await;
                let response =
                    http::Response::builder().status(401).header("www-authenticate", scheme).body(full(""));
                ports.push(call.from.port());
                call.answer.send(response.unwrap()).unwrap();
                assert_eq!(sent.await.unwrap().status(), 401);
            }
            agent.close().await;
        }
        assert_eq!((ports[0], ports[2]), (ports[1], ports[3]), "an agent keeps its connection");
        assert_ne!(ports[0], ports[2], "{scheme}: another agent got it");
    }
}

#[tokio::test]
async fn a_tunnel_to_nowhere_is_refused_before_it_opens() {
    let proxy = TestProxy::new().run().await;
    let closed = Nobody::new();
    let (head, _) = connect(&proxy, &closed.to_string()).await;
    assert!(
        head.starts_with("HTTP/1.1 502 ") && head.contains("proxy-status: otas-proxy; error=connection_refused"),
        "{head}"
    );
    let events = proxy.events().await;
    assert_eq!(events.len(), 1);
    failed(&events[0], "connect_refused");
    assert_eq!((&events[0]["method"], &events[0]["status_code"]), (&"CONNECT".into(), &502.into()));
}
