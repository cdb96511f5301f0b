//! From an agent's call to the event that OTAS saved: unusual, large, damaged and secret content arrives with its
//! meaning intact, within every measured limit of OTAS.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use crate::redaction::untagged;
use crate::support::nobody::Nobody;
use crate::support::origin::{Act, RawOrigin, TestCa, TestOrigin, hex, pattern};
use crate::support::otas::TestOtas;
use crate::support::program::content_of;
use crate::support::proxy::{Running, TestProxy, read_until};

const WITHIN: Duration = Duration::from_secs(20);

/// An origin, the proxy, and a strict OTAS that receives the events.
struct Chain {
    origin: TestOrigin,
    proxy: Running,
    otas: TestOtas,
}

impl Chain {
    async fn start() -> Self {
        Self::with(|proxy| proxy).await
    }

    async fn with(change: impl FnOnce(TestProxy) -> TestProxy) -> Self {
        let otas = TestOtas::start().await;
        let proxy = change(TestProxy::new().otas(&otas)).run().await;
        Self { origin: TestOrigin::http().await, proxy, otas }
    }

    /// Posts `body` to the origin, which sends it back.
    async fn echo(&self, content_type: &str, body: impl Into<reqwest::Body>) -> reqwest::Response {
        let post = self.proxy.client().post(self.origin.url("/echo"));
        post.header("content-type", content_type).body(body).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.proxy.client().get(self.origin.url(path)).send().await.unwrap()
    }

    /// The only event, once the strict OTAS has saved it.
    async fn event(self) -> Value {
        let [event] = self.events(1).await.try_into().unwrap();
        event
    }

    /// All `n` events; none was refused and none is left.
    async fn events(self, n: u64) -> Vec<Value> {
        self.otas.events_at_least(n, WITHIN).await;
        let summary = self.proxy.stop().await;
        assert_eq!((summary.calls, summary.delivered, summary.failed), (n, n, 0), "{summary}");
        assert_eq!(self.otas.refused(), []);
        self.otas.events().await
    }
}

/// The event of one exchange with an origin that acts like this; `HOST` in the request is its address.
async fn event_of(acts: Vec<Act>, request: &str) -> Value {
    let origin = RawOrigin::start(acts).await;
    let chain = Chain::start().await;
    chain.proxy.raw(request.replace("HOST", &origin.addr.to_string()).as_bytes()).await;
    chain.event().await
}

fn answer(head: &str, body: &[u8]) -> Vec<Act> {
    let head = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n", body.len());
    vec![Act::Write([head.as_bytes(), body].concat())]
}

fn get(path: &str, fields: &str) -> String {
    format!("GET http://HOST{path} HTTP/1.1\r\nHost: HOST\r\n{fields}Connection: close\r\n\r\n")
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap()
}

/// Parses a field whose text is JSON.
fn inner(event: &Value, field: &str) -> Value {
    serde_json::from_str(text(event, field)).unwrap()
}

// ---- The whole of an event

