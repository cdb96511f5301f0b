//! A call as a `curl` command that makes it again.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::event::{Content, Side, Stored};

/// Fields that curl sets by itself, or that belong to the connection.
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

/// The command for a POSIX shell (bash or zsh, where something has control characters). It begins with a comment where it
/// cannot make the same call: secrets were masked, or the body was not kept whole.
pub fn command(event: &Stored) -> String {
    let mut command = String::new();
    if event.redactions() > 0 {
        command.push_str("# secrets were masked: put them back where **** stands\n");
    }
    if event.body_is_cut(Side::Request) {
        command.push_str("# the request's body was not kept whole\n");
    }
    let body = event.body(Side::Request);
    if let Content::Bytes(bytes) = &body {
        let _ = write!(command, "printf %s '{}' | base64 -d | ", STANDARD.encode(bytes));
    }
    let _ = write!(command, "curl -g -i -X {} {}", quoted(event.text("method")), quoted(&event.url()));
    for (name, value) in event.headers(Side::Request) {
        if OWN.contains(&name.to_ascii_lowercase().as_str()) || name.starts_with(':') {
            continue;
        }
        // An empty field is written so, or curl leaves it out.
        let field = if value.is_empty() { format!("{name};") } else { format!("{name}: {value}") };
        let _ = write!(command, " \\\n  -H {}", quoted(&field));
    }
    // What curl would add by itself is taken away.
    let defaults = ["accept", "user-agent", "content-type"];
    for name in &defaults[..if body == Content::Empty { 2 } else { 3 }] {
        if event.header(Side::Request, name).is_none() {
            let _ = write!(command, " \\\n  -H '{name}:'");
        }
    }
    match body {
        Content::Empty => {}
        Content::Text(text) => {
            let _ = write!(command, " \\\n  --data-raw {}", quoted(text));
        }
        Content::Bytes(_) => command.push_str(" \\\n  --data-binary @-"),
    }
    command.push('\n');
    command
}

/// One word of a shell, whatever it holds. Control characters are written out: they must steer no terminal.
fn quoted(text: &str) -> String {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(steers) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut word = String::from("$'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => word.extend(['\\', c]),
            c if steers(c) && c.is_ascii() => {
                let _ = write!(word, "\\x{:02x}", u32::from(c));
            }
            c if steers(c) => {
                let _ = write!(word, "\\u{:04x}", u32::from(c));
            }
            c => word.push(c),
        }
    }
    word.push('\'');
    word
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
            "metadata": {},
        })
    }

    #[test]
    fn a_call_is_made_again_by_one_command() {
        assert_eq!(
            command(&stored(event())),
            "curl -g -i -X 'POST' 'https://a.test:8443/v1/it'\\''s' \\\n  -H 'content-type: text/plain' \\\n  \
             -H 'x-empty;' \\\n  -H 'accept:' \\\n  -H 'user-agent:' \\\n  --data-raw 'it'\\''s $HOME `id`\n'\n"
        );
    }

    #[test]
    fn bytes_come_through_a_pipe_and_what_is_missing_is_said() {
        let mut event = event();
        event["request_body"] = "AAEC\n…[otas-proxy: 5 of 8 bytes not kept]…\n".into();
        event["metadata"] = json!({ "redactions": 1, "capture": { "request": { "encoding": "base64" } } });
        let command = command(&stored(event));
        assert!(command.starts_with("# secrets were masked"), "{command}");
        assert!(
            command.contains("\n# the request's body was not kept whole\nprintf %s 'AAEC' | base64 -d | curl"),
            "{command}"
        );
        assert!(command.ends_with("--data-binary @-\n"), "{command}");
    }

    #[test]
    fn nothing_leaves_its_quotes_or_steers_a_terminal() {
        assert_eq!(quoted("a'b\u{1b}[2J\\\u{9b}"), r"$'a\'b\x1b[2J\\\u009b'");
        assert_eq!(quoted("'; rm -rf / #"), r"''\''; rm -rf / #'");
    }
}
