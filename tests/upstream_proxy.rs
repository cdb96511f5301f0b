//! Connections to origins: through each kind of next proxy, with client certificates, or relayed without interception.

use std::sync::Arc;

use otas_proxy::config::{ClientCertificate, NextProxy};
use otas_proxy::hosts::{HostRule, HostRules};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::agent::{connect, tls, tunnel};
use crate::support::nobody::Nobody;
use crate::support::origin::{Act, Certificate, RawOrigin, TestCa, TestOrigin};
use crate::support::proxy::{Running, TestProxy, read_until};

fn rules(texts: &[&str]) -> HostRules {
    HostRules::new(texts.iter().map(|text| HostRule::parse(text).unwrap()).collect())
}

/// A proxy that goes through `next`, for every host.
fn behind(next: &str) -> TestProxy {
    let next = NextProxy::parse(next).map_err(str::to_owned).unwrap();
    TestProxy::new().with(|c| {
        c.upstream.proxy = Some(next);
        c.upstream.no_proxy = HostRules::default();
    })
}

/// A next proxy that relays everything.
async fn next() -> Running {
    TestProxy::new().with(|c| c.tls.passthrough = rules(&["*"])).run().await
}

/// Calls an https and an http origin through a proxy that uses `next` by `scheme`.
async fn calls_pass(scheme: &str, next: std::net::SocketAddr, set: impl FnOnce(TestProxy, &TestCa) -> TestProxy) {
    let proxy = behind(&format!("{scheme}://localhost:{}", next.port()));
    let ca = TestCa::new(proxy.folder());
    let proxy = set(proxy.trusting(&ca), &ca).run().await;
    let (secure, plain) = (TestOrigin::h2(&ca).await, TestOrigin::http().await);
    for origin in [&secure, &plain, &plain] {
        let reply = proxy.client().get(origin.url("/echo?x=1")).header("x-mine", "1").send().await.unwrap();
        assert_eq!(reply.status(), 200, "{}", reply.text().await.unwrap());
        let received = origin.received().pop().unwrap();
        assert!(received.uri.ends_with("/echo?x=1"), "{received:?}");
        assert!(!received.headers.iter().any(|(name, _)| name.starts_with("proxy-")), "{received:?}");
    }
    let events = proxy.events().await;
    let peer = format!(":{}", next.port());
    assert_eq!(events.len(), 3);
    for event in events {
        assert_eq!((&event["error"], &event["status_code"]), (&"".into(), &200.into()), "{event:#}");
        assert!(event["metadata"]["upstream"]["peer"].as_str().unwrap().ends_with(&peer), "{event:#}");
    }
}

#[tokio::test]
async fn through_an_http_proxy() {
    let next = next().await;
    calls_pass("http", next.addr, |proxy, _| proxy).await;
    let events = next.events().await;
    let kinds: Vec<&str> = events.iter().map(|event| event["metadata"]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "tunnel").count(), 1, "TLS by CONNECT: {kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "http").count(), 2, "http by its URL: {kinds:?}");
}

#[tokio::test]
async fn through_a_socks_proxy() {
    let next = next().await;
    calls_pass("socks5h", next.addr, |proxy, _| proxy).await;
    let events = next.events().await;
    assert!(events.iter().all(|event| event["server.address"].is_null()), "{events:#?}");
    assert!(events.iter().any(|event| event["request_headers"].as_str().unwrap().contains("localhost")));
}

#[tokio::test]
async fn through_an_https_proxy() {
    let next = next().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let behind = next.addr;
    calls_pass("https", addr, |proxy, ca| {
        let acceptor = TlsAcceptor::from(Arc::new(ca.server(Certificate::Good, &[])));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut secured = acceptor.accept(stream).await.unwrap();
                    let mut plain = TcpStream::connect(behind).await.unwrap();
                    let _ = copy_bidirectional(&mut secured, &mut plain).await;
                });
            }
        });
        proxy
    })
    .await;
}

