//! From an [`Exchange`] to the [`Event`] that OTAS is sent: pure functions, off the request's path.
//!
//! ```text
//!  Exchange
//!    |- body      captured pieces -> text or base64     (decode: content codings, text: charsets, form: fields)
//!    |- headers   fields -> JSON object
//!    |- fit       OTAS's limits, and the room of each field
//!    |- metadata  what OTAS's page does not show
//!    v
//!  json           (what is masked in all of it: crate::redact) every byte passes here: escaped, without NUL, within its room
//! ```
//!
//! Invariant: whatever the exchange, its event satisfies every measured limit of OTAS. What does not fit is cut with a mark
//! that a reader sees, and its true size is kept in `metadata`. The tests name it: `any_exchange_fits`.

mod arrivals;
mod bodies;
mod body;
mod content_type;
mod cost;
mod fit;
mod form;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod grpc;
mod headers;
mod json;
mod links;
mod llm;
mod metadata;
mod otas;
mod outline;
mod properties;
mod stored;
#[cfg(test)]
mod tests;
mod text;
mod trace;
mod websocket;

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HOST};
use uuid::Uuid;

pub use self::bodies::without_bodies;
use self::body::Body;
use self::json::Json;
pub use self::links::{Links, Retry, Turn};
use self::metadata::Cuts;
pub use self::metadata::unix_ms;
pub use self::otas::{opened_session, posted_event};
pub use self::outline::{Llm, Outline, Phases};
pub use self::stored::{Content, Side, Stored};
use crate::capture::{Captured, Exchange, Fields, Kind, Outcome, WebSocket};
use crate::config::CaptureLevel;
use crate::prices::Prices;
use crate::redact::{Masking, Redactor};

/// What an event says beside its exchange.
pub struct Context<'a> {
    /// The place of the event in its run, from 1 on.
    pub seq: u64,
    /// The name of this run of the proxy.
    pub run_id: &'a str,
    /// By which rule the call was put into its session.
    pub rule: &'a str,
    /// Status codes from here on set `error` to `http_<code>: <reason>`. 0: never.
    pub error_from_status: u16,
    /// The operator's own `custom_properties`. Those with a name of ours are ignored.
    pub properties: &'a BTreeMap<String, String>,
    /// What models cost. `None`: it is not known.
    pub prices: Option<&'a Prices>,
    /// The calls that this one belongs to.
    pub links: Links,
    /// The call that one to a model goes on from, by what was read of it.
    pub continues: &'a dyn Fn(&Llm) -> Option<Turn>,
    /// What is masked, and how much of which calls is recorded at all.
    pub redactor: &'a Redactor,
}

/// What OTAS is sent for one exchange, and what our own store lists it by.
pub struct Event {
    /// The exchange's id.
    pub id: Uuid,
    /// The body of `POST /log/agent/`, whole but for `project_id`: see [`with_project_id`].
    pub json: Vec<u8>,
    /// When the request's head had been read, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// The method as in `json`.
    pub method: String,
    /// The host called: a name in lower case or an IP literal.
    pub host: String,
    /// The path as in `json`.
    pub path: String,
    /// What the agent received; 0 if nothing.
    pub status_code: u16,
    /// As in `json`: rounded to two decimals.
    pub latency_ms: f64,
    /// The true size of the request body in bytes.
    pub request_bytes: u64,
    /// The true size of the response body in bytes.
    pub response_bytes: u64,
    /// Empty on success.
    pub error: String,
    /// How the call passed, for lists: see [`Outline`].
    pub outline: String,
    /// What `json` says of a model's work, for lists: see [`Llm`]. Empty for most calls.
    pub llm: String,
}

