//! Quotas and rate limits that providers state are gauges: in `/metrics` and on the page, also those from before the start.

use otas_proxy::store::Store;
use serde_json::json;

use crate::page::client;
use crate::support::origin::TestCa;
use crate::support::proxy::{Running, TestProxy, eventually};
use crate::support::sample::{HOSTILE, Sample, append, steering, steers};
use crate::support::standin::llm::whole;
use crate::support::standin::{Reply, StandIn};

const MESSAGES: &str = "/v1/messages";
/// A moment far ahead, in Unix seconds.
const LATER: &str = "4070908800";

async fn seen(proxy: &Running, path: &str) -> String {
    let url = format!("http://{}{path}", proxy.app.admin_addr);
    client().get(url).bearer_auth(proxy.token()).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn what_a_response_states_is_a_gauge() {
    let test = TestProxy::new();
    let ca = TestCa::new(test.folder());
    let origin = StandIn::start(&ca, false, |_| {
        Reply::whole("application/json", whole(MESSAGES))
            .with("anthropic-organization-id", "0b9f5d4e-8c55-4bb1-a7a5-7f0c4c2b9d01")
            .with("anthropic-ratelimit-unified-5h-utilization", "0.42")
            .with("anthropic-ratelimit-unified-5h-reset", LATER)
            .with("anthropic-ratelimit-unified-7d-utilization", "1.02")
            .with("anthropic-ratelimit-unified-7d-status", "rejected")
            .with("x-ratelimit-limit-requests", "500")
            .with("x-ratelimit-remaining-requests", "125")
            .with("x-codex-primary-used-percent", "37.5")
    })
    .await;
    let proxy = test.trusting(&ca).run().await;
    assert!(!seen(&proxy, "/metrics").await.contains("otas_proxy_quota_used_ratio{"), "nothing is known yet");
    let ask = json!({ "model": "m-1", "max_tokens": 5, "messages": [{ "role": "user", "content": "?" }] });
    let sent = proxy.client().post(origin.url(MESSAGES)).header("content-type", "application/json");
    sent.body(ask.to_string()).send().await.unwrap().text().await.unwrap();
    let event = proxy.events_so_far(1).await.remove(0);
    assert_eq!(event["metadata"]["rate_limit"]["x-codex-primary-used-percent"], "37.5");
    let metrics = seen(&proxy, "/metrics").await;
    let of = |window: &str, model: &str| format!("{{provider=\"localhost\",window=\"{window}\",model=\"{model}\"}}");
    for line in [
        format!("otas_proxy_quota_used_ratio{} 0.42", of("5h", "")),
        format!("otas_proxy_quota_reset_timestamp_seconds{} {LATER}.0", of("5h", "")),
        format!("otas_proxy_quota_used_ratio{} 1.02", of("7d", "")),
        format!("otas_proxy_quota_rejected{} 1.0", of("7d", "")),
        format!("otas_proxy_quota_used_ratio{} 0.375", of("primary", "")),
        format!("otas_proxy_quota_used_ratio{} 0.75", of("requests", "stand-in")),
        format!("otas_proxy_quota_remaining{} 125.0", of("requests", "stand-in")),
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("0b9f5d4e"), "no account is a label: {metrics}");
    let health = seen(&proxy, "/health").await;
    for words in ["Quotas and rate limits", "102 %", "125<span class=\"dim\"> of 500", "class=\"bad\"><bdi>rejected"]
    {
        assert!(health.contains(words), "{words} in {health}");
    }
}

#[tokio::test]
async fn what_a_stream_states_counts_more_than_its_head() {
    let test = TestProxy::new();
    let ca = TestCa::new(test.folder());
    let limits = json!({
        "type": "codex.rate_limits",
        "rate_limits": {
            "primary": { "used_percent": 37.5, "window_minutes": 300, "reset_at": 4_070_908_800_i64 },
            "secondary": { "used_percent": 12, "window_minutes": 10_080 },
        },
    });
    let done = json!({ "type": "response.completed", "response": { "object": "response", "status": "completed", "model": "m-1" } });
    let events = [limits, done].map(|event| format!("data: {event}\n\n"));
    let origin =
        StandIn::start(&ca, false, move |_| Reply::events(events.clone()).with("x-codex-primary-used-percent", "36"))
            .await;
    let proxy = test.trusting(&ca).run().await;
    let ask = json!({ "model": "m-1", "input": "?", "stream": true }).to_string();
    let sent = proxy.client().post(origin.url("/v1/responses")).header("content-type", "application/json").body(ask);
    sent.send().await.unwrap().text().await.unwrap();
    let event = proxy.events_so_far(1).await.remove(0);
    let stated = &event["metadata"]["rate_limit"];
    assert_eq!((&stated["x-codex-primary-used-percent"], stated.as_object().unwrap().len()), (&json!("37.5"), 5));
    let metrics = seen(&proxy, "/metrics").await;
    for (window, used) in [("5h", 0.375), ("7d", 0.12)] {
        let line =
            format!("otas_proxy_quota_used_ratio{{provider=\"localhost\",window=\"{window}\",model=\"\"}} {used}");
        assert!(metrics.lines().any(|known| known == line), "{line} in {metrics}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn what_was_stated_before_the_start_is_known_and_stays_text() {
    let test = TestProxy::new();
    let store = Store::open(&test.folder().join("otas-proxy.db")).unwrap();
    let session = store.begin_session("run-1", "key-1", "{}").unwrap();
    let stating = |provider: &str, model: &str| {
        let mut sample = Sample::model("api.anthropic.com", MESSAGES, model, (9, 1), 9.0);
        sample.event["custom_properties"]["gen_ai.provider.name"] = provider.into();
        sample.event["custom_properties"]["gen_ai.response.model"] = model.into();
        sample.event["metadata"]["rate_limit"] = json!({
            "anthropic-ratelimit-unified-5h-utilization": "0.125", "anthropic-ratelimit-unified-5h-status": HOSTILE,
            "x-ratelimit-remaining-tokens": "7", "x-ratelimit-reset-tokens": "6ms",
        });
        sample
    };
    append(
        &store,
        session,
        &[stating("anthropic", "m-1"), stating(&steering("provider"), &format!("{HOSTILE}{}", steering("model")))],
    );
    drop(store);
    let proxy = test.run().await;
    eventually("the store's quotas are known", async || {
        seen(&proxy, "/metrics").await.contains("window=\"5h\",model=\"\"} 0.125")
    })
    .await;
    for path in ["/metrics", "/health"] {
        let text = seen(&proxy, path).await;
        assert!(text.contains("anthropic") && text.contains("provider:a"), "{path}: {text}");
        assert!(!text.contains(steers), "{path}: {text:?}");
    }
    assert!(!seen(&proxy, "/health").await.contains("<script>document"));
}
