//! `[egress]`: by name, network and port, for what is dialled; the credentials of clouds are out of reach.

use otas_proxy::config::{Config, NextProxy};
use otas_proxy::hosts::{HostRule, HostRules};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{failure, only_event};
use crate::support::agent;
use crate::support::origin::{Act, RawOrigin, TestOrigin};
use crate::support::otas::TestOtas;
use crate::support::proxy::TestProxy;

fn rules(texts: &[&str]) -> HostRules {
    HostRules::new(texts.iter().map(|text| HostRule::parse(text).unwrap()).collect())
}

fn denying(texts: &[&str]) -> impl FnOnce(&mut Config) + use<> {
    let deny = rules(texts);
    move |config| config.egress.deny = deny
}

#[tokio::test]
async fn a_network_is_denied_by_whatever_name_it_is_called_and_the_answer_says_why() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas).with(denying(&["127.0.0.0/8", "::1"])).run().await;
    let port = origin.addr.port();
    let reply = proxy.raw(format!("GET http://localhost:{port}/x HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{reply}");
    assert!(reply.contains("\r\nproxy-status: otas-proxy; error=http_request_denied;"), "{reply}");
    assert!(reply.contains("may not be called (`egress.deny`)") && reply.contains("nothing was sent"), "{reply}");
    assert_eq!(origin.accepted(), 0);
    let event = only_event(proxy).await;
    assert_eq!((failure(&event), &event["status_code"]), ("egress_denied", &403.into()));
}

#[tokio::test]
async fn tunnels_are_denied_before_they_are_open() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().with(denying(&["localhost"])).run().await;
    let (head, _stream) = agent::connect(&proxy, &format!("localhost:{}", origin.addr.port())).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let mut socks = proxy.connect().await;
    let asked = [b"\x05\x01\x00\x05\x01\x00\x03\x09localhost".as_slice(), &origin.addr.port().to_be_bytes()].concat();
    socks.write_all(&asked).await.unwrap();
    let mut answer = [0; 4];
    socks.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [5, 0, 5, 2], "connection not allowed by ruleset");
    // The address is not denied.
    agent::tunnel(&proxy, &origin.addr.to_string()).await;
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn an_allow_list_excludes_everything_else() {
    let (origin, other) = (TestOrigin::http().await, TestOrigin::http().await);
    let allow = rules(&[&format!("127.0.0.1:{}", origin.addr.port())]);
    let proxy = TestProxy::new().with(|c| c.egress.allow = allow).run().await;
    let client = proxy.client();
    assert_eq!(client.get(origin.url("/status/200")).send().await.unwrap().status(), 200);
    assert_eq!(client.get(other.url("/status/200")).send().await.unwrap().status(), 403);
    assert_eq!(other.accepted(), 0);
}

#[tokio::test]
async fn through_the_next_proxy_names_and_addresses_are_judged_as_they_are_written() {
    let next = RawOrigin::start(vec![Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec())]).await;
    let proxy = TestProxy::new().with(denying(&["*.bad.example", "10.0.0.0/8"])).with(|config| {
        config.upstream.proxy = NextProxy::parse(&format!("http://{}", next.addr)).ok();
        config.upstream.no_proxy = HostRules::default();
    });
    let proxy = proxy.run().await;
    for denied in
        ["a.bad.example", "10.1.2.3", "0x0a010203", "metadata.google.internal", "2852039166", "[fd00:ec2::254]"]
    {
        let reply = proxy.raw(format!("GET http://{denied}/ HTTP/1.1\r\nHost: {denied}\r\n\r\n").as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 403 "), "{denied}: {reply}");
        let (head, _) = agent::connect(&proxy, &format!("{denied}:443")).await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{denied}: {head}");
    }
    // Its own ports are not asked for there either: that proxy may well be on this machine.
    let admin = proxy.app.admin_addr.port();
    for home in ["localhost", "127.0.0.1", "2130706433", "0.0.0.0", "[::ffff:127.0.0.1]"] {
        let reply =
            proxy.raw(format!("GET http://{home}:{admin}/ HTTP/1.1\r\nHost: {home}\r\n\r\n").as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 508 "), "{home}: {reply}");
    }
    assert_eq!(next.received(), "");
    let reply =
        proxy.raw(b"GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
}