/// Makes the event of an exchange. Never fails: see the invariant above.
pub fn build(exchange: &Exchange, context: &Context<'_>) -> Event {
    let origin = &exchange.origin;
    let level = context.redactor.level(&origin.host, origin.port);
    let reduced = (level != CaptureLevel::Full).then(|| reduced(exchange, level));
    let exchange = reduced.as_ref().unwrap_or(exchange);
    let mut masking = context.redactor.masking(&origin.host, origin.port, &exchange.request.path);
    masking.recognise(exchange.request.headers.iter());
    let mut cuts = Cuts::default();
    let (request, response) = match level {
        CaptureLevel::Full => bodies(exchange, &mut masking),
        _ => (Body::none(), Body::none()),
    };
    let summary = summary(exchange, context, &mut cuts, &mut masking);

    let mut json = Json::object(2048 + request.len() + response.len() + (request.len() + response.len()) / 4);
    json.string("path", &summary.path);
    json.string("method", &summary.method);
    json.number("status_code", u64::from(summary.status_code));
    json.hundredths("latency_ms", metadata::hundredths(exchange.timings.latency));
    json.number("request_size_bytes", summary.request_bytes.min(fit::INTEGER_MAX));
    json.number("response_size_bytes", summary.response_bytes.min(fit::INTEGER_MAX));
    write_headers(&mut json, exchange, &mut cuts, &mut masking);
    write_query(&mut json, exchange.request.query.as_deref(), &mut cuts, &mut masking);
    json.string_of_json("post_data", request.form_fields.as_deref().unwrap_or_default());
    write_content_type(&mut json, "request_content_type", Some(&exchange.request.headers), &mut masking);
    let answered = exchange.response.as_ref().map(|facts| &facts.headers);
    write_content_type(&mut json, "response_content_type", answered, &mut masking);
    json.string("error", &summary.error);
    let error_type = error_type(exchange, &summary);
    let from = json.len();
    cuts.properties = properties::write(&mut json, exchange, context, &error_type, &mut masking);
    let llm = Llm::written(&json, from);
    let mut links = context.links;
    links.conversation = links.conversation.or_else(|| (context.continues)(llm.as_ref()?));
    let reserve = fit::METADATA_RESERVE_BYTES + if exchange.llm.is_some() { fit::LLM_RESERVE_BYTES } else { 0 };
    write_bodies(&mut json, (&request, &response), reserve, &mut cuts);
    metadata::write(&mut json, exchange, (context, &links), (&request, &response), &cuts, (&mut masking, level));
    let outline = Outline::column(exchange, cuts.any());
    let llm = llm.map(|llm| llm.column()).unwrap_or_default();
    without_our_own(Event { json: json.finish(), outline, llm, ..summary }, &masking)
}

/// Whatever room our own secrets got into, they do not leave it.
fn without_our_own(mut event: Event, masking: &Masking<'_>) -> Event {
    if let Some(json) = std::str::from_utf8(&event.json).ok().and_then(|json| masking.own(json)) {
        event.json = json.into_bytes();
    }
    for text in [&mut event.method, &mut event.host, &mut event.llm] {
        if let Some(masked) = masking.own(text) {
            *text = masked;
        }
    }
    event
}

/// What is recorded of a call below the full level. Its sizes stay true.
fn reduced(exchange: &Exchange, level: CaptureLevel) -> Exchange {
    let size_of = |body: &Captured| Captured { head: Vec::new(), tail: Vec::new(), ..body.clone() };
    let mut reduced = exchange.clone();
    reduced.request.body = size_of(&exchange.request.body);
    if let Some(response) = &mut reduced.response {
        response.body = size_of(&response.body);
    }
    if let Some(facts) = &mut reduced.llm {
        facts.answer.clear();
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

/// The body to post: `json` with the project's id in front. At most 2,621,440 bytes for an id of up to 200.
pub fn with_project_id(json: &[u8], project_id: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + project_id.len() + 32);
    out.extend_from_slice(b"{\"project_id\":\"");
    json::escape(&mut out, project_id.as_bytes(), usize::MAX);
    out.extend_from_slice(b"\",");
    out.extend_from_slice(json.strip_prefix(b"{").unwrap_or(json));
    out
}

fn bodies<'a>(exchange: &'a Exchange, masking: &mut Masking<'_>) -> (Body<'a>, Body<'a>) {
    let mut body = |captured: &'a Captured, headers: &Fields| {
        // A tunnel that failed has an answer of ours, which is captured like any other.
        if exchange.kind == Kind::Tunnel && captured.head.is_empty() && captured.tail.is_empty() {
            Body::sealed(captured.total_bytes)
        } else if exchange.websocket.is_some() {
            // Whatever the handshake's fields say: messages in clear.
            body::render(captured, &plain_text(), masking)
        } else {
            body::render(captured, headers, masking)
        }
    };
    let request = body(&exchange.request.body, &exchange.request.headers);
    let response = exchange.response.as_ref().map(|response| body(&response.body, &response.headers));
    (request, response.unwrap_or_else(Body::none))
}

fn plain_text() -> Fields {
    let mut fields = Fields::default();
    fields.push(CONTENT_TYPE.as_str(), b"text/plain; charset=utf-8");
    fields
}

/// Bytes of both bodies as they were sent. A WebSocket's are those of its frames.
fn sizes(exchange: &Exchange) -> (u64, u64) {
    match &exchange.websocket {
        Some(WebSocket::Socket(facts)) => (facts.agent_bytes, facts.origin_bytes),
        _ => {
            let response = exchange.response.as_ref();
            (exchange.request.body.total_bytes, response.map_or(0, |response| response.body.total_bytes))
        }
    }
}

