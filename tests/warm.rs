//! The warm path: an agent that starts a process for each call does not pay for a new connection to the origin each time. Connections
//! are counted. Nothing is shared between callers.

use std::os::unix::process::CommandExt as _;
use std::sync::Arc;
use std::time::Duration;

use otas_proxy::config::Scope;
use parking_lot::Mutex;
use rustls::HandshakeKind;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::sessions::{client, with_agents};
use crate::support::agent::{Agent, full};
use crate::support::origin::{Act, Certificate, RawOrigin, TestCa, TestOrigin};
use crate::support::otas::TestOtas;
use crate::support::proxy::{Running, TestProxy, eventually, read_until};
use crate::support::relay::Relay;

const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];
const HTTP11: &[&[u8]] = &[b"http/1.1"];
const H2: &[&[u8]] = &[b"h2"];
/// How far away the origin is, in one direction.
const AWAY: Duration = Duration::from_millis(10);
/// Neither root nor the user of the tests.
const ANOTHER_USER: u32 = 65_533;

async fn trusting() -> (TestCa, Running) {
    let proxy = TestProxy::new();
    let ca = TestCa::new(proxy.folder());
    let proxy = proxy.trusting(&ca).run().await;
    (ca, proxy)
}

/// An agent process with one call.
async fn call(proxy: &Running, port: u16, offer: &[&[u8]]) {
    let mut agent = Agent::named(proxy, "localhost", port, offer).await;
    assert_eq!(agent.get("/").await.0, 200);
    agent.close().await;
}

/// An HTTP/2 agent that has called, and so many requests of its that get no answer.
async fn busy(proxy: &Running, origin: &TestOrigin, requests: usize) -> Agent {
    let mut agent = Agent::to(proxy, origin, H2).await;
    assert_eq!(agent.get("/").await.0, 200);
    let before = origin.received().len();
    for _ in 0..requests {
        drop(agent.start(agent.request("GET", "/never", full(""))));
    }
    eventually("the requests arrive", async || origin.received().len() == before + requests).await;
    agent
}

#[tokio::test]
async fn a_call_to_a_distant_origin_takes_no_new_connection() {
    for offer in [H2, HTTP11, BOTH] {
        let (ca, proxy) = trusting().await;
        let origin = TestOrigin::h2(&ca).await;
        let relay = Relay::to(origin.addr, AWAY).await;
        call(&proxy, relay.addr.port(), offer).await;
        assert_eq!(relay.connections(), 1);
        // An HTTP/1.1 connection is kept a moment after its agent has left.
        eventually("calls use the kept connection", async || {
            let before = relay.connections();
            call(&proxy, relay.addr.port(), offer).await;
            relay.connections() == before
        })
        .await;
        proxy.stop().await;
    }
}

