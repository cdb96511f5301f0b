//! `metadata`: provenance and mechanics, nested. OTAS's page does not show it, its API returns it.
//!
//! It is written last, into room reserved for it: every part of it that comes from outside is bounded here, and
//! [`fit::METADATA_RESERVE_BYTES`] covers their sum.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

use super::body::{Body, CodingResult, Shown};
use super::json::Json;
use super::{Context, Links, arrivals, fit, headers, llm, trace, websocket};
use crate::capture::{AgentProcess, Blind, BodyEnd, Caller, Captured, Exchange, Fields, Kind, Outcome};
use crate::codings::DecodeEnd;
use crate::config::CaptureLevel;
use crate::redact::Masking;

/// The version of `metadata`'s layout.
const SCHEMA: u64 = 1;

/// What the fields before `metadata` lost, with the sizes they had.
#[derive(Default)]
pub(super) struct Cuts {
    /// Bytes of the path.
    pub(super) path_bytes: Option<usize>,
    /// Bytes of the query.
    pub(super) query_bytes: Option<usize>,
    /// Bytes of the failure's sentence.
    pub(super) error_bytes: Option<usize>,
    /// Whether the method was longer than its column.
    pub(super) method: bool,
    /// Whether request header fields were cut or left out.
    pub(super) request_headers: bool,
    /// Whether response header fields were cut or left out.
    pub(super) response_headers: bool,
    /// Whether properties were cut or left out.
    pub(super) properties: bool,
    /// Whether the request body was cut to fit the event.
    pub(super) request_body: bool,
    /// Whether the response body was cut to fit the event.
    pub(super) response_body: bool,
}

impl Cuts {
    /// Whether anything was lost.
    pub(super) fn any(&self) -> bool {
        let Self { path_bytes, query_bytes, error_bytes, method, request_headers, response_headers, .. } = self;
        [path_bytes, query_bytes, error_bytes].into_iter().any(Option::is_some)
            || [*method, *request_headers, *response_headers, self.properties, self.request_body, self.response_body]
                .contains(&true)
    }
}

