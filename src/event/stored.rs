//! A stored event, read back for people: the inverse of what this module writes. It may be of any version, or damaged:
//! missing parts are empty, nothing fails.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::outline::Phases;
use crate::llm::Llm;

/// A stored event.
pub struct Stored(Value);

/// One side of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What the agent sent.
    Request,
    /// What the agent received.
    Response,
}

/// A decoded body, as far as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<'a> {
    /// There was none, or none of it was kept.
    Empty,
    /// Text, with marks where something is missing.
    Text(&'a str),
    /// Other bytes.
    Bytes(Vec<u8>),
}

/// The beginning of our marks in texts.
pub(crate) const MARK: &str = "…[otas-proxy: ";
/// The beginning of the mark that shows how a WebSocket was closed.
const CLOSED: &str = "…[otas-proxy: closed with";

/// Characters that are invalid in a URL but may have been sent.
const NOT_IN_URLS: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');
/// Characters that curl rejects in a URL.
const NOT_FOR_CURL: &AsciiSet = &CONTROLS.add(b' ');

impl Stored {
    /// Parses an event.
    pub fn parse(json: &[u8]) -> Self {
        Self(serde_json::from_slice(json).unwrap_or_default())
    }

    /// The whole event; null if it could not be parsed.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// The event that this one names in `metadata.links`, such as `continues`.
    pub fn link(&self, name: &str) -> Option<Uuid> {
        self.0["metadata"]["links"][name].as_str()?.parse().ok()
    }

    /// A text field.
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// The URL of the call, encoded so that any reader accepts it.
    pub fn url(&self) -> String {
        self.url_without(NOT_IN_URLS)
    }

    /// The URL of the call as the agent wrote it, except for characters that curl would reject or misread.
    pub fn url_as_written(&self) -> String {
        self.url_without(NOT_FOR_CURL)
    }

    /// The URL with the characters of `encoded`, and those beyond ASCII, percent-encoded.
    fn url_without(&self, encoded: &'static AsciiSet) -> String {
        let properties = &self.0["custom_properties"];
        let (scheme, host) = (properties["url.scheme"].as_str(), properties["server.address"].as_str());
        let (scheme, host) = (scheme.unwrap_or("http"), host.unwrap_or("unknown.invalid"));
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let host = if url::Host::parse(&host).is_ok() { host } else { "unknown.invalid".to_owned() };
        let port = properties["server.port"].as_u64().filter(|port| match scheme {
            "http" => *port != 80,
            "https" => *port != 443,
            _ => true,
        });
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let path = self.0["metadata"]["cut"]["path"].as_str().unwrap_or_else(|| self.text("path"));
        // The path of a CONNECT is its host, which the URL already has.
        let path = if self.text("method") == "CONNECT" { "/" } else { path };
        // `OPTIONS *` has no path.
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let query = self.text("query_params");
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let encode = |text: &str| utf8_percent_encode(text, encoded).to_string();
        format!("{scheme}://{host}{port}{}{}", encode(&path), encode(&query))
    }

    /// Header fields in order, one for each value.
    pub fn headers(&self, side: Side) -> Vec<(String, String)> {
        let field = self.text(side.named("request_headers", "response_headers"));
        let fields: Map<String, Value> = serde_json::from_str(field).unwrap_or_default();
        let values = |value: Value| match value {
            Value::Array(several) => several,
            one => vec![one],
        };
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut all = Vec::new();
        for (name, value) in fields {
            all.extend(values(value).into_iter().map(|value| (name.clone(), text(value))));
        }
        all
    }

    /// The first header field of this name, in any case.
    pub fn header(&self, side: Side, name: &str) -> Option<String> {
        self.headers(side).into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The media type.
    pub fn content_type(&self, side: Side) -> &str {
        self.text(side.named("request_content_type", "response_content_type"))
    }

    /// The true size of the body in bytes.
    pub fn bytes(&self, side: Side) -> u64 {
        self.0[side.named("request_size_bytes", "response_size_bytes")].as_u64().unwrap_or_default()
    }

    /// The body, as far as it was kept.
    pub fn body(&self, side: Side) -> Content<'_> {
        let text = self.text(side.named("request_body", "response_body"));
        if text.is_empty() {
            return Content::Empty;
        }
        if self.capture(side)["encoding"] != "base64" {
            return Content::Text(text);
        }
        let encoded = text.split(MARK).next().unwrap_or_default().trim_end();
        // Older events have only the base64.
        let encoded =
            encoded.strip_prefix("data:").and_then(|url| url.split_once(";base64,")).map_or(encoded, |it| it.1);
        // Truncated base64 may end within a group of four.
        let whole = encoded.get(..encoded.len() / 4 * 4).unwrap_or_default();
        match STANDARD.decode(whole) {
            Ok(bytes) => Content::Bytes(bytes),
            Err(_) => Content::Text(text),
        }
    }

