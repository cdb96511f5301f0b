//! Calls that belong together are linked in their events: retries, redirects, conversations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::routing::{any, get, post};
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::proxy::TestProxy;

/// An origin that fails twice, sends on, and talks.
async fn origin() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, calls) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(AtomicU32::new(0)));
    let flaky = move || {
        let failed = calls.fetch_add(1, Ordering::Relaxed) < 2;
        async move { if failed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK } }
    };
    let routes = Router::new()
        .route("/flaky", post(flaky))
        .route("/from", any(|| async { (StatusCode::FOUND, [(header::LOCATION, "/to?a=b#c")]) }))
        .route("/to", get(|| async { "there" }))
        .route("/v1/chat/completions", post(|| async { "{}" }));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    url
}

fn id(event: &Value) -> &Value {
    &event["metadata"]["event"]["id"]
}

#[tokio::test]
async fn a_call_says_which_it_repeats_which_it_follows_and_which_it_goes_on_from() {
    let origin = origin().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = TestProxy::new().run().await;
    let client = proxy.client();
    let mut stored = 0;
    let mut send = async |method: &str, url: String, body: &str| {
        let request = client.request(method.parse().unwrap(), url).body(body.to_owned());
        request.send().await.unwrap();
        // The next call begins when this one has ended for the proxy, too.
        stored += 1;
        proxy.events_so_far(stored).await;
    };
    for _ in 0..4 {
        send("POST", format!("{origin}/flaky"), r#"{"a":1}"#).await;
    }
    for _ in 0..2 {
        send("GET", format!("http://{closed}/x"), "").await;
    }
    send("GET", format!("http://{closed}/y"), "").await;
    let talk = |messages: Value| json!({ "model": "m", "messages": messages }).to_string();
    let (asked, said, more) = (
        json!({ "role": "user", "content": "hi" }),
        json!({ "role": "assistant", "content": "ho" }),
        json!({ "role": "user", "content": "on" }),
    );
    send("POST", format!("{origin}/v1/chat/completions"), &talk(json!([asked]))).await;
    send("POST", format!("{origin}/v1/chat/completions"), &talk(json!([asked, said, more]))).await;
    client.get(format!("{origin}/from")).send().await.unwrap();
    let events = proxy.events_so_far(11).await;
    let links = |at: usize| &events[at]["metadata"]["links"];
    assert!(links(0).is_null());
    let retry = |of: usize, first: usize, count: u32| json!({ "retry_of": id(&events[of]), "first_attempt": id(&events[first]), "retry_count": count });
    assert_eq!((links(1), links(2)), (&retry(0, 0, 1), &retry(1, 0, 2)));
    assert!(links(3).is_null(), "it had gone well");
    assert_eq!(links(5), &retry(4, 4, 1));
    assert!(links(6).is_null(), "another call: {}", links(6));
    assert_eq!(links(8), &json!({ "continues": id(&events[7]), "conversation": id(&events[7]) }));
    assert_eq!((&events[10]["path"], links(10)), (&"/to".into(), &json!({ "redirect_of": id(&events[9]) })));
    proxy.stop().await;
}
