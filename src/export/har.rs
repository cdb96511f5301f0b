//! HAR 1.2, which browsers and many tools import.

use std::io::{self, Write};

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;

use crate::event::{Content, Phases, Side, Stored};
use crate::store::EventRow;
use crate::visible;

/// A complete file of entries.
pub fn log(entries: Vec<Value>) -> Value {
    json!({
        "log": {
            "version": "1.2",
            "creator": { "name": "otas-proxy", "version": env!("CARGO_PKG_VERSION") },
            "pages": [],
            "entries": entries,
        }
    })
}

/// Writes a file entry by entry, because it may be large.
pub struct File<'a, W> {
    out: &'a mut W,
    entries: u64,
}

impl<'a, W: Write> File<'a, W> {
    /// Starts a file.
    ///
    /// # Errors
    /// When writing fails, as for the other two methods.
    pub fn begin(out: &'a mut W) -> io::Result<Self> {
        let creator = json!({ "name": "otas-proxy", "version": env!("CARGO_PKG_VERSION") });
        write!(out, "{{\"log\":{{\"version\":\"1.2\",\"creator\":{creator},\"pages\":[],\"entries\":[")?;
        Ok(Self { out, entries: 0 })
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// When writing fails.
    pub fn add(&mut self, entry: &Value) -> io::Result<()> {
        write!(self.out, "{}\n{}", if self.entries > 0 { "," } else { "" }, visible::json(&entry.to_string()))?;
        self.entries += 1;
        Ok(())
    }

    /// Ends the file, with a `comment` if it is not empty. A file that is not ended is not valid JSON.
    ///
    /// # Errors
    /// When writing fails.
    pub fn end(self, comment: &str) -> io::Result<()> {
        match comment {
            "" => writeln!(self.out, "]}}}}"),
            comment => writeln!(self.out, "],\"comment\":{}}}}}", json!(comment)),
        }
    }
}

/// The entry of one event. Facts beyond HAR are in `_otas`.
pub fn entry(row: &EventRow) -> Value {
    let event = Stored::parse(&row.json);
    let timings = Timings::of(&event.phases(), row.latency_ms);
    let mut entry = json!({
        "startedDateTime": started(row.started_at_ms),
        "time": timings.sum(),
        "request": request(row, &event),
        "response": response(row, &event),
        "cache": {},
        "timings": timings.json(),
    });
    if let Some(peer) =
        event.metadata()["upstream"]["peer"].as_str().and_then(|at| at.parse::<std::net::SocketAddr>().ok())
    {
        entry["serverIPAddress"] = peer.ip().to_string().into();
        // Firefox shows it as the server's port, and writes it itself.
        entry["connection"] = peer.port().to_string().into();
    }
    if event.metadata()["kind"] == "websocket" {
        // Chromium uses it to show the resource type.
        entry["_resourceType"] = "websocket".into();
    }
    let comment = [Some(row.error.as_str()).filter(|error| !error.is_empty()), row.note.as_deref()];
    let comment = comment.into_iter().flatten().collect::<Vec<_>>().join("\n");
    if !comment.is_empty() {
        entry["comment"] = comment.into();
    }
    entry["_otas"] = json!({
        "event_id": row.event_id.to_string(),
        "session": row.session,
        "state": row.state.to_string(),
        "otas_event_id": row.otas_event_id,
        "custom_properties": event.json()["custom_properties"],
        "metadata": event.metadata(),
    });
    entry
}

fn request(row: &EventRow, event: &Stored) -> Value {
    let mut request = json!({
        "method": row.method,
        "url": event.url(),
        "httpVersion": version(event),
        "cookies": [],
        "headers": fields(event, Side::Request),
        "queryString": query(event.text("query_params")),
        "headersSize": -1,
        "bodySize": row.request_bytes,
    });
    let posted = match event.body(Side::Request) {
        Content::Empty => return request,
        Content::Text(text) => json!({ "mimeType": event.content_type(Side::Request), "text": text }),
        // HAR has no place for bytes here. Chromium writes this, and other tools read it.
        Content::Bytes(bytes) => json!({
            "mimeType": event.content_type(Side::Request), "text": STANDARD.encode(bytes), "encoding": "base64",
        }),
    };
    request["postData"] = posted;
    request
}

fn response(row: &EventRow, event: &Stored) -> Value {
    let reason = StatusCode::from_u16(row.status_code).ok().and_then(|status| status.canonical_reason());
    let mut content = Map::new();
    let shown = event.body(Side::Response);
    let decoded = event.capture(Side::Response)["decoded_bytes"].as_u64();
    let size = decoded.unwrap_or(row.response_bytes);
    content.insert("size".into(), size.into());
    if decoded.is_some() {
        let saved = i64::try_from(size).unwrap_or(i64::MAX) - i64::try_from(row.response_bytes).unwrap_or(i64::MAX);
        content.insert("compression".into(), saved.into());
    }
    content.insert("mimeType".into(), event.content_type(Side::Response).into());
    match shown {
        Content::Empty => {}
        Content::Text(text) => {
            content.insert("text".into(), text.into());
        }
        Content::Bytes(bytes) => {
            content.insert("text".into(), STANDARD.encode(bytes).into());
            content.insert("encoding".into(), "base64".into());
        }
    }
    if event.body_is_cut(Side::Response) {
        content.insert("comment".into(), "cut: the whole body was not kept".into());
    }
    json!({
        "status": row.status_code,
        "statusText": reason.unwrap_or_default(),
        "httpVersion": version(event),
        "cookies": [],
        "headers": fields(event, Side::Response),
        "content": content,
        "redirectURL": event.header(Side::Response, "location").unwrap_or_default(),
        "headersSize": -1,
        "bodySize": row.response_bytes,
    })
}

/// HAR's timings in milliseconds. They are consecutive, although our phases may overlap (an origin may answer before it has the
/// whole request). -1: the phase did not occur.
struct Timings {
    dns: f64,
    connect: f64,
    ssl: f64,
    send: f64,
    wait: f64,
    receive: f64,
}

impl Timings {
    fn of(phases: &Phases, latency_ms: f64) -> Self {
        let wait = phases.wait.unwrap_or(latency_ms);
        let send = phases.send.unwrap_or_default().min(wait);
        Self {
            dns: phases.dns.unwrap_or(-1.0),
            // In HAR, connecting includes the TLS handshake.
            connect: phases.connect.map_or(-1.0, |connect| rounded(connect + phases.tls.unwrap_or_default())),
            ssl: phases.tls.unwrap_or(-1.0),
            send,
            wait: rounded(wait - send),
            receive: phases.receive.unwrap_or_default(),
        }
    }

