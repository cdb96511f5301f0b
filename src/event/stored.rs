//! An event as it was stored, read back for people: the inverse of what this module writes. It may be of any version,
//! or damaged: what is not there is empty, nothing fails.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value};

use super::outline::Phases;
use crate::llm::Llm;

/// A stored event.
pub struct Stored(Value);

/// One side of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What the agent sent.
    Request,
    /// What it was answered.
    Response,
}

/// A body as far as it was kept, content codings undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<'a> {
    /// There was none, or none of it was kept.
    Empty,
    /// Text. It says itself where something is missing.
    Text(&'a str),
    /// Anything else.
    Bytes(Vec<u8>),
}

/// How what we put into texts begins.
const MARK: &str = "…[otas-proxy: ";
/// How the mark begins that says how a WebSocket was closed.
const CLOSED: &str = "…[otas-proxy: closed with";

/// What may not stand in a URL as it is, but was sent so.
const NOT_IN_URLS: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');
/// What curl takes in no URL.
const NOT_FOR_CURL: &AsciiSet = &CONTROLS.add(b' ');

impl Stored {
    /// Reads an event.
    pub fn parse(json: &[u8]) -> Self {
        Self(serde_json::from_slice(json).unwrap_or_default())
    }

    /// All of it; null if it could not be read.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// A field that is text.
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// What was called, as a URL that any reader takes.
    pub fn url(&self) -> String {
        self.url_without(NOT_IN_URLS)
    }

    /// What was called, as the agent wrote it: only what curl would refuse or read otherwise is written in another way.
    pub fn url_as_written(&self) -> String {
        self.url_without(NOT_FOR_CURL)
    }

    /// The URL with the characters of `encoded`, and those beyond ASCII, written as bytes.
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
        // The path of a CONNECT is its host, which stands there already.
        let path = if self.text("method") == "CONNECT" { "/" } else { path };
        // `OPTIONS *` has no path.
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let query = self.text("query_params");
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let encode = |text: &str| utf8_percent_encode(text, encoded).to_string();
        format!("{scheme}://{host}{port}{}{}", encode(&path), encode(&query))
    }

    /// Header fields in their order, one for each value.
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

    /// True size of the body in bytes.
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
        // Events of before have the base64 alone.
        let encoded =
            encoded.strip_prefix("data:").and_then(|url| url.split_once(";base64,")).map_or(encoded, |it| it.1);
        // What was cut to fit may end within a group of four.
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
        // How a WebSocket was closed is said among its messages, and stands for nothing that is missing.
        let closed = if self.metadata()["kind"] == "websocket" { text.matches(CLOSED).count() } else { 0 };
        text.matches(MARK).count() > closed
            || cut[side.named("request_body", "response_body")] == true
            || cut["bodies_removed"] == true
    }

    /// What `metadata.capture` says of one side.
    pub fn capture(&self, side: Side) -> &Value {
        &self.metadata()["capture"][side.named("request", "response")]
    }

    /// Of a response that is an event stream: when its first events were whole, in milliseconds after its head.
    pub fn event_times_ms(&self, side: Side) -> Vec<u64> {
        let times = self.metadata()["capture"]["event_ms"].as_array().filter(|_| side == Side::Response);
        times.into_iter().flatten().map_while(Value::as_u64).collect()
    }

    /// How the event came to be.
    pub fn metadata(&self) -> &Value {
        &self.0["metadata"]
    }

    /// How long each phase took.
    pub fn phases(&self) -> Phases {
        serde_json::from_value(self.metadata()["timings"].clone()).unwrap_or_default()
    }

    /// What it says of a model's work.
    pub fn llm(&self) -> Option<Llm> {
        Llm::of(self.0["custom_properties"].as_object()?)
    }

    /// How many secrets were masked.
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
    fn the_url_is_put_together_and_can_be_read_by_all() {
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
    fn fields_that_came_more_than_once_are_several() {
        let event = stored(json!({ "response_headers": r#"{"set-cookie":["a=1","b=2"],"x":"y"}"# }));
        let fields = event.headers(Side::Response);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(fields, [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x", "y")]);
        assert_eq!(event.header(Side::Response, "X").as_deref(), Some("y"));
    }

    #[test]
    fn bodies_are_text_or_bytes_and_say_what_is_missing() {
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
    fn how_a_websocket_was_closed_is_no_part_that_is_missing() {
        let socket = |body: &str| stored(json!({ "request_body": body, "metadata": { "kind": "websocket" } }));
        let closed = "hello\n…[otas-proxy: closed with 1000: bye]…\n";
        assert!(!socket(closed).body_is_cut(Side::Request));
        let cut = format!("hello\n…[otas-proxy: 5 of 8 bytes not kept]…\n{closed}");
        assert!(socket(&cut).body_is_cut(Side::Request));
        let other = stored(json!({ "request_body": closed, "metadata": { "kind": "http" } }));
        assert!(other.body_is_cut(Side::Request));
    }

    #[test]
    fn what_is_no_event_is_empty() {
        let event = Stored::parse(b"half {");
        assert_eq!((event.text("path"), event.bytes(Side::Request)), ("", 0));
        assert_eq!((event.headers(Side::Request), event.body(Side::Request)), (vec![], Content::Empty));
        assert!(event.llm().is_none() && event.url().starts_with("http://unknown.invalid/"));
    }
}
