//! What an agent can make up without end (names, header fields, streams, answers that it does not read) costs the program itself a
//! bounded amount of memory, and others are served meanwhile.

#![cfg(target_os = "linux")]

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::agent;
use crate::support::origin::{TestCa, TestOrigin};
use crate::support::program::{Folder, Served, with_descriptors};
use crate::support::proxy::{PATIENCE, read_until, trusting};

const MIB: u64 = 1 << 20;
/// Attackers at once.
const AT_ONCE: usize = 16;

/// The program, serving in a process of its own.
async fn served(folder: Folder) -> Served {
    folder.configure("[delivery]\nmax_in_flight = 1\n");
    tokio::task::spawn_blocking(move || Served::start(folder, |program| program)).await.unwrap()
}

fn address(served: &Served) -> SocketAddr {
    served.url.trim_start_matches("http://").parse().unwrap()
}

/// The most memory that the program has had, in bytes.
fn peak(served: &Served) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", served.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Does something `times` times, some at once.
async fn many<F: Future<Output = ()> + Send + 'static>(from: usize, times: usize, one: impl Fn(usize) -> F) {
    for first in (from..from + times).step_by(AT_ONCE) {
        let all: Vec<_> = (first..first + AT_ONCE).map(|n| tokio::spawn(one(n))).collect();
        for one in all {
            one.await.unwrap();
        }
    }
}

