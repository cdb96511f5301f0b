//! A call as a `curl` command that repeats it.

mod body;

use std::fmt::Write as _;

use super::shell::{Input, input, quoted};
use crate::event::{Side, Stored};

/// Fields that curl sets itself, or that belong to the connection.
const OWN: [&str; 9] = [
    "host",
    "content-length",
    "connection",
    "proxy-connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "upgrade",
    "accept-encoding",
];
/// The event's marker for header fields that were cut.
const LEFT_OUT: &str = "…";
/// curl sends `Expect: 100-continue` for bodies larger than this.
const EXPECT_BYTES: usize = 1 << 20;

/// The command for a POSIX shell. Comments at its start say where it differs from the call: masked secrets, or parts that were
/// cut.
pub fn command(event: &Stored) -> String {
    let body = body::of(event);
    let method = event.text("method");
    let mut notes = remarks(event);
    notes.extend(body.notes.iter().cloned());
    let framing = Framing::of(event, &body);
    notes.extend(framing.note());
    // For other methods curl would wait for content that a response to HEAD does not have.
    let head = method == "HEAD";
    if head && !body.bytes.is_empty() {
        notes.push("the request had a body, which curl cannot send with HEAD".to_owned());
    }
    let mut command: String = notes.iter().map(|note| format!("# {note}\n")).collect();
    let content = (!head).then(|| content(event, &body)).flatten();
    let (before, data, after) = match content {
        Some(Input::Word(word)) => (String::new(), format!(" \\\n  --data-raw {word}"), String::new()),
        Some(Input::Piped(before, after)) => (before, " \\\n  --data-binary @-".to_owned(), after),
        None => (String::new(), String::new(), String::new()),
    };
    command.push_str(&before);
    let asked = if head { "--head".to_owned() } else { format!("-X {}", quoted(method)) };
    let _ = write!(command, "curl -g -i {asked} {}", quoted(&event.url_as_written()));
    command.push_str(&target(event));
    fields(&mut command, event, &body, !data.is_empty());
    if framing == Framing::Chunks && !data.is_empty() {
        command.push_str(" \\\n  -H 'Transfer-Encoding: chunked'");
    }
    command.push_str(&data);
    command.push_str(&after);
    command.push('\n');
    command
}

/// How the command differs from the call.
fn remarks(event: &Stored) -> Vec<String> {
    let mut remarks = Vec::new();
    if event.redactions() > 0 {
        remarks.push("secrets were masked: put them back where **** stands".to_owned());
    }
    let cut = &event.metadata()["cut"];
    for (names, what) in [
        (&["path_bytes"][..], "the path"),
        (&["query_bytes"], "the query"),
        (&["request_headers"], "a header field, or several,"),
        (&["method"], "the method"),
    ] {
        if names.iter().any(|name| !cut[*name].is_null()) {
            remarks.push(format!("{what} was cut to fit the event"));
        }
    }
    if event.text("method") == "CONNECT" {
        remarks.push("this was a tunnel: its content is not known".to_owned());
    }
    if event.metadata()["kind"] == "websocket" {
        remarks.push("this was a WebSocket: curl only makes the handshake".to_owned());
    }
    remarks
}

/// The content to send. An empty one is sent if the request stated its length, because some servers require that.
fn content(event: &Stored, body: &body::Body) -> Option<Input> {
    let stated = event.header(Side::Request, "content-length").is_some_and(|length| length.trim() == "0");
    let in_chunks = Framing::of(event, body) == Framing::Chunks;
    (!body.bytes.is_empty() || stated || in_chunks).then(|| input(&body.bytes))
}

/// How the request's content was delimited. curl sends a Content-Length by default.
#[derive(PartialEq, Eq)]
enum Framing {
    Length,
    /// HTTP/1.1's chunks.
    Chunks,
    /// By the end of its stream (HTTP/2).
    Stream,
}

impl Framing {
    fn of(event: &Stored, body: &body::Body) -> Self {
        let coding = event.header(Side::Request, "transfer-encoding");
        if coding.is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked")) {
            Self::Chunks
        } else if event.header(Side::Request, "content-length").is_none() && !body.bytes.is_empty() {
            Self::Stream
        } else {
            Self::Length
        }
    }

    fn note(&self) -> Option<String> {
        (*self == Self::Stream)
            .then(|| "the request had no Content-Length (HTTP/2 needs none); curl sends one".to_owned())
    }
}

/// curl removes `/../` from a path, and sends no path for `OPTIONS *`.
fn target(event: &Stored) -> String {
    match event.text("path") {
        "*" => " \\\n  --request-target '*'".to_owned(),
        path if path.contains("/.") => " \\\n  --path-as-is".to_owned(),
        _ => String::new(),
    }
}