#[tokio::test]
async fn an_event_holds_the_request_and_the_response() {
    let chain = Chain::start().await;
    let host = format!("localhost:{}", chain.origin.addr.port());
    let reply = chain.proxy.client().get(chain.origin.url("/v1/models?limit=2&x=%20"));
    assert_eq!(
        reply.header("user-agent", "agent/1").send().await.unwrap().text().await.unwrap(),
        r#"{"hello":"agent"}"#
    );
    let peer_port = chain.origin.addr.port();
    let event = chain.event().await;
    for (field, value) in [
        ("path", json!("/v1/models")),
        ("method", json!("GET")),
        ("status_code", json!(200)),
        ("query_params", json!("limit=2&x=%20")),
        ("request_body", json!("")),
        ("post_data", json!("")),
        ("request_size_bytes", json!(0)),
        ("response_size_bytes", json!(17)),
        ("response_body", json!(r#"{"hello":"agent"}"#)),
        ("request_content_type", json!("")),
        ("response_content_type", json!("application/json")),
        ("error", json!("")),
    ] {
        assert_eq!(event[field], value, "{field}");
    }
    assert_eq!(inner(&event, "request_headers")["host"], host);
    assert_eq!(inner(&event, "response_headers")["x-origin"], "test");
    let properties = &event["custom_properties"];
    assert_eq!(properties["server.address"], "localhost");
    assert_eq!(properties["server.port"], peer_port);
    assert_eq!(properties["url.scheme"], "http");
    assert_eq!(properties["http.response.status_code"], 200);
    assert_eq!(properties["network.protocol.version"], "1.1");
    assert_eq!(properties["user_agent.original"], "agent/1");
    let metadata = &event["metadata"];
    assert_eq!(metadata["proxy"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&metadata["kind"], &metadata["outcome"]), (&json!("http"), &json!("complete")));
    assert_eq!(metadata["capture"]["response"], json!({"bytes": 17, "end": "complete", "encoding": "UTF-8"}));
    assert!(metadata.get("cut").is_none() && metadata["redactions"] == 0);
}

#[tokio::test]
async fn events_have_their_number_their_id_and_their_true_start() {
    let before = OffsetDateTime::now_utc();
    let chain = Chain::start().await;
    for at in 0..12 {
        chain.get(&format!("/{at}")).await.bytes().await.unwrap();
    }
    let mut events = chain.events(12).await;
    events.sort_by_key(|event| event["metadata"]["event"]["seq"].as_u64());
    let mut ids = BTreeSet::new();
    // With milliseconds.
    let mut last = before - Duration::from_millis(1);
    for (at, event) in events.iter().enumerate() {
        let metadata = &event["metadata"];
        assert_eq!(metadata["event"]["seq"], at + 1);
        assert_eq!(event["path"], format!("/{at}"));
        let id: Uuid = metadata["event"]["id"].as_str().unwrap().parse().unwrap();
        assert_eq!(id.get_version_num(), 7);
        ids.insert(id);
        let started = OffsetDateTime::parse(metadata["started_at"].as_str().unwrap(), &Rfc3339).unwrap();
        assert!(started >= last && started <= OffsetDateTime::now_utc(), "{last} then {started}");
        last = started;
        let latency = event["latency_ms"].as_f64().unwrap();
        let total = metadata["timings"]["total"].as_f64().unwrap();
        assert!(latency > 0.0 && latency <= total, "{latency} of {total}");
        assert_eq!((latency * 100.0).round() / 100.0, latency, "two decimals");
    }
    assert_eq!(ids.len(), 12);
}

#[tokio::test]
async fn latency_is_the_origins_and_timings_show_its_parts() {
    let chain = Chain::start().await;
    let client = chain.proxy.client();
    let post = client.post(chain.origin.url("/slow/120")).body("a question");
    post.send().await.unwrap().bytes().await.unwrap();
    client.get(chain.origin.url("/again")).send().await.unwrap().bytes().await.unwrap();
    let events = chain.events(2).await;
    let slow = events.iter().find(|event| event["path"] == "/slow/120").unwrap();
    assert!(slow["latency_ms"].as_f64().unwrap() >= 120.0);
    let timings = &slow["metadata"]["timings"];
    assert!(timings["wait"].as_f64().unwrap() >= 120.0, "{timings}");
    for part in ["dns", "connect", "send", "receive"] {
        assert!(timings[part].as_f64().is_some(), "{part}: {timings}");
    }
    assert_eq!(slow["metadata"]["upstream"]["reused"], false);
    let again = events.iter().find(|event| event["path"] == "/again").unwrap();
    assert_eq!(again["metadata"]["upstream"]["reused"], true);
    assert!(again["metadata"]["timings"].get("connect").is_none());
}

#[tokio::test]
async fn over_https_an_event_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let origin = TestOrigin::h2(&ca).await;
    let chain = Chain::with(|proxy| proxy.trusting(&ca)).await;
    let client = reqwest::Client::builder()
        .proxy(reqwest::Proxy::all(chain.proxy.url()).unwrap())
        .tls_backend_preconfigured(chain.proxy.client_tls(&[b"http/1.1"]));
    let url = origin.url("/a?b=c");
    client.build().unwrap().get(&url).send().await.unwrap().bytes().await.unwrap();
    let event = chain.event().await;
    assert_eq!((&event["path"], &event["query_params"]), (&json!("/a"), &json!("b=c")));
    assert_eq!(event["custom_properties"]["url.scheme"], "https");
    assert_eq!(event["metadata"]["upstream"]["tls_version"], "TLSv1.3");
    assert_eq!(inner(&event, "request_headers")["host"], format!("localhost:{}", origin.addr.port()));
}

// ---- Text that OTAS's database rejects

#[tokio::test]
async fn nul_bytes_are_replaced_where_they_are_text_and_kept_in_base64_where_not() {
    let chain = Chain::start().await;
    chain.echo("text/plain", "a\0b").await.bytes().await.unwrap();
    chain.echo("application/octet-stream", "a\0b").await.bytes().await.unwrap();
    // The escape is six harmless characters of the text; the raw byte is a NUL.
    chain.echo("application/json", "{\"escaped\":\"\\u0000\",\"raw\":\"\0\"}").await.bytes().await.unwrap();
    let events = chain.events(3).await;
    let shown = |content_type: &str| {
        let event = events.iter().find(|event| event["request_content_type"] == content_type).unwrap();
        let encoding = event["metadata"]["capture"]["request"]["encoding"].as_str().unwrap();
        assert_eq!(event["request_size_bytes"], event["response_size_bytes"]);
        (text(event, "request_body").to_owned(), encoding.to_owned())
    };
    assert_eq!(shown("text/plain"), ("a\u{FFFD}b".into(), "UTF-8".into()));
    assert_eq!(shown("application/octet-stream"), (data_url("application/octet-stream", b"a\0b"), "base64".into()));
    let json = "{\"escaped\":\"\\u0000\",\"raw\":\"\u{FFFD}\"}";
    assert_eq!(shown("application/json"), (json.into(), "UTF-8".into()));
}

/// Bytes in the format of an event.
fn data_url(media_type: &str, bytes: &[u8]) -> String {
    format!("data:{media_type};base64,{}", STANDARD.encode(bytes))
}

#[tokio::test]
async fn lone_surrogates_stay_text_when_escaped_and_are_base64_when_raw() {
    let chain = Chain::start().await;
    let escaped = r#"{"half":"\ud800","other half":"\uDC00 \ud800\ud800"}"#;
    let raw = b"{\"half\":\"\xED\xA0\x80\"}";
    let reply = chain.echo("application/json", escaped).await;
    assert_eq!(reply.text().await.unwrap(), escaped);
    let reply = chain.echo("application/json;raw", raw.to_vec()).await;
    assert_eq!(reply.bytes().await.unwrap(), raw.as_slice());
    let events = chain.events(2).await;
    for event in events {
        let encoding = &event["metadata"]["capture"]["request"]["encoding"];
        if event["request_content_type"] == "application/json" {
            assert_eq!((text(&event, "request_body"), encoding), (escaped, &json!("UTF-8")));
        } else {
            assert_eq!(
                (text(&event, "request_body"), encoding),
                (&*data_url("application/json", raw), &json!("base64"))
            );
        }
    }
}

#[tokio::test]
async fn invalid_utf_8_anywhere_is_saved() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nX-Odd: caf\xE9\r\nContent-Length: 4\r\n\r\ncaf\xE9";
    let origin = RawOrigin::start(vec![Act::Write(head.to_vec())]).await;
    let chain = Chain::start().await;
    let mut agent = chain.proxy.connect().await;
    let request = format!(
        "POST http://{0}/%FF%00?q=%FF%00 HTTP/1.1\r\nHost: {0}\r\nX-Odd: \u{E9}\r\nContent-Length: 3\r\n\r\n",
        origin.addr
    );
    agent.write_all(&[request.as_bytes(), b"\xFF\xFE\xFD"].concat()).await.unwrap();
    read_until(&mut agent, "caf").await;
    drop(agent);
    let event = chain.event().await;
    assert_eq!((text(&event, "path"), text(&event, "query_params")), ("/%FF%00", "q=%FF%00"));
    assert_eq!(text(&event, "request_body"), data_url("application/octet-stream", b"\xFF\xFE\xFD"));
    assert_eq!(event["metadata"]["capture"]["request"]["encoding"], "base64");
    // Old servers declare no charset or a wrong one, and mean windows-1252.
    assert_eq!(text(&event, "response_body"), "café");
    assert_eq!(event["metadata"]["capture"]["response"]["encoding"], "windows-1252");
    assert_eq!(inner(&event, "response_headers")["x-odd"], "café");
    assert_eq!(inner(&event, "request_headers")["x-odd"], "é");
}

