//! Spans: the content of each span, and that the collector gets all of them, whatever happens to it or the proxy.

mod coder;
mod metrics;
mod model_calls;
mod turns;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use otas_proxy::config::{Config, Otlp, Sink};
use serde_json::Value;

use crate::support::collector::{Answer, TestCollector, attribute};
use crate::support::nobody::Nobody;
use crate::support::origin::TestOrigin;
use crate::support::program::{Folder, Served, python};
use crate::support::proxy::{Running, TestProxy, eventually};

/// A sink to this collector, in a proxy that retries soon.
fn to(url: &str) -> impl FnOnce(&mut Config) + use<> {
    let otlp = Otlp::at(&url.parse().unwrap()).unwrap();
    move |config| {
        config.sinks = vec![Sink::Otlp(Box::new(otlp))];
        config.delivery.backoff_min = Duration::from_millis(1);
        config.delivery.backoff_max = Duration::from_millis(20);
    }
}

async fn calls(proxy: &Running, origin: &TestOrigin, count: usize) {
    for n in 0..count {
        proxy.client().get(origin.url(&format!("/echo/{n}"))).send().await.unwrap();
    }
}

fn paths(spans: &[Span]) -> BTreeSet<String> {
    let path = |span: &Span| url::Url::parse(&attribute(span, "url.full").unwrap()).unwrap().path().to_owned();
    spans.iter().map(path).collect()
}

fn expected(count: usize) -> BTreeSet<String> {
    (0..count).map(|n| format!("/echo/{n}")).collect()
}

