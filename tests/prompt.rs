//! An agent that sends a request's head and content apart, and leaves Nagle's algorithm on as urllib3 does towards a proxy: the
//! proxy acknowledges the head at once, so that the content need not wait for the 40 ms of a delayed acknowledgement. And whose
//! time it is when an agent takes its time.

use std::time::{Duration, Instant};

use otas_proxy::hosts::{HostRule, HostRules};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::agent::{tls, tunnel};
use crate::support::origin::{Act, RawOrigin, TestCa, TestOrigin};
use crate::support::proxy::{PATIENCE, TestProxy, read_until};

/// Half of the exchanges took at most this. The system delays acknowledgements by 40 ms; on a busy machine the rest takes a few.
async fn median(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), target: &str, host: &str) -> Duration {
    let mut took = Vec::new();
    for _ in 0..25 {
        let began = Instant::now();
        let head = format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 13\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(b"{\"ask\": \"me\"}").await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"{\"ask\": \"me\"}") {
            let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answer)).await.expect("no answer");
            assert!(read.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
        }
        took.push(began.elapsed());
    }
    took.sort();
    took[took.len() / 2]
}

/// What a delayed acknowledgement adds is more than this.
const STALL: Duration = Duration::from_millis(30);

#[tokio::test]
async fn content_that_is_sent_apart_from_its_head_does_not_wait_for_an_acknowledgement() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().run().await;
    let host = origin.addr.to_string();
    let mut agent = TcpStream::connect(proxy.addr).await.unwrap();
    agent.set_nodelay(false).unwrap();
    let took = median(&mut agent, &format!("http://{host}/echo"), &host).await;
    assert!(took < STALL, "{took:?}");
}

#[tokio::test]
async fn content_inside_an_intercepted_tunnel_does_not_wait_either() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let origin = TestOrigin::https(&ca).await;
    let proxy = TestProxy::new().trusting(&ca).run().await;
    let host = format!("localhost:{}", origin.addr.port());
    let stream = tunnel(&proxy, &host).await;
    stream.set_nodelay(false).unwrap();
    let mut agent = tls(stream, "localhost", proxy.client_tls(&[b"http/1.1"])).await.unwrap();
    let took = median(&mut agent, "/echo", &host).await;
    assert!(took < STALL, "{took:?}");
}

#[tokio::test]
async fn content_that_is_relayed_unread_does_not_wait_either() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let origin = TestOrigin::https(&ca).await;
    let relayed = |config: &mut otas_proxy::config::Config| {
        config.tls.passthrough = HostRules::new(vec![HostRule::parse("localhost").unwrap()])
    };
    let proxy = TestProxy::new().with(relayed).run().await;
    let host = format!("localhost:{}", origin.addr.port());
    let stream = tunnel(&proxy, &host).await;
    stream.set_nodelay(false).unwrap();
    let mut agent = tls(stream, "localhost", ca.client(&[b"http/1.1"])).await.unwrap();
    let took = median(&mut agent, "/echo", &host).await;
    assert!(took < STALL, "{took:?}");
}

#[tokio::test]
async fn the_time_that_an_agent_takes_to_send_its_content_is_not_the_origins() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec();
    let origin = RawOrigin::start(vec![Act::Await(b"slow".to_vec()), Act::Write(answer)]).await;
    let proxy = TestProxy::new().run().await;
    let mut agent = proxy.connect().await;
    let host = origin.addr.to_string();
    let head = format!("POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\r\nsl");
    let began = Instant::now();
    agent.write_all(head.as_bytes()).await.unwrap();
    crate::support::proxy::eventually("the origin has the head", async || origin.received().ends_with("sl")).await;
    // This agent is slow: that is what is tested.
    tokio::time::sleep(Duration::from_secs(1)).await;
    agent.write_all(b"ow").await.unwrap();
    read_until(&mut agent, "hi").await;
    let seen = began.elapsed().as_secs_f64() * 1000.0;
    drop(agent);
    let event = proxy.events().await.remove(0);
    let timings = &event["metadata"]["timings"];
    let (latency, agent) = (event["latency_ms"].as_f64().unwrap(), timings["agent"].as_f64().unwrap());
    assert!((990.0..=seen).contains(&agent) && latency <= seen - agent + 0.1, "{latency} of {seen}: {timings}");
}
