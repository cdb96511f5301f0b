//! CONNECT, SNI and Host that name different hosts: all three are told, and refused where that is wanted.

use http::Request;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{failure, only_event};
use crate::support::agent;
use crate::support::origin::{TestCa, TestOrigin};
use crate::support::proxy::{Running, TestProxy};

async fn proxy(ca: &TestCa, strict: bool) -> Running {
    TestProxy::new().trusting(ca).with(|c| c.proxy.strict_host = strict).run().await
}

/// Asks through CONNECT for `target`, with TLS for `localhost`, for a resource of `host`.
async fn ask(proxy: &Running, target: &str, host: &str) -> String {
    let tunnel = agent::tunnel(proxy, target).await;
    let mut inside = agent::tls(tunnel, "localhost", proxy.client_tls(&[])).await.unwrap();
    let request = format!("GET /status/200 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    inside.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    inside.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn the_event_holds_all_three() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (origin, proxy) = (TestOrigin::https(&ca).await, proxy(&ca, false).await);
    let reply = ask(&proxy, &origin.addr.to_string(), "other.example:443").await;
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    let event = only_event(proxy).await;
    let names = json!({ "target": "127.0.0.1", "sni": "localhost", "host": "other.example" });
    assert_eq!(event["metadata"]["names"], names);
}

#[tokio::test]
async fn if_names_must_agree_a_request_with_differing_names_reaches_no_origin() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (origin, proxy) = (TestOrigin::https(&ca).await, proxy(&ca, true).await);
    let by_name = format!("localhost:{}", origin.addr.port());
    let reply = ask(&proxy, &by_name, "other.example").await;
    assert!(reply.starts_with("HTTP/1.1 403 ") && reply.contains("its Host `other.example`"), "{reply}");
    assert!(origin.received().is_empty());
    // An address beside the name that the certificate is for is how clients call that resolve names themselves.
    for target in [by_name, origin.addr.to_string()] {
        let reply = ask(&proxy, &target, &format!("LOCALHOST:{}", origin.addr.port())).await;
        assert!(reply.starts_with("HTTP/1.1 200 "), "{target}: {reply}");
    }
    let events = proxy.events().await;
    assert_eq!(failure(&events[0]), "host_mismatch");
    assert_eq!(events[0]["metadata"]["names"]["host"], "other.example");
    assert!(events[1]["metadata"].get("names").is_none(), "{}", events[1]);
}

#[tokio::test]
async fn over_http2_it_is_the_authority_that_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (origin, proxy) = (TestOrigin::h2(&ca).await, proxy(&ca, true).await);
    let mut agent = agent::Agent::to(&proxy, &origin, &[b"h2"]).await;
    assert_eq!(agent.get("/status/200").await.0, 200);
    let other = Request::get("https://other.example/status/200").body(agent::full("")).unwrap();
    assert_eq!(agent.send(other).await.unwrap().status(), 403);
    let two = Request::get(origin.url("/status/200")).header("host", "other.example").body(agent::full("")).unwrap();
    assert_eq!(agent.send(two).await.unwrap().status(), 403);
    agent.close().await;
    assert_eq!(origin.received().len(), 1);
    let told: Vec<_> = proxy.events().await.iter().map(|event| event["metadata"]["names"]["host"].clone()).collect();
    assert_eq!(told, [json!(null), json!("other.example"), json!("localhost, other.example")]);
}

#[tokio::test]
async fn in_clear_a_host_that_is_not_that_of_the_url_is_refused_or_replaced() {
    let origin = TestOrigin::http().await;
    let request =
        format!("GET http://{}/x HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n", origin.addr);
    let strict = TestProxy::new().with(|c| c.proxy.strict_host = true).run().await;
    assert!(strict.raw(request.as_bytes()).await.starts_with("HTTP/1.1 403 "));
    assert!(origin.received().is_empty());
    let lenient = TestProxy::new().run().await;
    assert!(lenient.raw(request.as_bytes()).await.starts_with("HTTP/1.1 200 "));
    assert!(origin.received()[0].headers.contains(&("host".to_owned(), origin.addr.to_string())));
    assert_eq!(
        only_event(lenient).await["metadata"]["names"],
        json!({ "target": "127.0.0.1", "host": "other.example" })
    );
}

#[tokio::test]
async fn a_tunnel_that_would_be_relayed_unread_for_another_name_than_its_own_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let origin = TestOrigin::https(&ca).await;
    let list =
        || otas_proxy::hosts::HostRules::new(vec![otas_proxy::hosts::HostRule::parse("bank.example").unwrap()]);
    let proxy = TestProxy::new().trusting(&ca).with(|c| (c.proxy.strict_host, c.tls.passthrough) = (true, list()));
    let proxy = proxy.run().await;
    let tunnel = agent::tunnel(&proxy, &format!("localhost:{}", origin.addr.port())).await;
    assert!(agent::tls(tunnel, "bank.example", ca.client(&[])).await.is_err());
    let event = only_event(proxy).await;
    assert_eq!(failure(&event), "host_mismatch");
    assert_eq!(event["metadata"]["names"], json!({ "target": "localhost", "sni": "bank.example" }));
}
