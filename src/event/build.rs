//! Making the event of an exchange.

use std::borrow::Cow;

use bytestring::ByteString;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST};

use super::apart::BodyText;
use super::body::{self, Bodies, Body};
use super::clock::{hundredths, unix_ms};
use super::context::{Context, Event};
use super::outline::Outline;
use super::said::Said;
use super::ties::Ties;
use super::writer::EventWriter;
use super::{agent, fit, grpc, headers, metadata, properties};
use crate::capture::{Captured, Exchange, Fields, Kind, Outcome, WebSocket};
use crate::config::CaptureLevel;
use crate::llm::Llm;
use crate::redact::Masking;

/// Makes the event of an exchange. Never fails: see the invariant of [`event`](super).
pub fn build(exchange: &Exchange, context: &Context<'_>) -> Event {
    make(exchange, context, true)
}

/// The same without what takes long to search for secrets: bodies, a model's answer, and header fields of many bytes. The event
/// says that they are withheld.
pub fn without_texts(exchange: &Exchange, context: &Context<'_>) -> Event {
    let response = exchange.response.iter().map(|response| &response.headers);
    let headers: usize = [&exchange.request.headers].into_iter().chain(response).map(Fields::bytes).sum();
    let reduced = (headers > HEADERS_SHORT_BYTES).then(|| reduced(exchange, CaptureLevel::Metadata));
    make(reduced.as_ref().unwrap_or(exchange), context, false)
}

/// Header fields up to this size are searched in less than a millisecond.
const HEADERS_SHORT_BYTES: usize = 16 * 1024;

/// How many bytes making the event may have to search, at most: bodies, header fields, a model's answer. Coded bodies count as
/// much as they may come to.
pub fn searched_bytes(exchange: &Exchange, text_max_bytes: usize) -> usize {
    let captured = |captured: &Captured, headers: &Fields| {
        let bytes: usize = captured.head.iter().chain(&captured.tail).map(bytes::Bytes::len).sum();
        match headers.get(CONTENT_ENCODING.as_str()) {
            Some(_) if bytes > 0 => bytes + body::DECODED_MAX_BYTES.max(text_max_bytes),
            _ => bytes,
        }
    };
    let request = &exchange.request;
    let target = request.path.len() + request.query.as_ref().map_or(0, String::len);
    let asked = captured(&request.body, &request.headers) + request.headers.bytes();
    let answered = exchange.response.as_ref().map_or(0, |it| captured(&it.body, &it.headers) + it.headers.bytes());
    target + asked + answered + exchange.llm.as_ref().map_or(0, |facts| facts.answer.len())
}

