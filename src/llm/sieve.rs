//! Keeps some members of a JSON object while its text passes. A request to a model may hold megabytes of conversation,
//! and only a few short members matter. Nothing else is held, whatever the size.
//!
//! The punctuation around members is checked. The inside of values that are skipped is not.

mod elements;

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;
use serde_json::Value;

use elements::Elements;

/// A wanted member: its dotted path, and the most bytes that are kept. With 0, only its presence is noted.
pub(super) type Wanted = (&'static str, usize);

/// Longer names, in bytes of their JSON, are never wanted. Each of their characters may be written as six.
const NAME_MAX_BYTES: usize = 288;
/// Stands in a path for a name that is never wanted. No wanted path has it.
const UNWANTED: char = '\0';
/// How much memory is kept for the next object: texts, and the bytes of each.
const SPARE_MAX: usize = 16;
const SPARE_MAX_BYTES: usize = 4 << 10;
/// The first bytes that are kept of text that is not an object, such as `[DONE]`.
const START_BYTES: usize = 8;

/// Finds the wanted members.
#[derive(Debug, Clone)]
pub(super) struct Sieve {
    wanted: &'static [Wanted],
    found: Vec<Found>,
    elements: Elements,
    /// Where in the text the next byte stands.
    position: usize,
    start: Vec<u8>,
    /// Whether it began with a brace.
    opened: bool,
    at: At,
    /// The current member's name, as JSON without its quotes; one byte more than the limit if it is too long.
    name: Vec<u8>,
    /// Dotted path of the current member, and the length of the path at each enclosing object.
    path: String,
    above: Vec<usize>,
    /// Open objects and arrays in the current value.
    nested: usize,
    escaped: bool,
    /// The index in `found` where the current value is kept.
    keeping: Option<usize>,
    /// Empty texts with room, for the next members: a stream has hundreds of objects.
    spare: Vec<Vec<u8>>,
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
    /// Before the first name, or the end.
    FirstName,
    /// After a comma, before a name.
    Name,
    InName,
    Colon,
    Value,
    /// In a string; in a number or a keyword; between the parts of an object or array that is skipped.
    Text,
    Scalar,
    Nested,
    /// After a value.
    After,
    /// The object has ended.
    Over,
    /// It is not an object.
    Bad,
}

impl Sieve {
    /// Before the first byte. No wanted path may be inside another.
    pub(super) fn new(wanted: &'static [Wanted]) -> Self {
        Self::listing(wanted, &[])
    }

    /// The same, and lists the elements of these members, which are wanted as well.
    pub(super) fn listing(wanted: &'static [Wanted], lists: &'static [&'static str]) -> Self {
        Self {
            wanted,
            found: Vec::new(),
            elements: Elements::of(lists),
            position: 0,
            start: Vec::new(),
            opened: false,
            at: At::Start,
            name: Vec::new(),
            path: String::new(),
            above: Vec::new(),
            nested: 0,
            escaped: false,
            keeping: None,
            spare: Vec::new(),
        }
    }

    /// Before the first byte of the next object, with the memory of this one.
    pub(super) fn emptied(mut self) -> Self {
        let texts = self.found.drain(..).map(|found| found.text);
        self.spare.extend(texts.filter(|text| text.capacity() <= SPARE_MAX_BYTES));
        self.spare.iter_mut().for_each(Vec::clear);
        self.spare.truncate(SPARE_MAX);
        self.start.clear();
        self.name.clear();
        self.path.clear();
        self.above.clear();
        self.elements.clear();
        Self { opened: false, at: At::Start, position: 0, nested: 0, escaped: false, keeping: None, ..self }
    }

    /// Whether the object is complete.
    pub(super) fn is_whole(&self) -> bool {
        self.at == At::Over
    }

    /// Whether the text is not an object.
    pub(super) fn is_bad(&self) -> bool {
        self.at == At::Bad
    }

    /// Whether it began with a brace, even if it is invalid.
    pub(super) fn is_object(&self) -> bool {
        self.opened
    }

    /// Whether anything but white space has been read.
    pub(super) fn has_begun(&self) -> bool {
        self.at != At::Start
    }

    /// The first bytes of text that is not an object.
    pub(super) fn start(&self) -> &[u8] {
        &self.start
    }

    /// Whether a wanted member was present, whatever its length.
    pub(super) fn has(&self, path: &str) -> bool {
        self.found.iter().any(|found| found.wanted.0 == path && found.whole)
    }

    /// The text of a member that is complete and not too long.
    pub(super) fn raw(&self, path: &str) -> Option<&str> {
        let found = self.found.iter().rev().find(|found| found.wanted.0 == path && found.whole && !found.too_long)?;
        std::str::from_utf8(&found.text).ok()
    }

    /// The value of a member. Null counts as absent.
    pub(super) fn get(&self, path: &str) -> Option<Value> {
        serde_json::from_str(self.raw(path)?).ok().filter(|value: &Value| !value.is_null())
    }

    /// The value of a member that is a string.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        if let Some(plain) = plain_text(self.raw(path)?) {
            return Some(plain.to_owned());
        }
        match self.get(path)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The members whose text is wanted but was too long.
    pub(super) fn too_long(&self) -> impl Iterator<Item = &'static str> {
        self.found.iter().filter(|found| found.too_long && found.wanted.1 > 0).map(|found| found.wanted.0)
    }

    /// Where the elements of the first listed member stand that is an array with elements, in bytes from the beginning of the
    /// object. Empty if there is none, or if other values than objects, arrays and strings are among them.
    pub(super) fn elements(&self) -> &[Range<usize>] {
        self.elements.first()
    }

    /// Reads the next bytes. Returns how many belong to the object: all, unless it ended.
    pub(super) fn read(&mut self, text: &[u8]) -> usize {
        let mut at = 0;
        while at < text.len() && !matches!(self.at, At::Over | At::Bad) {
            let rest = &text[at..];
            let used = match self.at {
                At::Text | At::InName => self.in_text(rest),
                At::Nested => self.in_nested(rest),
                At::Scalar => self.in_scalar(rest),
                _ => self.between(rest),
            };
            self.position += used;
            at += used;
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
            (At::Start, b'{') => (self.at, self.opened) = (At::FirstName, true),
            (At::Start, _) => {
                self.at = At::Bad;
                return 0;
            }
            (At::FirstName | At::Name, b'"') => {
                self.at = At::InName;
                self.name.clear();
            }
            (At::Colon, b':') => self.at = At::Value,
            (At::Value, byte) => return self.begin_value(byte),
            (At::After, b',') => {
                self.path.truncate(self.above.last().copied().unwrap_or(0));
                self.at = At::Name;
            }
            (At::FirstName | At::After, b'}') => self.object_ends(),
            _ => self.at = At::Bad,
        }
        1
    }

    fn begin_value(&mut self, byte: u8) -> usize {
        // Of two members with one name, the last one counts, with all that is inside it.
        let replaced = |found: &Found| found.wanted.0 == self.path || leads_to(&self.path, found.wanted.0);
        self.found.retain(|found| !replaced(found));
        self.elements.replaced(&self.path);
        let wanted = self.wanted.iter().find(|(path, _)| *path == self.path);
        self.keeping = wanted.map(|wanted| {
            let text = self.spare.pop().unwrap_or_default();
            self.found.push(Found { wanted: *wanted, text, whole: false, too_long: false });
            self.found.len() - 1
        });
        let leads_on = || self.wanted.iter().any(|(path, _)| leads_to(&self.path, path));
        match byte {
            b'{' if self.keeping.is_none() && leads_on() => {
                self.above.push(self.path.len());
                self.at = At::FirstName;
                return 1;
            }
            b'{' | b'[' => {
                (self.at, self.nested) = (At::Nested, 1);
                self.elements.begin(byte, &self.path);
            }
            b'"' => self.at = At::Text,
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => self.at = At::Scalar,
            _ => self.at = At::Bad,
        }
        self.keep(&[byte]);
        1
    }

    /// Reads up to the quote that ends a name or a string.
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
            self.name_ends();
            self.at = At::Colon;
        } else {
            self.pass(&text[..=end]);
            self.at = At::Nested;
            self.element_may_be_over(end);
            self.value_may_be_over();
        }
        end + 1
    }

    fn in_nested(&mut self, text: &[u8]) -> usize {
        let end = text.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']'));
        if self.nested == 1 && self.elements.is_listing() {
            self.elements.between(text, end, self.position);
        }
        let Some(end) = end else {
            self.pass(text);
            return text.len();
        };
        self.pass(&text[..=end]);
        match text[end] {
            b'"' => self.at = At::Text,
            b'{' | b'[' => self.nested += 1,
            _ => {
                self.nested -= 1;
                self.element_may_be_over(end);
                self.value_may_be_over();
            }
        }
        end + 1
    }

    /// `end`: its last byte, from the current position on.
    fn element_may_be_over(&mut self, end: usize) {
        if self.nested == 1 {
            self.elements.element_over(self.position + end + 1);
        }
    }

    fn in_scalar(&mut self, text: &[u8]) -> usize {
        let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let end = text.iter().position(|byte| !goes_on(byte));
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
        self.elements.array_over();
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

    /// Appends the name of the current member to the path.
    fn name_ends(&mut self) {
        if !self.above.is_empty() {
            self.path.push('.');
        }
        let name = std::str::from_utf8(&self.name).ok().filter(|name| name.len() <= NAME_MAX_BYTES);
        let name = name.and_then(|name| match name.contains('\\') {
            true => serde_json::from_str::<String>(&format!("\"{name}\"")).ok().map(Cow::Owned),
            false => Some(Cow::Borrowed(name)),
        });
        match name {
            // A dot separates names in a path.
            Some(name) if !name.contains('.') => self.path.push_str(&name),
            _ => self.path.push(UNWANTED),
        }
    }

    fn pass(&mut self, text: &[u8]) {
        if self.at == At::InName {
            let room = (NAME_MAX_BYTES + 1).saturating_sub(self.name.len());
            self.name.extend_from_slice(&text[..text.len().min(room)]);
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

/// The text of a JSON string without escapes.
fn plain_text(json: &str) -> Option<&str> {
    let text = json.strip_prefix('"')?.strip_suffix('"')?;
    text.bytes().all(|byte| byte >= b' ' && byte != b'\\' && byte != b'"').then_some(text)
}

/// Whether `other` is inside the member at `path`.
pub(super) fn leads_to(path: &str, other: &str) -> bool {
    other.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const WANTED: &[Wanted] = &[("model", 64), ("a.b", 64), ("a.c.d", 64), ("messages", 0), ("usage", 256)];

    fn read(text: &str, sizes: &[usize]) -> Sieve {
        let mut sieve = Sieve::listing(WANTED, &["messages", "a.b"]);
        let (mut rest, mut sizes) = (text.as_bytes(), sizes.iter().cycle());
        while !rest.is_empty() {
            let size = sizes.next().map_or(rest.len(), |size| (*size).min(rest.len()));
            sieve.read(&rest[..size]);
            rest = &rest[size..];
        }
        sieve
    }

    #[test]
    fn wanted_members_are_kept_and_others_skipped() {
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
    fn the_last_of_two_counts_and_long_ones_are_reported() {
        let sieve = read(&format!(r#"{{"model":"a","model":"b","usage":"{}"}}"#, "x".repeat(300)), &[]);
        assert_eq!(sieve.text("model").as_deref(), Some("b"));
        assert_eq!((sieve.get("usage"), sieve.too_long().collect::<Vec<_>>()), (None, vec!["usage"]));
    }

    #[test]
    fn names_are_compared_as_a_parser_reads_them() {
        let escaped = read(r#"{"mod\u0065l":"m","a":{"\u0062":1}}"#, &[3]);
        assert_eq!((escaped.text("model").as_deref(), escaped.get("a.b")), (Some("m"), Some(json!(1))));
        let dotted = read(r#"{"a.b":1,"a":{"c.d":2}}"#, &[]);
        assert_eq!((dotted.get("a.b"), dotted.get("a.c.d")), (None, None));
        let replaced = read(r#"{"a":{"b":1},"a":{"c":{"d":2}},"a":5}"#, &[]);
        assert!(!replaced.has("a.b") && !replaced.has("a.c.d"));
    }

    #[test]
    fn wrong_punctuation_is_not_an_object() {
        for text in [
            r#"{"a":1,}"#,
            r#"{"a":{"b":1,}}"#,
            r#"{"a":1"b":2}"#,
            r#"{"a":null:2}"#,
            r#"{,"a":1}"#,
            r#"{"a":1,,"b":2}"#,
        ] {
            assert!(read(text, &[]).is_bad(), "{text}");
        }
    }

    #[test]
    fn other_text_is_distinguished_from_objects() {
        for (text, start) in [("[DONE]", "[DONE]"), (" plain", "plain"), ("{\"a\":?}", "?}"), ("{,", ",")] {
            let sieve = read(text, &[]);
            assert!(sieve.is_bad() && !sieve.is_whole(), "{text}");
            assert!(start.as_bytes().ends_with(sieve.start()) || sieve.start() == start.as_bytes(), "{text}");
        }
        assert!(!read("{\"a\":1", &[]).is_whole() && !read("  ", &[]).has_begun());
    }

    #[test]
    fn an_emptied_sieve_reads_like_a_new_one() {
        for first in
            [r#"{"model":"m","usage":{"a":1},"x":[1,{"y":2}]}"#, r#"{"usage":{"b"#, "[DONE]", r#"{"model":"a\"#]
        {
            let mut sieve = read(first, &[]).emptied();
            assert!(
                !sieve.has_begun() && !sieve.is_object() && sieve.start().is_empty() && sieve.raw("model").is_none()
            );
            sieve.read(br#"{"x":[{"model":1}],"model":"next","usage":{}}"#);
            assert!(sieve.is_whole(), "{first}");
            assert_eq!((sieve.text("model").as_deref(), sieve.raw("usage")), (Some("next"), Some("{}")));
        }
        assert_eq!(plain_text(r#""a\n""#), None);
        assert_eq!((plain_text(r#""é""#), plain_text("1")), (Some("é"), None));
    }

    #[test]
    fn the_number_of_bytes_of_the_object_is_reported() {
        let mut sieve = Sieve::new(WANTED);
        assert_eq!(sieve.read(br#"{"model":"m"},{"model""#), 13);
    }

    pub(in crate::llm) fn any_value() -> impl Strategy<Value = Value> {
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
        fn any_split_finds_what_a_parser_finds(
            members in prop::collection::vec(("a|b|model|usage|messages|[a-z]{0,3}", any_value()), 0..6),
            sizes in prop::collection::vec(1usize..9, 1..9),
            pretty in any::<bool>(),
        ) {
            let value = Value::Object(members.into_iter().collect());
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            let sieve = read(&text, &sizes);
            prop_assert!(sieve.is_whole());
            let at_once = read(&text, &[]);
            prop_assert_eq!(sieve.elements(), at_once.elements());
            for (path, _) in WANTED.iter().filter(|(path, max)| *max > 0 && !sieve.too_long().any(|long| long == *path)) {
                let pointer = format!("/{}", path.replace('.', "/"));
                // Elements of an array have no name, so paths do not go into arrays.
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
