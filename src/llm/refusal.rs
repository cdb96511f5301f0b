//! A provider's error message, in its own words.

use std::io::{self, Write};

use serde_json::Value;

use super::sieve::{Sieve, Wanted};

/// The longest message.
const MESSAGE_MAX_BYTES: usize = 2048;

/// The members of an error response that are read.
const WANTED: &[Wanted] = &[
    ("error", 64 << 10),
    ("message", 64 << 10),
    ("Message", 64 << 10),
    ("msg", 64 << 10),
    ("detail", 64 << 10),
    ("type", 256),
    ("code", 256),
    ("status", 256),
];

/// The kind of an error (its type or code) and its message. `None`: the value is empty, so it is not an error.
pub(super) fn parts(error: &Value) -> Option<(String, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    let (kind, message) = match error {
        Value::Null | Value::Bool(false) => return None,
        Value::Bool(true) => ("error".to_owned(), String::new()),
        Value::Number(number) if number.as_f64() == Some(0.0) => return None,
        Value::Object(_) if says_nothing(error) || is_success(error) => return None,
        Value::Object(_) => {
            let first = |names: &[&str]| {
                names.iter().map(|name| text(&error[*name])).find(|text| !text.is_empty()).unwrap_or_default()
            };
            (first(&["type", "status", "code"]), first(&["message", "Message", "msg", "detail"]))
        }
        Value::Array(errors) => return errors.first().and_then(parts),
        other => (String::new(), text(other)),
    };
    (error.is_object() || !message.is_empty() || !kind.is_empty()).then_some((kind, message))
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(members) => members.iter().all(says_nothing),
        Value::Object(members) => members.values().all(says_nothing),
        Value::Bool(true) => false,
    }
}

/// Some servers send an object for success: `{"code":0,"message":"success"}`.
fn is_success(error: &Value) -> bool {
    let well = |name: &str| {
        error[name].as_str().is_some_and(|text| ["ok", "success"].iter().any(|well| text.eq_ignore_ascii_case(well)))
    };
    says_nothing(&error["code"]) && (well("message") || well("msg"))
}

/// Reads the body of a response whose status is an error.
pub(super) struct Refusal {
    sieve: Sieve,
    /// Whether the object has begun. A list bracket may come first; then the first element counts.
    begun: bool,
}

impl Refusal {
    pub(super) fn new() -> Self {
        Self { sieve: Sieve::new(WANTED), begun: false }
    }

    /// The kind and the message, joined. `kind`: the error type in a header field.
    pub(super) fn message(&self, kind: &str) -> Option<String> {
        let inside = self.sieve.get("error").as_ref().and_then(parts);
        let (mut label, message) = inside.or_else(|| self.outside()).unwrap_or_default();
        if label.is_empty() {
            kind.clone_into(&mut label);
        }
        let parts: Vec<String> = [label, message].into_iter().filter(|part| !part.is_empty()).collect();
        (!parts.is_empty()).then(|| super::text::cut(parts.join(": "), MESSAGE_MAX_BYTES))
    }

    /// Some servers send the members of an error without an object around them.
    fn outside(&self) -> Option<(String, String)> {
        let members = ["message", "Message", "msg", "detail", "type", "code", "status"];
        let outside = members.iter().filter_map(|name| Some(((*name).to_owned(), self.sieve.get(name)?)));
        parts(&Value::Object(outside.collect()))
    }
}

impl Write for Refusal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while let (false, Some((first, after))) = (self.begun, rest.split_first()) {
            match first {
                b' ' | b'\t' | b'\r' | b'\n' | b'[' => rest = after,
                _ => self.begun = true,
            }
        }
        self.sieve.read(rest);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_providers_error_is_read() {
        for (body, kind, message) in [
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                "",
                "overloaded_error: Overloaded",
            ),
            (
                r#"{"error":{"message":"Slow down","type":"requests","code":"rate_limit_exceeded"}}"#,
                "",
                "requests: Slow down",
            ),
            (
                r#"[{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}]"#,
                "",
                "RESOURCE_EXHAUSTED: Quota",
            ),
            (r#"{"message":"Too many requests"}"#, "ThrottlingException", "ThrottlingException: Too many requests"),
            (
                r#"{"object":"error","message":"No such model","type":"invalid_model"}"#,
                "",
                "invalid_model: No such model",
            ),
            (r#"{"error":"model not found"}"#, "", "model not found"),
            (r#"{"detail":"Unauthorized"}"#, "", "Unauthorized"),
        ] {
            let mut refusal = Refusal::new();
            body.as_bytes().chunks(3).for_each(|piece| refusal.write_all(piece).unwrap());
            assert_eq!(refusal.message(kind).as_deref(), Some(message), "{body}");
        }
        for body in ["", "<html>busy</html>", "{}", "[]", r#"{"error":null}"#] {
            let mut refusal = Refusal::new();
            refusal.write_all(body.as_bytes()).unwrap();
            assert_eq!(refusal.message(""), None, "{body}");
        }
    }

    #[test]
    fn an_empty_error_is_not_an_error() {
        for none in [
            json!(null),
            json!(false),
            json!(""),
            json!({}),
            json!([]),
            json!(0),
            json!({"code": null, "message": ""}),
        ] {
            assert_eq!(parts(&none), None, "{none}");
        }
        assert!(parts(&json!({"param": "n"})).is_some() && parts(&json!(true)).is_some());
    }
}
