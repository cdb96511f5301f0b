//! Plain HTTP through the proxy, in literal bytes: what the origin gets and what the agent gets.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::nobody::Nobody;
use crate::support::origin::{Act, RawOrigin, TestOrigin, pattern};
use crate::support::proxy::{TestProxy, eventually, read_until};

fn ok(body: &str) -> Vec<Act> {
    vec![Act::Write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())]
}

/// Sends `request` (with `HOST` in place of the origin's address) and gives what the origin received and what the
/// agent got, each until the connection's end.
async fn exchange(acts: Vec<Act>, request: &str) -> (String, String) {
    let origin = RawOrigin::start(acts).await;
    let proxy = TestProxy::new().run().await;
    let reply = proxy.raw(request.replace("HOST", &origin.addr.to_string()).as_bytes()).await;
    let received = origin.received().replace(&origin.addr.to_string(), "HOST");
    proxy.stop().await;
    (received, reply)
}

#[tokio::test]
async fn names_values_order_case_and_repeats_reach_the_origin_as_sent() {
    let (received, reply) = exchange(
        ok("hi"),
        "GET http://HOST/a//b/../c;p=1?q=%2f&&x=a+b&empty= HTTP/1.1\r\nHost: HOST\r\nX-Zeta: 1\r\nACCEPT: */*\r\n\
         x-alpha: b\r\nx-alpha: a\r\nUser-agent: raw\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(
        received,
        "GET /a//b/../c;p=1?q=%2f&&x=a+b&empty= HTTP/1.1\r\nHost: HOST\r\nX-Zeta: 1\r\nACCEPT: */*\r\n\
         x-alpha: b\r\nx-alpha: a\r\nUser-agent: raw\r\nConnection: close\r\n\r\n"
    );
    assert!(reply.ends_with("\r\n\r\nhi"), "{reply}");
}

