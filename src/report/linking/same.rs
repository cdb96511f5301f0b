//! Compares bodies. JSON is compared by value, whatever the order of members and the white space, because some clients change the
//! order in a retry. Everything else is compared as bytes.

use std::borrow::Cow;
use std::fmt;

use http::header::CONTENT_ENCODING;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Parts;
use crate::capture::Fields;
use crate::codings::{Codings, Decoder, End, Step};

/// The deepest nesting that is compared by value. Deeper JSON is compared as text.
const DEPTH_MAX: usize = 64;
/// A body that is larger when decoded is compared as it was sent.
const DECODED_MAX_BYTES: usize = 16 << 20;

/// Adds the content of a body. `codings`: the values of its `Content-Encoding`.
pub(super) fn add<'a>(parts: &mut Parts, body: &'a [u8], codings: impl Iterator<Item = &'a [u8]>) {
    let content = content(body, codings);
    match serde_json::from_slice::<&RawValue>(&content) {
        Ok(json) => {
            parts.add(b"json");
            add_value(parts, json.get(), 0, &|_, _| false);
        }
        Err(_) => {
            parts.add(b"bytes");
            parts.add(body);
        }
    }
}

/// Adds a message of a conversation, without what agents change in it from call to call: the marks for the provider's cache, and the
/// id that the provider gave to it.
pub(super) fn add_message(parts: &mut Parts, message: &str) {
    add_value(parts, message, 0, &|name, depth| name == "cache_control" || (name == "id" && depth == 0));
}

/// The values of `Content-Encoding`.
pub(super) fn codings(headers: &Fields) -> impl Iterator<Item = &[u8]> {
    headers.get_all(CONTENT_ENCODING.as_str())
}

/// The decoded body, if it can be decoded completely. Otherwise the body as it was sent.
pub(super) fn content<'a>(body: &'a [u8], codings: impl Iterator<Item = &'a [u8]>) -> Cow<'a, [u8]> {
    let Codings::Known(known) = Codings::named(codings) else { return Cow::Borrowed(body) };
    let mut decoder = Decoder::new(&known, DECODED_MAX_BYTES as u64);
    decoder.feed(body);
    decoder.end_input();
    let mut content = Vec::new();
    while let Step::Content(some) = decoder.step() {
        content.extend_from_slice(some);
        if content.len() > DECODED_MAX_BYTES {
            return Cow::Borrowed(body);
        }
    }
    if decoder.end() == End::Whole { Cow::Owned(content) } else { Cow::Borrowed(body) }
}

/// `without`: whether members of this name, in an object of this depth, do not count.
fn add_value(parts: &mut Parts, json: &str, depth: usize, without: &impl Fn(&str, usize) -> bool) {
    let json = json.trim();
    let within = depth < DEPTH_MAX;
    match json.as_bytes().first() {
        Some(b'{') if within && let Ok(Members(mut members)) = serde_json::from_str::<Members<'_>>(json) => {
            members.retain(|(name, _)| !without(name, depth));
            // Members with the same name keep their order.
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            parts.add(b"{");
            for (name, value) in members {
                parts.add(name.as_bytes());
                add_value(parts, value.get(), depth + 1, without);
            }
            parts.add(b"}");
        }
        Some(b'[') if within && let Ok(values) = serde_json::from_str::<Vec<&RawValue>>(json) => {
            parts.add(b"[");
            values.iter().for_each(|value| add_value(parts, value.get(), depth + 1, without));
            parts.add(b"]");
        }
        Some(b'"') if let Ok(text) = serde_json::from_str::<Cow<'_, str>>(json) => {
            parts.add(b"\"");
            parts.add(text.as_bytes());
        }
        // Numbers are compared as written: different numbers may be equal as floats.
        _ => parts.add(json.as_bytes()),
    }
}

/// All members of an object, including repeated names.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codings::testing::gzip;

    fn said(body: &[u8], coding: &[u8]) -> [u8; 32] {
        let mut parts = Parts::new();
        add(&mut parts, body, std::iter::once(coding));
        parts.digest()
    }

    #[test]
    fn json_is_the_same_in_any_order_and_spacing() {
        let one = br#"{"model":"m","meta":{"a":1,"b":[true,"x"]},"input":"caf\u00e9"}"#;
        let other =
            "{ \"input\": \"café\", \"meta\": {\"b\": [true, \"x\"], \"a\": 1}, \"model\": \"m\" }".as_bytes();
        assert_eq!(said(one, b""), said(other, b""));
        assert_eq!(said(one, b""), said(&gzip(other), b"gzip"));
        for different in [
            &br#"{"model":"m","meta":{"a":1,"b":["x",true]},"input":"caf\u00e9"}"#[..],
            br#"{"model":"m","meta":{"a":1.0,"b":[true,"x"]},"input":"caf\u00e9"}"#,
            br#"{"model":"m","meta":{"a":1,"b":[true,"x"]},"input":"caf\u00e9","n":null}"#,
            br#"{"model":"m","meta":{"a":"1","b":[true,"x"]},"input":"caf\u00e9"}"#,
        ] {
            assert_ne!(said(one, b""), said(different, b""));
        }
    }

    #[test]
    fn different_bodies_are_not_equal() {
        for (one, other) in [
            (&b"a=1&b=2"[..], &b"b=2&a=1"[..]),
            (b"{\"a\":1", b"{\"a\":1 "),
            (b"{\"a\":1,\"a\":2}", b"{\"a\":2,\"a\":1}"),
            (b"[1,[2]]", b"[[1],2]"),
            (b"123456789012345678901", b"123456789012345678902"),
        ] {
            assert_ne!(said(one, b""), said(other, b""), "{}", String::from_utf8_lossy(one));
        }
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(said(deep.as_bytes(), b""), said(deep.as_bytes(), b""));
    }
}
