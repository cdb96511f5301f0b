//! Trailers and interim responses over HTTP/1.1, in literal bytes: they pass as they came, also where nobody asked for them.

use tokio::io::AsyncWriteExt;

use crate::support::origin::{Act, RawOrigin};
use crate::support::proxy::{TestProxy, read_until};

const GET: &str = "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n";

/// What the agent gets up to `end`, twice on one connection, and the requests as the origin got them.
async fn twice(answer: &str, request: &str, end: &str) -> (String, String, String) {
    let acts = match request.ends_with("\r\n\r\n") && request.contains("0\r\n") {
        true => vec![Act::Await(b"\r\n\r\n".to_vec()), Act::Write(answer.into())],
        false => vec![Act::Write(answer.into())],
    };
    let origin = RawOrigin::start(acts).await;
    let proxy = TestProxy::new().run().await;
    let mut agent = proxy.connect().await;
    let host = origin.addr.to_string();
    let mut replies = Vec::new();
    for _ in 0..2 {
        agent.write_all(request.replace("HOST", &host).as_bytes()).await.unwrap();
        replies.push(read_until(&mut agent, end).await);
    }
    drop(agent);
    let events = proxy.events().await;
    assert_eq!(events.len(), 2, "{events:#?}");
    assert!(events.iter().all(|event| event["error"] == "" && event["status_code"] == 200), "{events:#?}");
    let second = replies.pop().unwrap();
    (replies.pop().unwrap(), second, origin.received().replace(&host, "HOST"))
}

#[tokio::test]
async fn trailers_that_nobody_announced_or_asked_for_reach_the_agent_as_they_came() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let content = "5\r\nhello\r\n0\r\nX-Check-SUM: 7\r\nX-Check-SUM: 9\r\nServer-Timing: a;dur=1\r\n\r\n";
    let (first, second, _) = twice(&format!("{head}{content}"), GET, "a;dur=1\r\n\r\n").await;
    for reply in [first, second] {
        assert_eq!(reply.to_ascii_lowercase(), format!("{head}{content}").to_ascii_lowercase());
        assert!(reply.ends_with(content), "{reply}");
    }
}

#[tokio::test]
async fn trailers_of_a_request_reach_the_origin_without_having_been_announced() {
    let request = "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let (_, _, received) = twice(answer, request, "hi").await;
    assert_eq!(received.matches("5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n").count(), 2, "{received}");
}

#[tokio::test]
async fn content_that_ends_like_a_last_chunk_is_not_taken_for_it() {
    let content = "7\r\n\r\n0\r\n\r\n\r\n0\r\nX-Sum: 7\r\n\r\n";
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{content}");
    let (first, _, _) = twice(&answer, GET, "X-Sum: 7\r\n\r\n").await;
    assert!(first.ends_with(content), "{first}");
}

#[tokio::test]
async fn interim_responses_pass_with_their_phrases_and_names_as_written() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLINK: </a>; rel=preload\r\nX-HiNt: 1\r\n\r\n\
                   HTTP/1.1 102 Still At It\r\nX-Step: 1\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let (first, second, _) = twice(&format!("{interim}{last}"), GET, "\r\n\r\nhi").await;
    assert_eq!([first, second], [format!("{interim}{last}"), format!("{interim}{last}")]);
}
