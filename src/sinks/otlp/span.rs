//! Converts a stored event to a span. Pure. The same event always gives the same span with the same ids, so a collector can
//! recognise a duplicate.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags, Status};
use serde_json::Value;

use super::attribute::{integer, pair, text};
use super::call::Call;
use super::{compat, content, ids, names, turn_span};
use crate::config::Spans;
use crate::event::{Side, Stored};
use crate::llm::names::{CONVERSATION, MCP_METHOD, OPERATION, REQUEST_MODEL, SESSION, TOOL};
use crate::store::EventRow;

/// Where a span stands.
pub(super) struct Place {
    pub(super) trace: Vec<u8>,
    /// The span above it. Empty: it is the root of its trace.
    pub(super) parent: Vec<u8>,
    /// The call's `traceparent` says so.
    pub(super) is_foreign: bool,
    flags: u32,
}

impl Place {
    /// The place that the call's `traceparent` states. Otherwise a new trace, made from the event's id.
    pub(super) fn of(call: &Call<'_>) -> Self {
        let trace = &call.event.metadata()["trace"];
        let part = |name: &str| trace[name].as_str().unwrap_or_default();
        let foreign =
            (ids::foreign_trace(part("trace_id")), ids::foreign_span(part("parent_id")), ids::hex(part("flags")));
        match foreign {
            (Some(trace), Some(parent), Some(flags)) => {
                let remote = SpanFlags::ContextHasIsRemoteMask as u32 | SpanFlags::ContextIsRemoteMask as u32;
                let flags = u32::from(flags.first().copied().unwrap_or(0)) | remote;
                Self { trace, parent, is_foreign: true, flags }
            }
            _ => Self { trace: ids::trace(call.row.event_id), parent: Vec::new(), is_foreign: false, flags: 0 },
        }
    }
}

/// The span of an event.
pub(super) fn of(call: &Call<'_>, place: Place, settings: &Spans) -> Span {
    let event = &call.event;
    Span {
        trace_id: place.trace,
        span_id: ids::call(call.row.event_id),
        trace_state: if place.is_foreign { trace_state(event) } else { String::new() },
        parent_span_id: place.parent,
        flags: place.flags,
        name: name(call),
        kind: if is_call(event) { SpanKind::Client } else { SpanKind::Internal }.into(),
        start_time_unix_nano: call.started(),
        end_time_unix_nano: call.ended(),
        attributes: attributes(call, settings),
        status: Some(status(call)),
        ..Span::default()
    }
}

/// A gap is not a call.
fn is_call(event: &Stored) -> bool {
    event.metadata()["kind"] != "gap"
}

fn trace_state(event: &Stored) -> String {
    event.header(Side::Request, "tracestate").unwrap_or_default()
}

/// The operation and its target, if known. Otherwise the method.
fn name(call: &Call<'_>) -> String {
    let property = |name: &str| call.property(name);
    if let Some(method) = property(MCP_METHOD) {
        return turn_span::named(method, property(TOOL).unwrap_or_default());
    }
    if let Some(operation) = property(OPERATION) {
        return turn_span::named(operation, property(REQUEST_MODEL).unwrap_or_default());
    }
    match known_method(call.row) {
        names::OTHER_METHOD if is_call(&call.event) => "HTTP".to_owned(),
        names::OTHER_METHOD => call.row.method.clone(),
        method => method.to_owned(),
    }
}

fn known_method(row: &EventRow) -> &str {
    let known = names::KNOWN_METHODS.into_iter().find(|known| *known == row.method);
    known.unwrap_or(names::OTHER_METHOD)
}

fn status(call: &Call<'_>) -> Status {
    let row = call.row;
    // For client spans every status from 400 on is an error, whatever our settings say.
    if row.error.is_empty() && row.status_code < 400 {
        return Status::default();
    }
    // The status code is not repeated. What a provider says of it is.
    let message = match row.error.strip_prefix("http_") {
        None => row.error.as_str(),
        Some(_) if !call.is_model_or_tool() => "",
        Some(error) => error.split_once(": ").map_or("", |(_, said)| said),
    };
    let message = message.to_owned();
    Status { message, code: StatusCode::Error.into() }
}

