//! An oracle: the crate `har` reads the files that we write, and finds the calls that they were made from.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use har::Spec;
use har::v1_2::Entries;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::har as ours;
use crate::store::EventRow;

/// The number of generated calls.
const CASES: u32 = 10_000;

/// A call, in the terms of a reader of HAR.
#[derive(Debug, Clone)]
struct Call {
    method: String,
    scheme: &'static str,
    host: &'static str,
    port: u16,
    path: String,
    query: Vec<(String, String)>,
    version: &'static str,
    request: Message,
    /// 0: there was no response.
    status: u16,
    response: Message,
    decoded_bytes: Option<u64>,
    peer: Option<&'static str>,
    timings: [Option<f64>; 6],
    started_at_ms: i64,
    latency_ms: f64,
    error: String,
    is_websocket: bool,
}

#[derive(Debug, Clone)]
struct Message {
    fields: Vec<(String, Vec<String>)>,
    content_type: String,
    body: Body,
    bytes: u64,
}

#[derive(Debug, Clone)]
enum Body {
    Empty,
    Text(String),
    Bytes(Vec<u8>),
}

/// Text as it comes: with quotes, controls, hidden characters and all planes of Unicode.
fn any_text() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "", "a", "B 1", "\"", "\\", "é", "🦀", "\u{202E}", "\u{200B}", "\u{1}", "\n", "{}", "<b>",
    ]);
    (part.clone(), part).prop_map(|(one, other)| format!("{one}{other}"))
}

/// A name or a value in a query.
fn any_word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "é", "a b", "&", "x=1", "+", "%", "#"]).prop_map(str::to_owned)
}

fn any_message() -> impl Strategy<Value = Message> {
    let names = vec!["host", "x-a", "x-b", "set-cookie", "location"];
    let fields =
        prop::collection::btree_map(prop::sample::select(names), prop::collection::vec(any_text(), 1..3), 0..3);
    let body = prop_oneof![
        1 => Just(Body::Empty),
        2 => any_text().prop_map(|text| if text.is_empty() { Body::Empty } else { Body::Text(text) }),
        1 => prop::collection::vec(any::<u8>(), 1..9).prop_map(Body::Bytes),
    ];
    let content_type = prop::sample::select(vec!["", "application/json", "text/plain; charset=utf-8", "image/png"]);
    (fields, content_type, body, 0u64..1 << 40).prop_map(|(fields, content_type, body, bytes)| Message {
        fields: fields.into_iter().map(|(name, values)| (name.to_owned(), values)).collect(),
        content_type: content_type.to_owned(),
        body,
        bytes,
    })
}

/// Milliseconds with two decimals, as events have them.
fn any_ms() -> impl Strategy<Value = f64> {
    (0u32..9_000_000).prop_map(|hundredths| f64::from(hundredths) / 100.0)
}

fn any_call() -> impl Strategy<Value = Call> {
    let host = prop::sample::select(vec!["api.test", "192.0.2.1", "2001:db8::1"]);
    let path = prop::sample::select(vec!["/", "/v1/x", "/a%20b", "/ü \"<>", "*"]).prop_map(str::to_owned);
    let target = (
        prop::sample::select(vec!["GET", "POST", "DELETE", "BREW"]),
        prop::sample::select(vec!["http", "https"]),
        host,
        prop::sample::select(vec![80u16, 443, 8080]),
        path,
        prop::collection::vec((any_word(), any_word()), 0..3),
    );
    let status = prop_oneof![8 => 100u16..600, 1 => Just(0u16), 1 => 600u16..1000];
    let facts = (
        prop::sample::select(vec!["1.0", "1.1", "2"]),
        status,
        prop::option::of(0u64..1 << 40),
        prop::option::of(prop::sample::select(vec!["192.0.2.7:443", "[2001:db8::7]:8443"])),
        any_text(),
        any::<bool>(),
    );
    let times = (prop::array::uniform6(prop::option::of(any_ms())), 0i64..4_000_000_000_000, any_ms());
    (target, facts, times, any_message(), any_message()).prop_map(
        |(
            (method, scheme, host, port, path, query),
            facts,
            (timings, started_at_ms, latency_ms),
            request,
            response,
        )| {
            let (version, status, decoded_bytes, peer, error, is_websocket) = facts;
            Call {
                method: method.to_owned(),
                scheme,
                host,
                port,
                path,
                query,
                version,
                request,
                status,
                response,
                decoded_bytes,
                peer,
                timings,
                started_at_ms,
                latency_ms,
                error,
                is_websocket,
            }
        },
    )
}