#[tokio::test]
async fn a_binary_body_is_base64_and_says_so() {
    let chain = Chain::start().await;
    let body = pattern(3, 1_000);
    let reply = chain.echo("image/png", body.clone()).await;
    assert_eq!(reply.bytes().await.unwrap(), body);
    let event = chain.event().await;
    // The origin declares no content type.
    for (side, media_type) in [("request", "image/png"), ("response", "application/octet-stream")] {
        assert_eq!(text(&event, &format!("{side}_body")), data_url(media_type, &body), "{side}");
        let capture = &event["metadata"]["capture"][side];
        assert_eq!(*capture, json!({"bytes": 1_000, "end": "complete", "encoding": "base64"}), "{side}");
        assert_eq!(event[format!("{side}_size_bytes")], 1_000);
    }
}

// ---- Content that does not fit

#[tokio::test]
async fn a_5_mib_body_both_ways_is_cut_with_a_mark_and_keeps_its_size() {
    const SIZE: usize = 5 << 20;
    let chain = Chain::with(|proxy| proxy.with(|c| c.capture.body_max_bytes = 0)).await;
    // First without escapes, then with many.
    for (content_type, piece) in [
        ("text/plain", "0123456789abcdef"),
        ("application/json", "\"\\\n\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}"),
    ] {
        let body = piece.repeat(SIZE / piece.len());
        assert_eq!(body.len(), SIZE);
        assert!(chain.echo(content_type, body.clone()).await.text().await.unwrap() == body);
    }
    let events = chain.events(2).await;
    for event in events {
        for side in ["request", "response"] {
            assert_eq!(event[format!("{side}_size_bytes")], SIZE);
            let capture = &event["metadata"]["capture"][side];
            assert_eq!(capture["bytes"], SIZE);
            let omitted = SIZE - (256 << 10) - (64 << 10);
            assert_eq!(capture["omitted"], omitted);
            let shown = text(&event, &format!("{side}_body"));
            if event["request_content_type"] == "text/plain" {
                assert!(shown.contains("\n…[otas-proxy: 4,915,200 of 5,242,880 bytes not kept]…\n"));
                assert!(shown.starts_with("0123456789abcdef") && shown.ends_with("0123456789abcdef"));
            } else {
                // Two bodies of 320 KiB in which nearly every byte needs six do not fit.
                assert!(shown.starts_with("\"\\\n\u{1}") && shown.contains("…[otas-proxy: "), "{side}");
            }
        }
    }
}

