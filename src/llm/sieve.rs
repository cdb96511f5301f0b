//! Some members of a JSON object, kept while its text passes: a question to a model may be megabytes of conversation, of
//! which a few short members matter. Nothing else is held, whatever the size.

use memchr::memchr2;
use serde_json::Value;

/// A member that is wanted: the names that lead to it, joined by dots, and how many bytes of it are kept at most. With 0 it
/// is only noted that it is there.
pub(super) type Wanted = (&'static str, usize);

/// A longer name is none that is looked for, in bytes.
const NAME_MAX_BYTES: usize = 48;
/// The first bytes are kept, since `[DONE]` is no object.
const START_BYTES: usize = 8;

/// Looks for the wanted members.
#[derive(Debug, Clone)]
pub(super) struct Sieve {
    wanted: &'static [Wanted],
    found: Vec<Found>,
    start: Vec<u8>,
    /// It began as an object does.
    opened: bool,
    at: At,
    /// The names that lead to where we are, joined by dots, and its length at each object above.
    path: String,
    above: Vec<usize>,
    /// Objects and arrays that are open in the value under way.
    nested: usize,
    escaped: bool,
    /// The value under way is kept here, in `found`.
    keeping: Option<usize>,
}

#[derive(Debug, Clone)]
struct Found {
    wanted: Wanted,
    text: Vec<u8>,
    whole: bool,
    too_long: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the object.
    Start,
    /// Before a name, or the end.
    Name,
    InName,
    Colon,
    Value,
    /// In a string, a number or a word, or between the parts of an object or array that is not looked into.
    Text,
    Scalar,
    Nested,
    /// After a value.
    After,
    /// The object has ended.
    Over,
    /// It is no object.
    Bad,
}

impl Sieve {
    /// Nothing has come yet. No path may lead on from another.
    pub(super) fn new(wanted: &'static [Wanted]) -> Self {
        Self {
            wanted,
            found: Vec::new(),
            start: Vec::new(),
            opened: false,
            at: At::Start,
            path: String::new(),
            above: Vec::new(),
            nested: 0,
            escaped: false,
            keeping: None,
        }
    }

    /// Whether the object has come to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.at == At::Over
    }

    /// Whether what has come is no object, or its beginning.
    pub(super) fn is_bad(&self) -> bool {
        self.at == At::Bad
    }

    /// Whether it began as an object does, whatever came of it.
    pub(super) fn is_object(&self) -> bool {
        self.opened
    }

    /// Whether anything but space has come.
    pub(super) fn has_begun(&self) -> bool {
        self.at != At::Start
    }

    /// The first bytes of what is no object.
    pub(super) fn start(&self) -> &[u8] {
        &self.start
    }

    /// Whether a wanted member was there, whatever its length.
    pub(super) fn has(&self, path: &str) -> bool {
        self.found.iter().any(|found| found.wanted.0 == path && found.whole)
    }

    /// The text of a member that came whole and was not too long.
    pub(super) fn raw(&self, path: &str) -> Option<&str> {
        let found = self.found.iter().rev().find(|found| found.wanted.0 == path && found.whole && !found.too_long)?;
        std::str::from_utf8(&found.text).ok()
    }

    /// A member's value; null counts as none.
    pub(super) fn get(&self, path: &str) -> Option<Value> {
        serde_json::from_str(self.raw(path)?).ok().filter(|value: &Value| !value.is_null())
    }

    /// A member that is a string.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        match self.get(path)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The members that were there but longer than is kept, of those whose text is wanted.
    pub(super) fn too_long(&self) -> impl Iterator<Item = &'static str> {
        self.found.iter().filter(|found| found.too_long && found.wanted.1 > 0).map(|found| found.wanted.0)
    }

    /// Reads on, and tells how many bytes belonged to the object: all, unless it has ended.
    pub(super) fn read(&mut self, text: &[u8]) -> usize {
        let mut at = 0;
        while at < text.len() && !matches!(self.at, At::Over | At::Bad) {
            let rest = &text[at..];
            at += match self.at {
                At::Text | At::InName => self.in_text(rest),
                At::Nested => self.in_nested(rest),
                At::Scalar => self.in_scalar(rest),
                _ => self.between(rest),
            };
        }
        if self.at == At::Bad {
            let room = START_BYTES - self.start.len();
            self.start.extend_from_slice(&text[at..][..room.min(text.len() - at)]);
            return text.len();
        }
        at
    }

    fn between(&mut self, text: &[u8]) -> usize {
        let byte = text[0];
        match (self.at, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => {}
            (At::Start, b'{') => (self.at, self.opened) = (At::Name, true),
            (At::Start, _) => {
                self.at = At::Bad;
                return 0;
            }
            (At::Name, b'"') => {
                self.at = At::InName;
                if !self.path.is_empty() {
                    self.path.push('.');
                }
            }
            (At::Colon, b':') => self.at = At::Value,
            (At::Value, byte) => return self.begin_value(byte),
            (At::After, b',') => {
                self.name_is_over();
                self.at = At::Name;
            }
            (At::Name | At::After, b'}') => self.object_ends(),
            _ => self.at = At::Bad,
        }
        1
    }

    fn begin_value(&mut self, byte: u8) -> usize {
        let wanted = self.wanted.iter().find(|(path, _)| *path == self.path);
        self.keeping = wanted.map(|wanted| {
            self.found.retain(|found| found.wanted.0 != wanted.0);
            self.found.push(Found { wanted: *wanted, text: Vec::new(), whole: false, too_long: false });
            self.found.len() - 1
        });
        let leads_on = || self.wanted.iter().any(|(path, _)| leads_to(&self.path, path));
        match byte {
            b'{' if self.keeping.is_none() && leads_on() => {
                self.above.push(self.path.len());
                self.at = At::Name;
                return 1;
            }
            b'{' | b'[' => (self.at, self.nested) = (At::Nested, 1),
            b'"' => self.at = At::Text,
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => self.at = At::Scalar,
            _ => self.at = At::Bad,
        }
        self.keep(&[byte]);
        1
    }

    /// Up to the quote that ends a name or a string.
    fn in_text(&mut self, text: &[u8]) -> usize {
        if self.escaped {
            self.escaped = false;
            self.pass(&text[..1]);
            return 1;
        }
        let Some(end) = memchr2(b'"', b'\\', text) else {
            self.pass(text);
            return text.len();
        };
        if text[end] == b'\\' {
            self.escaped = true;
            self.pass(&text[..=end]);
        } else if self.at == At::InName {
            self.pass(&text[..end]);
            self.at = At::Colon;
        } else {
            self.pass(&text[..=end]);
            self.at = At::Nested;
            self.value_may_be_over();
        }
        end + 1
    }

    fn in_nested(&mut self, text: &[u8]) -> usize {
        let Some(end) = text.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']')) else {
            self.pass(text);
            return text.len();
        };
        self.pass(&text[..=end]);
        match text[end] {
            b'"' => self.at = At::Text,
            b'{' | b'[' => self.nested += 1,
            _ => {
                self.nested -= 1;
                self.value_may_be_over();
            }
        }
        end + 1
    }

    fn in_scalar(&mut self, text: &[u8]) -> usize {
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n');
        let end = text.iter().position(ends);
        self.pass(&text[..end.unwrap_or(text.len())]);
        if end.is_some() {
            self.value_may_be_over();
        }
        end.unwrap_or(text.len())
    }

    fn value_may_be_over(&mut self) {
        if self.nested > 0 {
            return;
        }
        self.at = At::After;
        if let Some(found) = self.keeping.take().and_then(|at| self.found.get_mut(at)) {
            found.whole = true;
        }
    }

    fn object_ends(&mut self) {
        match self.above.pop() {
            Some(length) => {
                self.path.truncate(length);
                self.at = At::After;
            }
            None => self.at = At::Over,
        }
    }

    /// The path without the name of the member that has passed.
    fn name_is_over(&mut self) {
        self.path.truncate(self.above.last().copied().unwrap_or(0));
    }

    fn pass(&mut self, text: &[u8]) {
        if self.at == At::InName {
            let from = self.above.last().map_or(0, |above| above + 1);
            // A name that is too long is never one of ours, nor is one that is not ASCII.
            for byte in text.iter().take((from + NAME_MAX_BYTES).saturating_sub(self.path.len())) {
                self.path.push(char::from(*byte));
            }
        } else {
            self.keep(text);
        }
    }

    fn keep(&mut self, text: &[u8]) {
        if let Some(found) = self.keeping.and_then(|at| self.found.get_mut(at))
            && !found.too_long
        {
            if found.text.len() + text.len() > found.wanted.1 {
                found.too_long = true;
                found.text = Vec::new();
            } else {
                found.text.extend_from_slice(text);
            }
        }
    }
}