fn attributes(call: &Call<'_>, settings: &Spans) -> Vec<KeyValue> {
    let (row, event) = (call.row, &call.event);
    let mut all = Vec::new();
    if let Some(properties) = event.json()["custom_properties"].as_object() {
        all.extend(properties.iter().filter_map(|(name, value)| Some(pair(name, property(name, value)?))));
    }
    let metadata = event.metadata();
    let mut add = |name: &str, value: Option<Any>| all.extend(value.map(|value| pair(name, value)));
    add(names::EVENT_ID, text(&row.event_id.to_string()));
    add(names::RUN_ID, metadata["proxy"]["run_id"].as_str().and_then(text));
    add(names::KIND, metadata["kind"].as_str().and_then(text));
    if !is_call(event) {
        return all;
    }
    if call.is_model_or_tool() {
        if call.property(SESSION).is_none() {
            add(SESSION, call.session().and_then(|session| text(&session)));
        }
        if call.property(CONVERSATION).is_none() {
            add(CONVERSATION, call.conversation_id().and_then(text));
        }
        said(call, settings, &mut add);
        if settings.compat {
            compat::add(call, &mut add);
        }
    }
    let method = known_method(row);
    add(names::METHOD, text(method));
    add(names::METHOD_ORIGINAL, if method == names::OTHER_METHOD { text(&row.method) } else { None });
    add(names::URL, text(&event.url()));
    add(names::PROTOCOL, if metadata["kind"] == "tunnel" { None } else { text("http") });
    let peer = metadata["upstream"]["peer"].as_str().and_then(|peer| peer.parse::<std::net::SocketAddr>().ok());
    add(names::PEER_PORT, peer.map(|peer| Any::IntValue(peer.port().into())));
    add(names::REQUEST_SIZE, integer(row.request_bytes));
    add(names::RESPONSE_SIZE, integer(row.response_bytes));
    add(names::RESEND_COUNT, metadata["links"]["retry_count"].as_u64().and_then(integer));
    all
}

/// What was said, if the settings ask for it.
fn said(call: &Call<'_>, settings: &Spans, add: &mut impl FnMut(&str, Option<Any>)) {
    let Some(max) = settings.content else { return };
    let of = |text: Option<String>| text.map(Any::StringValue);
    let is_cut = match &call.conversation {
        Some(conversation) => {
            let content = content::of(conversation, max);
            add(names::SYSTEM_INSTRUCTIONS, of(content.system));
            add(names::TOOL_DEFINITIONS, of(content.tools));
            add(names::INPUT_MESSAGES, of(content.input));
            add(names::OUTPUT_MESSAGES, of(content.output));
            content.is_cut
        }
        None if call.property(MCP_METHOD).is_some() => {
            let content = content::of_mcp(&call.event, max);
            add(names::TOOL_ARGUMENTS, of(content.arguments));
            add(names::TOOL_RESULT, of(content.result));
            content.is_cut
        }
        None => false,
    };
    add(names::CONTENT_CUT, is_cut.then_some(Any::BoolValue(true)));
}