/// `texts`: whether bodies are searched and shown.
fn make(exchange: &Exchange, context: &Context<'_>, texts: bool) -> Event {
    let origin = &exchange.origin;
    let level = context.redactor.level(&origin.host, origin.port);
    let reduced = (level != CaptureLevel::Full).then(|| reduced(exchange, level));
    let exchange = reduced.as_ref().unwrap_or(exchange);
    let mut masking = context.redactor.masking(&origin.host, origin.port, &exchange.request.path);
    masking.recognise(exchange.request.headers.iter());
    let mut out = EventWriter::new(masking, level);
    let bodies = match level {
        CaptureLevel::Full if texts => bodies(exchange, context.text_max_bytes, &mut out.masking),
        CaptureLevel::Full => withheld_bodies(exchange, &mut out.masking),
        _ => Bodies { request: Body::none(), response: Body::none() },
    };
    out.agent = agent::identity(&mut out.masking, exchange, context.session_of);
    let summary = summary(&mut out, exchange, context);

    out.json.reserve(4096);
    out.json.string("path", &summary.path);
    out.json.string("method", &summary.method);
    out.json.number("status_code", u64::from(summary.status_code));
    out.json.hundredths("latency_ms", hundredths(exchange.timings.latency));
    out.json.number("request_size_bytes", summary.request_bytes.min(fit::INTEGER_MAX));
    out.json.number("response_size_bytes", summary.response_bytes.min(fit::INTEGER_MAX));
    write_headers(&mut out, exchange);
    write_query(&mut out, exchange.request.query.as_deref());
    out.json.string_of_json("post_data", bodies.request.form_fields.as_deref().unwrap_or_default());
    write_content_type(&mut out, "request_content_type", Some(&exchange.request.headers));
    write_content_type(&mut out, "response_content_type", exchange.response.as_ref().map(|facts| &facts.headers));
    out.json.string("error", &summary.error);
    let from = out.json.len();
    properties::write(&mut out, exchange, context, &error_type(exchange, &summary));
    let llm = Llm::of_member(out.json.since(from));
    let mut links = context.links;
    links.conversation = links.conversation.or_else(|| (context.continues)(llm.as_ref()?));
    let places = [out.json.gap("request_body"), out.json.gap("response_body")];
    metadata::write(&mut out, exchange, context, &links, &bodies);
    let ties = Ties::of(&mut out, exchange, llm.is_some());
    let EventWriter { json, cuts, masking, .. } = out;
    let is_model_call = llm.is_some() || exchange.llm.is_some();
    let llm = llm.map(Llm::column).unwrap_or_default();
    let bodies = body_texts(bodies, places);
    let asked = bodies.iter().find(|body| is_model_call && body.at == places[0]);
    let said = asked.map(|body| said(&body.text, exchange)).unwrap_or_default();
    let outline = Outline::column(exchange, cuts.any(), said, ties);
    without_our_own(Event { json: json.finish(), bodies, outline, llm, ..summary }, &masking)
}

/// What the text of a model call's request says. If it stands as it was sent, its messages stand where the call's reader found them.
fn said(text: &ByteString, exchange: &Exchange) -> Said {
    let as_sent = match &exchange.request.body.head[..] {
        [only] => (only.as_ptr(), only.len()) == (text.as_ptr(), text.len()) && exchange.websocket.is_none(),
        _ => false,
    };
    match &exchange.llm {
        Some(facts) if as_sent && !facts.messages.is_empty() => Said::of_messages(text, &facts.messages),
        _ => Said::of_request(text),
    }
}

/// A last search for our own secrets in the finished event, wherever they got into it. The texts of bodies were searched for them
/// with all others.
fn without_our_own(mut event: Event, masking: &Masking<'_>) -> Event {
    own_masked(&mut event, masking);
    for text in [&mut event.method, &mut event.host, &mut event.llm, &mut event.outline] {
        if let Some(masked) = masking.own(text) {
            *text = masked;
        }
    }
    event
}

/// Masks our own secrets in the JSON. What stands before a body may change its length, and then the body's place moves.
fn own_masked(event: &mut Event, masking: &Masking<'_>) {
    let Some(masked) = std::str::from_utf8(&event.json).ok().and_then(|json| masking.own(json)) else { return };
    let mut json = String::with_capacity(masked.len());
    let mut from = 0;
    let mut add = |to: usize| {
        let part = std::str::from_utf8(event.json.get(from..to).unwrap_or_default()).unwrap_or_default();
        json.push_str(masking.own(part).as_deref().unwrap_or(part));
        from = to;
        json.len()
    };
    for body in &mut event.bodies {
        body.at = add(body.at);
    }
    add(event.json.len());
    event.json = json.into_bytes();
}

/// The part of an exchange that is recorded below the full level. Its sizes stay true.
fn reduced(exchange: &Exchange, level: CaptureLevel) -> Exchange {
    let mut reduced = exchange.without_bodies();
    if let Some(facts) = &mut reduced.llm {
        facts.answer.clear();
        facts.hosts.clear();
    }
    if level == CaptureLevel::Headers {
        return reduced;
    }
    reduced.request.query = None;
    (reduced.request.headers, reduced.request.trailers) = (Fields::default(), None);
    if let Some(response) = &mut reduced.response {
        (response.headers, response.trailers) = (Fields::default(), None);
    }
    if level == CaptureLevel::None {
        reduced.request.path = "/".to_owned();
        reduced.llm = None;
    }
    reduced
}