/// A call like any other, which must be served.
async fn serves(served: &Served, origin: &TestOrigin) {
    let answer = served.client().get(origin.url("/bytes/9")).send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap().len(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_in_tls_without_end() {
    let folder = Folder::new();
    let ca = TestCa::new(folder.path());
    let origin = TestOrigin::https(&ca).await;
    let served = served(folder).await;
    let (proxy, target) = (address(&served), origin.addr.to_string());
    let tls = trusting(&served.folder.path().join("ca/ca.pem"));
    let one = |n: usize| {
        let (tls, target) = (tls.clone(), target.clone());
        async move {
            let tunnel = agent::tunnel_at(proxy, &target).await;
            let inside = agent::tls(tunnel, &format!("n{n}.example"), tls).await.unwrap();
            assert_eq!(inside.get_ref().1.peer_certificates().unwrap().len(), 1);
        }
    };
    // As many as are remembered, and then as many again that are not.
    many(0, 1200, one).await;
    let full = peak(&served);
    many(1200, 1200, one).await;
    let grown = peak(&served) - full;
    assert!(full < 160 * MIB && grown < 16 * MIB, "{} MiB, and {} more", full / MIB, grown / MIB);
    serves(&served, &origin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_requests_to_the_admin_port_take_no_descriptor_from_agents() {
    let folder = Folder::new();
    folder.configure("");
    let served = tokio::task::spawn_blocking(move || Served::start(folder, with_descriptors(256))).await.unwrap();
    let origin = TestOrigin::http().await;
    let admin = served.page.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let mut halves = Vec::new();
    for n in 0..400 {
        let mut half = TcpStream::connect(&admin).await.unwrap();
        half.write_all(b"GET /status HTTP/1.1\r\nHost: localh").await.unwrap();
        halves.push(half);
        if n % 100 == 99 {
            serves(&served, &origin).await;
        }
    }
    // The port itself answers, too, though as many wait there as it takes.
    let mut whole = TcpStream::connect(&admin).await.unwrap();
    whole.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    whole.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", served.child.id())).unwrap().count();
    assert!(descriptors < 160, "{descriptors} descriptors are open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_requests_to_the_collector_keep_nobody_out() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = otas_proxy::collector::Collector::start(listener, Default::default()).await.unwrap();
    let address = collector.url.trim_start_matches("http://").to_owned();
    let mut halves = Vec::new();
    for _ in 0..300 {
        let mut half = TcpStream::connect(&address).await.unwrap();
        half.write_all(b"POST /api/v1/backend/log/agent/ HTTP/1.1\r\nHost: localh").await.unwrap();
        halves.push(half);
    }
    let mut whole = TcpStream::connect(&address).await.unwrap();
    whole.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    whole.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
    // Those whose places were needed were closed.
    let mut closed = 0;
    for half in &mut halves[..100] {
        let ended = tokio::time::timeout(PATIENCE, half.read(&mut [0])).await.expect("it is open for ever");
        closed += usize::from(matches!(ended, Ok(0) | Err(_)));
    }
    assert_eq!(closed, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_without_end() {
    let origin = TestOrigin::http().await;
    let served = served(Folder::new()).await;
    let proxy = address(&served);
    let one = |n: usize| async move {
        // Nothing listens there: each is an origin of its own, and an event.
        let host = format!("127.1.{}.{}:1", n / 250, n % 250);
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        stream.write_all(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 502 "), "{reply}");
    };
    many(0, 2000, one).await;
    let before = peak(&served);
    many(2000, 4000, one).await;
    let grown = peak(&served) - before;
    assert!(before < 120 * MIB && grown < 16 * MIB, "{} MiB, and {} more", before / MIB, grown / MIB);
    serves(&served, &origin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_fields_without_end() {
    let origin = TestOrigin::http().await;
    let served = served(Folder::new()).await;
    let proxy = address(&served);
    let before = peak(&served);
    // Each sends until it is told that this is too much.
    let one = |_| async move {
        let (mut from, mut to) = TcpStream::connect(proxy).await.unwrap().into_split();
        let sending = tokio::spawn(async move {
            let _ = to.write_all(b"GET http://a.invalid/ HTTP/1.1\r\nHost: a.invalid\r\n").await;
            let field = format!("X-Filler: {}\r\n", "x".repeat(8000));
            while to.write_all(field.as_bytes()).await.is_ok() {}
        });
        let mut reply = Vec::new();
        let _ =
            tokio::time::timeout(PATIENCE, from.read_to_end(&mut reply)).await.expect("it is listened to for ever");
        sending.abort();
        let reply = String::from_utf8_lossy(&reply);
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 431 "), "{reply}");
    };
    many(0, 128, one).await;
    let grown = peak(&served) - before;
    // Of each at once the largest head there may be, twice: while its buffer grows.
    assert!(grown < 32 * MIB, "{} MiB more", grown / MIB);
    serves(&served, &origin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads() {
    let origin = TestOrigin::http().await;
    let served = served(Folder::new()).await;
    let proxy = address(&served);
    let before = peak(&served);
    let mut unread = Vec::new();
    for _ in 0..32 {
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        let host = origin.addr;
        let request = format!("GET http://{host}/bytes/1000000000 HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut stream, "\r\n\r\n").await;
        unread.push(stream);
    }
    // Time enough for what would come if it came.
    for _ in 0..50 {
        serves(&served, &origin).await;
    }
    let grown = peak(&served) - before;
    assert!(grown < 80 * MIB, "{} MiB more", grown / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_trickle_in_for_ever() {
    let origin = TestOrigin::http().await;
    let folder = Folder::new();
    folder.configure("[proxy]\nheader_timeout_ms = 1000\n");
    let served = tokio::task::spawn_blocking(move || Served::start(folder, |program| program)).await.unwrap();
    let proxy = address(&served);
    let one = |_| async move {
        let (mut from, mut to) = TcpStream::connect(proxy).await.unwrap().into_split();
        let sending = tokio::spawn(async move {
            let _ = to.write_all(b"GET http://a.invalid/ HTTP/1.1\r\nX: ").await;
            while to.write_all(b"x").await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        });
        let mut reply = Vec::new();
        let _ =
            tokio::time::timeout(PATIENCE, from.read_to_end(&mut reply)).await.expect("it is waited for for ever");
        sending.abort();
        assert!(reply.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&reply));
    };
    many(0, 64, one).await;
    serves(&served, &origin).await;
}

/// HTTP/2's preface and SETTINGS, and then `streams` requests that are reset as soon as they are made (RFC 9113 6).
fn resets(authority: &str, streams: u32) -> Vec<u8> {
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    // GET, https, `/`, and the authority as it is (RFC 7541 appendix A).
    let fields = [&[0x82, 0x87, 0x84, 0x41, authority.len() as u8], authority.as_bytes()].concat();
    let mut bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &[])].concat();
    for stream in (0..streams).map(|n| 2 * n + 1) {
        bytes.extend(frame(1, 0x5, stream, &fields));
        bytes.extend(frame(3, 0, stream, &8u32.to_be_bytes()));
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_reset_as_soon_as_they_are_opened() {
    let folder = Folder::new();
    let ca = TestCa::new(folder.path());
    let origin = TestOrigin::h2(&ca).await;
    let served = served(folder).await;
    serves(&served, &origin).await;
    let before = peak(&served);
    let (proxy, target) = (address(&served), format!("localhost:{}", origin.addr.port()));
    let mut tls = trusting(&served.folder.path().join("ca/ca.pem"));
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let bytes = Arc::new(resets(&target, 2000));
    let one = |_| {
        let (tls, target, bytes) = (tls.clone(), target.clone(), bytes.clone());
        async move {
            let tunnel = agent::tunnel_at(proxy, &target).await;
            let (mut from, mut to) = tokio::io::split(agent::tls(tunnel, "localhost", tls).await.unwrap());
            let sending = tokio::spawn(async move {
                let _ = to.write_all(&bytes).await;
                let _ = to.shutdown().await;
            });
            let mut heard = Vec::new();
            let _ =
                tokio::time::timeout(PATIENCE, from.read_to_end(&mut heard)).await.expect("it is served for ever");
            sending.abort();
        }
    };
    many(0, 32, one).await;
    let grown = peak(&served) - before;
    assert!(grown < 96 * MIB, "{} MiB more", grown / MIB);
    serves(&served, &origin).await;
}