/// Writes `metadata`.
pub(super) fn write(
    json: &mut Json,
    exchange: &Exchange,
    (context, links): (&Context<'_>, &Links),
    (request, response): (&Body<'_>, &Body<'_>),
    cuts: &Cuts,
    (masking, level): (&mut Masking<'_>, CaptureLevel),
) {
    json.open("metadata");
    json.number("schema", SCHEMA);
    json.open("proxy");
    json.string("version", env!("CARGO_PKG_VERSION"));
    bounded(json, "run_id", context.run_id);
    json.close();
    json.open("event");
    let mut id = [0; 36];
    json.string("id", exchange.id.hyphenated().encode_lower(&mut id));
    json.number("seq", context.seq);
    json.close();
    started_at(json, exchange.started_at);
    json.string("kind", kind(exchange));
    attribution(json, exchange, context, masking);
    trace(json, exchange);
    links.write(json);
    if let Some(blind) = exchange.blind {
        json.string("blind", blind_name(blind));
    }
    if let Some(names) = &exchange.names {
        json.open("names");
        let all = [("target", Some(&names.target)), ("sni", names.sni.as_ref()), ("host", names.host.as_ref())];
        for (key, name) in all {
            if let Some(name) = name {
                bounded(json, key, name);
            }
        }
        json.close();
    }
    client(json, exchange);
    upstream(json, exchange);
    timings(json, exchange);
    if let Some(facts) = &exchange.websocket {
        websocket::write(json, facts);
    }
    json.open("capture");
    if let Some(level) = level_name(level) {
        json.string("level", level);
    }
    capture(json, "request", &exchange.request.body, request.shown.as_ref(), masking);
    if let Some(facts) = &exchange.response {
        capture(json, "response", &facts.body, response.shown.as_ref(), masking);
        arrivals::write(json, facts);
    }
    json.close();
    origin_faults(json, exchange);
    trailers(json, "request_trailers", exchange.request.trailers.as_ref(), masking);
    let response_trailers = exchange.response.as_ref().and_then(|response| response.trailers.as_ref());
    trailers(json, "response_trailers", response_trailers, masking);
    llm::write(json, exchange, masking);
    outcome(json, &exchange.outcome);
    cut_fields(json, exchange, cuts, masking);
    redactions(json, masking);
    json.close();
}

/// Whose call it is, and by which rule that is known.
fn attribution(json: &mut Json, exchange: &Exchange, context: &Context<'_>, masking: &mut Masking<'_>) {
    json.open("attribution");
    json.string("rule", context.rule);
    match &exchange.caller {
        Caller::Proxy => {}
        Caller::Credential(of) => {
            bounded(json, "agent", &of.agent);
            if let Some(label) = &of.label {
                bounded(json, "label", masking.line(label).as_deref().unwrap_or(label));
            }
        }
        Caller::Process(AgentProcess(of)) => {
            json.number("pid", u64::from(of.pid));
            bounded(json, "name", &of.name);
        }
    }
    json.close();
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

/// The agent's socket, and its process as far as it is known by now.
fn client(json: &mut Json, exchange: &Exchange) {
    json.open("client");
    json.socket("addr", exchange.agent);
    if let Some(process) = exchange.process.found() {
        json.number("pid", u64::from(process.facts.pid));
        if let Some(exe) = &process.facts.exe {
            bounded(json, "exe", exe);
        }
    }
    json.close();
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

/// Milliseconds in hundredths, rounded: what [`Json::hundredths`] writes. Saturates after millions of years.
pub(super) fn hundredths(duration: Duration) -> u64 {
    let fraction = u64::from((duration.subsec_nanos() + 5_000) / 10_000);
    duration.as_secs().saturating_mul(100_000).saturating_add(fraction)
}

fn capture(json: &mut Json, key: &str, body: &Captured, shown: Option<&Shown>, masking: &mut Masking<'_>) {
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
        if let Some((coding, result)) = &shown.coding {
            // Whatever stands in the field; it was counted there.
            let masked = masking.uncounted(|masking| masking.line(coding));
            json.string_within(
                "content_encoding",
                masked.as_deref().unwrap_or(coding),
                fit::NAME_MAX_BYTES,
                fit::CUT,
            );
            json.string("decoded", result_name(*result));
            if let CodingResult::Decoded { bytes, .. } = result {
                json.number("decoded_bytes", *bytes as u64);
            }
        }
    }
    json.close();
}

/// What was wrong with the origin's response and did not keep it from the agent.
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

fn trailers(json: &mut Json, key: &str, trailers: Option<&Fields>, masking: &mut Masking<'_>) {
    if let Some(trailers) = trailers {
        json.open(key);
        headers::write(json, trailers, fit::TRAILERS_MAX_BYTES, masking);
        json.close();
    }
}

fn outcome(json: &mut Json, outcome: &Outcome) {
    match outcome {
        Outcome::Complete => json.string("outcome", "complete"),
        Outcome::Failed(failure) => {
            json.string("outcome", "failed");
            bounded(json, "failure", failure.id);
        }
    }
}

fn cut_fields(json: &mut Json, exchange: &Exchange, cuts: &Cuts, masking: &mut Masking<'_>) {
    let start = json.len();
    json.open("cut");
    let empty = json.len();
    if let Some(bytes) = cuts.path_bytes {
        json.number("path_bytes", bytes as u64);
        let path = &exchange.request.path;
        let masked = masking.uncounted(|masking| masking.path(path));
        json.string_within("path", masked.as_deref().unwrap_or(path), fit::WHOLE_PATH_MAX_BYTES, fit::CUT);
    }
    if cuts.method {
        bounded(json, "method", exchange.request.method.as_str());
    }
    for (key, bytes) in [("query_bytes", cuts.query_bytes), ("error_bytes", cuts.error_bytes)] {
        if let Some(bytes) = bytes {
            json.number(key, bytes as u64);
        }
    }
    for (key, cut) in [
        ("request_headers", cuts.request_headers),
        ("response_headers", cuts.response_headers),
        ("properties", cuts.properties),
        ("request_body", cuts.request_body),
        ("response_body", cuts.response_body),
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

/// How much was masked, by which rules, and whether something was withheld because that was not certain.
fn redactions(json: &mut Json, masking: &Masking<'_>) {
    /// Rules that are listed. More than these find something only if somebody means them to.
    const RULES_MAX: usize = 64;
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

pub(super) fn bounded(json: &mut Json, key: &str, value: &str) {
    json.string_within(key, value, fit::VALUE_MAX_BYTES, fit::CUT);
}

/// RFC 3339 in UTC with milliseconds. A clock outside the years 0 to 9999 is not written.
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

/// Milliseconds since 1970, negative before it.
pub fn unix_ms(at: SystemTime) -> i64 {
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// As `metadata.blind` has it.
pub(super) fn blind_name(blind: Blind) -> &'static str {
    match blind {
        Blind::Configured => "configured",
        Blind::Learned => "learned",
        Blind::UnknownProtocol => "unknown_protocol",
        Blind::UnknownAlpn => "unknown_alpn",
        Blind::UnreadableName => "unreadable_server_name",
        Blind::UnknownTls => "unknown_tls",
    }
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
    fn a_clock_far_away_is_left_out() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(shown(|json| started_at(json, far)), "{}");
    }

    #[test]
    fn durations_round_to_hundredths_of_a_millisecond() {
        assert_eq!(hundredths(Duration::from_nanos(1_234_999)), 123);
        assert_eq!(hundredths(Duration::from_nanos(1_235_000)), 124);
        assert_eq!(hundredths(Duration::from_nanos(999_999_999)), 100_000);
        assert_eq!(hundredths(Duration::MAX), u64::MAX);
    }
}