    /// Whether some of the body is missing.
    pub fn body_is_cut(&self, side: Side) -> bool {
        let cut = &self.metadata()["cut"];
        let text = self.text(side.named("request_body", "response_body"));
        // The mark about the end of a WebSocket does not mean that something is missing.
        let closed = if self.metadata()["kind"] == "websocket" { text.matches(CLOSED).count() } else { 0 };
        text.matches(MARK).count() > closed
            || cut[side.named("request_body", "response_body")] == true
            || cut["bodies_removed"] == true
    }

    /// `metadata.capture` of one side.
    pub fn capture(&self, side: Side) -> &Value {
        &self.metadata()["capture"][side.named("request", "response")]
    }

    /// For a response that is an event stream: when its first events were complete, in milliseconds after its head.
    pub fn event_times_ms(&self, side: Side) -> Vec<u64> {
        let times = self.metadata()["capture"]["event_ms"].as_array().filter(|_| side == Side::Response);
        times.into_iter().flatten().map_while(Value::as_u64).collect()
    }

    /// The `metadata` of the event.
    pub fn metadata(&self) -> &Value {
        &self.0["metadata"]
    }

    /// How long each phase took.
    pub fn phases(&self) -> Phases {
        serde_json::from_value(self.metadata()["timings"].clone()).unwrap_or_default()
    }

    /// The facts of a model call.
    pub fn llm(&self) -> Option<Llm> {
        Llm::of(self.0["custom_properties"].as_object()?)
    }

    /// The number of masked secrets.
    pub fn redactions(&self) -> u64 {
        self.metadata()["redactions"].as_u64().unwrap_or_default()
    }
}

impl Side {
    fn named(self, request: &'static str, response: &'static str) -> &'static str {
        match self {
            Self::Request => request,
            Self::Response => response,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(event: Value) -> Stored {
        Stored::parse(event.to_string().as_bytes())
    }

    #[test]
    fn the_url_is_assembled_and_any_reader_accepts_it() {
        let url = |scheme: &str, host: &str, port: u16, path: &str, query: &str| {
            let properties = json!({ "url.scheme": scheme, "server.address": host, "server.port": port });
            stored(json!({ "path": path, "query_params": query, "custom_properties": properties })).url()
        };
        assert_eq!(url("https", "a.test", 443, "/v1", "a=%20b"), "https://a.test/v1?a=%20b");
        assert_eq!(url("http", "::1", 8080, "/ü \"", ""), "http://[::1]:8080/%C3%BC%20%22");
        assert_eq!(url("http", "a.test", 80, "*", ""), "http://a.test/*");
        let connect = json!({ "url.scheme": "https", "server.address": "a.test", "server.port": 8443 });
        let connect = json!({ "method": "CONNECT", "path": "a.test:8443", "custom_properties": connect });
        assert_eq!(stored(connect).url(), "https://a.test:8443/");
    }

    #[test]
    fn repeated_fields_are_separate() {
        let event = stored(json!({ "response_headers": r#"{"set-cookie":["a=1","b=2"],"x":"y"}"# }));
        let fields = event.headers(Side::Response);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(fields, [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x", "y")]);
        assert_eq!(event.header(Side::Response, "X").as_deref(), Some("y"));
    }

    #[test]
    fn bodies_are_text_or_bytes_and_show_what_is_missing() {
        let event = stored(json!({
            "request_body": "AAEC\n…[otas-proxy: 5 of 8 bytes not kept]…\n",
            "response_body": "plain",
            "metadata": { "capture": { "request": { "encoding": "base64" }, "response": { "encoding": "UTF-8" } } },
        }));
        assert_eq!(event.body(Side::Request), Content::Bytes(vec![0, 1, 2]));
        let event_of_now = stored(json!({
            "request_body": "data:image/png;base64,AAEC\n…[otas-proxy: 5 of 8 bytes not kept]…\n",
            "metadata": { "capture": { "request": { "encoding": "base64" } } },
        }));
        assert_eq!(event_of_now.body(Side::Request), event.body(Side::Request));
        assert_eq!(event.body(Side::Response), Content::Text("plain"));
        assert_eq!((event.body_is_cut(Side::Request), event.body_is_cut(Side::Response)), (true, false));
    }

    #[test]
    fn the_mark_of_a_closed_websocket_does_not_mean_a_truncated_body() {
        let socket = |body: &str| stored(json!({ "request_body": body, "metadata": { "kind": "websocket" } }));
        let closed = "hello\n…[otas-proxy: closed with 1000: bye]…\n";
        assert!(!socket(closed).body_is_cut(Side::Request));
        let cut = format!("hello\n…[otas-proxy: 5 of 8 bytes not kept]…\n{closed}");
        assert!(socket(&cut).body_is_cut(Side::Request));
        let other = stored(json!({ "request_body": closed, "metadata": { "kind": "http" } }));
        assert!(other.body_is_cut(Side::Request));
    }

    #[test]
    fn an_invalid_event_is_empty() {
        let event = Stored::parse(b"half {");
        assert_eq!((event.text("path"), event.bytes(Side::Request)), ("", 0));
        assert_eq!((event.headers(Side::Request), event.body(Side::Request)), (vec![], Content::Empty));
        assert!(event.llm().is_none() && event.url().starts_with("http://unknown.invalid/"));
    }
}
