//! Requests that two parsers could read differently, so that one of them sees a second request: the origin must see nothing of it.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::support::agent;
use crate::support::origin::{Act, RawOrigin};
use crate::support::proxy::{PATIENCE, Running, TestProxy, read_until};

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: HOST\r\n\r\n";

/// Heads and what follows them; `HIDDEN` stands for the request that is to be smuggled.
const REQUESTS: [&str; 26] = [
    "POST URL HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0, 44\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nContent-Length: +0\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nContent-Length: -1\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0x0\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nContent-Length: 18446744073709551616\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nContent-Length : 0\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\n Content-Length: 0\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\nHIDDEN",
    "POST URL HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0;\n\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naX\r\n0\r\n\r\nHIDDEN",
    "POST URL HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n100000000000000000\r\nHIDDEN",
    "GET URL HTTP/1.1\r\nHost: HOST\r\nX: a\rContent-Length: 44\r\n\r\nHIDDEN",
    "GET URL HTTP/1.1\r\nHost: HOST\r\nX: a\nContent-Length: 44\r\n\r\nHIDDEN",
    "GET URL HTTP/1.1\r\nHost: HOST\r\nX: a\0b\r\n\r\nHIDDEN",
    "GET URL HTTP/1.1\r\nHost: HOST\r\nHost: other\r\n\r\nHIDDEN",
    "GET URL\tHTTP/1.1\r\nHost: HOST\r\n\r\nHIDDEN",
    "GET  URL HTTP/1.1\r\nHost: HOST\r\n\r\nHIDDEN",
];

#[tokio::test]
async fn no_origin_sees_a_request_that_its_agent_has_hidden_in_another() {
    let proxy = Arc::new(TestProxy::new().run().await);
    let mut attacks = JoinSet::new();
    for inside in [false, true] {
        // What does not even begin like HTTP is, inside a tunnel, not read as such: its bytes are relayed, and nobody is misled.
        let like_http = |request: &&str| !inside || !request.contains("URL\tHTTP") && !request.contains("GET  URL");
        for request in REQUESTS.into_iter().filter(like_http) {
            attacks.spawn(attack(proxy.clone(), request, inside));
        }
    }
    let attacks = attacks.join_all().await.len();
    let events = Arc::into_inner(proxy).unwrap().events().await;
    assert_eq!(events.len(), attacks, "each is one event: {events:#?}");
}

async fn attack(proxy: Arc<Running>, request: &'static str, inside: bool) {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec();
    let origin = RawOrigin::start(vec![Act::Write(answer)]).await;
    let host = origin.addr.to_string();
    let url = if inside { "/open".to_owned() } else { format!("http://{host}/open") };
    let bytes = request.replace("HIDDEN", HIDDEN).replace("URL", &url).replace("HOST", &host);
    let mut stream = match inside {
        true => agent::tunnel(&proxy, &host).await,
        false => proxy.connect().await,
    };
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply)).await;
    let reply = String::from_utf8_lossy(&reply).into_owned();
    assert!(ended.is_ok(), "{request:?}: the connection must end; {reply:?}");
    assert!(!origin.received().contains("hidden"), "{request:?}: {:?}", origin.received());
    assert!(!reply.contains("HTTP/1.1 200 OK"), "{request:?}: {reply}");
}

#[tokio::test]
async fn a_response_hidden_in_a_response_does_not_answer_the_next_request() {
    // Two answers at once: the second is nobody's.
    let twice =
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden".to_vec();
    let origin = RawOrigin::start(vec![Act::Write(twice)]).await;
    let proxy = TestProxy::new().run().await;
    let request = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.addr);
    for _ in 0..5 {
        let mut stream = proxy.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let first = read_until(&mut stream, "hi").await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let second = read_until(&mut stream, "\r\n\r\n").await;
        assert!(!first.contains("hidden") && !second.contains("hidden"), "{first:?} {second:?}");
    }
}