#[tokio::test]
async fn with_everything_kept_two_bodies_of_5_mib_still_fit_the_event() {
    const SIZE: usize = 5 << 20;
    let chain = Chain::with(|proxy| proxy.with(|c| c.capture.body_max_bytes = 2 * SIZE)).await;
    let body = "\u{1}".repeat(SIZE);
    assert!(chain.echo("text/plain", body.clone()).await.text().await.unwrap() == body);
    let event = chain.event().await;
    assert_eq!(event["metadata"]["cut"], json!({"request_body": true, "response_body": true}));
    for side in ["request", "response"] {
        assert_eq!(event[format!("{side}_size_bytes")], SIZE);
        assert!(text(&event, &format!("{side}_body")).ends_with("OTAS's limit of 2,621,440 bytes an event]…\n"));
    }
    assert!(event.to_string().len() <= 2_621_440);
}

#[tokio::test]
async fn a_path_of_6_000_bytes_is_cut_for_the_index_and_whole_in_metadata() {
    let path: String = format!("/{}", hex(&pattern(0, 3_000)));
    let event = event_of(answer("", b"ok"), &get(&format!("{path}?q=1"), "")).await;
    let shown = text(&event, "path");
    assert!(shown.len() <= 2_600 && shown.ends_with("…[cut]"), "{}", shown.len());
    assert!(path.starts_with(shown.strip_suffix("…[cut]").unwrap()));
    assert_eq!(event["metadata"]["cut"], json!({"path_bytes": 6_001, "path": path}));
    assert_eq!(event["query_params"], "q=1");
}

