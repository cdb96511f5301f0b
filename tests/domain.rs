//! The project's domain: its servers get the caller's token, and no other server does.

use std::process::Stdio;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use otas_proxy::secret::Secret;
use serde_json::Value;
use tokio::process::Command;
use url::Url;

use crate::sessions::header;
use crate::support::agent::{self, Agent};
use crate::support::manual::ManualOrigin;
use crate::support::origin::{Act, Certificate, RawOrigin, Received, TestCa, TestOrigin};
use crate::support::otas::TestOtas;
use crate::support::program::python;
use crate::support::proxy::{Running, TestProxy, eventually, read_until};

const WITHIN: Duration = Duration::from_secs(60);
const TOKEN: &str = "x-otas-agent-session-token";

/// A proxy with this URL as its project's domain.
async fn in_project(otas: &TestOtas, ca: &TestCa, domain: &str) -> Running {
    let url: Url = domain.parse().unwrap();
    TestProxy::new().otas(otas).trusting(ca).with(|c| c.otas.project_domain = Some(url)).run().await
}

fn leaks(received: &Received) -> bool {
    received.headers.iter().any(|(name, value)| name.replace('_', "-").starts_with("x-otas") || value.contains("eyJ"))
}

/// A client that follows redirects and repeats its header fields. Returns where it ended.
fn followers(url: &str, h2: bool, token: &Secret) -> Vec<Command> {
    let field = format!("X-OTAS-AGENT-SESSION-TOKEN: {}", token.expose());
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-L", "-o", "/dev/null", "-w", "%{url_effective}", "-H", &field, url]);
    curl.arg(if h2 { "--http2" } else { "--http1.1" });
    let mut requests = Command::new(python());
    let script = "import os, sys, requests\ns = requests.Session()\n\
        s.headers['X-OTAS-AGENT-SESSION-TOKEN'] = sys.argv[2]\nsys.stdout.write(s.get(sys.argv[1]).url)";
    requests.args(["-c", script, url, token.expose()]);
    vec![curl, requests]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_out_of_the_domain_does_not_carry_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    for h2 in [false, true] {
        let otas = TestOtas::start().await;
        let (inside, outside) = match h2 {
            false => (TestOrigin::https(&ca).await, TestOrigin::https(&ca).await),
            true => (TestOrigin::h2(&ca).await, TestOrigin::h2(&ca).await),
        };
        let proxy = in_project(&otas, &ca, &inside.url("/")).await;
        let own = otas.session_token(&otas.key()).await;
        let url = inside.url(&format!("/redirect?{}", outside.url("/elsewhere")));
        // A client that does not know the token; the proxy adds it.
        let plain = proxy.client_builder().build().unwrap().get(&url).send().await.unwrap();
        assert_eq!(plain.url().as_str(), outside.url("/elsewhere"));
        let mut calls = 1;
        for mut client in followers(&url, h2, &own) {
            client
                .env("HTTPS_PROXY", proxy.url())
                .env("https_proxy", proxy.url())
                .env("NO_PROXY", "")
                .env("no_proxy", "");
            let roots = &proxy.app.ca_file;
            client.env("CURL_CA_BUNDLE", roots).env("REQUESTS_CA_BUNDLE", roots).stderr(Stdio::piped());
            let done = client.output().await.unwrap();
            assert_eq!(String::from_utf8_lossy(&done.stdout), outside.url("/elsewhere"), "{done:?}");
            calls += 1;
        }
        let (in_domain, outside) = (inside.received(), outside.received());
        assert_eq!((in_domain.len(), outside.len()), (calls, calls));
        assert!(in_domain.iter().all(|received| header(received, TOKEN).is_some()), "the domain sees it each time");
        assert!(!outside.iter().any(leaks), "{outside:?}");
        otas.events_at_least(calls as u64, WITHIN).await;
        proxy.stop().await;
        let events = otas.events().await;
        assert_eq!(events.len(), calls, "calls into the domain have no event");
        assert!(events.iter().all(|event| event["path"] == "/elsewhere"));
    }
}

