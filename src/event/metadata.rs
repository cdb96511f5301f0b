//! `metadata`: provenance and technical details, nested. OTAS's page does not show it, its API returns it.
//!
//! It is written last. Every part that comes from outside is bounded here, and a test compares their sum with
//! `fit::METADATA_RESERVE_BYTES`.

use std::time::SystemTime;

use time::OffsetDateTime;

use super::body::{Bodies, CodingResult, Shown};
use super::clock::{hundredths, unix_ms};
use super::context::Context;
use super::json::Json;
use super::links::Links;
use super::writer::EventWriter;
use super::{agent, arrivals, fit, headers, llm, trace, websocket};
use crate::capture::{AgentProcess, BodyEnd, Caller, Captured, Exchange, Fields, Kind, Outcome};
use crate::codings::DecodeEnd;
use crate::config::CaptureLevel;

/// The version of `metadata`'s layout.
const SCHEMA: u64 = 1;

/// Writes `metadata`.
pub(super) fn write(
    out: &mut EventWriter<'_>,
    exchange: &Exchange,
    context: &Context<'_>,
    links: &Links,
    bodies: &Bodies,
) {
    let json = &mut out.json;
    json.open("metadata");
    json.number("schema", SCHEMA);
    json.open("proxy");
    json.string("version", env!("CARGO_PKG_VERSION"));
    out.bounded("run_id", context.run_id);
    let json = &mut out.json;
    json.close();
    json.open("event");
    let mut id = [0; 36];
    json.string("id", exchange.id.hyphenated().encode_lower(&mut id));
    json.number("seq", context.seq);
    json.close();
    started_at(json, exchange.started_at);
    json.string("kind", kind(exchange));
    attribution(out, exchange, context);
    agent::write(out);
    trace(&mut out.json, exchange);
    links.write(&mut out.json);
    if let Some(blind) = exchange.blind {
        out.json.string("blind", blind.name());
    }
    names(out, exchange);
    client(out, exchange);
    upstream(&mut out.json, exchange);
    timings(&mut out.json, exchange);
    if let Some(facts) = &exchange.websocket {
        websocket::write(&mut out.json, facts);
    }
    captures(out, exchange, bodies);
    origin_faults(&mut out.json, exchange);
    trailers(out, "request_trailers", exchange.request.trailers.as_ref());
    let response_trailers = exchange.response.as_ref().and_then(|response| response.trailers.as_ref());
    trailers(out, "response_trailers", response_trailers);
    llm::write(out, exchange);
    outcome(out, &exchange.outcome);
    cut_fields(out, exchange);
    redactions(out);
    out.json.close();
}

/// The host names of the call, if they differ.
fn names(out: &mut EventWriter<'_>, exchange: &Exchange) {
    let Some(names) = &exchange.names else { return };
    out.json.open("names");
    let all = [("target", Some(&names.target)), ("sni", names.sni.as_ref()), ("host", names.host.as_ref())];
    for (key, name) in all {
        if let Some(name) = name {
            out.bounded(key, name);
        }
    }
    out.json.close();
}

/// How both bodies were captured and are shown.
fn captures(out: &mut EventWriter<'_>, exchange: &Exchange, bodies: &Bodies) {
    out.json.open("capture");
    if let Some(level) = level_name(out.level) {
        out.json.string("level", level);
    }
    capture(out, "request", &exchange.request.body, bodies.request.shown.as_ref());
    if let Some(facts) = &exchange.response {
        capture(out, "response", &facts.body, bodies.response.shown.as_ref());
        arrivals::write(&mut out.json, facts);
    }
    out.json.close();
}

/// The caller, and the rule that identified it.
fn attribution(out: &mut EventWriter<'_>, exchange: &Exchange, context: &Context<'_>) {
    out.json.open("attribution");
    out.json.string("rule", context.rule);
    match &exchange.caller {
        Caller::Proxy => {}
        Caller::Credential(of) => {
            out.bounded("agent", &of.agent);
            if let Some(label) = &of.label {
                let masked = out.masking.line(label);
                out.bounded("label", masked.as_deref().unwrap_or(label));
            }
        }
        Caller::Process(AgentProcess(of)) => {
            out.json.number("pid", u64::from(of.pid));
            out.bounded("name", &of.name);
        }
    }
    out.json.close();
}

