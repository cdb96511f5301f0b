//! HTTPS and everything else inside CONNECT: what each side sees, and what the events say.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::agent::{self, Agent, connect, full, tls, tunnel};
use crate::support::origin::{Certificate, TestCa, TestOrigin, pattern};
use crate::support::proxy::{PATIENCE, Running, TestProxy, eventually, read_until};

const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];

/// A proxy that trusts the test's origins, and the CA to make them with.
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
async fn both_sides_speak_what_the_origin_chose_of_the_agents_offer() {
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
async fn the_leaf_is_for_the_name_or_the_address_that_was_asked_for() {
    let (ca, proxy) = trusting().await;
    let origin = TestOrigin::https(&ca).await;
    for name in ["localhost", "127.0.0.1"] {
        // The handshake itself verifies the name: rustls accepts no certificate without the right SAN.
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
            assert_eq!((&problem["error"], &problem["step"], &problem["status"]), (&id.into(), &"tls".into(), &502.into()));
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
