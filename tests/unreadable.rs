//! TLS that the library cannot speak: agents are relayed unread, with the reason in the event, unless a rule forbids
//! it; for origins the true cause is reported.

use std::io::Write as _;
use std::process::{Command, Stdio};

use otas_proxy::hosts::{HostRule, HostRules};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::agent::{self, Agent};
use crate::support::lines::Lines;
use crate::support::origin::{Certificate, TestCa};
use crate::support::proxy::{Running, TestProxy};

/// ECDHE with AES-GCM, which is supported, and RSA with AES-CBC, which is not.
const SPOKEN: u16 = 0xC02F;
const NOT_SPOKEN: u16 = 0x002F;

/// The bytes after their length in two bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized(content)].concat()
}

/// A ClientHello with this server name and this cipher suite.
fn hello(name: &[u8], suite: u16) -> Vec<u8> {
    let extensions = [
        extension(0, &sized(&[&[0][..], &sized(name)].concat())),
        extension(10, &sized(&[0, 23])),
        extension(13, &sized(&[4, 3, 8, 4])),
    ];
    let body = [&[3, 3][..], &[7; 32], &[0], &sized(&suite.to_be_bytes()), &[1, 0], &sized(&extensions.concat())];
    let body = body.concat();
    let message = [&[1, 0][..], &sized(&body)].concat();
    [&[22, 3, 1][..], &sized(&message)].concat()
}

/// What an origin receives through a tunnel that begins with `hello`, and the event.
async fn relayed(proxy: Running, hello: &[u8]) -> (Vec<u8>, Value) {
    relayed_to("127.0.0.1", proxy, hello).await
}

async fn relayed_to(host: &str, proxy: Running, hello: &[u8]) -> (Vec<u8>, Value) {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut agent = agent::tunnel(&proxy, &format!("{host}:{}", origin.local_addr().unwrap().port())).await;
    agent.write_all(hello).await.unwrap();
    agent.shutdown().await.unwrap();
    let (mut accepted, _) = origin.accept().await.unwrap();
    let mut got = Vec::new();
    accepted.read_to_end(&mut got).await.unwrap();
    drop(accepted);
    let mut answer = Vec::new();
    let _ = agent.read_to_end(&mut answer).await;
    let events = proxy.events().await;
    let [event] = &events[..] else { panic!("{events:#?}") };
    (got, event.clone())
}

#[tokio::test]
async fn an_invalid_server_name_is_relayed_unread_and_the_event_says_so() {
    let long = "a".repeat(64);
    for name in ["user-.example", "*.example", "a..example", "bücher.example", &format!("{long}.example"), "a b"] {
        let hello = hello(name.as_bytes(), SPOKEN);
        let (got, event) = relayed(TestProxy::new().run().await, &hello).await;
        assert_eq!(got, hello, "{name}");
        assert_eq!(event["metadata"]["blind"], "unreadable_server_name", "{name}: {event:#}");
        assert_eq!(event["metadata"]["names"]["sni"], name, "{event:#}");
    }
}

#[tokio::test]
async fn an_agent_with_unsupported_cipher_suites_is_relayed_unread_and_the_event_says_so() {
    let hello = hello(b"localhost", NOT_SPOKEN);
    let (got, event) = relayed(TestProxy::new().run().await, &hello).await;
    assert_eq!(got, hello);
    assert_eq!(event["metadata"]["blind"], "unknown_tls", "{event:#}");
}

#[tokio::test]
async fn rules_apply_to_the_server_name_of_unreadable_tls() {
    let deny = |config: &mut otas_proxy::config::Config| {
        let rules = ["*-.example", "bücher.example", "denied.example"].map(|rule| HostRule::parse(rule).unwrap());
        config.egress.deny = HostRules::new(rules.to_vec());
    };
    for (name, suite) in [
        ("user-.example", SPOKEN),
        ("Bücher.example", SPOKEN),
        ("denied.example", NOT_SPOKEN),
        ("DENIED.example.", NOT_SPOKEN),
    ] {
        let (got, event) = relayed(TestProxy::new().with(deny).run().await, &hello(name.as_bytes(), suite)).await;
        assert!(got.is_empty(), "{name}");
        assert_eq!(event["metadata"]["failure"], "egress_denied", "{name}: {event:#}");
    }
    let strict = TestProxy::new().with(|c| c.proxy.strict_host = true).run().await;
    let (got, event) = relayed_to("localhost", strict, &hello(b"user-.example", SPOKEN)).await;
    assert!(got.is_empty());
    assert_eq!(event["metadata"]["failure"], "host_mismatch", "{event:#}");
}

#[tokio::test]
async fn a_request_to_a_name_that_is_denied_is_refused_whatever_connect_named() {
    let deny = HostRules::new(vec![HostRule::parse("denied.example").unwrap()]);
    let proxy = TestProxy::new().with(|c| c.egress.deny = deny).run().await;
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tunnel = agent::tunnel(&proxy, &origin.local_addr().unwrap().to_string()).await;
    let mut inside = agent::tls(tunnel, "denied.example", proxy.client_tls(&[])).await.unwrap();
    inside.write_all(b"GET / HTTP/1.1\r\nHost: denied.example\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    let _ = inside.read_to_string(&mut reply).await;
    assert!(reply.starts_with("HTTP/1.1 403 ") && reply.contains("egress_denied"), "{reply}");
    let events = proxy.events().await;
    assert!(events.len() == 1 && events[0]["metadata"]["failure"] == "egress_denied", "{events:#?}");
}

/// A TLS 1.2 server with one cipher suite, which the library does not have.
const ONLY_CBC: &str = "
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.set_ciphers('ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0')
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
while True:
    stream, _ = listener.accept()
    try:
        inside = context.wrap_socket(stream, server_side=True)
        inside.recv(9999)
        inside.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nhi')
        inside.close()
    except OSError: pass
";

#[tokio::test]
async fn for_an_origin_with_unsupported_cipher_suites_the_cause_is_reported() {
    let proxy = TestProxy::new();
    let ca = TestCa::new(proxy.folder());
    let (certificate, key) = ca.issue(Certificate::Good);
    let pem = proxy.folder().join("server.pem");
    let mut file = std::fs::File::create(&pem).unwrap();
    write!(file, "{}{}", certificate.pem(), key.serialize_pem()).unwrap();
    let mut server = Command::new("python3").args(["-c", ONLY_CBC]).arg(&pem).stdout(Stdio::piped()).spawn().unwrap();
    let line = Lines::of(server.stdout.take().unwrap()).next().unwrap();
    let port = line.trim().parse().unwrap();
    let proxy = proxy.trusting(&ca).run().await;
    let mut agent = Agent::named(&proxy, "localhost", port, &[]).await;
    let (status, _) = agent.get("/").await;
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(status, 502);
    let events = proxy.events().await;
    let [event] = &events[..] else { panic!("{events:#?}") };
    let error = event["error"].as_str().unwrap();
    assert!(error.starts_with("tls_no_common_cipher: "), "{error}");
    assert!(error.contains("handshake_failure") && error.contains("tls.passthrough"), "{error}");
}
