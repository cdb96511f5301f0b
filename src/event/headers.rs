//! Header fields as a JSON object: name to value, repeated names as arrays, secrets masked, of bounded size.

use std::borrow::Cow;
use std::iter::Peekable;

use crate::capture::Fields;

use super::fit::CUT;
use super::writer::EventWriter;

/// Limits for a single value. They are tried in turn until all fields fit, so the largest values are truncated first.
const VALUE_STEPS_BYTES: [usize; 3] = [16 * 1024, 1024, 128];

/// The most overhead of a name or a value: a comma, two quotes (two bytes each inside a string), a colon or brackets.
const AROUND_BYTES: usize = 8;

/// Reserved for the member that says how many fields are left out.
const NOTE_BYTES: usize = 64;

/// Writes the fields as members of the open object, in at most `max` bytes. True if something was truncated or left
/// out.
pub(super) fn write(out: &mut EventWriter<'_>, headers: &Fields, max: usize) -> bool {
    let start = out.json.len();
    let limit = start + max - NOTE_BYTES;
    let before = out.masking.counted();
    let mut left_out = 0;
    for value_max in VALUE_STEPS_BYTES {
        out.json.rewind(start);
        out.masking.recount(&before);
        let fields = members(out, headers, limit, value_max);
        if fields.left_out == 0 {
            return fields.cut;
        }
        left_out = fields.left_out;
    }
    // Not even the shortest values fit. The last attempt stays, with a note.
    out.json.string("…", &format!("{left_out} more header fields"));
    true
}

/// A value as text: as UTF-8 if valid, otherwise as Latin-1.
pub(super) fn text(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => value.iter().map(|byte| char::from(*byte)).collect::<String>().into(),
    }
}

struct Written {
    cut: bool,
    left_out: usize,
}

fn members(out: &mut EventWriter<'_>, headers: &Fields, limit: usize, value_max: usize) -> Written {
    let EventWriter { json, masking, .. } = out;
    let mut written = Written { cut: false, left_out: 0 };
    // All values of a name are adjacent.
    let mut fields = headers.iter().peekable();
    while let Some((name, value)) = fields.next() {
        if json.len() + name.len() + CUT.len() + 2 * AROUND_BYTES > limit {
            written.left_out += 1;
            while next_of(&mut fields, name).is_some() {
                written.left_out += 1;
            }
            continue;
        }
        json.key(name);
        let repeated = fields.peek().is_some_and(|(next, _)| *next == name);
        if repeated {
            json.open_array();
        }
        let mut next = Some(value);
        while let Some(value) = next {
            let room = limit.saturating_sub(json.len() + AROUND_BYTES);
            if room < CUT.len() {
                written.left_out += 1;
            } else {
                if repeated {
                    json.comma();
                }
                let text = text(value);
                let masked_text = masking.header(name, &text);
                written.cut |= json.text(masked_text.as_deref().unwrap_or(&text), value_max.min(room), CUT);
            }
            next = next_of(&mut fields, name);
        }
        if repeated {
            json.close_array();
        }
    }
    written
}

/// The next value of the same name, if there is one.
fn next_of<'a>(fields: &mut Peekable<impl Iterator<Item = (&'a str, &'a [u8])>>, name: &str) -> Option<&'a [u8]> {
    fields.next_if(|(next, _)| *next == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use serde_json::{Value, json};

    use super::*;
    use crate::config::CaptureLevel;
    use crate::redact::testing::{redactor, untagged};

    fn shown(headers: &Fields, max: usize) -> (Value, u64, bool) {
        let mut out = EventWriter::new(redactor().masking("x.test", 443, "/"), CaptureLevel::Full);
        let cut = write(&mut out, headers, max);
        let bytes = out.json.finish();
        assert!(bytes.len() <= max + 2, "{} > {max}", bytes.len());
        (serde_json::from_str(&untagged(&String::from_utf8(bytes).unwrap())).unwrap(), out.masking.total(), cut)
    }

    fn headers(fields: &[(&'static str, &[u8])]) -> Fields {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        Fields::from(&map)
    }

    #[test]
    fn repeated_names_are_arrays_and_other_bytes_are_latin_1() {
        let headers = headers(&[
            ("host", b"x.test"),
            ("set-cookie", b"a=1; Path=/"),
            ("x-utf8", "é".as_bytes()),
            ("x-latin", b"caf\xe9 \"q\""),
            ("set-cookie", b"b=2"),
            ("authorization", b"Bearer 0123456789abcdefWXYZ"),
        ]);
        let (value, masked, cut) = shown(&headers, 4096);
        assert_eq!(
            value,
            json!({"host": "x.test", "set-cookie": ["a=****; Path=/", "b=****"], "x-utf8": "é",
                   "x-latin": "café \"q\"", "authorization": "Bearer ****WXYZ"})
        );
        assert_eq!((masked, cut), (3, false));
    }

    #[test]
    fn the_largest_values_are_truncated_first() {
        let huge = vec![b'"'; 1 << 20];
        let headers = headers(&[("x-huge", &huge), ("x-huge", &huge), ("host", b"x.test"), ("x-huge2", &huge)]);
        let (value, _, cut) = shown(&headers, 64 * 1024);
        assert!(cut);
        assert_eq!(value["host"], "x.test");
        assert!(value["x-huge"][1].as_str().unwrap().ends_with(CUT));
        assert!(value["x-huge2"].as_str().unwrap().ends_with(CUT));
    }

    #[test]
    fn ten_thousand_fields_fit_and_say_what_is_left_out() {
        let mut many = Fields::default();
        for index in 0..10_000 {
            many.push(&format!("x-field-{index}"), b"0123456789");
        }
        let (value, _, cut) = shown(&many, 64 * 1024);
        let kept = value.as_object().unwrap().len() - 1;
        assert!(cut && kept > 1_000);
        assert_eq!(value["…"], format!("{} more header fields", 10_000 - kept));
        assert_eq!(shown(&Fields::default(), 1024), (json!({}), 0, false));
    }
}