#[tokio::test]
async fn a_content_type_of_400_bytes_and_a_method_of_30_characters_are_cut() {
    let content_type = format!("application/json; x={}", "a".repeat(380));
    let method = "A".repeat(30);
    let request = format!(
        "{method} http://HOST/ HTTP/1.1\r\nHost: HOST\r\nContent-Type: {content_type}\r\nContent-Length: 2\r\n\
         Connection: close\r\n\r\n{{}}"
    );
    let event = event_of(answer(&format!("Content-Type: {content_type}\r\n"), b"{}"), &request).await;
    for side in ["request", "response"] {
        let shown = text(&event, &format!("{side}_content_type"));
        assert_eq!(shown, format!("{}…[cut]", &content_type[..249]), "{side}");
        assert_eq!(inner(&event, &format!("{side}_headers"))["content-type"], content_type, "{side}");
    }
    assert_eq!(text(&event, "method"), format!("{}…[cut]", "A".repeat(14)));
    assert_eq!(event["metadata"]["cut"]["method"], method);
}

#[tokio::test]
async fn a_gzip_bomb_is_decompressed_only_to_the_limit() {
    let chain = Chain::start().await;
    let packed = chain.get("/bomb").await.bytes().await.unwrap().len();
    let event = chain.event().await;
    assert_eq!(event["response_size_bytes"], packed);
    let shown = text(&event, "response_body");
    assert!(shown.starts_with('\u{FFFD}') && shown.len() < 2_621_440, "{} bytes", shown.len());
    let capture = &event["metadata"]["capture"]["response"];
    assert_eq!((&capture["decoded"], &capture["content_encoding"]), (&json!("capped"), &json!("gzip")));
    assert_eq!(capture["decoded_bytes"], 16 << 20);
}

#[tokio::test]
async fn a_compressed_body_is_shown_as_its_text() {
    let chain = Chain::start().await;
    let packed = chain.get("/gzip").await.bytes().await.unwrap().len();
    let event = chain.event().await;
    assert_eq!(text(&event, "response_body"), "compressed text, compressed text. ".repeat(100));
    assert_eq!(event["response_size_bytes"], packed);
    assert_eq!(inner(&event, "response_headers")["content-encoding"], "gzip");
    assert_eq!(event["metadata"]["capture"]["response"]["decoded"], "whole");
}

/// Over HTTP/2, because HTTP/1 libraries stop at 100 fields.
#[tokio::test]
async fn two_hundred_fields_of_60_kb_are_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let origin = TestOrigin::h2(&ca).await;
    let chain = Chain::with(|proxy| proxy.trusting(&ca)).await;
    let value = |at: usize| format!("{at}-{}", "v".repeat(290));
    let mut fields = HeaderMap::new();
    for at in 0..200 {
        fields.insert(HeaderName::try_from(format!("x-field-{at}")).unwrap(), value(at).parse().unwrap());
    }
    let request = Request::get(origin.url("/")).body(Empty::new()).unwrap();
    let (mut head, body) = request.into_parts();
    head.headers = fields;
    let mut agent = http_2_agent(&chain.proxy, origin.addr.port()).await;
    let reply = agent.send_request(Request::from_parts(head, body)).await.unwrap();
    assert_eq!(reply.status(), 200);
    drop((reply, agent));
    let event = chain.event().await;
    let headers = inner(&event, "request_headers");
    for at in 0..200 {
        assert_eq!(headers[format!("x-field-{at}")], value(at));
    }
    assert!(event["metadata"].get("cut").is_none());
}