#[tokio::test]
async fn agents_of_one_caller_share_an_http2_connection_at_the_same_time() {
    let (ca, proxy) = trusting().await;
    let origin = TestOrigin::h2(&ca).await;
    let first = busy(&proxy, &origin, 2).await;
    let mut second = Agent::to(&proxy, &origin, H2).await;
    assert_eq!(second.get("/").await.0, 200);
    // It has been answered, so the connection is its own, too.
    assert_eq!(second.post("POST", "/echo", "content").await.0, 200);
    assert_eq!(origin.accepted(), 1);
    // One that leaves in the middle of its calls ends nobody else's.
    first.vanish().await;
    assert_eq!(second.get("/").await.0, 200);
    assert_eq!(origin.accepted(), 1);
    second.close().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_busy_connection_delays_no_other_agent() {
    let (ca, proxy) = trusting().await;
    let origin = TestOrigin::h2(&ca).await;
    // As many as stream windows fit into the connection's window.
    let first = busy(&proxy, &origin, 4).await;
    let mut second = Agent::to(&proxy, &origin, H2).await;
    assert_eq!(second.get("/").await.0, 200);
    assert_eq!(origin.accepted(), 2);
    first.vanish().await;
    second.close().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_shared_connection_that_gets_busy_is_left() {
    let (ca, proxy) = trusting().await;
    let origin = TestOrigin::h2(&ca).await;
    let first = busy(&proxy, &origin, 3).await;
    let second = busy(&proxy, &origin, 3).await;
    // The first request of the second one's three had room.
    assert_eq!(origin.accepted(), 2);
    first.vanish().await;
    second.vanish().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_first_request_that_must_not_be_repeated_goes_on_its_own_connection() {
    let (ca, proxy) = trusting().await;
    let origin = TestOrigin::h2(&ca).await;
    let first = busy(&proxy, &origin, 1).await;
    let mut second = Agent::to(&proxy, &origin, H2).await;
    assert_eq!(second.post("POST", "/echo", "content").await.0, 200);
    assert_eq!(origin.accepted(), 2);
    first.vanish().await;
    second.close().await;
    proxy.stop().await;
}

#[tokio::test]
async fn another_alpn_offer_gets_another_connection() {
    let (ca, proxy) = trusting().await;
    let origin = TestOrigin::h2(&ca).await;
    for (number, offer) in [H2, BOTH, &[b"http/1.1", b"h2"], HTTP11, &[]].into_iter().enumerate() {
        call(&proxy, origin.addr.port(), offer).await;
        assert_eq!(origin.accepted(), number + 1, "{offer:?}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn another_callers_connection_is_never_used() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = with_agents(&otas, &["planner", "writer"]).await;
    let get = async |name: &str| {
        // A client of its own has its own connection to the proxy.
        let reply = client(&proxy, name, &format!("secret-of-{name}")).get(origin.url("/")).send().await.unwrap();
        assert_eq!(reply.bytes().await.unwrap().len(), 17);
    };
    eventually("the planner's connection is kept", async || {
        let before = origin.accepted();
        get("planner").await;
        origin.accepted() == before
    })
    .await;
    let before = origin.accepted();
    get("writer").await;
    assert_eq!(origin.accepted(), before + 1);
    proxy.stop().await;
}

#[tokio::test]
async fn requests_of_two_callers_on_one_agent_connection_have_two_connections() {
    use base64::Engine as _;
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = with_agents(&otas, &["planner", "writer"]).await;
    let host = origin.addr;
    let mut stream = proxy.connect().await;
    for (name, connections) in [("planner", 1), ("planner", 1), ("writer", 2), ("planner", 2), ("writer", 2)] {
        let secret = base64::engine::general_purpose::STANDARD.encode(format!("{name}:secret-of-{name}"));
        let get =
            format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Basic {secret}\r\n\r\n");
        stream.write_all(get.as_bytes()).await.unwrap();
        read_until(&mut stream, "agent\"}").await;
        assert_eq!(origin.accepted(), connections, "{name}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn another_process_as_caller_gets_another_connection() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().with(|c| c.session.scope = Scope::Process).run().await;
    for connections in [1, 2] {
        // Each is the leader of a Unix session of its own, and so a caller of its own.
        let mut curl = tokio::process::Command::new("setsid");
        curl.args(["-w", "curl", "-sS", "--max-time", "20", "-x", &proxy.url(), &origin.url("/bytes/9")]);
        let output = curl.env("NO_PROXY", "").env("no_proxy", "").output().await.unwrap();
        assert_eq!(output.stdout.len(), 9, "{output:?}");
        assert_eq!(origin.accepted(), connections);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn another_users_connection_is_never_used() {
    if !rustix::process::geteuid().is_root() {
        let said = b"skipped: only root can call as another user\n";
        return std::io::Write::write_all(&mut std::io::stderr(), said).unwrap();
    }
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().with(|c| c.listen.same_user = false).run().await;
    let get = async |uid| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "-x", &proxy.url(), &origin.url("/bytes/9")]).uid(uid);
        let output =
            tokio::process::Command::from(curl).env("NO_PROXY", "").env("no_proxy", "").output().await.unwrap();
        assert_eq!(output.stdout.len(), 9, "{output:?}");
    };
    eventually("root's connection is kept", async || {
        let before = origin.accepted();
        get(0).await;
        origin.accepted() == before
    })
    .await;
    let before = origin.accepted();
    get(ANOTHER_USER).await;
    assert_eq!(origin.accepted(), before + 1);
    proxy.stop().await;
}

#[tokio::test]
async fn a_connection_that_its_origin_breaks_off_is_not_used_again() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
    let origin = RawOrigin::start(vec![Act::Write(ok), Act::Reset]).await;
    let proxy = TestProxy::new().run().await;
    for _ in 0..5 {
        let mut agent = proxy.connect().await;
        let get = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.addr);
        agent.write_all(get.as_bytes()).await.unwrap();
        read_until(&mut agent, "\r\n\r\nok").await;
    }
    let events = proxy.events().await;
    assert_eq!(events.len(), 5);
    assert!(events.iter().all(|event| event["status_code"] == 200 && event["error"] == ""), "{events:#?}");
}

#[tokio::test]
async fn without_sharing_each_agent_connection_has_its_own() {
    for offer in [H2, HTTP11] {
        let proxy = TestProxy::new().with(|c| c.upstream.share = false);
        let ca = TestCa::new(proxy.folder());
        let proxy = proxy.trusting(&ca).run().await;
        let origin = TestOrigin::h2(&ca).await;
        let mut open = Vec::new();
        for connections in 1..=3 {
            let mut agent = Agent::to(&proxy, &origin, offer).await;
            assert_eq!(agent.get("/").await.0, 200);
            assert_eq!(agent.get("/").await.0, 200);
            assert_eq!(origin.accepted(), connections);
            open.push(agent);
        }
        drop(open);
        proxy.stop().await;
    }
}

/// An origin that closes each connection after its answer, and how each handshake with it was done.
async fn closing_origin(ca: &TestCa, alpn: &[&[u8]]) -> (u16, Arc<Mutex<Vec<HandshakeKind>>>) {
    let acceptor = TlsAcceptor::from(Arc::new(ca.server(Certificate::Good, alpn)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, handshakes) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<HandshakeKind>>>::default());
    let seen = handshakes.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            seen.lock().push(stream.get_ref().1.handshake_kind().unwrap());
            read_until(&mut stream, "\r\n\r\n").await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
            let _ = stream.shutdown().await;
        }
    });
    (port, handshakes)
}

#[tokio::test]
async fn a_new_connection_resumes_its_callers_tls_session_only() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let proxy = TestProxy::new().trusting(&ca).run().await;
    let (port, handshakes) = closing_origin(&ca, HTTP11).await;
    for offer in [HTTP11, HTTP11, BOTH, BOTH] {
        call(&proxy, port, offer).await;
    }
    use HandshakeKind::{Full, Resumed};
    assert_eq!(*handshakes.lock(), [Full, Resumed, Full, Resumed], "each offer has its own sessions");
    proxy.stop().await;

    let proxy = TestProxy::new().trusting(&ca).with(|c| c.upstream.share = false).run().await;
    handshakes.lock().clear();
    for _ in 0..2 {
        call(&proxy, port, HTTP11).await;
    }
    assert_eq!(*handshakes.lock(), [Full, Full]);
    proxy.stop().await;
}

#[tokio::test]
async fn tls_sessions_of_two_callers_are_apart() {
    let otas = TestOtas::start().await;
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let proxy = crate::sessions::with_agents_and(&otas, &["planner", "writer"], |proxy| proxy.trusting(&ca)).await;
    let (port, handshakes) = closing_origin(&ca, HTTP11).await;
    for name in ["planner", "writer", "planner", "writer"] {
        let client = client(&proxy, name, &format!("secret-of-{name}"));
        let reply = client.get(format!("https://localhost:{port}/")).send().await.unwrap();
        assert_eq!(reply.text().await.unwrap(), "ok");
    }
    use HandshakeKind::{Full, Resumed};
    assert_eq!(*handshakes.lock(), [Full, Full, Resumed, Resumed]);
    proxy.stop().await;
}
