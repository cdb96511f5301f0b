//! Related calls are linked in their events: retries, redirects, conversations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::routing::{any, get, post};
use http::{StatusCode, header};
use otas_proxy::prices::Prices;
use otas_proxy::store::Filter;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::nobody::Nobody;
use crate::support::proxy::TestProxy;

/// An origin that fails twice, redirects, and answers.
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

/// An origin that speaks OpenAI's Responses: the nth answer has the id `resp_n`.
async fn model() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, calls) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(AtomicU32::new(0)));
    let answer = move || {
        let n = calls.fetch_add(1, Ordering::Relaxed) + 1;
        let usage = json!({
            "input_tokens": 1_000, "input_tokens_details": { "cached_tokens": 400 }, "output_tokens": 50, "total_tokens": 1_050,
        });
        let answer = json!({ "id": format!("resp_{n}"), "object": "response", "status": "completed", "model": "m-1", "output": [], "usage": usage });
        async move { axum::Json(answer) }
    };
    let routes = Router::new().route("/v1/responses", post(answer));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    url
}

#[tokio::test]
async fn a_model_call_has_its_cost_and_the_answer_that_it_continues() {
    let (origin, folder) = (model().await, tempfile::tempdir().unwrap());
    let (file, table) = (folder.path().join("prices.toml"), "version = '7'\ncurrency = 'EUR'\n");
    let model = "[[models]]\nmodel = 'm-*'\ninput = 2\noutput = 10\ncache_read = 0.5\n";
    std::fs::write(&file, format!("{table}{model}")).unwrap();
    let proxy = TestProxy::new().with(|config| config.event.prices = Prices::read(&file).unwrap()).run().await;
    for (at, before) in [Value::Null, "resp_1".into(), "resp_2".into()].iter().enumerate() {
        let asked = json!({ "model": "m-1", "input": "hi", "previous_response_id": before });
        let post = proxy.client().post(format!("{origin}/v1/responses")).header("content-type", "application/json");
        post.body(asked.to_string()).send().await.unwrap();
        proxy.events_so_far(at + 1).await;
    }
    let stats = otas_proxy::event::Llm::parse(
        &proxy.app.store.viewer().calls(&Filter { limit: 1, ..Filter::default() }, None).unwrap()[0].call.llm,
    );
    assert_eq!(stats.unwrap().cost(), Some(0.0019));
    let events = proxy.events_so_far(3).await;
    let properties = &events[0]["custom_properties"];
    assert_eq!(properties["otas_proxy.llm.cost"], json!(0.0019), "{properties}");
    assert_eq!(
        (&properties["otas_proxy.llm.cost.currency"], &properties["otas_proxy.llm.cost.prices"]),
        (&"EUR".into(), &"7".into())
    );
    let links = |at: usize| &events[at]["metadata"]["links"];
    let turn = |before: usize| json!({ "continues": id(&events[before]), "conversation": id(&events[0]) });
    assert_eq!((links(0), links(1), links(2)), (&Value::Null, &turn(0), &turn(1)));
    proxy.stop().await;
}

fn id(event: &Value) -> &Value {
    &event["metadata"]["event"]["id"]
}

#[tokio::test]
async fn a_call_names_the_calls_that_it_retries_follows_and_continues() {
    let origin = origin().await;
    let closed = Nobody::new();
    let proxy = TestProxy::new().run().await;
    let client = proxy.client();
    let mut stored = 0;
    let mut send = async |method: &str, url: String, body: &str| {
        let request = client.request(method.parse().unwrap(), url).body(body.to_owned());
        request.send().await.unwrap();
        // The next call begins after this one has ended for the proxy, too.
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