/// A connection through the proxy's tunnel to `localhost`, over TLS with `h2`.
async fn http_2_agent(proxy: &Running, port: u16) -> http2::SendRequest<Empty<Bytes>> {
    let mut tunnel = proxy.connect().await;
    tunnel
        .write_all(format!("CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
        .await
        .unwrap();
    assert!(read_until(&mut tunnel, "\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
    let tls = tokio_rustls::TlsConnector::from(std::sync::Arc::new(proxy.client_tls(&[b"h2"])));
    let stream = tls.connect("localhost".try_into().unwrap(), tunnel).await.unwrap();
    let (agent, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    agent
}

#[tokio::test]
async fn repeated_fields_are_arrays_in_their_order() {
    let head = "X-Many: 1\r\nX-One: 1\r\nX-Many: 2\r\nx-many: 1\r\n";
    let event = event_of(answer(head, b"ok"), &get("/", "Accept: a\r\nAccept: b\r\n")).await;
    assert_eq!(inner(&event, "request_headers")["accept"], json!(["a", "b"]));
    let headers = inner(&event, "response_headers");
    assert_eq!((&headers["x-many"], &headers["x-one"]), (&json!(["1", "2", "1"]), &json!("1")));
}

// ---- Failed calls

#[tokio::test]
async fn a_reset_in_the_middle_of_a_body_is_reported_with_the_bytes_before_it() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nthe first part";
    let origin = RawOrigin::start(vec![Act::Write(head.to_vec()), Act::Await(b"go on".to_vec()), Act::Reset]).await;
    let chain = Chain::start().await;
    let mut agent = chain.proxy.connect().await;
    let request = format!("POST http://{0}/r HTTP/1.1\r\nHost: {0}\r\nContent-Length: 5\r\n\r\n", origin.addr);
    agent.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut agent, "the first part").await;
    agent.write_all(b"go on").await.unwrap();
    let event = chain.event().await;
    assert!(text(&event, "error").starts_with("origin_reset: "), "{}", event["error"]);
    assert!(text(&event, "error").contains("14 bytes"), "{}", event["error"]);
    assert_eq!((&event["status_code"], &event["response_body"]), (&json!(200), &json!("the first part")));
    assert_eq!(event["response_size_bytes"], 14);
    assert_eq!(event["metadata"]["capture"]["response"]["end"], "sender_failed");
    assert_eq!(event["custom_properties"]["error.type"], "origin_reset");
    assert_eq!(event["metadata"]["outcome"], "failed");
}

#[tokio::test]
async fn an_agent_that_leaves_in_the_middle_of_a_response_is_reported() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n";
    let acts = vec![Act::Write(head.to_vec()), Act::Await(b"never sent".to_vec())];
    let origin = RawOrigin::start(acts).await;
    let chain = Chain::start().await;
    let mut agent = chain.proxy.connect().await;
    agent
        .write_all(format!("GET http://{0}/sse HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.addr).as_bytes())
        .await
        .unwrap();
    read_until(&mut agent, "data: 1").await;
    drop(agent);
    let event = chain.event().await;
    assert!(text(&event, "error").starts_with("agent_left: "), "{}", event["error"]);
    assert_eq!((&event["status_code"], &event["response_body"]), (&json!(200), &json!("data: 1\n\n")));
    assert_eq!(event["metadata"]["capture"]["response"]["end"], "receiver_left");
}

#[tokio::test]
async fn an_agent_that_leaves_in_the_middle_of_a_request_is_reported() {
    let origin = RawOrigin::start(vec![Act::Await(b"half a que".to_vec()), Act::Await(b"never sent".to_vec())]).await;
    let chain = Chain::start().await;
    let mut agent = chain.proxy.connect().await;
    let head = format!("POST http://{0}/q HTTP/1.1\r\nHost: {0}\r\nContent-Length: 100\r\n\r\n", origin.addr);
    agent.write_all(format!("{head}half a que").as_bytes()).await.unwrap();
    while !origin.received().ends_with("half a que") {
        tokio::task::yield_now().await;
    }
    drop(agent);
    let event = chain.event().await;
    assert_ne!(event["error"], "");
    assert_eq!((&event["path"], &event["request_body"]), (&json!("/q"), &json!("half a que")));
    assert_eq!(event["request_size_bytes"], 10);
    assert_eq!(event["metadata"]["capture"]["request"]["end"], "sender_failed");
    assert_eq!(event["metadata"]["outcome"], "failed");
}

#[tokio::test]
async fn an_unreachable_origin_is_an_event_with_our_response() {
    let closed = Nobody::new();
    let chain = Chain::start().await;
    let plain = format!("GET http://{closed}/a HTTP/1.1\r\nHost: {closed}\r\nConnection: close\r\n\r\n");
    let tunnel = format!("CONNECT {closed} HTTP/1.1\r\nHost: {closed}\r\nConnection: close\r\n\r\n");
    for request in [plain, tunnel] {
        let reply = chain.proxy.raw(request.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 502 "), "{reply}");
    }
    for event in chain.events(2).await {
        let method = &event["method"];
        assert!(
            text(&event, "error").starts_with("connect_refused: cannot connect to "),
            "{method}: {}",
            event["error"]
        );
        assert_eq!(event["status_code"], 502, "{method}");
        assert_eq!(inner(&event, "response_body")["error"]["code"], "connect_refused", "{method}");
        assert_eq!(event["response_content_type"], "application/problem+json", "{method}");
        assert_eq!(event["custom_properties"]["http.response.status_code"], Value::Null, "{method}");
        // OTAS's page shows the path but no host.
        let path = if *method == "CONNECT" { closed.to_string() } else { "/a".to_owned() };
        assert_eq!(event["path"], path, "{method}");
        let kind = if *method == "CONNECT" { "tunnel" } else { "http" };
        assert_eq!(event["metadata"]["kind"], kind);
    }
}

#[tokio::test]
async fn an_unread_tunnel_has_its_sizes() {
    let origin = RawOrigin::start(vec![Act::Write(b"220 hello\r\n".to_vec()), Act::Close]).await;
    let chain = Chain::start().await;
    let mut agent = chain.proxy.connect().await;
    agent.write_all(format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.addr).as_bytes()).await.unwrap();
    read_until(&mut agent, "\r\n\r\n").await;
    agent.write_all(b"\0not TLS\r\n\r\n").await.unwrap();
    read_until(&mut agent, "220 hello\r\n").await;
    drop(agent);
    let event = chain.event().await;
    assert_eq!((&event["method"], &event["status_code"]), (&json!("CONNECT"), &json!(200)));
    assert_eq!((&event["request_size_bytes"], &event["response_size_bytes"]), (&json!(12), &json!(11)));
    assert!(text(&event, "response_body").contains("11 bytes of a tunnel that was relayed unread"));
    assert_eq!(event["custom_properties"]["url.scheme"], "tcp");
}

#[tokio::test]
async fn statuses_from_400_on_are_errors_by_name() {
    let chain = Chain::start().await;
    let table = [
        (200, ""),
        (399, ""),
        (400, "http_400: Bad Request"),
        (429, "http_429: Too Many Requests"),
        (500, "http_500: Internal Server Error"),
        (599, "http_599"),
    ];
    for (status, _) in table {
        assert_eq!(chain.get(&format!("/status/{status}")).await.status().as_u16(), status);
    }
    let events = chain.events(table.len() as u64).await;
    for (status, error) in table {
        let event = events.iter().find(|event| event["status_code"] == status).unwrap();
        assert_eq!(event["error"], error);
        assert_eq!(event["metadata"]["outcome"], "complete");
    }
}

#[tokio::test]
async fn with_error_from_status_0_no_status_is_an_error() {
    let chain = Chain::with(|proxy| proxy.with(|c| c.event.error_from_status = 0)).await;
    chain.get("/status/503").await.bytes().await.unwrap();
    let event = chain.event().await;
    assert_eq!((&event["status_code"], &event["error"]), (&json!(503), &json!("")));
}

// ---- Added properties, and secrets

#[tokio::test]
async fn configured_properties_are_in_every_event() {
    let mine =
        [("team", "agents"), ("weird \"name\"\0", "value \0 \u{1F980}"), ("server.address", "not ours to give")];
    let chain = Chain::with(|proxy| {
        proxy.with(|c| c.event.properties = mine.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    })
    .await;
    chain.get("/").await.bytes().await.unwrap();
    let event = chain.event().await;
    let properties = &event["custom_properties"];
    assert_eq!(properties["team"], "agents");
    assert_eq!(properties["weird \"name\"\u{FFFD}"], "value \u{FFFD} \u{1F980}");
    assert_eq!(properties["server.address"], "localhost");
}

#[tokio::test]
async fn a_form_is_shown_by_its_fields() {
    let chain = Chain::start().await;
    let form = "name=J%C3%BCrgen+B&tag=1&tag=2&empty=";
    chain.echo("application/x-www-form-urlencoded", form).await.bytes().await.unwrap();
    let event = chain.event().await;
    assert_eq!(inner(&event, "post_data"), json!({"name": "Jürgen B", "tag": ["1", "2"], "empty": ""}));
    assert_eq!(event["request_body"], form);
}

#[tokio::test]
async fn secrets_reach_the_origin_and_neither_otas_nor_the_disk() {
    const CANARY: &str = "c4n4ry-0f-4-s3cr3t-that-nobody-may-see";
    let head = format!("Set-Cookie: sid={CANARY}; Path=/\r\nSet-Cookie: other={CANARY}\r\n");
    let origin = RawOrigin::start(answer(&head, b"ok")).await;
    let otas = TestOtas::start().await;
    let proxy = TestProxy::new().otas(&otas).run().await;
    let form = format!("password={CANARY}&client_secret={CANARY}&max_tokens=5");
    let request = format!(
        "POST http://{0}/login?api_key={CANARY}&token={CANARY}&page=1 HTTP/1.1\r\nHost: {0}\r\n\
         Authorization: Bearer {CANARY}\r\nProxy-Authorization: Basic {CANARY}\r\nCookie: a={CANARY}; b={CANARY}\r\n\
         X-Api-Key: {CANARY}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {1}\r\n\
         Connection: close\r\n\r\n{form}",
        origin.addr,
        form.len()
    );
    let reply = proxy.raw(request.as_bytes()).await;
    assert_eq!(reply.matches(CANARY).count(), 2, "the agent gets its cookies");
    let saved = otas.events_at_least(1, WITHIN).await;
    // All except Proxy-Authorization, which is only for the proxy.
    let mut received = origin.received();
    while received.matches(CANARY).count() < 8 {
        tokio::task::yield_now().await;
        received = origin.received();
    }

    let folder = proxy.folder.path().to_owned();
    assert_eq!(files_with(&folder, CANARY.as_bytes()), [] as [String; 0], "while it runs");
    assert!(!files_with(&folder, b"/login").is_empty(), "the event is there");
    let Running { app, folder, .. } = proxy;
    app.stop(WITHIN, tokio_util::sync::CancellationToken::new(), |_| {}).await;
    assert_eq!(files_with(folder.path(), CANARY.as_bytes()), [] as [String; 0], "after it was stopped");
    assert_eq!(otas.refused(), []);

    assert!(!saved[0].to_string().contains(CANARY), "{:#}", saved[0]);
    let event = &untagged(&saved[0]);
    let headers = inner(event, "request_headers");
    assert_eq!(headers["authorization"], "Bearer ****-see");
    assert_eq!(headers["x-api-key"], "****-see");
    assert_eq!(headers["cookie"], "a=****-see; b=****-see");
    assert_eq!(inner(event, "response_headers")["set-cookie"], json!(["sid=****-see; Path=/", "other=****-see"]));
    assert_eq!(event["query_params"], "api_key=****-see&token=****-see&page=1");
    let fields = json!({"password": "****", "client_secret": "****-see", "max_tokens": "5"});
    assert_eq!(inner(event, "post_data"), fields);
    assert_eq!(event["request_body"], "password=****&client_secret=****-see&max_tokens=5");
    assert!(event["metadata"]["redactions"].as_u64().unwrap() >= 9);
}

#[tokio::test]
async fn a_password_in_a_url_is_shown_nowhere() {
    const CANARY: &str = "c4n4ry-p4ssw0rd";
    let origin = RawOrigin::start(answer("", b"ok")).await;
    let closed = Nobody::new();
    let chain = Chain::start().await;
    let served = format!("http://user:{CANARY}@{}/", origin.addr);
    let unreachable = format!("http://user:{CANARY}@{closed}/");
    let not_ours = format!("ftp://user:{CANARY}@{closed}/");
    for (url, status) in [(served, 200), (unreachable, 502), (not_ours, 400)] {
        let reply = chain
            .proxy
            .raw(format!("GET {url} HTTP/1.1\r\nHost: {closed}\r\nConnection: close\r\n\r\n").as_bytes())
            .await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")) && !reply.contains(CANARY), "{reply}");
    }
    for event in chain.events(3).await {
        assert!(!event.to_string().contains(CANARY), "{event:#}");
    }
}

/// The files under `folder` that hold these bytes.
fn files_with(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if content_of(&path).windows(bytes.len()).any(|window| window == bytes) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn without_memory_for_bodies_sizes_stay_true_and_the_event_says_so() {
    let chain = Chain::with(|proxy| {
        proxy.with(|c| (c.capture.body_max_bytes, c.capture.body_head_bytes, c.capture.body_tail_bytes) = (0, 0, 0))
    })
    .await;
    let post = chain.proxy.client().request(Method::PUT, chain.origin.url("/echo"));
    post.body(vec![b'x'; 5_000]).send().await.unwrap().bytes().await.unwrap();
    let event = chain.event().await;
    for side in ["request", "response"] {
        assert_eq!(event[format!("{side}_size_bytes")], 5_000);
        assert!(text(&event, &format!("{side}_body")).contains("5,000 of 5,000 bytes not kept"));
    }
}