#[tokio::test]
async fn the_agent_gets_the_origins_status_line_and_fields_as_sent() {
    let head = "HTTP/1.1 299 Very Fine\r\nX-Zeta: 1\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nETag: \"x\"\r\nContent-Length: 2\r\n";
    let (_, reply) = exchange(
        vec![Act::Write(
            format!("{head}Connection: keep-alive, X-Hop\r\nX-Hop: gone\r\nKeep-Alive: timeout=5\r\n\r\nhi")
                .into_bytes(),
        )],
        "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(reply.replace("Connection: close\r\n", ""), format!("{head}\r\nhi"));
}

#[tokio::test]
async fn hop_by_hop_fields_and_our_own_credentials_stop_here() {
    let (received, _) = exchange(
        ok(""),
        "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\n\
         Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nTE: trailers\r\nUpgrade: h2c\r\n\
         X-OTAS-AGENT-KEY: agent_a_b\r\nX-OTAS-AGENT-SESSION-TOKEN: t\r\nAuthorization: Bearer stays\r\n\r\n",
    )
    .await;
    assert_eq!(
        received,
        "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nAuthorization: Bearer stays\r\nTE: trailers\r\n\r\n"
    );
}

#[tokio::test]
async fn the_targets_authority_replaces_host() {
    let (received, _) =
        exchange(ok(""), "GET http://HOST/ HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n").await;
    assert_eq!(received, "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
}

#[tokio::test]
async fn an_http_1_0_agent_is_forwarded_as_1_1_and_its_connection_is_closed() {
    let (received, reply) = exchange(
        vec![Act::Write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec())],
        "GET http://HOST/ HTTP/1.0\r\n\r\n",
    )
    .await;
    assert!(
        received.starts_with("GET / HTTP/1.1\r\n") && received.to_ascii_lowercase().contains("host: host"),
        "{received}"
    );
    assert!(reply.starts_with("HTTP/1.0 200 OK\r\n") || reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    assert!(reply.ends_with("\r\n\r\nabc"), "no chunks to an HTTP/1.0 agent: {reply}");
}

#[tokio::test]
async fn chunked_and_close_delimited_bodies_arrive_whole() {
    let request = "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n";
    let chunked =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\n\r\n".to_vec();
    let (_, reply) = exchange(vec![Act::Write(chunked)], request).await;
    assert!(
        reply.contains("Transfer-Encoding: chunked") && reply.contains("hello") && reply.ends_with("0\r\n\r\n"),
        "{reply}"
    );
    let closing = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end".to_vec();
    let (_, reply) = exchange(vec![Act::Write(closing), Act::Close], request).await;
    assert!(reply.contains("until the end"), "{reply}");
}

#[tokio::test]
async fn a_chunked_request_arrives_chunked_with_its_trailers() {
    let (received, _) = exchange(
        vec![Act::Await(b"0\r\n".to_vec()), Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec())],
        "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n",
    )
    .await;
    assert!(
        received
            .contains("Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n"),
        "{received}"
    );
    assert!(received.to_ascii_lowercase().ends_with("x-sum: 5\r\n\r\n"), "{received}");
}

#[tokio::test]
async fn response_trailers_reach_an_agent_that_takes_them() {
    let (_, reply) = exchange(
        vec![Act::Write(
            b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 2\r\n\r\n".to_vec(),
        )],
        "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n",
    )
    .await;
    assert!(reply.to_ascii_lowercase().ends_with("2\r\nhi\r\n0\r\nx-sum: 2\r\n\r\n"), "{reply}");
}

#[tokio::test]
async fn head_204_and_304_have_no_body_and_the_connection_goes_on() {
    let origin =
        RawOrigin::start(vec![Act::Write(b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n".to_vec())]).await;
    let head = RawOrigin::start(vec![Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec())]).await;
    let empty = RawOrigin::start(vec![Act::Write(b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n".to_vec())]).await;
    let proxy = TestProxy::new().run().await;
    let mut stream = proxy.connect().await;
    for (method, origin, wanted) in [
        ("HEAD", &head, "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
        ("GET", &origin, "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"),
        ("DELETE", &empty, "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"),
        ("HEAD", &head, "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
    ] {
        let request = format!("{method} http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.addr);
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut stream, "\r\n\r\n").await, wanted);
    }
}

#[tokio::test]
async fn expect_100_continue_waits_for_the_origins_word() {
    let origin = RawOrigin::start(vec![
        Act::Write(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        Act::Await(b"hello".to_vec()),
        Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()),
    ])
    .await;
    let proxy = TestProxy::new().run().await;
    let mut stream = proxy.connect().await;
    let request = format!(
        "POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        origin.addr
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    eventually("the origin has the head", async || origin.received().contains("Expect: 100-continue")).await;
    assert!(!origin.received().contains("hello"));
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

#[tokio::test]
async fn expect_100_continue_refused_sends_no_body() {
    let (received, reply) = exchange(
        vec![Act::Write(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno".to_vec())],
        "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
    )
    .await;
    // On a machine that is busy for more than a second the agent is told to go on before the origin's word comes.
    let reply = reply.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&reply);
    assert!(reply.starts_with("HTTP/1.1 417 Expectation Failed\r\n") && reply.ends_with("\r\n\r\nno"), "{reply}");
    assert!(received.ends_with("\r\n\r\n"), "{received}");
}

#[tokio::test]
async fn an_origin_silent_on_expect_still_gets_the_body() {
    let (received, reply) = exchange(
        vec![Act::Await(b"hello".to_vec()), Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec())],
        "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
    )
    .await;
    assert!(received.ends_with("hello"), "{received}");
    assert!(reply.contains("HTTP/1.1 200 OK"), "{reply}");
}

#[tokio::test]
async fn early_hints_reach_the_agent_before_the_response() {
    let origin = RawOrigin::start(vec![
        Act::Write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n".to_vec()),
        Act::Await(b"go on".to_vec()),
        Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec()),
    ])
    .await;
    let proxy = TestProxy::new().run().await;
    let mut stream = proxy.connect().await;
    for _ in 0..2 {
        let request = format!("POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nContent-Length: 5\r\n\r\n", origin.addr);
        stream.write_all(request.as_bytes()).await.unwrap();
        let hint = read_until(&mut stream, "\r\n\r\n").await;
        assert_eq!(hint.to_ascii_lowercase(), "http/1.1 103 early hints\r\nlink: </a.css>; rel=preload\r\n\r\n");
        stream.write_all(b"go on").await.unwrap();
        assert_eq!(read_until(&mut stream, "hi").await, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().run().await;
    let one = format!("GET http://{0}/slow/80 HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.addr);
    let two = format!("GET http://{0}/status/404 HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\n\r\n", origin.addr);
    let reply = proxy.raw(format!("{one}{two}").as_bytes()).await;
    let (slow, status) = (reply.find("slow").unwrap(), reply.find("status 404").unwrap());
    assert!(slow < status, "{reply}");
}

#[tokio::test]
async fn bodies_of_any_size_pass_unchanged_for_any_capture_limit() {
    let origin = TestOrigin::http().await;
    for (head, tail) in [(0, 0), (1, 1), (256 << 10, 64 << 10)] {
        let proxy = TestProxy::new()
            .with(|c| {
                (c.capture.body_max_bytes, c.capture.body_head_bytes, c.capture.body_tail_bytes) = (0, head, tail)
            })
            .run()
            .await;
        for size in [0, 1, 8_191, 300_000, 3 << 20] {
            let body = pattern(7, size);
            let reply = proxy.client().post(origin.url("/echo")).body(body.clone()).send().await.unwrap();
            assert!(reply.bytes().await.unwrap() == body, "{size} bytes with limits {head}+{tail}");
        }
    }
}

#[tokio::test]
async fn a_call_to_the_proxy_itself_is_refused_with_508() {
    let proxy = TestProxy::new().run().await;
    for host in [proxy.addr.to_string(), format!("localhost:{}", proxy.addr.port()), proxy.app.admin_addr.to_string()]
    {
        let reply = proxy.raw(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 508 "), "{reply}");
        let reply = proxy
            .raw(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
            .await;
        assert!(reply.starts_with("HTTP/1.1 508 ") && reply.contains("error=proxy_loop_detected"), "{reply}");
    }
}

#[tokio::test]
async fn requests_that_cannot_be_forwarded_get_the_reason_and_a_hint() {
    let proxy = TestProxy::new().run().await;
    let closed = Nobody::new();
    for (request, status, words) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400, "this is a forward proxy"),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400, "only http and https"),
        ("CONNECT a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), 400, "CONNECT needs a port"),
        (format!("GET http://{closed}/ HTTP/1.1\r\n\r\n"), 400, "needs a Host field"),
        (format!("GET http://{closed}/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400, "more than one Host field"),
        (format!("GET http://{closed}/ HTTP/1.1\r\nHost: {closed}\r\n\r\n"), 502, "error=connection_refused"),
        (
            format!("CONNECT {closed} HTTP/1.1\r\nHost: {closed}\r\nConnection: close\r\n\r\n"),
            502,
            "error=connection_refused",
        ),
        (
            "GET http://no-such-host.invalid/ HTTP/1.1\r\nHost: no-such-host.invalid\r\n\r\n".to_owned(),
            502,
            "error=dns_error",
        ),
    ] {
        let reply = proxy.raw(request.as_bytes()).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")) && reply.contains(words), "{request} -> {reply}");
        let (_, document) = reply.split_once("\r\n\r\n").unwrap();
        let document: serde_json::Value = serde_json::from_str(document).unwrap();
        assert_eq!(document["status"], status);
        assert!(document["step"].is_string() && document["hint"].is_string(), "{document}");
        // RFC 9457 section 3.1.
        assert!(document["type"] == "about:blank" && document["title"].is_string(), "{document}");
    }
}

#[tokio::test]
async fn an_origin_that_breaks_before_its_response_is_a_502_with_the_reason() {
    for (acts, error) in [
        (vec![Act::Close], "origin_closed"),
        (vec![Act::Reset], "origin_"),
        (vec![Act::Write(b"this is not HTTP at all\r\n\r\n".to_vec()), Act::Close], "origin_bad_response"),
    ] {
        let (_, reply) = exchange(acts, "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n").await;
        assert!(reply.starts_with("HTTP/1.1 502 ") && reply.contains(error), "{error}: {reply}");
    }
}

#[tokio::test]
async fn a_body_cut_short_by_the_origin_never_ends_cleanly() {
    for head in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let (_, reply) = exchange(
            vec![Act::Write(format!("HTTP/1.1 200 OK\r\n{head}").into_bytes()), Act::Close],
            "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(!reply.ends_with("0\r\n\r\n"), "{reply}");
        assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
    }
}

#[tokio::test]
async fn via_is_added_only_when_asked_for() {
    let origin = RawOrigin::start(ok("")).await;
    let proxy = TestProxy::new().with(|c| c.proxy.via = true).run().await;
    let request = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\n\r\n", origin.addr);
    let reply = proxy.raw(request.as_bytes()).await;
    assert!(origin.received().contains("via: 1.1 otas-proxy") && reply.contains("via: 1.1 otas-proxy"), "{reply}");
}

#[tokio::test]
async fn a_websocket_upgrade_is_relayed_byte_for_byte() {
    let origin = RawOrigin::start(vec![
        Act::Write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n".to_vec()),
        Act::Await(b"ping".to_vec()),
        Act::Write(b"pong".to_vec()),
        Act::Close,
    ])
    .await;
    let proxy = TestProxy::new().run().await;
    let mut stream = proxy.connect().await;
    let request = format!(
        "GET http://{0}/ws HTTP/1.1\r\nHost: {0}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: k\r\n\r\n",
        origin.addr
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let reply = read_until(&mut stream, "\r\n\r\n").await;
    assert!(
        reply.starts_with("HTTP/1.1 101 Switching Protocols\r\n") && reply.contains("Sec-WebSocket-Accept: x"),
        "{reply}"
    );
    stream.write_all(b"ping").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"pong");
}
