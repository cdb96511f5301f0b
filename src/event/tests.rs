//! Laws of whole events: any exchange fits OTAS's limits, sizes stay true, and no secret is left anywhere.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::llm::tests::facts;
use super::testing::context;
use super::{Context, Event, build, with_project_id};
use crate::capture::{
    BodyEnd, Caller, Captured, Exchange, Failure, Fields, Kind, Origin, Outcome, RequestFacts, ResponseFacts,
    SocketFacts, Timings, TlsFacts, WebSocket,
};
use crate::codings::testing::{br, gzip, zlib, zstd};
use crate::config::{CaptureLevel, Redact};
use crate::hosts::{HostRule, HostRules};
use crate::redact::testing::{settings, untagged};
use crate::redact::{Fingerprint, Redactor};

const PROJECT: &str = "123e4567-e89b-12d3-a456-426614174000";

/// Checks the contract's "Measured limits" and the types of Brain's columns.
pub(super) fn check(body: &[u8]) -> Result<Value, String> {
    if body.len() > 2_621_440 {
        return Err(format!("{} bytes", body.len()));
    }
    let event: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    no_nul(&event)?;
    for field in ["project_id", "path", "method"] {
        event[field].as_str().filter(|text| !text.is_empty()).ok_or(format!("{field} is missing"))?;
    }
    let text = |field: &str| event[field].as_str().ok_or(format!("{field} is no string"));
    for field in ["request_headers", "response_headers"] {
        serde_json::from_str::<BTreeMap<String, Value>>(text(field)?).map_err(|error| format!("{field}: {error}"))?;
    }
    for field in ["request_body", "response_body", "query_params", "error"] {
        text(field)?;
    }
    if !text("post_data")?.is_empty() {
        serde_json::from_str::<BTreeMap<String, Value>>(text("post_data")?).map_err(|error| error.to_string())?;
    }
    for (field, chars) in [("method", 20), ("request_content_type", 255), ("response_content_type", 255)] {
        if text(field)?.chars().count() > chars {
            return Err(format!("{field} is too long"));
        }
    }
    if text("path")?.len() > 2_601 {
        return Err("path cannot be indexed".to_owned());
    }
    for field in ["status_code", "request_size_bytes", "response_size_bytes"] {
        event[field].as_u64().filter(|number| *number <= 2_147_483_647).ok_or(format!("{field} is out of range"))?;
    }
    event["latency_ms"].as_f64().filter(|ms| ms.is_finite() && *ms >= 0.0).ok_or("latency_ms is not finite")?;
    let flat = event["custom_properties"].as_object().ok_or("custom_properties is no object")?;
    if flat.values().any(|value| value.is_object() || value.is_array()) {
        return Err("custom_properties is not flat".to_owned());
    }
    event["metadata"].as_object().ok_or("metadata is no object")?;
    Ok(event)
}

/// A Rust string cannot hold a lone surrogate, and the parser rejects one, so only NUL must be checked.
fn no_nul(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) if text.contains('\0') => Err("a string holds NUL".to_owned()),
        Value::Array(items) => items.iter().try_for_each(no_nul),
        Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            if name.contains('\0') { Err("a name holds NUL".to_owned()) } else { no_nul(value) }
        }),
        _ => Ok(()),
    }
}