/// A property in OpenTelemetry's form. Unknown values are left out.
fn property(name: &str, value: &Value) -> Option<Any> {
    match value {
        Value::String(value) if names::LISTS.contains(&name) => {
            let values = value.split(',').map(|part| AnyValue { value: text(part.trim()) }).collect();
            Some(Any::ArrayValue(ArrayValue { values }))
        }
        Value::String(value) => text(value),
        Value::Bool(value) => Some(Any::BoolValue(*value)),
        Value::Number(value) => value.as_i64().map(Any::IntValue).or_else(|| value.as_f64().map(Any::DoubleValue)),
        Value::Array(values) => {
            let values = values.iter().map(|value| AnyValue { value: property("", value) }).collect();
            Some(Any::ArrayValue(ArrayValue { values }))
        }
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::config::Only;

    const PLAIN: Spans = Spans { only: Only::All, content: None, compat: false, metrics: false };

    fn of(row: &EventRow) -> Span {
        let call = Call::of(row);
        super::of(&call, Place::of(&call), &PLAIN)
    }

    fn row(event: &Value) -> EventRow {
        EventRow {
            id: 1,
            event_id: Uuid::from_u128(0x0197_0000_0000_7000_8000_0000_0000_0abc),
            method: event["method"].as_str().unwrap_or("POST").to_owned(),
            status_code: event["status_code"].as_u64().unwrap_or(200) as u16,
            error: event["error"].as_str().unwrap_or_default().to_owned(),
            ..EventRow::plain(event.to_string().into_bytes())
        }
    }

    fn event() -> Value {
        json!({
            "path": "/v1", "query_params": "key=****",
            "request_headers": r#"{"tracestate":"a=b"}"#,
            "custom_properties": {
                "url.scheme": "https", "server.address": "a.test", "server.port": 443, "http.response.status_code": 200,
                "network.protocol.version": "2", "gen_ai.usage.input_tokens": 7, "otas_proxy.llm.cost": 0.5,
                "gen_ai.response.finish_reasons": "stop,length", "gen_ai.request.stream": true, "error.type": null,
            },
            "metadata": {
                "kind": "http", "proxy": { "run_id": "r-1" }, "upstream": { "peer": "[2001:db8::1]:443" },
                "timings": { "total": 41.5 }, "links": { "retry_count": 2 },
            },
        })
    }

    fn value(span: &Span, name: &str) -> Option<Any> {
        let found: Vec<&KeyValue> = span.attributes.iter().filter(|pair| pair.key == name).collect();
        assert!(found.len() <= 1, "{name} stands there {} times", found.len());
        found.first().and_then(|pair| pair.value.clone()?.value)
    }

    #[test]
    fn a_call_is_a_client_span_with_http_and_model_attributes() {
        let span = of(&row(&event()));
        assert_eq!((span.kind(), &*span.name), (SpanKind::Client, "POST"));
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 41_500_000);
        assert_eq!(span.start_time_unix_nano, 1_700_000_000_500_000_000);
        for (name, expected) in [
            ("http.request.method", Any::StringValue("POST".into())),
            ("url.full", Any::StringValue("https://a.test/v1?key=****".into())),
            ("http.response.status_code", Any::IntValue(200)),
            ("server.port", Any::IntValue(443)),
            ("network.peer.port", Any::IntValue(443)),
            ("http.request.resend_count", Any::IntValue(2)),
            ("gen_ai.usage.input_tokens", Any::IntValue(7)),
            ("gen_ai.request.stream", Any::BoolValue(true)),
            ("otas_proxy.llm.cost", Any::DoubleValue(0.5)),
            ("otas_proxy.run.id", Any::StringValue("r-1".into())),
        ] {
            assert_eq!(value(&span, name), Some(expected), "{name}");
        }
        let Some(Any::ArrayValue(reasons)) = value(&span, "gen_ai.response.finish_reasons") else { panic!() };
        assert_eq!(reasons.values.len(), 2);
        assert_eq!((value(&span, "error.type"), value(&span, "http.request.method_original")), (None, None));
        assert_eq!(span.status, Some(Status::default()));
    }

    #[test]
    fn without_a_trace_the_span_gets_a_deterministic_one() {
        let span = of(&row(&event()));
        assert_eq!((span.trace_id.len(), span.span_id.len(), span.flags), (16, 8, 0));
        assert!(span.parent_span_id.is_empty() && span.trace_state.is_empty());
        assert!(span.span_id.iter().any(|byte| *byte != 0));
        assert_eq!(of(&row(&event())), span);
    }

    #[test]
    fn a_traceparent_is_its_parent() {
        let mut event = event();
        event["metadata"]["trace"] = json!({
            "trace_id": "0af7651916cd43dd8448eb211c80319c", "parent_id": "b7ad6b7169203331", "flags": "01",
        });
        let span = of(&row(&event));
        assert_eq!((span.trace_id[0], span.parent_span_id[0], span.flags), (0x0a, 0xb7, 0x301));
        assert_eq!(span.trace_state, "a=b");
    }

    #[test]
    fn errors_and_unknown_methods_follow_the_conventions() {
        let mut event = event();
        (event["method"], event["status_code"], event["error"]) =
            ("BREW".into(), 0.into(), "connect_refused: nobody listens".into());
        let span = of(&row(&event));
        assert_eq!(
            span.status,
            Some(Status { message: "connect_refused: nobody listens".into(), code: StatusCode::Error.into() })
        );
        assert_eq!(span.name, "HTTP");
        assert_eq!(value(&span, "http.request.method"), Some(Any::StringValue("_OTHER".into())));
        assert_eq!(value(&span, "http.request.method_original"), Some(Any::StringValue("BREW".into())));
        (event["status_code"], event["error"]) = (404.into(), "http_404: Not Found".into());
        assert_eq!(of(&row(&event)).status, Some(Status { message: String::new(), code: StatusCode::Error.into() }));
    }

    #[test]
    fn model_and_tool_calls_are_named_by_their_operation() {
        let mut event = event();
        event["custom_properties"]["gen_ai.operation.name"] = "chat".into();
        event["custom_properties"]["gen_ai.request.model"] = "m-1".into();
        assert_eq!(of(&row(&event)).name, "chat m-1");
        event["custom_properties"]["mcp.method.name"] = "tools/call".into();
        event["custom_properties"]["gen_ai.tool.name"] = "search".into();
        assert_eq!(of(&row(&event)).name, "tools/call search");
    }

    #[test]
    fn gaps_and_invalid_events_become_spans_too() {
        let gap = json!({ "method": "GAP", "error": "events_missing: 3", "metadata": { "kind": "gap" } });
        let span = of(&row(&gap));
        assert_eq!((span.kind(), &*span.name, value(&span, "url.full")), (SpanKind::Internal, "GAP", None));
        let mut broken = row(&gap);
        broken.json = b"half {".to_vec();
        assert_eq!(of(&broken).span_id.len(), 8);
    }
}