/// Everything of an event but its JSON.
fn summary(exchange: &Exchange, context: &Context<'_>, cuts: &mut Cuts, masking: &mut Masking<'_>) -> Event {
    let request = &exchange.request;
    let masked_path = masking.path(&request.path);
    let path = fit::path(masked_path.as_deref().unwrap_or(&request.path));
    cuts.path_bytes = path.cut.then_some(request.path.len());
    let masked_method = masking.line(request.method.as_str());
    let method = masked_method.as_deref().unwrap_or(request.method.as_str());
    let method = fit::chars(method, fit::METHOD_MAX_CHARS);
    cuts.method = masked_method.is_none() && method != request.method.as_str();
    let status = exchange.response.as_ref().map(|response| response.status);
    let (request_bytes, response_bytes) = sizes(exchange);
    Event {
        id: exchange.id,
        json: Vec::new(),
        started_at_ms: metadata::unix_ms(exchange.started_at),
        method: method.into_owned(),
        host: fit::without_nul(&exchange.origin.host).into_owned(),
        path: path.text.into_owned(),
        status_code: status.map_or(0, |status| status.as_u16()),
        latency_ms: metadata::hundredths(exchange.timings.latency) as f64 / 100.0,
        request_bytes,
        response_bytes,
        error: error(exchange, status, context.error_from_status, cuts, masking),
        outline: String::new(),
        llm: String::new(),
    }
}

/// An identifier, then a sentence; empty on success.
fn error(
    exchange: &Exchange,
    status: Option<StatusCode>,
    from_status: u16,
    cuts: &mut Cuts,
    masking: &mut Masking<'_>,
) -> String {
    let told = match &exchange.outcome {
        Outcome::Failed(failure) => Some(format!("{}: {}", failure.id, failure.detail)),
        Outcome::Complete => grpc::status(exchange).and_then(|status| status.error()),
    };
    let bad = status.map(|status| status.as_u16()).filter(|status| from_status != 0 && *status >= from_status);
    // A model's provider says more than the status does.
    let refusal = || Some(format!("http_{}: {}", bad?, exchange.llm.as_ref()?.refusal.as_ref()?));
    if let Some(error) = told.or_else(refusal) {
        let error = masking.line(&error).unwrap_or(error);
        let error = fit::without_nul(&error);
        // A sixth: even if each byte needs the longest escape.
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

fn write_headers(json: &mut Json, exchange: &Exchange, cuts: &mut Cuts, masking: &mut Masking<'_>) {
    json.open_string("request_headers");
    if exchange.request.headers.get(HOST.as_str()).is_none() {
        // A request may have none (HTTP/1.0), but a reader has no other place to see whom it was for.
        let host = format!("{}:{}", exchange.origin.host, exchange.origin.port);
        json.string_within("host", &host, fit::VALUE_MAX_BYTES, fit::CUT);
    }
    cuts.request_headers = headers::write(json, &exchange.request.headers, fit::HEADERS_MAX_BYTES, masking);
    json.close_string();

    json.open_string("response_headers");
    if let Some(response) = &exchange.response {
        cuts.response_headers = headers::write(json, &response.headers, fit::HEADERS_MAX_BYTES, masking);
    }
    json.close_string();
}

fn write_query(json: &mut Json, query: Option<&str>, cuts: &mut Cuts, masking: &mut Masking<'_>) {
    let query = query.unwrap_or_default();
    let shown = masking.query(query);
    if json.string_within("query_params", shown.as_deref().unwrap_or(query), fit::QUERY_MAX_BYTES, fit::CUT) {
        cuts.query_bytes = Some(query.len());
    }
}

fn write_content_type(json: &mut Json, key: &str, headers: Option<&Fields>, masking: &mut Masking<'_>) {
    let value = headers.and_then(|headers| headers.get(CONTENT_TYPE.as_str())).map(headers::text).unwrap_or_default();
    // It was counted with the header fields.
    let masked = masking.uncounted(|masking| masking.line(&value));
    json.string(key, &fit::chars(masked.as_deref().unwrap_or(&value), fit::CONTENT_TYPE_MAX_CHARS));
}

/// Both bodies, within what the fields before them and what is reserved for those after them leave.
fn write_bodies(json: &mut Json, (request, response): (&Body<'_>, &Body<'_>), reserve: usize, cuts: &mut Cuts) {
    const KEYS: [&str; 2] = ["request_body", "response_body"];
    const AROUND_BYTES: usize = 64;
    let taken = json.len() + AROUND_BYTES + reserve + fit::PROJECT_ID_RESERVE_BYTES;
    let room = fit::EVENT_MAX_BYTES.saturating_sub(taken);
    // No byte takes more than six when escaped: nearly all events fit without counting.
    if (request.len() + response.len()).saturating_mul(6) <= room {
        request.write(json, KEYS[0]);
        response.write(json, KEYS[1]);
        return;
    }
    let (first, second) = (request.escaped_len(), response.escaped_len());
    let (first_room, second_room) = fit::shares(room, first, second);
    cuts.request_body = first > first_room;
    cuts.response_body = second > second_room;
    for (body, key, cut, room) in
        [(request, KEYS[0], cuts.request_body, first_room), (response, KEYS[1], cuts.response_body, second_room)]
    {
        if cut { body.write_within(json, key, room) } else { body.write(json, key) }
    }
}