pub(super) fn exchange() -> Exchange {
    Exchange {
        id: Uuid::from_u128(0x0193_5a5a_0000_7000_8000_0000_0000_0001),
        started_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_449_601_007),
        kind: Kind::Http,
        process: crate::peer::ProcessLookup::none(),
        agent: "127.0.0.1:50000".parse().unwrap(),
        caller: Caller::Proxy,
        unlogged: None,
        origin: Origin { scheme: "https", host: "api.test".into(), port: 443 },
        peer: Some("192.0.2.1:443".parse().unwrap()),
        version: Version::HTTP_11,
        tls: Some(TlsFacts { version: "TLSv1.3", alpn: Some("http/1.1"), pinned: false }),
        names: None,
        blind: None,
        connection_reused: true,
        sent_again: 0,
        request: RequestFacts {
            method: Method::POST,
            path: "/v1/chat".to_owned(),
            query: Some("key=secret-secret-secret-ABCD&alt=sse".to_owned()),
            headers: headers(&[
                ("host", "api.test"),
                ("user-agent", "agent/1"),
                ("authorization", "Bearer sk-0123456789abcdefWXYZ"),
                ("content-type", "application/json"),
            ]),
            body: captured(br#"{"max_tokens":5}"#),
            trailers: None,
        },
        response: Some(ResponseFacts {
            status: StatusCode::OK,
            headers: headers(&[("content-type", "application/json")]),
            body: captured(br#"{"ok":true}"#),
            trailers: None,
            arrivals: Vec::new(),
            faults: Vec::new(),
        }),
        outcome: Outcome::Complete,
        timings: Timings {
            dns: Some(Duration::from_micros(1_500)),
            wait: Some(Duration::from_millis(12)),
            latency: Duration::from_micros(12_345),
            total: Duration::from_millis(14),
            ..Timings::default()
        },
        websocket: None,
        llm: None,
    }
}

pub(super) fn headers(fields: &[(&'static str, &str)]) -> Fields {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    Fields::from(&map)
}

fn captured(bytes: &[u8]) -> Captured {
    let head = vec![Bytes::copy_from_slice(bytes)];
    Captured { head, total_bytes: bytes.len() as u64, ..Captured::default() }
}

pub(super) fn event_of(exchange: &Exchange, properties: &BTreeMap<String, String>) -> (Event, Value) {
    let context = Context { seq: 7, run_id: "run-1", properties, ..context() };
    let event = build(exchange, &context);
    let json = untagged(std::str::from_utf8(&event.for_otas()).unwrap());
    let value = check(&with_project_id(json.as_bytes(), PROJECT).unwrap()).unwrap();
    (event, value)
}

/// The user's text in the outline of a model call with this request, whose reader found only its first message.
fn said_of(text: &str) -> Option<String> {
    let mut exchange = exchange();
    exchange.request.headers = headers(&[("content-type", "application/json")]);
    exchange.request.body = captured(text.as_bytes());
    let messages = vec![crate::llm::message_places(text).swap_remove(0)];
    exchange.llm = Some(Box::new(crate::llm::Facts { messages, ..crate::llm::Facts::default() }));
    let (event, _) = event_of(&exchange, &BTreeMap::new());
    crate::event::Outline::parse(&event.outline).said.user
}

#[test]
fn what_a_request_says_is_read_where_the_reader_found_its_messages_unless_secrets_were_masked() {
    let request = |last: &str| {
        format!(r#"{{"messages":[{{"role":"user","content":"first"}},{{"role":"user","content":"{last}"}}]}}"#)
    };
    assert_eq!(said_of(&request("last")).as_deref(), Some("first"));
    let masked = said_of(&request("last, with password=hunter2hunter2")).unwrap();
    assert!(masked.starts_with("last, with password=***") && !masked.contains("hunter2"), "{masked}");
}

fn value_of(exchange: &Exchange) -> Value {
    event_of(exchange, &BTreeMap::new()).1
}

fn inner(value: &Value, field: &str) -> Value {
    serde_json::from_str(value[field].as_str().unwrap()).unwrap()
}

#[test]
fn an_ordinary_exchange_gives_this_event() {
    let properties =
        BTreeMap::from([("team".to_owned(), "a".to_owned()), ("server.port".to_owned(), "1".to_owned())]);
    let (event, value) = event_of(&exchange(), &properties);
    let expected = json!({
        "project_id": PROJECT,
        "path": "/v1/chat",
        "method": "POST",
        "status_code": 200,
        "latency_ms": 12.35,
        "request_size_bytes": 16,
        "response_size_bytes": 11,
        "request_headers": "{\"host\":\"api.test\",\"user-agent\":\"agent/1\",\"authorization\":\"Bearer ****WXYZ\",\"content-type\":\"application/json\"}",
        "response_headers": "{\"content-type\":\"application/json\"}",
        "query_params": "key=****ABCD&alt=sse",
        "post_data": "",
        "request_content_type": "application/json",
        "response_content_type": "application/json",
        "error": "",
        "custom_properties": {
            "server.address": "api.test",
            "server.port": 443,
            "url.scheme": "https",
            "http.response.status_code": 200,
            "network.protocol.version": "1.1",
            "network.peer.address": "192.0.2.1",
            "user_agent.original": "agent/1",
            "team": "a",
        },
        "request_body": "{\"max_tokens\":5}",
        "response_body": "{\"ok\":true}",
        "metadata": {
            "schema": 1,
            "proxy": {"version": env!("CARGO_PKG_VERSION"), "run_id": "run-1"},
            "event": {"id": "01935a5a-0000-7000-8000-000000000001", "seq": 7},
            "started_at": "2026-11-23T16:00:01.007Z",
            "kind": "http",
            "attribution": { "rule": "proxy" },
            "client": {"addr": "127.0.0.1:50000"},
            "upstream": {"peer": "192.0.2.1:443", "reused": true, "tls_version": "TLSv1.3", "alpn": "http/1.1"},
            "timings": {"dns": 1.5, "wait": 12.0, "total": 14.0},
            "capture": {
                "request": {"bytes": 16, "end": "complete", "encoding": "UTF-8"},
                "response": {"bytes": 11, "end": "complete", "encoding": "UTF-8"},
            },
            "redactions": 2,
            "redaction_rules": {"header.authorization": 1, "key.key": 1},
            "outcome": "complete",
        },
    });
    assert_eq!(value, expected);
    assert_eq!((event.host.as_str(), event.latency_ms), ("api.test", 12.35));
    assert_eq!(event.started_at_ms, 1_795_449_601_007);
}

#[test]
fn failures_are_sentences_and_our_own_response_is_not_a_status_of_the_origin() {
    let mut exchange = exchange();
    exchange.outcome =
        Outcome::Failed(Failure { id: "connect_refused", detail: "api.test:443 refused the connection.".to_owned() });
    exchange.timings.wait = None;
    exchange.response.as_mut().unwrap().status = StatusCode::BAD_GATEWAY;
    let value = value_of(&exchange);
    assert_eq!(value["error"], "connect_refused: api.test:443 refused the connection.");
    assert_eq!(value["status_code"], 502);
    assert_eq!(value["custom_properties"]["http.response.status_code"], Value::Null);
    assert_eq!(value["custom_properties"]["error.type"], "connect_refused");
    assert_eq!(value["metadata"]["failure"], "connect_refused");

    exchange.response = None;
    let value = value_of(&exchange);
    assert_eq!((&value["status_code"], &value["response_headers"]), (&json!(0), &json!("{}")));
}

#[test]
fn statuses_from_the_threshold_on_are_errors() {
    let mut exchange = exchange();
    for (status, error) in [(200, ""), (399, ""), (404, "http_404: Not Found"), (599, "http_599")] {
        exchange.response.as_mut().unwrap().status = StatusCode::from_u16(status).unwrap();
        assert_eq!(value_of(&exchange)["error"], error);
    }
    let never = Context { run_id: "", error_from_status: 0, ..context() };
    assert_eq!(build(&exchange, &never).error, "");
}

#[test]
fn huge_fields_are_truncated_with_a_mark_and_their_sizes_kept() {
    let mut exchange = exchange();
    let long = format!("/{}", "é".repeat(50_000));
    exchange.request.path.clone_from(&long);
    exchange.request.method = Method::from_bytes(b"AVERYLONGMETHODNAMEINDEED").unwrap();
    exchange.request.query = Some("q".repeat(200_000));
    exchange.request.body.total_bytes = 5_000_000_000;
    let mut giant = exchange.request.headers.clone();
    giant.push("x-giant", &vec![b'"'; 1 << 20]);
    exchange.request.headers = giant;
    let (event, value) = event_of(&exchange, &BTreeMap::new());
    assert_eq!((value["request_size_bytes"].as_u64(), event.request_bytes), (Some(2_147_483_647), 5_000_000_000));
    assert!(value["path"].as_str().unwrap().ends_with("…[cut]") && event.path == value["path"].as_str().unwrap());
    assert_eq!(value["method"], "AVERYLONGMETHO…[cut]");
    assert!(value["query_params"].as_str().unwrap().ends_with("…[cut]"));
    let metadata = &value["metadata"];
    assert_eq!(metadata["capture"]["request"]["bytes"], 5_000_000_000_u64);
    assert_eq!(metadata["capture"]["request"]["omitted"], 5_000_000_000_u64 - 16);
    let cut = &metadata["cut"];
    assert_eq!((&cut["path_bytes"], &cut["query_bytes"]), (&json!(long.len()), &json!(200_000)));
    assert!(cut["path"].as_str().unwrap().len() > 10_000);
    assert_eq!((&cut["method"], &cut["request_headers"]), (&json!("AVERYLONGMETHODNAMEINDEED"), &json!(true)));
    assert_eq!(inner(&value, "request_headers")["host"], "api.test");
}

#[test]
fn a_body_of_control_characters_fits_and_a_small_one_beside_it_stays_whole() {
    let mut exchange = exchange();
    exchange.response.as_mut().unwrap().body = captured(&[1; 1_000_000]);
    let value = value_of(&exchange);
    assert!(value["response_body"].as_str().unwrap().contains("left out to fit OTAS's limit"));
    assert_eq!(value["request_body"], "{\"max_tokens\":5}");
    assert_eq!(value["metadata"]["cut"], json!({"response_body": true}));
    let length = event_of(&exchange, &BTreeMap::new()).0;
    assert!(length.for_otas().len() > 2_500_000, "{}", length.for_otas().len());
}

#[test]
fn everything_at_its_worst_at_once_fits() {
    let worst = "\u{1}\"\\".repeat(40_000);
    let mut exchange = exchange();
    exchange.request.path = worst.clone();
    exchange.request.query = Some(worst.clone());
    exchange.origin.host = worst.as_str().into();
    exchange.request.body = captured(worst.repeat(30).as_bytes());
    let mut fields = HeaderMap::new();
    for index in 0..10_000 {
        let name = HeaderName::try_from(format!("x-{index}")).unwrap();
        fields.append(name, HeaderValue::from_static("\"\\\"\\\"\\"));
    }
    fields.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    fields.insert("user-agent", HeaderValue::from_bytes(&vec![b'\\'; 100_000]).unwrap());
    let fields = Fields::from(&fields);
    exchange.request.headers = fields.clone();
    exchange.request.trailers = Some(fields.clone());
    let response = exchange.response.as_mut().unwrap();
    response.headers = fields.clone();
    response.trailers = Some(fields);
    response.body = captured(worst.repeat(30).as_bytes());
    exchange.outcome = Outcome::Failed(Failure { id: "protocol", detail: worst.clone() });
    let properties = (0..1_000).map(|index| (format!("{index}{worst}"), worst.clone())).collect();
    let run_id = worst;
    let context = Context { seq: u64::MAX, run_id: &run_id, properties: &properties, ..context() };
    let event = build(&exchange, &context);
    let value = check(&with_project_id(&event.for_otas(), PROJECT).unwrap()).unwrap();
    let reserve = super::fit::METADATA_RESERVE_BYTES;
    assert!(serde_json::to_vec(&value["metadata"]).unwrap().len() < reserve);
    assert_eq!(value["metadata"]["cut"]["properties"], true);

    // A model call has more metadata, in its own reserve.
    let mut fields = exchange.response.take().unwrap().headers;
    (0..100).for_each(|index| fields.push(&format!("x-ratelimit-{index}{}", "x".repeat(1_000)), run_id.as_bytes()));
    exchange.response = Some(ResponseFacts { headers: fields, ..self::exchange().response.unwrap() });
    exchange.llm = Some(Box::new(facts(&run_id)));
    let value = check(&with_project_id(&build(&exchange, &context).for_otas(), PROJECT).unwrap()).unwrap();
    let bytes = serde_json::to_vec(&value["metadata"]).unwrap().len();
    assert!(bytes < reserve + super::fit::LLM_RESERVE_BYTES, "{bytes}");
    assert!(value["metadata"]["llm"]["text"].as_str().unwrap().ends_with("…[cut]"));
}

#[test]
fn no_secret_is_left_in_any_place() {
    const CANARY: &str = "c4n4ry-0123456789-c4n4ry-END";
    let mut exchange = exchange();
    let secret_fields = [
        ("authorization", format!("Bearer {CANARY}")),
        ("cookie", format!("sid={CANARY}")),
        ("x-api-key", CANARY.to_owned()),
        ("x-otas-agent-key", CANARY.to_owned()),
        ("x-otas-agent-session-token", CANARY.to_owned()),
        ("referer", format!("https://u:{CANARY}@x.test/?token={CANARY}")),
        ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ("content-encoding", "gzip".to_owned()),
    ];
    let fields: Vec<_> = secret_fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    exchange.request.headers = headers(&fields);
    exchange.request.trailers = Some(headers(&[("x-auth-token", CANARY)]));
    exchange.request.query = Some(format!("api_key={CANARY}&max_tokens=5"));
    exchange.request.body = captured(&gzip(format!("client_secret={CANARY}&max_tokens=5").as_bytes()));
    let response = exchange.response.as_mut().unwrap();
    response.headers = headers(&[
        ("set-cookie", &format!("sid={CANARY}; Path=/")),
        ("location", &format!("/cb?code={CANARY}")),
        ("content-type", "application/x-www-form-urlencoded"),
    ]);
    response.body = captured(format!("access_token={CANARY}&scope=x").as_bytes());
    let (event, value) = event_of(&exchange, &BTreeMap::new());
    let text = String::from_utf8(event.for_otas()).unwrap();
    assert!(!text.contains("c4n4ry"), "{text}");
    assert_eq!(inner(&value, "post_data"), json!({"client_secret": "****-END", "max_tokens": "5"}));
    assert_eq!(value["request_body"], "client_secret=****-END&max_tokens=5");
    assert_eq!(value["response_body"], "access_token=****-END&scope=x");
    assert_eq!(value["metadata"]["redactions"], 13);
    let rules = value["metadata"]["redaction_rules"].as_object().unwrap();
    assert_eq!(rules.values().filter_map(Value::as_u64).sum::<u64>(), 13);
    assert_eq!((&rules["header.cookie"], &rules["url.userinfo"]), (&json!(1), &json!(1)));
}

/// A secret in a known format.
const KEY: &str = "sk-ant-api03-c4n4ry0123456789abcdefWXYZ";

fn leaks(event: &Event) -> bool {
    let json = event.for_otas();
    let text = String::from_utf8_lossy(&json);
    [&*text, &event.path, &event.error, &event.method, &event.host].iter().any(|text| text.contains("c4n4ry"))
}

#[test]
fn a_secret_in_a_known_format_is_masked_in_every_part() {
    let mut exchange = exchange();
    exchange.request.path = format!("/v1/{KEY}/{}", "x".repeat(5_000));
    exchange.request.query = Some(format!("q={KEY}"));
    exchange.request.headers = headers(&[("user-agent", &format!("agent ({KEY})")), ("x-any", KEY)]);
    exchange.request.trailers = Some(headers(&[("x-any", KEY)]));
    exchange.request.body = captured(format!("prose {KEY}").as_bytes());
    exchange.response.as_mut().unwrap().body = captured(format!("\0\u{1}{KEY}\0").as_bytes());
    exchange.response.as_mut().unwrap().headers = headers(&[("content-type", "application/x-protobuf")]);
    let detail = format!("cannot reach {KEY}");
    exchange.outcome = Outcome::Failed(Failure { id: "any", detail });
    let (event, value) = event_of(&exchange, &BTreeMap::new());
    assert!(!leaks(&event), "{value}");
    assert!(value["metadata"]["cut"]["path"].as_str().unwrap().starts_with("/v1/****WXYZ/"));
    assert!(event.path.starts_with("/v1/****WXYZ#") && event.error.starts_with("any: cannot reach ****WXYZ#"));
    let shown = value["response_body"].as_str().unwrap().strip_prefix("data:application/x-protobuf;base64,").unwrap();
    let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, shown);
    assert_eq!(bytes.unwrap(), format!("\0\u{1}{}\0", "*".repeat(KEY.len())).as_bytes());
}

#[test]
fn secrets_in_bodies_are_masked_whatever_the_type_the_coding_and_the_pieces() {
    let json =
        format!(r#"{{"messages":[{{"content":"use {KEY}"}}],"deep":[[{{"password":"c4n4ry"}}]],"max_tokens":5}}"#);
    let stream = format!("event: a\ndata: {{\"delta\":\"{KEY}\"}}\n\ndata: {{\"api_key\":\"c4n4ry\"}}\n\n");
    let multipart = format!(
        "--B\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nc4n4ry\r\n--B\r\nContent-Disposition: form-data; \
         name=\"note\"\r\n\r\nuse {KEY}\r\n--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.json\"\r\n\r\n{json}\r\n--B--\r\n"
    );
    let form = format!("password=c4n4ry&note={KEY}&max_tokens=5");
    for (content_type, body) in [
        ("application/json", &json),
        ("text/plain", &json),
        ("application/octet-stream", &json),
        ("text/event-stream", &stream),
        ("multipart/form-data; boundary=B", &multipart),
        ("application/x-www-form-urlencoded", &form),
    ] {
        for (coding, bytes) in [
            ("identity", body.clone().into_bytes()),
            ("gzip", gzip(body.as_bytes())),
            ("deflate", zlib(body.as_bytes())),
            ("br", br(body.as_bytes())),
            ("zstd", zstd(body.as_bytes())),
            ("gzip, gzip", gzip(&gzip(body.as_bytes()))),
        ] {
            for size in [1, 7, 64, usize::MAX] {
                let mut exchange = exchange();
                let response = exchange.response.as_mut().unwrap();
                response.headers = headers(&[("content-type", content_type), ("content-encoding", coding)]);
                response.body = captured(b"");
                response.body.head = bytes.chunks(size.min(bytes.len())).map(Bytes::copy_from_slice).collect();
                response.body.total_bytes = bytes.len() as u64;
                let (event, value) = event_of(&exchange, &BTreeMap::new());
                assert!(!leaks(&event), "{content_type} {coding} {size}: {value}");
                assert!(value["response_body"].as_str().unwrap().contains("****WXYZ"), "{content_type} {coding}");
            }
        }
    }
    let mut exchange = exchange();
    exchange.request.headers = headers(&[("content-type", "text/plain; charset=utf-16le")]);
    exchange.request.body = captured(&json.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
    assert!(!leaks(&event_of(&exchange, &BTreeMap::new()).0));
}

#[test]
fn a_gap_anywhere_in_a_body_leaves_nothing_of_a_secret() {
    let body =
        format!("{{\"a\":\"use {KEY}\",\"password\":\"c4n4ry-correct-horse\",\"b\":\"{}\"}}", "x ".repeat(400));
    let traces = ["c4n4", "0123", "abcdef", "horse", "corre"];
    for gap in 4..110 {
        for length in [1, 5, 20] {
            let mut exchange = exchange();
            exchange.request.body = Captured {
                head: vec![Bytes::copy_from_slice(&body.as_bytes()[..gap])],
                tail: body.as_bytes()[gap + length..].chunks(11).map(Bytes::copy_from_slice).collect(),
                total_bytes: body.len() as u64,
                end: BodyEnd::Complete,
            };
            let (_, value) = event_of(&exchange, &BTreeMap::new());
            let shown = value["request_body"].as_str().unwrap();
            let left: Vec<_> = traces.iter().filter(|trace| shown.contains(**trace)).collect();
            assert!(left.is_empty(), "{gap}+{length}: {left:?} in {}", &shown[..shown.len().min(300)]);
        }
    }
}

pub(super) fn rules(capture: &[(&str, CaptureLevel)], budget: Duration) -> Redactor {
    let hosts = |host: &str| HostRules::new(vec![HostRule::parse(host).unwrap()]);
    let capture: Vec<_> = capture.iter().map(|(host, level)| (hosts(host), *level)).collect();
    Redactor::new(&Redact { budget, ..settings() }, &capture, Fingerprint::new(b"k")).unwrap()
}

#[test]
fn capture_levels_record_less_and_always_one_event_with_true_sizes() {
    let mut exchange = exchange();
    exchange.request.trailers = Some(headers(&[("x-any", "t")]));
    let at = |level| {
        let redactor = rules(&[("*.test", level), ("api.test", CaptureLevel::Full)], Duration::from_secs(60));
        let context = Context { run_id: "", error_from_status: 0, redactor: &redactor, ..context() };
        check(&with_project_id(&build(&exchange, &context).for_otas(), PROJECT).unwrap()).unwrap()
    };
    for (level, name, headers, path) in [
        (CaptureLevel::Full, Value::Null, true, "/v1/chat"),
        (CaptureLevel::Headers, json!("headers"), true, "/v1/chat"),
        (CaptureLevel::Metadata, json!("metadata"), false, "/v1/chat"),
        (CaptureLevel::None, json!("none"), false, "/"),
    ] {
        let value = at(level);
        assert_eq!(value["metadata"]["capture"]["level"], name);
        assert_eq!(value["response_body"] == "", level != CaptureLevel::Full);
        assert_eq!((&value["request_size_bytes"], &value["response_size_bytes"]), (&json!(16), &json!(11)));
        assert_eq!(
            (&value["path"], &value["method"], &value["status_code"]),
            (&json!(path), &json!("POST"), &json!(200))
        );
        let agent = inner(&value, "request_headers").get("user-agent").is_some();
        let query = value["query_params"] != "";
        assert_eq!((agent, query, value["metadata"].get("request_trailers").is_some()), (headers, headers, headers));
        assert_eq!(value["custom_properties"].get("user_agent.original").is_some(), headers);
        assert_eq!(value["custom_properties"]["server.address"], "api.test");
    }
}

#[test]
fn a_body_that_cannot_be_searched_in_time_is_withheld_from_its_event() {
    let redactor = rules(&[], Duration::ZERO);
    let context = Context { run_id: "", error_from_status: 0, redactor: &redactor, ..context() };
    let mut exchange = exchange();
    let harmless = format!("{{\"harmless\":\"{}\"}}", "x".repeat(2_000));
    exchange.request.body = captured(harmless.as_bytes());
    exchange.response.as_mut().unwrap().body = captured(harmless.as_bytes());
    let value = check(&with_project_id(&build(&exchange, &context).for_otas(), PROJECT).unwrap()).unwrap();
    for field in ["request_body", "response_body"] {
        assert!(value[field].as_str().unwrap().contains("withheld, since they could not be searched"), "{value}");
    }
    assert_eq!(value["metadata"]["redaction"], "failed_withheld");
    assert_eq!(value["metadata"]["capture"]["request"]["bytes"], harmless.len());
    assert_eq!(value_of(&exchange)["metadata"].get("redaction"), None);
}

#[test]
fn a_request_without_host_shows_its_host_and_a_tunnel_why_it_has_no_body() {
    let mut exchange = exchange();
    exchange.kind = Kind::Tunnel;
    exchange.request.headers = Fields::default();
    exchange.request.body = Captured { total_bytes: 1_234, ..Captured::default() };
    let value = value_of(&exchange);
    assert_eq!(inner(&value, "request_headers"), json!({"host": "api.test:443"}));
    assert!(value["request_body"].as_str().unwrap().contains("1,234 bytes of a tunnel"));
    assert_eq!(value["metadata"]["kind"], "tunnel");

    exchange.origin.host = "2001:db8::7".into();
    assert_eq!(inner(&value_of(&exchange), "request_headers"), json!({"host": "[2001:db8::7]:443"}));
}

#[test]
fn a_failed_tunnel_shows_the_response_that_the_agent_got() {
    let mut exchange = exchange();
    exchange.kind = Kind::Tunnel;
    exchange.request.body = Captured::default();
    let response = exchange.response.as_mut().unwrap();
    response.status = StatusCode::BAD_GATEWAY;
    response.body = captured(br#"{"title":"Bad Gateway"}"#);
    let value = value_of(&exchange);
    assert_eq!(value["response_body"], r#"{"title":"Bad Gateway"}"#);
    assert_eq!(value["request_body"], "");
    assert_eq!(value["metadata"]["capture"]["response"]["encoding"], "UTF-8");
}

#[test]
fn a_gzip_bomb_is_bounded() {
    let mut exchange = exchange();
    let response = exchange.response.as_mut().unwrap();
    response.headers = headers(&[("content-encoding", "gzip, gzip"), ("content-type", "text/plain")]);
    response.body = captured(&gzip(&gzip(&vec![b'0'; 10 << 20])));
    let value = value_of(&exchange);
    // As much as the context of these tests allows.
    assert!(((1 << 20)..(1 << 20) + 200).contains(&value["response_body"].as_str().unwrap().len()));
    assert_eq!(value["metadata"]["capture"]["response"]["decoded"], "capped");
    assert_eq!(value["metadata"]["capture"]["response"]["content_encoding"], "gzip, gzip");
}

fn any_headers() -> impl Strategy<Value = Fields> {
    let name = prop_oneof![
        Just("host".to_owned()),
        Just("content-type".to_owned()),
        Just("content-encoding".to_owned()),
        Just("authorization".to_owned()),
        Just("cookie".to_owned()),
        Just("set-cookie".to_owned()),
        Just("www-authenticate".to_owned()),
        Just("sec-websocket-protocol".to_owned()),
        Just("referer".to_owned()),
        "[a-z-]{1,12}",
    ];
    let value = prop_oneof![
        Just(b"application/json; charset=utf-8".to_vec()),
        Just(b"application/x-www-form-urlencoded".to_vec()),
        Just(b"multipart/form-data; boundary=B".to_vec()),
        Just(b"text/html; charset=utf-16".to_vec()),
        Just(b"text/plain; charset=shift_jis".to_vec()),
        Just(b"gzip".to_vec()),
        Just(b"deflate, br".to_vec()),
        Just(b"zstd".to_vec()),
        "[ -~]{0,40}".prop_map(String::into_bytes),
        "[A-Z a-z]{0,8}(://|[?&#=;,\"@%/]){0,6}(token|key|nonce)=[^\0-\x1f\x7f]{0,12}".prop_map(String::into_bytes),
        vec(prop_oneof![0x20_u8..0x7F, 0x80_u8..=0xFF], 0..300),
        (0_usize..200_000).prop_map(|length| vec![b'"'; length]),
    ];
    vec((name, value), 0..12).prop_map(|fields| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value)) {
                map.append(name, value);
            }
        }
        Fields::from(&map)
    })
}

fn any_content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..400),
        "[\\x00-\\x22a-c&=%é€🦀]{0,200}".prop_map(String::into_bytes),
        "(a=b|token=c|%00=%ff|&|\\[\\]=){0,30}".prop_map(String::into_bytes),
        "(--B|\r\n|Content-Disposition: form-data; |name=|filename=|\"pin\"|x){0,30}".prop_map(String::into_bytes),
        (any::<u8>(), 0_usize..1_500_000).prop_map(|(byte, length)| vec![byte; length]),
        vec(any::<u8>(), 0..400).prop_map(|bytes| gzip(&bytes)),
    ]
}