fn trace(json: &mut Json, exchange: &Exchange) {
    let value = exchange.request.headers.get("traceparent").and_then(|value| str::from_utf8(value).ok());
    if let Some(trace) = value.and_then(trace::read) {
        json.open("trace");
        json.string("trace_id", trace.trace_id);
        json.string("parent_id", trace.parent_id);
        json.string("flags", trace.flags);
        json.close();
    }
}

fn kind(exchange: &Exchange) -> &'static str {
    match (exchange.kind, &exchange.websocket) {
        (_, Some(facts)) => websocket::kind(facts),
        (Kind::Http, None) => "http",
        (Kind::Tunnel, None) => "tunnel",
    }
}

/// The agent's address, and its process if it was found by now.
fn client(out: &mut EventWriter<'_>, exchange: &Exchange) {
    out.json.open("client");
    out.json.socket("addr", exchange.agent);
    if let Some(process) = exchange.process.found() {
        out.json.number("pid", u64::from(process.facts.pid));
        if let Some(exe) = &process.facts.exe {
            out.bounded("exe", exe);
        }
    }
    out.json.close();
}

fn upstream(json: &mut Json, exchange: &Exchange) {
    json.open("upstream");
    if let Some(peer) = exchange.peer {
        json.socket("peer", peer);
    }
    json.flag("reused", exchange.connection_reused);
    if exchange.sent_again > 0 {
        json.number("sent_again", exchange.sent_again.into());
    }
    if let Some(tls) = exchange.tls {
        json.string("tls_version", tls.version);
        if let Some(alpn) = tls.alpn {
            json.string("alpn", alpn);
        }
        if tls.pinned {
            json.string("certificate", "pinned");
        }
    }
    json.close();
}

fn timings(json: &mut Json, exchange: &Exchange) {
    let timings = &exchange.timings;
    json.open("timings");
    for (key, step) in [
        ("dns", timings.dns),
        ("connect", timings.connect),
        ("tls", timings.tls),
        ("agent", timings.agent),
        ("send", timings.send),
        ("wait", timings.wait),
        ("receive", timings.receive),
        ("total", Some(timings.total)),
    ] {
        if let Some(step) = step {
            json.hundredths(key, hundredths(step));
        }
    }
    json.close();
}

fn capture(out: &mut EventWriter<'_>, key: &str, body: &Captured, shown: Option<&Shown>) {
    // Secrets in the field were counted with the header fields.
    let coding = shown.and_then(|shown| shown.coding.as_ref());
    let coding = coding.map(|(name, result)| (out.uncounted_line(name), *result));
    let json = &mut out.json;
    json.open(key);
    json.number("bytes", body.total_bytes);
    json.string("end", end_name(body.end));
    let omitted = body.omitted_bytes();
    if omitted > 0 {
        json.number("omitted", omitted);
    }
    if let Some(shown) = shown {
        json.string("encoding", shown.encoding);
        if shown.nuls > 0 {
            json.number("nuls", shown.nuls as u64);
        }
        if let Some((name, result)) = coding {
            json.string_within("content_encoding", &name, fit::NAME_MAX_BYTES, fit::CUT);
            json.string("decoded", result_name(result));
            if let CodingResult::Decoded { bytes, .. } = result {
                json.number("decoded_bytes", bytes as u64);
            }
        }
    }
    json.close();
}

/// Faults of the origin's response that did not keep it from the agent.
fn origin_faults(json: &mut Json, exchange: &Exchange) {
    let faults = exchange.response.as_ref().map_or(&[][..], |response| &response.faults);
    if faults.is_empty() {
        return;
    }
    json.key("origin_faults");
    json.open_array();
    for fault in faults {
        json.comma();
        json.text(fault.name(), usize::MAX, "");
    }
    json.close_array();
}

fn trailers(out: &mut EventWriter<'_>, key: &str, trailers: Option<&Fields>) {
    if let Some(trailers) = trailers {
        out.json.open(key);
        headers::write(out, trailers, fit::TRAILERS_MAX_BYTES);
        out.json.close();
    }
}

fn outcome(out: &mut EventWriter<'_>, outcome: &Outcome) {
    match outcome {
        Outcome::Complete => out.json.string("outcome", "complete"),
        Outcome::Failed(failure) => {
            out.json.string("outcome", "failed");
            out.bounded("failure", failure.id);
        }
    }
}

