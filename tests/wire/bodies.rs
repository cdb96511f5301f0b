//! Bodies and connections over HTTP/1.x, items 16 to 22.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{answers, exchange, ok};
use crate::support::origin::{Act, RawOrigin, TestOrigin};
use crate::support::proxy::{TestProxy, read_until};

#[tokio::test]
async fn item_16_trailers_stay_trailers_and_hold_nothing_that_is_of_the_head() {
    let request = "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nTE: trailers\r\n\
         Trailer: X-Sum, Authorization, Host\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Sum: 7\r\nAuthorization: Bearer t\r\nHost: evil.test\r\nContent-Length: 9\r\n\r\n";
    let acts = vec![
        Act::Await(b"\r\n\r\n".to_vec()),
        Act::Write(
            b"HTTP/1.1 200 OK\r\nTrailer: X-Sum, Set-Cookie\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\
              X-Sum: 8\r\nSet-Cookie: a=b\r\nContent-Length: 9\r\n\r\n"
                .to_vec(),
        ),
    ];
    let seen = exchange(acts, request).await;
    let (head, trailers) = seen.received.split_once("\r\n0\r\n").unwrap();
    assert!(!head.to_ascii_lowercase().contains("authorization: bearer") && !head.contains("\r\nX-Sum: 7"), "{head}");
    assert_eq!(trailers.to_ascii_lowercase(), "x-sum: 7\r\n\r\n");
    let (head, trailers) = seen.reply.split_once("\r\n0\r\n").unwrap();
    assert!(!head.contains("X-Sum: 8"), "{head}");
    assert_eq!(trailers.to_ascii_lowercase(), "x-sum: 8\r\n\r\n");
}

#[tokio::test]
async fn item_17_a_body_that_is_cut_short_never_ends_cleanly() {
    for framing in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let acts = vec![Act::Write(format!("HTTP/1.1 200 OK\r\n{framing}").into_bytes()), Act::Close];
        let seen = exchange(acts, "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n").await;
        assert!(!seen.reply.ends_with("0\r\n\r\n") && seen.reply.contains("hello"), "{}", seen.reply);
        let capture = &seen.events[0]["metadata"]["capture"]["response"];
        assert_eq!((&capture["end"], &capture["bytes"]), (&"sender_failed".into(), &5.into()));
        assert!(seen.events[0]["error"].as_str().unwrap().starts_with("origin_reset"), "{}", seen.events[0]);
    }
}

/// To an HTTP/1.0 agent, a clean end of the connection would say that the content is whole.
#[tokio::test]
async fn item_17_an_http_1_0_agent_sees_its_connection_reset_where_the_content_is_cut_short() {
    for (chunks, act) in
        [("5\r\nhello\r\n", Act::Close), ("5\r\nhello\r\n", Act::Reset), ("5\r\nhello\r\nzz\r\n", Act::Close)]
    {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let origin = RawOrigin::start(vec![Act::Write([head, chunks].concat().into_bytes()), act]).await;
        let proxy = TestProxy::new().run().await;
        let mut agent = proxy.connect().await;
        agent
            .write_all(format!("GET http://{0}/ HTTP/1.0\r\nHost: {0}\r\n\r\n", origin.addr).as_bytes())
            .await
            .unwrap();
        let mut reply = Vec::new();
        let ended = agent.read_to_end(&mut reply).await;
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "{chunks:?}");
        assert_eq!(String::from_utf8_lossy(&reply), "HTTP/1.0 200 OK\r\n\r\nhello");
        assert_eq!(proxy.events().await.len(), 1);
    }
    let whole = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let seen = exchange(answers(whole), "GET http://HOST/ HTTP/1.0\r\nHost: HOST\r\n\r\n").await;
    assert_eq!(seen.reply, "HTTP/1.0 200 OK\r\n\r\nhello", "a whole one ends in good order");
}

#[tokio::test]
async fn item_18_surplus_bytes_after_a_response_are_no_response() {
    let surplus = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let origin = RawOrigin::start(answers(surplus)).await;
    let proxy = TestProxy::new().run().await;
    let mut agent = proxy.connect().await;
    for _ in 0..2 {
        agent
            .write_all(format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.addr).as_bytes())
            .await
            .unwrap();
        assert!(read_until(&mut agent, "\r\n\r\nhi").await.ends_with("\r\n\r\nhi"));
    }
    drop(agent);
    proxy.stop().await;
}

#[tokio::test]
async fn item_19_no_framing_fields_where_there_is_no_content() {
    let (origin, proxy) = (TestOrigin::http().await, TestProxy::new().run().await);
    let mut agent = proxy.connect().await;
    let host = origin.url("").replace("http://", "");
    agent.write_all(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    let opened = read_until(&mut agent, "\r\n\r\n").await.to_ascii_lowercase();
    assert!(!opened.contains("content-length") && !opened.contains("transfer-encoding"), "{opened}");
    drop(agent);
    proxy.stop().await;
    let acts = answers("HTTP/1.1 204 No Content\r\n\r\n");
    let seen = exchange(acts, "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n").await;
    assert_eq!(
        seen.reply.to_ascii_lowercase().replace("connection: close\r\n", ""),
        "http/1.1 204 no content\r\n\r\n"
    );
}

#[tokio::test]
async fn item_20_an_http_1_0_agent_gets_no_persistent_connection() {
    // The connection ends by itself, or `exchange` would wait in vain.
    let seen =
        exchange(ok("hi"), "GET http://HOST/ HTTP/1.0\r\nHost: HOST\r\nProxy-Connection: keep-alive\r\n\r\n").await;
    assert!(seen.reply.ends_with("\r\n\r\nhi"), "{}", seen.reply);
    assert!(!seen.received.to_ascii_lowercase().contains("proxy-connection"), "{}", seen.received);
}

#[tokio::test]
async fn item_21_pipelined_requests_are_answered_in_order() {
    let (origin, proxy) = (TestOrigin::http().await, TestProxy::new().run().await);
    let host = origin.url("").replace("http://", "");
    let get = |path: &str, more: &str| format!("GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n");
    let all = get("/slow/100", "") + &get("/status/201", "") + &get("/status/202", "Connection: close\r\n");
    let reply = proxy.raw(all.as_bytes()).await;
    let statuses: Vec<_> = reply.match_indices("HTTP/1.1 ").map(|(at, _)| &reply[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "201", "202"]);
    proxy.stop().await;
}

#[tokio::test]
async fn item_22_close_is_honoured_and_said_and_the_last_response_is_not_lost_to_what_is_still_coming() {
    let seen = exchange(ok("hi"), "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n").await;
    assert!(seen.reply.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{}", seen.reply);
    let proxy = TestProxy::new().run().await;
    let (mut from, mut to) = proxy.connect().await.into_split();
    let sending = tokio::spawn(async move {
        to.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await.unwrap();
        // More than any socket holds, which nobody reads as a request.
        let _ = to.write_all(&vec![b'x'; 512 << 10]).await;
        to
    });
    let mut reply = String::new();
    from.read_to_string(&mut reply).await.expect("no reset takes the response away");
    assert!(reply.starts_with("HTTP/1.1 400 ") && reply.ends_with('}'), "{reply}");
    drop(sending.await.unwrap());
    proxy.stop().await;
}