fn any_body() -> impl Strategy<Value = Captured> {
    let end = prop_oneof![
        Just(BodyEnd::Complete),
        Just(BodyEnd::SenderFailed),
        Just(BodyEnd::ReceiverLeft),
        Just(BodyEnd::ShutDown)
    ];
    let omitted = prop_oneof![Just(0), 1_u64..1_000, Just(u64::MAX / 2)];
    (any_content(), any::<prop::sample::Index>(), 1_usize..100_000, omitted, end).prop_map(
        |(content, seam, piece, omitted, end)| {
            let (head, tail) = content.split_at(seam.index(content.len() + 1));
            let pieces =
                |bytes: &[u8]| bytes.chunks(piece.max(bytes.len() / 50 + 1)).map(Bytes::copy_from_slice).collect();
            let total_bytes = content.len() as u64 + omitted;
            Captured { head: pieces(head), tail: pieces(tail), total_bytes, end }
        },
    )
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,40}",
        "[\\x00-\\x1f\"\\\\]{0,40}",
        ".{2500,3500}",
        (0_usize..200_000).prop_map(|n| "\u{1}".repeat(n))
    ]
}

fn any_timings() -> impl Strategy<Value = Timings> {
    let step = || {
        prop_oneof![
            Just(Duration::ZERO),
            Just(Duration::MAX),
            any::<u32>().prop_map(|ns| Duration::from_nanos(ns.into()))
        ]
    };
    let maybe = || prop::option::of(step());
    (maybe(), maybe(), maybe(), maybe(), maybe(), maybe(), maybe(), step(), step()).prop_map(
        |(dns, connect, tls, agent, send, wait, receive, latency, total)| Timings {
            dns,
            connect,
            tls,
            agent,
            send,
            wait,
            receive,
            latency,
            total,
        },
    )
}