fn bodies(exchange: &Exchange, text_max_bytes: usize, masking: &mut Masking<'_>) -> Bodies {
    let mut body = |captured: &Captured, headers: &Fields| {
        // The response of a failed tunnel is ours, and captured like any other.
        if exchange.kind == Kind::Tunnel && captured.head.is_empty() && captured.tail.is_empty() {
            Body::sealed(captured.total_bytes)
        } else if exchange.websocket.is_some() {
            // The bodies are decompressed messages, whatever the fields of the handshake say.
            body::render(captured, &plain_text(), text_max_bytes, masking)
        } else {
            body::render(captured, headers, text_max_bytes, masking)
        }
    };
    let request = body(&exchange.request.body, &exchange.request.headers);
    let response = exchange.response.as_ref().map(|response| body(&response.body, &response.headers));
    Bodies { request, response: response.unwrap_or_else(Body::none) }
}

fn withheld_bodies(exchange: &Exchange, masking: &mut Masking<'_>) -> Bodies {
    masking.withhold_texts();
    let body = |captured: &Captured| match captured.total_bytes {
        0 => Body::none(),
        bytes => Body::withheld(bytes),
    };
    let response = exchange.response.as_ref().map(|response| body(&response.body));
    Bodies { request: body(&exchange.request.body), response: response.unwrap_or_else(Body::none) }
}

fn plain_text() -> Fields {
    let mut fields = Fields::default();
    fields.push(CONTENT_TYPE.as_str(), b"text/plain; charset=utf-8");
    fields
}

/// The sizes of both bodies as sent. For a WebSocket, of its frames.
fn sizes(exchange: &Exchange) -> (u64, u64) {
    match &exchange.websocket {
        Some(WebSocket::Socket(facts)) => (facts.agent_bytes, facts.origin_bytes),
        _ => {
            let response = exchange.response.as_ref();
            (exchange.request.body.total_bytes, response.map_or(0, |response| response.body.total_bytes))
        }
    }
}

/// Everything of an event except its JSON.
fn summary(out: &mut EventWriter<'_>, exchange: &Exchange, context: &Context<'_>) -> Event {
    let status = exchange.response.as_ref().map(|response| response.status);
    let error = error(out, exchange, status, context.error_from_status);
    let EventWriter { cuts, masking, .. } = out;
    let request = &exchange.request;
    let masked_path = masking.path(&request.path);
    let path = fit::path(masked_path.as_deref().unwrap_or(&request.path));
    cuts.path_bytes = path.cut.then_some(request.path.len());
    let masked_method = masking.line(request.method.as_str());
    let method = masked_method.as_deref().unwrap_or(request.method.as_str());
    let method = fit::chars(method, fit::METHOD_MAX_CHARS);
    cuts.method = masked_method.is_none() && method != request.method.as_str();
    let (request_bytes, response_bytes) = sizes(exchange);
    let host = out.uncounted_line(&exchange.origin.host);
    Event {
        id: exchange.id,
        json: Vec::new(),
        bodies: Vec::new(),
        started_at_ms: unix_ms(exchange.started_at),
        method: method.into_owned(),
        host: fit::without_nul(&host).into_owned(),
        path: path.text.into_owned(),
        status_code: status.map_or(0, |status| status.as_u16()),
        latency_ms: hundredths(exchange.timings.latency) as f64 / 100.0,
        request_bytes,
        response_bytes,
        error,
        outline: String::new(),
        llm: String::new(),
    }
}