/// The header fields. Fields that curl would add itself are removed.
fn fields(command: &mut String, event: &Stored, body: &body::Body, sends: bool) {
    for (name, value) in event.headers(Side::Request) {
        let lower = name.to_ascii_lowercase();
        let skipped = OWN.contains(&lower.as_str()) || name == LEFT_OUT || name.starts_with([':', '@']);
        if skipped || (body.without_coding && lower == "content-encoding") {
            continue;
        }
        // This form is for an empty field, which curl would otherwise leave out.
        let field = if value.is_empty() { format!("{name};") } else { format!("{name}: {value}") };
        let _ = write!(command, " \\\n  -H {}", quoted(&field));
    }
    let defaults = [
        ("accept", true),
        ("user-agent", true),
        ("content-type", sends),
        ("expect", body.bytes.len() > EXPECT_BYTES),
    ];
    for (name, _) in defaults.iter().filter(|(name, adds)| *adds && event.header(Side::Request, name).is_none()) {
        let _ = write!(command, " \\\n  -H '{name}:'");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stored(event: Value) -> Stored {
        Stored::parse(event.to_string().as_bytes())
    }

    fn event() -> Value {
        json!({
            "method": "POST", "path": "/v1/it's", "query_params": "",
            "request_headers": r#"{"host":"a.test","content-length":"2","content-type":"text/plain","x-empty":""}"#,
            "request_body": "it's $HOME `id`\n",
            "custom_properties": { "url.scheme": "https", "server.address": "a.test", "server.port": 8443 },
            "metadata": { "capture": { "request": { "encoding": "UTF-8", "bytes": 16 } } },
        })
    }

    #[test]
    fn a_call_is_repeated_by_one_command() {
        assert_eq!(
            command(&stored(event())),
            "curl -g -i -X 'POST' 'https://a.test:8443/v1/it'\\''s' \\\n  -H 'content-type: text/plain' \\\n  \
             -H 'x-empty;' \\\n  -H 'accept:' \\\n  -H 'user-agent:' \\\n  --data-raw 'it'\\''s $HOME `id`\n'\n"
        );
    }

    #[test]
    fn the_url_is_exactly_the_agents() {
        let mut event = event();
        event["path"] = "/a`<b>\"{c}|d e".into();
        event["query_params"] = "x={1,2}&y=ü".into();
        let command = command(&stored(event));
        assert!(command.contains("'https://a.test:8443/a`<b>\"{c}|d%20e?x={1,2}&y=%C3%BC'"), "{command}");
    }

    #[test]
    fn bytes_come_through_a_pipe_and_cuts_are_noted() {
        let mut event = event();
        event["request_body"] = "AAEC\n…[otas-proxy: 5 of 8 bytes not kept]…\n".into();
        event["metadata"] = json!({ "redactions": 1, "capture": { "request": { "encoding": "base64" } } });
        let command = command(&stored(event));
        assert!(command.starts_with("# secrets were masked"), "{command}");
        assert!(command.contains("\n# the request's body was cut\nprintf %s 'AAEC' | base64 -d | curl"), "{command}");
        assert!(command.ends_with("--data-binary @-\n"), "{command}");
    }

    #[test]
    fn head_sends_no_content_and_cut_markers_are_not_fields() {
        let mut event = event();
        event["method"] = "HEAD".into();
        event["path"] = "/a/../b".into();
        event["request_headers"] = r#"{"x":"y","…":"5 more header fields"}"#.into();
        event["metadata"] = json!({ "cut": { "request_headers": true } });
        let command = command(&stored(event));
        assert!(command.contains("curl -g -i --head 'https://a.test:8443/a/../b' \\\n  --path-as-is"), "{command}");
        assert!(!command.contains("more header fields") && !command.contains("--data"), "{command}");
        assert!(command.starts_with("# a header field, or several, was cut"), "{command}");
    }

    #[test]
    fn content_is_delimited_as_it_was_or_the_command_says_that_it_is_not() {
        let with = |fields: &str| {
            let mut event = event();
            event["request_headers"] = fields.into();
            command(&stored(event))
        };
        let chunked = with(r#"{"Transfer-Encoding":"Chunked"}"#);
        assert!(chunked.contains("-H 'Transfer-Encoding: chunked'") && !chunked.starts_with('#'), "{chunked}");
        let http2 = with("{}");
        assert!(http2.starts_with("# the request had no Content-Length") && !http2.contains("chunked"), "{http2}");
        assert!(with(r#"{"content-length":"16"}"#).starts_with("curl "));
    }

    #[test]
    fn an_empty_body_with_a_stated_length_is_sent() {
        let mut event = event();
        event["request_body"] = "".into();
        event["request_headers"] = r#"{"content-length":"0"}"#.into();
        assert!(command(&stored(event)).ends_with("--data-raw ''\n"));
    }
}