/// One side's header fields, body and trailers.
type Message = (Fields, Captured, Option<Fields>);

fn any_message() -> impl Strategy<Value = Message> {
    (any_headers(), any_body(), prop::option::of(any_headers()))
}

/// The parts of an exchange (which has no `Debug`, as proptest requires).
#[derive(Debug)]
struct Parts {
    method: String,
    path: String,
    query: Option<String>,
    host: String,
    request: Message,
    response: Option<(u16, Message)>,
    failure: Option<String>,
    timings: Timings,
    tunnel: bool,
}

fn any_parts() -> impl Strategy<Value = Parts> {
    let names = ("[A-Z]{1,40}", any_text(), prop::option::of(any_text()), any_text());
    let response = prop::option::of((100_u16..1_000, any_message()));
    let rest = (prop::option::of(any_text()), any_timings(), prop::bool::weighted(0.1));
    (names, any_message(), response, rest).prop_map(
        |((method, path, query, host), request, response, (failure, timings, tunnel))| Parts {
            method,
            path,
            query,
            host,
            request,
            response,
            failure,
            timings,
            tunnel,
        },
    )
}

impl Parts {
    fn exchange(self) -> Exchange {
        let (headers, body, trailers) = self.request;
        let method = Method::from_bytes(self.method.as_bytes()).unwrap();
        Exchange {
            kind: if self.tunnel { Kind::Tunnel } else { Kind::Http },
            origin: Origin { scheme: "http", host: self.host.into(), port: 80 },
            request: RequestFacts { method, path: self.path, query: self.query, headers, body, trailers },
            response: self.response.map(|(status, (headers, body, trailers))| ResponseFacts {
                status: StatusCode::from_u16(status).unwrap(),
                headers,
                body,
                trailers,
                arrivals: Vec::new(),
                faults: Vec::new(),
            }),
            outcome: self.failure.map_or(Outcome::Complete, |detail| Outcome::Failed(Failure { id: "any", detail })),
            timings: self.timings,
            ..exchange()
        }
    }
}