#[tokio::test]
async fn only_the_next_proxy_gets_our_credentials() {
    let answer = b"HTTP/1.1 200 fine\r\n\r\n220 ready\r\n".to_vec();
    let next = RawOrigin::start(vec![Act::Write(answer), Act::Await(b"QUIT".to_vec()), Act::Close]).await;
    let proxy = behind(&format!("http://me:p%40ss@{}", next.addr)).run().await;
    // A server that speaks first: what came with the answer is not lost.
    let mut agent = tunnel(&proxy, "mail.test:25").await;
    assert_eq!(read_until(&mut agent, "ready\r\n").await, "220 ready\r\n");
    agent.write_all(b"QUIT").await.unwrap();
    agent.read_to_end(&mut Vec::new()).await.unwrap();
    drop(agent);
    assert!(next.received().starts_with(
        "CONNECT mail.test:25 HTTP/1.1\r\nHost: mail.test:25\r\nProxy-Authorization: Basic bWU6cEBzcw==\r\n\r\n"
    ));
    let events = proxy.events().await;
    assert_eq!((events.len(), &events[0]["error"]), (1, &"".into()));
    assert!(!events[0].to_string().contains("p@ss") && !events[0].to_string().contains("bWU6"));
}

#[tokio::test]
async fn an_http_url_is_requested_in_absolute_form_with_our_credentials() {
    let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".to_vec();
    let next = RawOrigin::start(vec![Act::Write(reply), Act::Close]).await;
    let proxy = behind(&format!("http://me:pw@{}", next.addr)).run().await;
    let said = proxy
        .raw(b"GET http://a.test/x?y=%2F HTTP/1.1\r\nHost: wrong\r\nProxy-Authorization: Basic bWluZQ==\r\nConnection: close\r\n\r\n")
        .await;
    assert!(said.ends_with("\r\n\r\nok"), "{said}");
    let received = next.received();
    assert!(received.starts_with("GET http://a.test/x?y=%2F HTTP/1.1\r\n"), "{received}");
    assert!(received.to_lowercase().contains("\r\nhost: a.test\r\n"), "{received}");
    assert!(received.to_lowercase().contains("\r\nproxy-authorization: basic bwu6chc=\r\n"), "{received}");
    assert_eq!(proxy.events().await.len(), 1);
}

#[tokio::test]
async fn a_refusal_by_the_next_proxy_names_it() {
    for (status, words) in [(403, "status 403"), (407, "(status 407)")] {
        let refusal = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n").into_bytes();
        let next = RawOrigin::start(vec![Act::Write(refusal), Act::Close]).await;
        let proxy = behind(&format!("http://{}", next.addr)).run().await;
        let (head, _) = connect(&proxy, "a.test:443").await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        let events = proxy.events().await;
        let error = events[0]["error"].as_str().unwrap();
        assert!(error.starts_with("upstream_proxy_failed: ") && error.contains(words), "{error}");
    }
    // Nobody there.
    let free = Nobody::new();
    let proxy = behind(&format!("socks5://{free}")).run().await;
    assert!(connect(&proxy, "a.test:443").await.0.starts_with("HTTP/1.1 502 "));
    assert!(proxy.events().await[0]["error"].as_str().unwrap().contains(&format!("socks5://{free}")));
}