/// The event's `error`: an identifier, then a sentence. Empty on success.
fn error(out: &mut EventWriter<'_>, exchange: &Exchange, status: Option<StatusCode>, from_status: u16) -> String {
    let EventWriter { cuts, masking, .. } = out;
    let failure = match &exchange.outcome {
        Outcome::Failed(failure) => Some(format!("{}: {}", failure.id, failure.detail)),
        Outcome::Complete => grpc::status(exchange).and_then(|status| status.error()),
    };
    let bad = status.map(|status| status.as_u16()).filter(|status| from_status != 0 && *status >= from_status);
    // The error message of a model's provider says more than the status.
    let refusal = || Some(format!("http_{}: {}", bad?, exchange.llm.as_ref()?.refusal.as_ref()?));
    if let Some(error) = failure.or_else(refusal) {
        let error = masking.line(&error).unwrap_or(error);
        let error = fit::without_nul(&error);
        // A sixth of the room, in case each byte needs the longest escape.
        let kept = fit::chars(&error, fit::ERROR_MAX_BYTES / 6);
        if kept.len() < error.len() {
            cuts.error_bytes = Some(error.len());
        }
        return kept.into_owned();
    }
    match status {
        Some(status) if bad.is_some() => match status.canonical_reason() {
            Some(reason) => format!("http_{}: {reason}", status.as_u16()),
            None => format!("http_{}", status.as_u16()),
        },
        _ => String::new(),
    }
}

/// OpenTelemetry's `error.type`: our identifier, or the status code.
fn error_type(exchange: &Exchange, summary: &Event) -> Cow<'static, str> {
    match &exchange.outcome {
        Outcome::Failed(failure) => Cow::Borrowed(failure.id),
        Outcome::Complete if summary.error.is_empty() => Cow::Borrowed(""),
        Outcome::Complete if summary.error.starts_with("grpc_") => {
            grpc::status(exchange).map_or(Cow::Borrowed(""), |status| status.name())
        }
        Outcome::Complete => Cow::Owned(summary.status_code.to_string()),
    }
}

fn write_headers(out: &mut EventWriter<'_>, exchange: &Exchange) {
    out.json.open_string("request_headers");
    if exchange.request.headers.get(HOST.as_str()).is_none() {
        // An HTTP/1.0 request may have no Host field, but readers of the event need the host here.
        out.bounded_line("host", &exchange.origin.authority());
    }
    out.cuts.request_headers = headers::write(out, &exchange.request.headers, fit::HEADERS_MAX_BYTES);
    out.json.close_string();

    out.json.open_string("response_headers");
    if let Some(response) = &exchange.response {
        out.cuts.response_headers = headers::write(out, &response.headers, fit::HEADERS_MAX_BYTES);
    }
    out.json.close_string();
}

fn write_query(out: &mut EventWriter<'_>, query: Option<&str>) {
    let EventWriter { json, cuts, masking, .. } = out;
    let query = query.unwrap_or_default();
    let shown = masking.query(query);
    if json.string_within("query_params", shown.as_deref().unwrap_or(query), fit::QUERY_MAX_BYTES, fit::CUT) {
        cuts.query_bytes = Some(query.len());
    }
}

fn write_content_type(out: &mut EventWriter<'_>, key: &str, headers: Option<&Fields>) {
    let value = headers.and_then(|headers| headers.get(CONTENT_TYPE.as_str())).map(headers::text).unwrap_or_default();
    // Secrets in it were counted with the header fields.
    let masked = out.uncounted_line(&value);
    out.json.string(key, &fit::chars(&masked, fit::CONTENT_TYPE_MAX_CHARS));
}

/// The bodies that have a text, with their places in the JSON.
fn body_texts(bodies: Bodies, [request, response]: [usize; 2]) -> Vec<BodyText> {
    let texts = [(request, bodies.request.text()), (response, bodies.response.text())];
    let with_text = texts.into_iter().filter(|(_, text)| !text.is_empty());
    with_text.map(|(at, text)| BodyText { at, text }).collect()
}