#[test]
fn a_websocket_shows_its_messages_and_the_size_of_its_frames() {
    let mut exchange = exchange();
    exchange.request.headers = headers(&[("content-type", "application/x-www-form-urlencoded")]);
    exchange.request.body = captured("{\"a\":\"é\"}\nsecond\n".as_bytes());
    let facts = SocketFacts { agent_bytes: 31, origin_bytes: 9, ..SocketFacts::default() };
    exchange.websocket = Some(WebSocket::Socket(Box::new(facts)));
    let value = value_of(&exchange);
    assert_eq!(value["request_body"], "{\"a\":\"é\"}\nsecond\n");
    assert_eq!((&value["request_size_bytes"], &value["response_size_bytes"]), (&json!(31), &json!(9)));
    assert_eq!(value["metadata"]["kind"], "websocket");
    assert_eq!(value["metadata"]["websocket"]["agent"], json!({ "messages": 0, "bytes": 0 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_exchange_fits(parts in any_parts(), properties in btree_map(any_text(), any_text(), 0..6)) {
        let mut exchange = parts.exchange();
        if exchange.request.path.len() % 2 == 0 {
            exchange.llm = Some(Box::new(facts(&exchange.request.path)));
        }
        let context = Context { properties: &properties, ..context() };
        let event = build(&exchange, &context);
        let value = check(&with_project_id(&event.for_otas(), PROJECT).unwrap()).map_err(TestCaseError::fail)?;
        let capture = &value["metadata"]["capture"];
        prop_assert_eq!(event.request_bytes, exchange.request.body.total_bytes);
        prop_assert_eq!(&capture["request"]["bytes"], &json!(event.request_bytes));
        let response_bytes = exchange.response.as_ref().map_or(0, |response| response.body.total_bytes);
        prop_assert_eq!(event.response_bytes, response_bytes);
        prop_assert_eq!(value["path"].as_str(), Some(event.path.as_str()));
        prop_assert_eq!(value["error"].as_str(), Some(event.error.as_str()));
        prop_assert_eq!(&value["status_code"], &json!(event.status_code));
        prop_assert_eq!(build(&exchange, &context).for_otas(), event.for_otas(), "the same exchange gives the same event");
    }

    #[test]
    fn text_that_was_kept_whole_is_shown_as_it_was(text in "[^\0\u{FEFF}]{0,200}", seam in any::<prop::sample::Index>()) {
        let mut exchange = exchange();
        let (head, tail) = text.as_bytes().split_at(seam.index(text.len() + 1));
        exchange.request.body = Captured {
            head: vec![Bytes::copy_from_slice(head)],
            tail: vec![Bytes::copy_from_slice(tail)],
            total_bytes: text.len() as u64,
            end: BodyEnd::Complete,
        };
        let value = value_of(&exchange);
        prop_assert_eq!(value["request_body"].as_str(), Some(text.as_str()));
    }
}

#[test]
fn a_grpc_call_has_the_status_of_its_trailers_and_a_bad_one_is_an_error() {
    let of = |in_headers: &[(&'static str, &str)], in_trailers: Option<&[(&'static str, &str)]>| {
        let mut exchange = exchange();
        exchange.request.path = "/greeter.Greeter/SayHello".to_owned();
        exchange.request.headers = headers(&[("content-type", "application/grpc+proto")]);
        let response = exchange.response.as_mut().unwrap();
        (response.headers, response.trailers) = (headers(in_headers), in_trailers.map(headers));
        let value = value_of(&exchange);
        let property = |name: &str| value["custom_properties"][name].as_str().map(str::to_owned);
        assert_eq!(property("rpc.system.name").as_deref(), Some("grpc"));
        assert_eq!(property("rpc.method").as_deref(), Some("greeter.Greeter/SayHello"));
        (value["error"].as_str().unwrap().to_owned(), property("rpc.response.status_code"), property("error.type"))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(of(&[], Some(&[("grpc-status", "0")])), (String::new(), some("OK"), None));
    let missing = "grpc_5: NOT_FOUND: no such thing: \u{e9}".to_owned();
    let trailers = &[("grpc-status", "5"), ("grpc-message", "no such thing: %C3%A9")][..];
    assert_eq!(of(&[], Some(trailers)), (missing.clone(), some("NOT_FOUND"), some("NOT_FOUND")));
    assert_eq!(of(trailers, None), (missing, some("NOT_FOUND"), some("NOT_FOUND")), "trailers only");
    assert_eq!(of(&[], None), (String::new(), None, None), "none came: nothing is guessed");
}