    fn sum(&self) -> f64 {
        let steps = [self.dns, self.connect, self.send, self.wait, self.receive];
        rounded(steps.into_iter().filter(|ms| *ms > 0.0).sum())
    }

    fn json(&self) -> Value {
        let Self { dns, connect, ssl, send, wait, receive } = self;
        json!({
            "blocked": -1, "dns": dns, "connect": connect, "ssl": ssl, "send": send, "wait": wait, "receive": receive,
        })
    }
}

/// Rounded to hundredths, like the phases.
fn rounded(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

fn fields(event: &Stored, side: Side) -> Vec<Value> {
    event.headers(side).into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn query(text: &str) -> Vec<Value> {
    let pairs = form_urlencoded::parse(text.as_bytes());
    pairs.map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn version(event: &Stored) -> String {
    let version = event.json()["custom_properties"]["network.protocol.version"].as_str().unwrap_or("1.1");
    format!("HTTP/{version}")
}

fn started(unix_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {

    use super::*;

    fn row(event: &Value) -> EventRow {
        EventRow::plain(event.to_string().into_bytes())
    }

    fn event() -> Value {
        json!({
            "path": "/v1", "query_params": "a=b%20c",
            "request_headers": r#"{"host":"a.test"}"#, "request_body": "{}", "request_content_type": "application/json",
            "response_headers": r#"{"location":"/x"}"#, "response_body": "AAEC", "response_content_type": "image/png",
            "custom_properties": {
                "url.scheme": "https", "server.address": "a.test", "server.port": 443, "network.protocol.version": "2",
            },
            "metadata": {
                "upstream": { "peer": "[2001:db8::1]:443" },
                "timings": { "dns": 1.0, "connect": 2.5, "tls": 3.25, "send": 40.0, "wait": 30.0, "receive": 0.55, "total": 41.0 },
                "capture": { "response": { "encoding": "base64", "decoded_bytes": 30 } },
            },
        })
    }

    #[test]
    fn an_entry_has_request_and_response() {
        let entry = entry(&row(&event()));
        assert_eq!(entry["startedDateTime"], "2023-11-14T22:13:20.5Z");
        assert_eq!(entry["request"]["url"], "https://a.test/v1?a=b%20c");
        assert_eq!(entry["request"]["queryString"], json!([{ "name": "a", "value": "b c" }]));
        assert_eq!(entry["request"]["postData"], json!({ "mimeType": "application/json", "text": "{}" }));
        assert_eq!(entry["response"]["redirectURL"], "/x");
        assert_eq!(
            entry["response"]["content"],
            json!({ "size": 30, "compression": 20, "mimeType": "image/png", "text": "AAEC", "encoding": "base64" })
        );
        assert_eq!((&entry["serverIPAddress"], &entry["connection"]), (&json!("2001:db8::1"), &json!("443")));
        assert_eq!(entry["response"]["httpVersion"], "HTTP/2");
    }

    #[test]
    fn timings_add_up_and_ssl_is_a_part_of_connect() {
        let entry = entry(&row(&event()));
        assert_eq!(
            entry["timings"],
            json!({ "blocked": -1, "dns": 1.0, "connect": 5.75, "ssl": 3.25, "send": 30.0, "wait": 0.0, "receive": 0.55 })
        );
        assert_eq!(entry["time"], 37.3);
    }

    #[test]
    fn writing_at_once_or_entry_by_entry_gives_the_same_file() {
        let entries = vec![entry(&row(&event())), entry(&row(&json!({})))];
        for entries in [vec![], entries] {
            let mut out = Vec::new();
            let mut file = File::begin(&mut out).unwrap();
            entries.iter().for_each(|entry| file.add(entry).unwrap());
            file.end("").unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), log(entries));
        }
        let mut out = Vec::new();
        File::begin(&mut out).unwrap().end("\"cut\"").unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap()["log"]["comment"], "\"cut\"");
    }

    #[test]
    fn an_empty_event_is_still_an_entry() {
        let bare = entry(&row(&json!({})));
        assert_eq!(bare["timings"]["wait"], 30.0);
        assert_eq!((&bare["timings"]["dns"], &bare["request"]["postData"]), (&json!(-1.0), &Value::Null));
        assert_eq!(log(vec![bare])["log"]["version"], "1.2");
    }
}