fn cut_fields(out: &mut EventWriter<'_>, exchange: &Exchange) {
    let start = out.json.len();
    out.json.open("cut");
    let empty = out.json.len();
    if let Some(bytes) = out.cuts.path_bytes {
        out.json.number("path_bytes", bytes as u64);
        let masked = out.uncounted_path(&exchange.request.path);
        out.json.string_within("path", &masked, fit::WHOLE_PATH_MAX_BYTES, fit::CUT);
    }
    if out.cuts.method {
        out.bounded("method", exchange.request.method.as_str());
    }
    let EventWriter { json, cuts, .. } = out;
    for (key, bytes) in [("query_bytes", cuts.query_bytes), ("error_bytes", cuts.error_bytes)] {
        if let Some(bytes) = bytes {
            json.number(key, bytes as u64);
        }
    }
    for (key, cut) in [
        ("request_headers", cuts.request_headers),
        ("response_headers", cuts.response_headers),
        ("properties", cuts.properties),
    ] {
        if cut {
            json.flag(key, true);
        }
    }
    if json.len() == empty {
        json.rewind(start);
    } else {
        json.close();
    }
}

/// The number of masked secrets, the rules that found them, and whether something was withheld because the search
/// failed.
fn redactions(out: &mut EventWriter<'_>) {
    /// The most rules that are listed. Real events have fewer.
    const RULES_MAX: usize = 64;
    let EventWriter { json, masking, .. } = out;
    json.number("redactions", masking.total());
    if masking.total() > 0 {
        json.open("redaction_rules");
        for (rule, count) in masking.counts().iter().take(RULES_MAX) {
            json.foreign_key(rule, fit::NAME_MAX_BYTES);
            json.value(u64::from(*count));
        }
        json.close();
    }
    if masking.withheld() {
        json.string("redaction", "failed_withheld");
    }
}

fn level_name(level: CaptureLevel) -> Option<&'static str> {
    match level {
        CaptureLevel::Full => None,
        CaptureLevel::Headers => Some("headers"),
        CaptureLevel::Metadata => Some("metadata"),
        CaptureLevel::None => Some("none"),
    }
}

/// RFC 3339 in UTC with milliseconds. A time outside the years 0 to 9999 is not written.
fn started_at(json: &mut Json, at: SystemTime) {
    let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms(at)) * 1_000_000) else { return };
    let Ok(year) = u16::try_from(at.year()) else { return };
    let mut text = *b"0000-00-00T00:00:00.000Z";
    for (end, value) in [
        (4, year),
        (7, u16::from(u8::from(at.month()))),
        (10, u16::from(at.day())),
        (13, u16::from(at.hour())),
        (16, u16::from(at.minute())),
        (19, u16::from(at.second())),
        (23, at.millisecond()),
    ] {
        let mut value = value;
        for digit in text[..end].iter_mut().rev().take_while(|byte| byte.is_ascii_digit()) {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
    json.string("started_at", std::str::from_utf8(&text).unwrap_or_default());
}

fn end_name(end: BodyEnd) -> &'static str {
    match end {
        BodyEnd::Complete => "complete",
        BodyEnd::SenderFailed => "sender_failed",
        BodyEnd::ReceiverLeft => "receiver_left",
        BodyEnd::ShutDown => "shut_down",
    }
}

fn result_name(result: CodingResult) -> &'static str {
    match result {
        CodingResult::Decoded { end: DecodeEnd::Whole, .. } => "whole",
        CodingResult::Decoded { end: DecodeEnd::Capped, .. } => "capped",
        CodingResult::Decoded { end: DecodeEnd::Broken, .. } => "broken_off",
        CodingResult::Unsupported => "unsupported",
        CodingResult::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shown(write: impl Fn(&mut Json)) -> String {
        let mut json = Json::object(0);
        write(&mut json);
        String::from_utf8(json.finish()).unwrap()
    }

    #[test]
    fn a_start_time_is_rfc_3339_with_milliseconds() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_449_601_007);
        assert_eq!(shown(|json| started_at(json, at)), r#"{"started_at":"2026-11-23T16:00:01.007Z"}"#);
        let before = SystemTime::UNIX_EPOCH - Duration::from_millis(1);
        assert_eq!(shown(|json| started_at(json, before)), r#"{"started_at":"1969-12-31T23:59:59.999Z"}"#);
    }

    #[test]
    fn a_time_beyond_the_year_9999_is_left_out() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(shown(|json| started_at(json, far)), "{}");
    }
}