#[tokio::test]
async fn each_call_is_a_client_span_with_its_parent_and_without_secrets() {
    let (origin, collector) = (TestOrigin::http().await, TestCollector::start().await);
    let proxy = TestProxy::new().with(to(&collector.url())).run().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let url = origin.url("/echo?api_key=sk-verysecretverysecret1234&q=1");
    proxy.client().get(url).header("traceparent", trace).send().await.unwrap();
    let refused = Nobody::new();
    proxy.client().post(format!("http://{refused}/")).body("x").send().await.unwrap();
    let spans = collector.has(2).await;
    let (first, second) = (&spans[0], &spans[1]);
    assert_eq!((first.name.as_str(), first.kind, first.flags), ("GET", 3, 0x301));
    assert_eq!(hex(&first.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&first.parent_span_id), "b7ad6b7169203331");
    assert_eq!(attribute(first, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(attribute(first, "network.protocol.version").as_deref(), Some("1.1"));
    let full = attribute(first, "url.full").unwrap();
    assert!(full.contains("q=1") && !full.contains("verysecret"), "{full}");
    assert!(second.parent_span_id.is_empty());
    assert_eq!(attribute(second, "error.type").as_deref(), Some("connect_refused"));
    assert_eq!(second.status.as_ref().unwrap().code, 2);
    let stored = proxy.app.store.event(2).unwrap();
    assert_eq!(second.trace_id, stored.event_id.as_bytes(), "made from the event's id");
    let posted = &collector.posted()[0];
    assert_eq!(
        (posted.path.as_str(), &posted.headers["content-type"]),
        ("/v1/traces", &"application/x-protobuf".parse().unwrap())
    );
    proxy.stop().await;
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn temporary_failures_are_retried_and_refusals_are_counted() {
    let (origin, collector) = (TestOrigin::http().await, TestCollector::start().await);
    collector.answer(&[Answer::Status(503, Some("0")), Answer::Status(429, None), Answer::Status(502, None)]);
    let proxy = TestProxy::new().with(to(&collector.url())).run().await;
    calls(&proxy, &origin, 1).await;
    assert_eq!(paths(&collector.has(1).await), expected(1));
    assert_eq!(collector.posted().len(), 4);

    // It is not known which event a rejected span is of.
    collector.answer(&[Answer::Partial(1, "too old"), Answer::Status(400, None)]);
    calls(&proxy, &origin, 1).await;
    eventually("a span is rejected", async || proxy.status().await["sinks"][0]["rejected_spans"] == 1).await;
    let sink = &proxy.status().await["sinks"][0];
    assert_eq!((&sink["refusal"], &sink["sent"], &sink["refused"]), (&"too old".into(), &2.into(), &0.into()));
    calls(&proxy, &origin, 1).await;
    eventually("it is refused", async || proxy.status().await["sinks"][0]["refused"] == 1).await;
    let sink = &proxy.status().await["sinks"][0];
    assert_eq!((&sink["refusal"], &sink["sent"]), (&"the collector answered 400".into(), &2.into()));
    let summary = proxy.stop().await;
    assert_eq!((summary.delivered, summary.sinks[0].fed.refused), (3, 1));
    let text = "2 sent, 0 waiting, 1 refused, 1 span rejected (the collector answered 400)";
    assert!(summary.to_string().contains(text), "{summary}");
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_split() {
    let (origin, collector) = (TestOrigin::http().await, TestCollector::start().await);
    collector.answer(&[Answer::AtMost(3)]);
    let proxy = TestProxy::new().with(to(&collector.url())).run().await;
    calls(&proxy, &origin, 20).await;
    assert_eq!(paths(&collector.has(20).await), expected(20));
    assert_eq!(proxy.stop().await.sinks[0].fed.sent, 20);
}

#[tokio::test]
async fn an_unreachable_collector_gets_all_spans_later_even_from_the_next_process() {
    let origin = TestOrigin::http().await;
    let away = Nobody::new();
    let url = format!("http://{away}");
    let proxy =
        TestProxy::new().with(to(&url)).with(|config| config.delivery.drain_timeout = Duration::ZERO).run().await;
    calls(&proxy, &origin, 5).await;
    eventually("it is in trouble", async || !proxy.status().await["sinks"][0]["trouble"].is_null()).await;
    let Running { app, folder, .. } = proxy;
    let hurry = tokio_util::sync::CancellationToken::new();
    hurry.cancel();
    let summary = app.stop(Duration::ZERO, hurry, |_| {}).await;
    assert_eq!(summary.sinks[0].fed.sent, 0);

    let collector = TestCollector::on(away.listen());
    let path = folder.path().join("otas-proxy.db");
    let proxy = TestProxy::new().with(to(&url)).with(|config| config.store.path = path).run().await;
    assert_eq!(paths(&collector.has(5).await), expected(5));
    assert_eq!(proxy.stop().await.sinks[0].fed.sent, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_completes_a_section_but_enables_nothing() {
    let (origin, collector) = (TestOrigin::http().await, TestCollector::start().await);
    let url = collector.url();
    let variables = |mut command: Command| {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &url).env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=an%20own%20key");
        command.env("OTEL_SERVICE_NAME", "agent-7").env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
        command
    };
    let folder = Folder::new();
    folder.configure("");
    let served = Served::start(folder, variables);
    served.client().get(origin.url("/echo/0")).send().await.unwrap();
    eventually("it is stored", async || served.events().len() == 1).await;
    let folder = served.into_folder();
    folder.configure("[[sinks]]\ntype = 'otlp'\n");
    let served = Served::start(folder, variables);
    served.client().get(origin.url("/echo/1")).send().await.unwrap();
    let spans = collector.has(1).await;
    let one: BTreeSet<String> = ["/echo/1".to_owned()].into();
    assert_eq!(paths(&spans), one, "events before the sink existed are not sent");
    let posted = &collector.posted()[0];
    assert_eq!(
        (&posted.headers["x-key"], &posted.headers["content-encoding"]),
        (&"an own key".parse().unwrap(), &"gzip".parse().unwrap())
    );
    let resource = posted.request.resource_spans[0].resource.clone().unwrap();
    let of_resource = Span { attributes: resource.attributes, ..Span::default() };
    assert_eq!(attribute(&of_resource, "service.name").as_deref(), Some("agent-7"));
}

#[tokio::test]
async fn the_official_definitions_parse_our_spans() {
    let script = "
import json, sys
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
request = ExportTraceServiceRequest()
request.ParseFromString(sys.stdin.buffer.read())
print(json.dumps(MessageToDict(request)))
";
    let found = Command::new(python()).args(["-c", "import opentelemetry.proto.trace.v1.trace_pb2"]).output();
    if !found.is_ok_and(|done| done.status.success()) {
        assert!(std::env::var("OTAS_REQUIRE_CLIENTS").as_deref() != Ok("1"), "opentelemetry-proto is not installed");
        let _ = writeln!(
            std::io::stderr(),
            "Python's opentelemetry-proto is not installed, so this was NOT tested (run ./check.sh once)"
        );
        return;
    }
    let (origin, collector) = (TestOrigin::http().await, TestCollector::start().await);
    let proxy = TestProxy::new().with(to(&collector.url())).run().await;
    proxy.client().post(origin.url("/echo/0")).body("hello").send().await.unwrap();
    collector.has(1).await;
    let mut python =
        Command::new(python()).args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(&collector.posted()[0].bytes).unwrap();
    let done = python.wait_with_output().unwrap();
    assert!(done.status.success());
    let read: Value = serde_json::from_slice(&done.stdout).unwrap();
    let span = &read["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!((&span["name"], &span["kind"]), (&"POST".into(), &"SPAN_KIND_CLIENT".into()));
    let attribute = |name: &str| {
        span["attributes"].as_array().unwrap().iter().find(|pair| pair["key"] == name).unwrap()["value"].clone()
    };
    assert_eq!(attribute("http.request.method")["stringValue"], "POST");
    assert_eq!(attribute("http.request.body.size")["intValue"], "5");
    proxy.stop().await;
}