#[tokio::test]
async fn the_token_is_sent_only_if_every_name_of_the_call_is_in_the_domain() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let otas = TestOtas::start().await;
    for h2 in [false, true] {
        let origin = if h2 { TestOrigin::h2(&ca).await } else { TestOrigin::https(&ca).await };
        let proxy = in_project(&otas, &ca, &origin.url("/")).await;
        let alpn: &[&[u8]] = if h2 { &[b"h2"] } else { &[b"http/1.1"] };
        let port = origin.addr.port();
        let mut agent = Agent::to(&proxy, &origin, alpn).await;
        // A shared server, which chooses by the request's host.
        for (host, path) in [("localhost", "/mine"), ("LOCALHOST.", "/mine"), ("evil.test", "/fronted")] {
            let mut request = agent.request("GET", path, agent::full(""));
            if h2 {
                *request.uri_mut() = format!("https://{host}:{port}{path}").parse().unwrap();
            } else {
                request.headers_mut().insert("host", format!("{host}:{port}").parse().unwrap());
            }
            agent::whole(agent.send(request).await.unwrap()).await;
            agent.ready().await;
        }
        if h2 {
            let mut request = agent.request("GET", "/fronted", agent::full(""));
            request.headers_mut().insert("host", HeaderValue::from_static("evil.test"));
            agent::whole(agent.send(request).await.unwrap()).await;
        }
        // The server's certificate matches the requested name, whatever address was dialled.
        let tunnel = agent::tunnel(&proxy, &format!("127.0.0.1:{port}")).await;
        let mut by_address = agent::tls(tunnel, "localhost", proxy.client_tls(&[b"http/1.1"])).await.unwrap();
        let get = format!("GET /mine HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut by_address, get.as_bytes()).await.unwrap();
        read_until(&mut by_address, "agent\"}").await;
        // A certificate for another name than the domain's does not count.
        let mut other = Agent::named(&proxy, "127.0.0.1", port, alpn).await;
        assert_eq!(other.get("/fronted").await.0, 200);
        for received in origin.received() {
            let (inside, uri) = (received.uri.contains("/mine"), &received.uri);
            assert_eq!(header(&received, TOKEN).is_some(), inside, "{uri}");
        }
        let fronted = if h2 { 3 } else { 2 };
        let paths: Vec<Value> = proxy.events().await.iter().map(|event| event["path"].clone()).collect();
        assert_eq!(paths, vec!["/fronted"; fronted], "calls outside the domain are logged here");
    }
}

#[tokio::test]
async fn the_token_is_sent_in_clear_only_if_the_settings_say_http() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let otas = TestOtas::start().await;
    for (scheme, tokens) in [("https", 0), ("http", 1)] {
        let origin = TestOrigin::http().await;
        let domain = format!("{scheme}://localhost:{}/", origin.addr.port());
        let proxy = in_project(&otas, &ca, &domain).await;
        proxy.client().get(origin.url("/x")).send().await.unwrap();
        assert_eq!(origin.received().iter().filter(|r| header(r, TOKEN).is_some()).count(), tokens, "{scheme}");
        assert_eq!(proxy.events().await.len(), 1 - tokens, "{scheme}");
    }
}

