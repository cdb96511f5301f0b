//! The rules of the wire, item by item, in literal bytes. The numbers are those of docs/wire.md, which names each rule.

mod bodies;
mod closed_streams;
mod early;
mod forwarding;
mod half_closed;
mod http2;
mod kept;
mod parsing;
mod resets;
mod responses;
mod targets;
mod trailers;
mod writes;

use serde_json::Value;

use crate::support::origin::{Act, RawOrigin};
use crate::support::otas::TestOtas;
use crate::support::proxy::TestProxy;

/// What each side saw of one connection of an agent: what the origin received, what the agent got, the events. The origin's
/// address is `HOST` in all of it.
struct Seen {
    received: String,
    reply: String,
    events: Vec<Value>,
}

/// A response with this body.
fn ok(body: &str) -> Vec<Act> {
    vec![Act::Write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())]
}

/// An origin that answers each request with these bytes.
fn answers(bytes: &str) -> Vec<Act> {
    vec![Act::Write(bytes.as_bytes().to_vec())]
}

/// Sends `request` and waits until the connection ends.
async fn exchange(acts: Vec<Act>, request: &str) -> Seen {
    exchange_with(TestProxy::new(), acts, request).await
}

async fn exchange_with(proxy: TestProxy, acts: Vec<Act>, request: &str) -> Seen {
    let (otas, origin) = (TestOtas::start().await, RawOrigin::start(acts).await);
    let proxy = proxy.otas(&otas).run().await;
    let host = origin.addr.to_string();
    let reply = proxy.raw(request.replace("HOST", &host).as_bytes()).await.replace(&host, "HOST");
    let events = proxy.events().await;
    Seen { received: origin.received().replace(&host, "HOST"), reply, events }
}

/// It gets 400, its connection ends, the origin sees no byte of it, and there is one event that says so.
async fn is_refused(request: &str) {
    let seen = exchange(ok("hi"), request).await;
    assert!(seen.reply.starts_with("HTTP/1.1 400 "), "{request:?}: {}", seen.reply);
    assert!(seen.reply.to_ascii_lowercase().contains("connection: close\r\n"), "{request:?}: {}", seen.reply);
    assert_eq!(seen.received, "", "{request:?}");
    let [event] = &seen.events[..] else { panic!("{request:?}: {:#?}", seen.events) };
    assert!(event["error"].as_str().unwrap().starts_with("bad_request: "), "{request:?}: {event}");
}
