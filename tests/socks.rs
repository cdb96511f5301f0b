//! SOCKS5 on the port of HTTP: the bytes of RFC 1928 and RFC 1929, and curl.

use std::process::Command;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::nobody::Nobody;
use crate::support::origin::{TestCa, TestOrigin};
use crate::support::proxy::{Running, TestProxy};

/// Sends `bytes` and reads exactly as many as are expected.
async fn says(stream: &mut TcpStream, bytes: &[u8], expected: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, expected);
}

fn connect_to(port: u16) -> Vec<u8> {
    [&b"\x05\x01\x00\x01\x7f\x00\x00\x01"[..], &port.to_be_bytes()].concat()
}

const OPEN: &[u8] = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00";

async fn only_event(proxy: Running) -> Value {
    let mut events = proxy.events().await;
    assert_eq!(events.len(), 1, "{events:#?}");
    events.remove(0)
}

#[tokio::test]
async fn http_inside_is_served_and_its_calls_are_the_events() {
    let (origin, proxy) = (TestOrigin::http().await, TestProxy::new().run().await);
    let mut agent = proxy.connect().await;
    says(&mut agent, b"\x05\x01\x00", b"\x05\x00").await;
    says(&mut agent, &connect_to(origin.addr.port()), OPEN).await;
    agent.write_all(b"GET /status/200 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut all = String::new();
    agent.read_to_string(&mut all).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 200 OK\r\n"), "{all}");
    let event = only_event(proxy).await;
    assert_eq!((&event["path"], &event["metadata"]["kind"]), (&"/status/200".into(), &"http".into()));
}

#[tokio::test]
async fn a_password_is_taken_and_not_looked_at_also_byte_by_byte() {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = TestProxy::new().run().await;
    let mut agent = proxy.connect().await;
    says(&mut agent, b"\x05\x01\x02", b"\x05\x02").await;
    for byte in b"\x01\x04user\x06secre" {
        agent.write_all(&[*byte]).await.unwrap();
    }
    says(&mut agent, b"t", b"\x01\x00").await;
    // What follows the request at once belongs to the tunnel.
    let request = [connect_to(origin.local_addr().unwrap().port()), b"\x00unknown".to_vec()].concat();
    says(&mut agent, &request, OPEN).await;
    let (mut inside, _) = origin.accept().await.unwrap();
    let mut heard = [0; 8];
    inside.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"\x00unknown");
    says(&mut inside, b"back", b"").await;
    drop(inside);
    let mut back = Vec::new();
    agent.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"back");
    drop(agent);
    let event = only_event(proxy).await;
    assert_eq!(
        (&event["method"], &event["metadata"]["kind"], &event["status_code"]),
        (&"CONNECT".into(), &"tunnel".into(), &200.into())
    );
    assert_eq!((&event["request_size_bytes"], &event["response_size_bytes"]), (&8.into(), &4.into()));
    assert!(!event.to_string().contains("secret"), "{event}");
}

#[tokio::test]
async fn failures_have_their_socks_code_and_an_event() {
    let closed = Nobody::new();
    for (request, answer, error) in [
        (connect_to(closed.addr.port()), 5, "connect_refused"),
        (b"\x05\x01\x00\x03\x14no-such-host.invalid\x00\x50".to_vec(), 4, "dns_not_found"),
        (b"\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50".to_vec(), 7, "bad_request"),
    ] {
        let proxy = TestProxy::new().run().await;
        let mut agent = proxy.connect().await;
        says(&mut agent, b"\x05\x02\x00\x02", b"\x05\x00").await;
        says(&mut agent, &request, &[5, answer, 0, 1, 0, 0, 0, 0, 0, 0]).await;
        assert_eq!(agent.read(&mut [0]).await.unwrap(), 0, "it ends");
        let event = only_event(proxy).await;
        assert!(event["error"].as_str().unwrap().starts_with(error), "{event:#}");
    }
}

#[tokio::test]
async fn a_connection_that_is_not_socks_is_closed_silently() {
    let proxy = TestProxy::new().run().await;
    for (sent, answered) in [(&b"\x05\x01\x80"[..], &b"\x05\xff"[..]), (b"\x05\x01\x00\x04\x01\x00\x01", b"\x05\x00")]
    {
        let mut agent = proxy.connect().await;
        says(&mut agent, sent, answered).await;
        assert_eq!(agent.read(&mut [0]).await.unwrap(), 0);
    }
    assert!(proxy.events().await.is_empty(), "nothing was asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_is_intercepted_through_socks_with_names_resolved_here_or_there() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (origin, proxy) = (TestOrigin::h2(&ca).await, TestProxy::new().trusting(&ca).run().await);
    for scheme in ["socks5", "socks5h"] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--http2", "--cacert"]).arg(&proxy.app.ca_file);
        curl.args(["-x", &format!("{scheme}://user:password@{}", proxy.addr), &origin.url("/bytes/9")]);
        curl.env("NO_PROXY", "").env("no_proxy", "");
        let done = tokio::task::spawn_blocking(move || curl.output().unwrap()).await.unwrap();
        assert!(done.status.success() && done.stdout.len() == 9, "{done:?}");
    }
    let events = proxy.events().await;
    assert_eq!(events.len(), 2);
    for event in events {
        assert_eq!((&event["path"], &event["status_code"]), (&"/bytes/9".into(), &200.into()));
        assert_eq!(event["custom_properties"]["network.protocol.version"], "2");
    }
}