#[tokio::test]
async fn otas_fields_are_never_forwarded_in_any_spelling_trailers_or_upgrades() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let otas = TestOtas::start().await;
    let inside = TestOrigin::https(&ca).await;
    let proxy = in_project(&otas, &ca, &inside.url("/")).await;
    // HTTP/1.1: literal bytes in odd forms.
    let origin = RawOrigin::start(vec![
        Act::Await(b"0\r\n".to_vec()),
        Act::Await(b"\r\n".to_vec()),
        Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()),
        Act::Close,
    ])
    .await;
    let ask = format!(
        "POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nConnection: close, X-Otas-Agent-Key\r\nx-OTAS-agent-SESSION-token: eyJ\r\n\
         X-Otas-Agent-Key: eyJ\r\nX_OTAS_AGENT_KEY: eyJ\r\nX-OTAS-Anything-New: eyJ\r\nX-OTAS-PROPERTY-A: eyJ\r\n\
         Trailer: X-OTAS-Agent-Key, X-Kept\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\
         X-OTAS-Agent-Key: eyJ\r\nX-Kept: yes\r\n\r\n",
        origin.addr
    );
    assert!(proxy.raw(ask.as_bytes()).await.starts_with("HTTP/1.1 200 "));
    let seen = origin.received();
    assert!(!seen.contains("eyJ"), "{seen}");
    // A WebSocket's handshake.
    let origin = RawOrigin::start(vec![Act::Write(b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n".to_vec())]).await;
    let ask = format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-OTAS-AGENT-SESSION-TOKEN: eyJ\r\n\r\n",
        origin.addr
    );
    let mut stream = proxy.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, ask.as_bytes()).await.unwrap();
    read_until(&mut stream, "400 No").await;
    let seen = origin.received();
    assert!(seen.to_lowercase().contains("upgrade: websocket") && !seen.contains("eyJ"), "{seen}");
    // HTTP/2, with trailers.
    let mut origin = ManualOrigin::start(Some(ca.server(Certificate::Good, &[b"h2"]))).await;
    let mut agent = Agent::named(&proxy, "localhost", origin.addr.port(), &[b"h2"]).await;
    let trailers: HeaderMap = [(TOKEN, "eyJ"), ("x-otas-agent-key", "eyJ"), ("x-kept", "yes")]
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
        .into_iter()
        .collect();
    let frames = [Ok(Frame::data("body".into())), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    let mut request = agent.request("POST", "/", body);
    for name in [TOKEN, "x-otas-agent-key", "x_otas_agent_key", "x-otas-property-a"] {
        request.headers_mut().insert(name, HeaderValue::from_static("eyJ"));
    }
    let answered = agent.start(request);
    let call = origin.call().await;
    let fields = format!("{:?}", call.request.headers());
    assert!(!fields.contains("otas") && !fields.contains("eyJ"), "{fields}");
    let body = call.request.into_body().collect().await.unwrap();
    let trailers = body.trailers().unwrap();
    assert!(trailers.len() == 1 && trailers["x-kept"] == "yes", "{trailers:?}");
    call.answer.send(http::Response::new(agent::full(""))).unwrap();
    assert_eq!(answered.await.unwrap().unwrap().status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn in_the_domain_the_token_is_always_the_callers_own() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (otas, inside) = (TestOtas::start().await, TestOrigin::https(&ca).await);
    let proxy = in_project(&otas, &ca, &inside.url("/")).await;
    let own = otas.session_token(&otas.key()).await;
    let other = otas.session_token(&otas.another_agent("other").await).await;
    let mut agent = Agent::to(&proxy, &inside, &[b"http/1.1"]).await;
    assert_eq!(agent.get("/").await.0, 200);
    let ours = header(&inside.received()[0], TOKEN).unwrap().to_owned();
    let (own, other) = (own.expose(), other.expose());
    for (fields, expected) in [
        (&[(TOKEN, own)][..], own),
        // Another agent's, a forged one, or no token.
        (&[(TOKEN, other)], &ours),
        (&[(TOKEN, "e30.e30.c2ln")], &ours),
        (&[(TOKEN, "")], &ours),
        // Of two fields the server may read either.
        (&[(TOKEN, own), (TOKEN, other)], &ours),
        // Servers that turn fields into variables read them as the same name.
        (&[("x_otas_agent_session_token", other)], &ours),
        (&[(TOKEN, own), ("x-otas-agent_session_token", other)], own),
        // Asks the next hop to remove the field.
        (&[("connection", TOKEN)], &ours),
    ] {
        let mut request = agent.request("GET", "/", agent::full(""));
        for (name, value) in fields {
            request.headers_mut().append(http::HeaderName::from_static(name), value.parse().unwrap());
        }
        agent::whole(agent.send(request).await.unwrap()).await;
        agent.ready().await;
        let received = inside.received().pop().unwrap();
        let tokens: Vec<&str> =
            received.headers.iter().filter(|(name, _)| name.contains("otas")).map(|(_, value)| &**value).collect();
        assert_eq!(tokens, [expected], "{fields:?}");
    }
    eventually("all are known", async || proxy.status().await["calls"]["unlogged"] == 9).await;
    assert!(proxy.events().await.is_empty());
}

#[tokio::test]
async fn a_caller_of_an_unknown_agent_gets_a_session_first() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (otas, inside) = (TestOtas::start().await, TestOrigin::https(&ca).await);
    let url: Url = inside.url("/").parse().unwrap();
    let other = otas.session_token(&otas.another_agent("other").await).await;
    // The agent of a key is unknown before its first session.
    let proxy = crate::sessions::with_agents_and(&otas, &["planner"], |proxy| {
        proxy.trusting(&ca).with(|c| c.otas.project_domain = Some(url))
    })
    .await;
    let planner = crate::sessions::client(&proxy, "planner", "secret-of-planner");
    planner.get(inside.url("/")).header(TOKEN, other.expose()).send().await.unwrap();
    let received = inside.received().pop().unwrap();
    let token = header(&received, TOKEN).unwrap();
    assert_ne!(token, other.expose());
    assert_eq!(otas.sessions().await.len(), 2, "the other agent's, and this one's");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn during_an_outage_calls_into_the_domain_wait_once_and_are_then_logged_here() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (otas, inside) = (TestOtas::start().await, TestOrigin::https(&ca).await);
    let url: Url = inside.url("/").parse().unwrap();
    otas.uasam_away();
    let proxy = crate::sessions::with_agents_and(&otas, &["planner"], |proxy| {
        proxy.trusting(&ca).with(|c| c.otas.project_domain = Some(url))
    })
    .await;
    // Callers do not wait for each other's sessions, and only the first call of a caller waits.
    let began = std::time::Instant::now();
    let calls = (0..9).map(|call| {
        let client = crate::sessions::client(&proxy, &format!("planner+{}", call % 3), "secret-of-planner");
        client.get(inside.url("/")).send()
    });
    for answered in futures_util::future::join_all(calls).await {
        assert_eq!(answered.unwrap().status(), 200);
    }
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    assert!(!inside.received().iter().any(leaks));
    otas.up().await;
    otas.events_at_least(9, WITHIN).await;
    assert_eq!(otas.sessions().await.len(), 3, "each in its own session");
    proxy.stop().await;
}
