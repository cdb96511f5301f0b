//! What OTAS's database cannot save, as measured: the reasons for each `event_capture_failed`.

use serde_json::{Map, Value};

/// The required fields, in the order in which OTAS lists missing ones.
pub(super) const REQUIRED: [&str; 5] = ["project_id", "path", "method", "status_code", "latency_ms"];

/// Fields that are strings, null or absent.
pub(super) const TEXTS: [&str; 9] = [
    "request_headers",
    "request_body",
    "query_params",
    "post_data",
    "response_headers",
    "response_body",
    "request_content_type",
    "response_content_type",
    "error",
];

/// Fields that are objects, null or absent.
pub(super) const OBJECTS: [&str; 2] = ["custom_properties", "metadata"];

/// Fields that are sizes, or absent (then 0). Null is refused.
pub(super) const SIZES: [&str; 2] = ["request_size_bytes", "response_size_bytes"];

/// `path` is indexed, and an index row takes at most 2,704 bytes after compression (random text of 2,601 bytes was saved, 2,801
/// was not). This limit applies to the plain text, so it never accepts what OTAS refuses.
pub(super) const PATH_MAX_BYTES: usize = 2_650;
pub(super) const METHOD_MAX_CHARS: usize = 20;
pub(super) const CONTENT_TYPE_MAX_CHARS: usize = 255;

/// The columns of an event that fits.
#[derive(Debug, PartialEq)]
pub(super) struct Columns<'a> {
    pub(super) path: &'a str,
    pub(super) method: &'a str,
    pub(super) status_code: u32,
    pub(super) latency_ms: f64,
    /// Empty on success.
    pub(super) error: &'a str,
}

/// Reads an event that has every required field, or names the limit that it breaks.
///
/// # Errors
/// The first broken limit, as a sentence for our own log. OTAS's answer does not say.
pub(super) fn columns(event: &Map<String, Value>) -> Result<Columns<'_>, String> {
    if let Some((field, _)) = event.iter().find(|(field, value)| field.contains('\0') || has_nul(value)) {
        return Err(format!("{field:?} contains U+0000"));
    }
    for field in TEXTS {
        if !matches!(event.get(field), None | Some(Value::Null | Value::String(_))) {
            return Err(format!("{field} is not a string"));
        }
    }
    for field in OBJECTS {
        if !matches!(event.get(field), None | Some(Value::Null | Value::Object(_))) {
            return Err(format!("{field} is not an object"));
        }
    }
    for field in ["request_content_type", "response_content_type"] {
        at_most(CONTENT_TYPE_MAX_CHARS, field, text(event, field).chars().count(), "characters")?;
    }
    for field in SIZES {
        event.get(field).map(|value| integer(field, value)).transpose()?;
    }
    let path = required_text(event, "path")?;
    at_most(PATH_MAX_BYTES, "path", path.len(), "bytes")?;
    let method = required_text(event, "method")?;
    at_most(METHOD_MAX_CHARS, "method", method.chars().count(), "characters")?;
    Ok(Columns {
        path,
        method,
        status_code: integer("status_code", event.get("status_code").unwrap_or(&Value::Null))?,
        latency_ms: event.get("latency_ms").and_then(Value::as_f64).ok_or("latency_ms is not a finite number")?,
        error: text(event, "error"),
    })
}

/// Whether any string in a value, including names, contains U+0000.
pub(super) fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn text<'a>(event: &'a Map<String, Value>, field: &str) -> &'a str {
    event.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn required_text<'a>(event: &'a Map<String, Value>, field: &str) -> Result<&'a str, String> {
    event.get(field).and_then(Value::as_str).ok_or_else(|| format!("{field} is not a string"))
}

fn at_most(max: usize, field: &str, length: usize, unit: &str) -> Result<(), String> {
    if length > max { Err(format!("{field} has {length} {unit}, more than {max}")) } else { Ok(()) }
}

/// A PostgreSQL `integer` that Django requires to be positive: 0 … 2^31-1.
fn integer(field: &str, value: &Value) -> Result<u32, String> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number
        .filter(|number| i32::try_from(*number).is_ok())
        .ok_or_else(|| format!("{field} is not an integer from 0 to 2147483647"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(field: &str, value: Value) -> Map<String, Value> {
        let event = json!({"project_id": "p", "path": "/", "method": "GET", "status_code": 200, "latency_ms": 1.5});
        let Value::Object(mut event) = event else { unreachable!() };
        event.insert(field.to_owned(), value);
        event
    }

    #[test]
    fn each_limit_is_exact() {
        let table = [
            ("path", json!("é".repeat(PATH_MAX_BYTES / 2)), json!("a".repeat(PATH_MAX_BYTES + 1))),
            ("method", json!("é".repeat(METHOD_MAX_CHARS)), json!("A".repeat(METHOD_MAX_CHARS + 1))),
            ("request_content_type", json!("é".repeat(255)), json!("a".repeat(256))),
            ("response_content_type", json!("a".repeat(255)), json!("a".repeat(256))),
            ("status_code", json!(2_147_483_647), json!(2_147_483_648_u32)),
            ("status_code", json!(0), json!(-1)),
            ("status_code", json!(200), json!(null)),
            ("status_code", json!(200), json!("200")),
            ("status_code", json!(200), json!(200.5)),
            ("request_size_bytes", json!(2_147_483_647), json!(2_147_483_648_u32)),
            ("request_size_bytes", json!(0), json!(null)),
            ("response_size_bytes", json!(1), json!(-1)),
            ("latency_ms", json!(0.25), json!("0.25")),
            ("latency_ms", json!(3), json!(null)),
            ("error", json!(null), json!(false)),
            ("request_body", json!(""), json!({})),
            ("metadata", json!({"a": [1, null, true]}), json!([])),
            ("custom_properties", json!(null), json!("a")),
        ];
        for (field, fits, breaks) in table {
            assert!(columns(&event(field, fits.clone())).is_ok(), "{field}: {fits}");
            assert!(columns(&event(field, breaks.clone())).is_err(), "{field}: {breaks}");
        }
    }

    #[test]
    fn a_nul_is_found_at_any_depth() {
        for value in [json!("a\0"), json!({"a": "\0"}), json!({"\0": 1}), json!({"a": [{"b": ["\0"]}]})] {
            let error = columns(&event("metadata", value.clone())).unwrap_err();
            assert!(error.contains("U+0000"), "{value}: {error}");
        }
        assert!(columns(&event("\0", json!(1))).is_err());
    }

    #[test]
    fn columns_are_read_from_the_event() {
        let read = event("error", json!("boom"));
        let expected = Columns { path: "/", method: "GET", status_code: 200, latency_ms: 1.5, error: "boom" };
        assert_eq!(columns(&read), Ok(expected));
    }
}