#[tokio::test]
async fn hosts_of_the_no_proxy_list_are_called_directly() {
    let free = Nobody::new();
    let proxy = behind(&format!("http://{free}")).with(|c| c.upstream.no_proxy = HostRules::loopback()).run().await;
    let origin = TestOrigin::http().await;
    assert_eq!(proxy.client().get(origin.url("/status/200")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_origin_that_asks_for_a_client_certificate_gets_the_one_for_its_host() {
    let proxy = TestProxy::new();
    let ca = TestCa::new(proxy.folder());
    let (cert_file, key_file) = ca.client_certificate(proxy.folder());
    let ours = ClientCertificate { hosts: rules(&["localhost"]), cert_file, key_file };
    let proxy = proxy.trusting(&ca).with(|c| c.tls.client_certificates = vec![ours]).run().await;
    let origin = TestOrigin::tls(ca.server_for_known_clients(&[b"h2", b"http/1.1"])).await;
    let known = proxy.client().get(origin.url("/status/200")).send().await.unwrap();
    assert_eq!(known.status(), 200);
    // By its address it is another host, without a client certificate.
    let unknown = proxy.client().get(format!("https://127.0.0.1:{}/", origin.addr.port())).send().await.unwrap();
    assert_eq!(unknown.status(), 502);
    let events = proxy.events().await;
    assert_eq!(events[0]["error"], "");
    assert!(!events[1]["error"].as_str().unwrap().is_empty(), "{:#}", events[1]);
}

#[tokio::test]
async fn a_network_in_the_passthrough_list_covers_resolved_names_and_a_port_only_itself() {
    let proxy = TestProxy::new();
    let ca = TestCa::new(proxy.folder());
    let origin = TestOrigin::https(&ca).await;
    let port = origin.addr.port();
    let list = rules(&[&format!("127.0.0.0/8:{port}"), &format!("[::1]:{port}")]);
    let proxy = proxy.trusting(&ca).with(|c| c.tls.passthrough = list).run().await;
    let other = TestOrigin::https(&ca).await;
    let end = b"GET /status/200 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    // The first is not intercepted, so its own certificate is seen. The second, at another port, is.
    for (port, roots) in [(port, ca.client(&[])), (other.addr.port(), proxy.client_tls(&[]))] {
        let mut agent = tls(tunnel(&proxy, &format!("localhost:{port}")).await, "localhost", roots).await.unwrap();
        agent.write_all(end).await.unwrap();
        agent.read_to_end(&mut Vec::new()).await.unwrap();
    }
    let kinds: Vec<_> = proxy.events().await.iter().map(|event| event["metadata"]["kind"].clone()).collect();
    assert_eq!(kinds, ["tunnel", "http"]);
}

/// A TLS proxy that relays to `behind`, and closes without `close_notify`.
async fn https_proxy(ca: &TestCa, behind: std::net::SocketAddr) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(ca.server(Certificate::Good, &[])));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let secured = acceptor.accept(stream).await.unwrap();
                let (from_us, to_us) = tokio::io::split(secured);
                let (from_it, to_it) = TcpStream::connect(behind).await.unwrap().into_split();
                let (mut from_us, mut to_us, mut from_it, mut to_it) = (from_us, to_us, from_it, to_it);
                tokio::select! {
                    _ = tokio::io::copy(&mut from_us, &mut to_it) => {}
                    _ = tokio::io::copy(&mut from_it, &mut to_us) => {}
                }
                to_us.flush().await.unwrap();
            });
        }
    });
    addr
}

#[tokio::test]
async fn a_next_proxy_may_close_its_tls_without_close_notify() {
    let acts = vec![Act::Write(b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec()), Act::Close];
    for tunnels in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let ca = TestCa::new(folder.path());
        let next = next().await;
        let through = https_proxy(&ca, next.addr).await;
        let proxy = behind(&format!("https://localhost:{}", through.port())).trusting(&ca);
        let proxy = if tunnels { proxy.with(|c| c.tls.passthrough = rules(&["*"])) } else { proxy };
        let proxy = proxy.run().await;
        let origin = RawOrigin::start(acts.clone()).await;
        let request =
            |target: &str| format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", origin.addr);
        let mut reply = String::new();
        if tunnels {
            let mut agent = tunnel(&proxy, &origin.addr.to_string()).await;
            agent.write_all(request("/").as_bytes()).await.unwrap();
            agent.read_to_string(&mut reply).await.unwrap();
        } else {
            reply = proxy.raw(request(&format!("http://{}/", origin.addr)).as_bytes()).await;
        }
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.contains("hello"), "{reply}");
        let events = proxy.events().await;
        assert_eq!((events.len(), &events[0]["metadata"]["outcome"]), (1, &"complete".into()), "{events:#?}");
        assert_eq!(events[0]["metadata"]["capture"]["response"]["end"], "complete", "{events:#?}");
    }
}

#[tokio::test]
async fn an_origin_behind_a_next_proxy_may_close_its_tls_without_close_notify() {
    for scheme in ["http", "socks5h"] {
        let next = next().await;
        let proxy = behind(&format!("{scheme}://localhost:{}", next.addr.port()));
        let ca = TestCa::new(proxy.folder());
        let acts = vec![Act::Write(b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec()), Act::Close];
        let origin = RawOrigin::tls(ca.server(Certificate::Good, &[]), acts).await;
        let proxy = proxy.trusting(&ca).run().await;
        let reply = proxy.client().get(format!("https://localhost:{}/", origin.addr.port())).send().await.unwrap();
        assert_eq!(reply.text().await.unwrap(), "hello");
        let events = proxy.events().await;
        assert_eq!(events[0]["metadata"]["origin_faults"], serde_json::json!(["no_close_notify"]), "{events:#?}");
    }
}