const PHASES: [&str; 6] = ["dns", "connect", "tls", "send", "wait", "receive"];

impl Message {
    /// The header fields as an event holds them.
    fn headers(&self) -> String {
        let fields = self.fields.iter().map(|(name, values)| match &values[..] {
            [one] => (name.clone(), json!(one)),
            several => (name.clone(), json!(several)),
        });
        Value::Object(fields.collect()).to_string()
    }

    /// The body as an event holds it, and its encoding there.
    fn stored(&self) -> (String, &'static str) {
        match &self.body {
            Body::Empty => (String::new(), "UTF-8"),
            Body::Text(text) => (text.clone(), "UTF-8"),
            Body::Bytes(bytes) => (format!("data:{};base64,{}", self.content_type, STANDARD.encode(bytes)), "base64"),
        }
    }

    fn named_values(&self) -> Vec<(String, String)> {
        let values = |(name, values): &(String, Vec<String>)| {
            values.iter().map(|value| (name.clone(), value.clone())).collect::<Vec<_>>()
        };
        self.fields.iter().flat_map(values).collect()
    }
}

impl Call {
    /// The row of the store for this call.
    fn row(&self) -> EventRow {
        let (request, response) = (self.request.stored(), self.response.stored());
        let timings: Map<String, Value> =
            PHASES.iter().zip(self.timings).filter_map(|(name, ms)| Some(((*name).to_owned(), json!(ms?)))).collect();
        let mut capture = json!({ "request": { "encoding": request.1 }, "response": { "encoding": response.1 } });
        if let Some(bytes) = self.decoded_bytes {
            capture["response"]["decoded_bytes"] = bytes.into();
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.query);
        let event = json!({
            "method": self.method, "path": self.path, "query_params": query.finish(),
            "request_headers": self.request.headers(), "request_body": request.0,
            "request_content_type": self.request.content_type,
            "response_headers": self.response.headers(), "response_body": response.0,
            "response_content_type": self.response.content_type,
            "custom_properties": {
                "url.scheme": self.scheme, "server.address": self.host, "server.port": self.port,
                "network.protocol.version": self.version,
            },
            "metadata": {
                "kind": if self.is_websocket { "websocket" } else { "http" },
                "upstream": { "peer": self.peer }, "timings": timings, "capture": capture,
            },
        });
        EventRow {
            method: self.method.clone(),
            host: self.host.to_owned(),
            path: self.path.clone(),
            status_code: self.status,
            started_at_ms: self.started_at_ms,
            latency_ms: self.latency_ms,
            request_bytes: self.request.bytes,
            response_bytes: self.response.bytes,
            error: self.error.clone(),
            ..EventRow::plain(event.to_string().into_bytes())
        }
    }
}

/// The file of these calls.
fn file(calls: &[Call]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut file = ours::File::begin(&mut out).unwrap();
    calls.iter().for_each(|call| file.add(&ours::entry(&call.row())).unwrap());
    file.end("").unwrap();
    out
}

/// What the oracle keeps of a file: no members with names of their own (`_otas`), and no encoding of a request's body, which HAR
/// 1.2 lacks and Chromium writes. All numbers are alike.
fn standard(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut kept = Map::new();
            for (name, value) in members.iter().filter(|(name, _)| !name.starts_with('_')) {
                kept.insert(name.clone(), standard(value));
                if name == "postData" {
                    kept[name].as_object_mut().unwrap().remove("encoding");
                }
            }
            Value::Object(kept)
        }
        Value::Array(values) => values.iter().map(standard).collect(),
        Value::Number(number) => json!(number.as_f64()),
        other => other.clone(),
    }
}