/// Whether a member at one path may have the other in it.
pub(super) fn leads_to(path: &str, other: &str) -> bool {
    other.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const WANTED: &[Wanted] = &[("model", 64), ("a.b", 64), ("a.c.d", 64), ("messages", 0), ("usage", 256)];

    fn read(text: &str, sizes: &[usize]) -> Sieve {
        let mut sieve = Sieve::new(WANTED);
        let (mut rest, mut sizes) = (text.as_bytes(), sizes.iter().cycle());
        while !rest.is_empty() {
            let size = sizes.next().map_or(rest.len(), |size| (*size).min(rest.len()));
            sieve.read(&rest[..size]);
            rest = &rest[size..];
        }
        sieve
    }

    #[test]
    fn wanted_members_are_kept_and_others_pass() {
        let text = r#" {"x":[{"model":"in"},"]}\""],"model" : "m\"1" ,"a":{"b":-1.5e3,"c":{"d":[1,{"e":"}"}]},"z":{}},
            "messages":[{"role":"user"}],"usage":null,"end":true} rest"#;
        let sieve = read(text, &[]);
        assert!(sieve.is_whole());
        assert_eq!(sieve.text("model").as_deref(), Some("m\"1"));
        assert_eq!(sieve.get("a.b"), Some(json!(-1500.0)));
        assert_eq!(sieve.get("a.c.d"), Some(json!([1, {"e": "}"}])));
        assert_eq!((sieve.get("usage"), sieve.has("usage"), sieve.has("messages")), (None, true, true));
        assert_eq!((sieve.raw("messages"), sieve.too_long().count()), (None, 0));
    }

    #[test]
    fn the_last_of_two_counts_and_what_is_too_long_is_told() {
        let sieve = read(&format!(r#"{{"model":"a","model":"b","usage":"{}"}}"#, "x".repeat(300)), &[]);
        assert_eq!(sieve.text("model").as_deref(), Some("b"));
        assert_eq!((sieve.get("usage"), sieve.too_long().collect::<Vec<_>>()), (None, vec!["usage"]));
    }

    #[test]
    fn what_is_no_object_is_told_from_one() {
        for (text, start) in [("[DONE]", "[DONE]"), (" plain", "plain"), ("{\"a\":?}", "?}"), ("{,", ",")] {
            let sieve = read(text, &[]);
            assert!(sieve.is_bad() && !sieve.is_whole(), "{text}");
            assert!(start.as_bytes().ends_with(sieve.start()) || sieve.start() == start.as_bytes(), "{text}");
        }
        assert!(!read("{\"a\":1", &[]).is_whole() && !read("  ", &[]).has_begun());
    }

    #[test]
    fn how_much_belonged_to_the_object_is_told() {
        let mut sieve = Sieve::new(WANTED);
        assert_eq!(sieve.read(br#"{"model":"m"},{"model""#), 13);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z\"\\\\{}\\[\\],:é]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("a|b|c|d|model|usage|[a-z\"\\\\]{0,4}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_cut_finds_what_a_parser_finds(
            members in prop::collection::vec(("a|b|model|usage|messages|[a-z]{0,3}", any_value()), 0..6),
            sizes in prop::collection::vec(1usize..9, 1..9),
            pretty in any::<bool>(),
        ) {
            let value = Value::Object(members.into_iter().collect());
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            let sieve = read(&text, &sizes);
            prop_assert!(sieve.is_whole());
            for (path, _) in WANTED.iter().filter(|(path, max)| *max > 0 && !sieve.too_long().any(|long| long == *path)) {
                let pointer = format!("/{}", path.replace('.', "/"));
                // What lies in an array has an index, not a name: there is none in these paths.
                let expected = value.pointer(&pointer).filter(|value| !value.is_null()).cloned();
                prop_assert_eq!(sieve.get(path), expected);
            }
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(prop::sample::select(b"{}[]\",:\\a1 ".to_vec()), 0..200)) {
            let mut sieve = Sieve::new(WANTED);
            sieve.read(&noise);
        }
    }
}