fn compare(call: &Call, entry: &Entries) -> Result<(), TestCaseError> {
    let (request, response) = (&entry.request, &entry.response);
    prop_assert_eq!(&request.method, &call.method);
    let url = url::Url::parse(&request.url).unwrap();
    let host = url.host_str().map(|host| host.trim_matches(['[', ']']));
    prop_assert_eq!(
        (url.scheme(), host, url.port_or_known_default()),
        (call.scheme, Some(call.host), Some(call.port))
    );
    let pairs: Vec<_> = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    prop_assert_eq!(&pairs, &call.query);
    let pairs: Vec<_> = request.query_string.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect();
    prop_assert_eq!(&pairs, &call.query);
    for (found, sent) in [(&request.headers, &call.request), (&response.headers, &call.response)] {
        let found: Vec<_> = found.iter().map(|field| (field.name.clone(), field.value.clone())).collect();
        prop_assert_eq!(found, sent.named_values());
    }
    let version = format!("HTTP/{}", call.version);
    prop_assert_eq!((&request.http_version, &response.http_version), (&version, &version));

    let posted = request.post_data.as_ref();
    prop_assert_eq!(
        posted.map(|data| &data.mime_type),
        Some(&call.request.content_type).filter(|_| posted.is_some())
    );
    let text = match &call.request.body {
        Body::Empty => None,
        Body::Text(text) => Some(text.clone()),
        Body::Bytes(bytes) => Some(STANDARD.encode(bytes)),
    };
    prop_assert_eq!(posted.and_then(|data| data.text.clone()), text);
    prop_assert_eq!((request.body_size, response.body_size), (call.request.bytes as i64, call.response.bytes as i64));

    prop_assert_eq!(response.status, i64::from(call.status));
    let content = &response.content;
    let size = call.decoded_bytes.unwrap_or(call.response.bytes) as i64;
    let saved = call.decoded_bytes.map(|decoded| decoded as i64 - call.response.bytes as i64);
    prop_assert_eq!((content.size, content.compression), (size, saved));
    prop_assert_eq!(content.mime_type.as_ref(), Some(&call.response.content_type));
    match (&call.response.body, content.encoding.as_deref(), &content.text) {
        (Body::Empty, None, None) => {}
        (Body::Text(text), None, Some(found)) => prop_assert_eq!(found, text),
        (Body::Bytes(bytes), Some("base64"), Some(found)) => prop_assert_eq!(&STANDARD.decode(found).unwrap(), bytes),
        (body, encoding, text) => prop_assert!(false, "{:?} became {:?} in {:?}", body, text, encoding),
    }
    let location = call.response.named_values().into_iter().find(|(name, _)| name == "location");
    prop_assert_eq!(response.redirect_url.clone(), Some(location.map_or_else(String::new, |(_, value)| value)));

    let started = OffsetDateTime::parse(&entry.started_date_time, &Rfc3339).unwrap();
    prop_assert_eq!(started.unix_timestamp_nanos(), i128::from(call.started_at_ms) * 1_000_000);
    let peer = call.peer.map(|peer| peer.parse::<std::net::SocketAddr>().unwrap());
    prop_assert_eq!(entry.server_ip_address.clone(), peer.map(|peer| peer.ip().to_string()));
    prop_assert_eq!(entry.connection.clone(), peer.map(|peer| peer.port().to_string()));
    prop_assert_eq!(entry.comment.clone().unwrap_or_default(), &*call.error);
    compare_times(call, entry)
}

/// HAR's rules for times (1.2, `timings`): -1 for a phase that did not happen, `connect` includes `ssl`, and `time` is the sum of
/// all others.
fn compare_times(call: &Call, entry: &Entries) -> Result<(), TestCaseError> {
    let timings = &entry.timings;
    let [dns, connect, tls, _, wait, receive] = call.timings;
    let near = |one: f64, other: f64| (one - other).abs() < 0.02;
    prop_assert_eq!((timings.blocked, timings.dns), (Some(-1.0), Some(dns.unwrap_or(-1.0))));
    prop_assert_eq!(timings.ssl, Some(tls.unwrap_or(-1.0)));
    let connected = connect.map_or(-1.0, |connect| connect + tls.unwrap_or_default());
    prop_assert!(near(timings.connect.unwrap(), connected));
    prop_assert!(timings.send >= 0.0 && timings.wait >= 0.0);
    prop_assert!(near(timings.send + timings.wait, wait.unwrap_or(call.latency_ms)));
    prop_assert_eq!(timings.receive, receive.unwrap_or_default());
    let steps = [timings.dns.unwrap(), timings.connect.unwrap(), timings.send, timings.wait, timings.receive];
    prop_assert!(near(entry.time, steps.into_iter().filter(|ms| *ms > 0.0).sum()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_file_is_read_by_an_independent_reader_as_the_calls_that_it_was_made_from(
        (first, second) in (any_call(), prop::option::weighted(0.1, any_call())),
    ) {
        let calls: Vec<Call> = std::iter::once(first).chain(second).collect();
        let bytes = file(&calls);
        let read = har::from_slice(&bytes).unwrap();
        let Spec::V1_2(log) = &read.log else { panic!("another version: {}", read.version()) };
        prop_assert_eq!(&log.creator.name, "otas-proxy");
        prop_assert_eq!(log.entries.len(), calls.len());
        for (call, entry) in calls.iter().zip(&log.entries) {
            compare(call, entry)?;
        }
        // The oracle has a place for each member that we write, and of the type that it expects.
        let written: Value = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(standard(&serde_json::to_value(&read).unwrap()), standard(&written));
    }
}
