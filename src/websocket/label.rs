//! Finds the `type` and the `status` of a JSON object while its text passes. In many protocols the type identifies a
//! message, and it may come before or after megabytes that nobody wants to hold.

/// The longest type that is kept. A longer one is ignored.
const LABEL_MAX_BYTES: usize = 48;

/// Looks only at the members of the outermost object.
#[derive(Debug, Clone)]
pub(super) struct Label {
    at: At,
    /// Open objects and arrays, including the outermost.
    depth: u32,
    escaped: bool,
    member: Member,
    text: String,
    label: Option<String>,
    status: Option<u16>,
}

/// The position in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Only white space so far.
    Start,
    /// Before the name of a member, or the end.
    Name,
    InName,
    /// Before the colon or the value after it.
    Value,
    InText,
    InNumber,
    /// Inside a value that is skipped, and in a string there.
    Inside,
    InsideText,
    /// It is not an object, or it has ended.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Type,
    Status,
    Other,
}

impl Label {
    /// Before the first byte.
    pub(super) fn new() -> Self {
        Self {
            at: At::Start,
            depth: 0,
            escaped: false,
            member: Member::Other,
            text: String::new(),
            label: None,
            status: None,
        }
    }

    /// The `type`, once it has been read, if it is a string.
    pub(super) fn get(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// The `status`, if it is an integer of at most three digits.
    pub(super) fn status(&self) -> Option<u16> {
        self.status
    }

    /// Whether the object has ended, so that nothing more can be found.
    pub(super) fn is_over(&self) -> bool {
        self.at == At::Over
    }

    /// Reads the next piece.
    pub(super) fn read(&mut self, text: &[u8]) {
        for byte in text {
            if self.at == At::Over {
                return;
            }
            self.step(*byte);
        }
    }

    fn step(&mut self, byte: u8) {
        match self.at {
            At::InName | At::InText | At::InsideText => return self.in_text(byte),
            At::InNumber => {
                if byte.is_ascii_digit() {
                    return self.keep(byte);
                }
                if self.member == Member::Status && matches!(byte, b',' | b'}' | b' ' | b'\t' | b'\r' | b'\n') {
                    self.status = self.text.parse().ok().filter(|_| self.text.len() <= 3);
                }
                self.at = At::Inside;
            }
            _ => {}
        }
        match (self.at, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => {}
            (At::Start, b'{') => (self.at, self.depth) = (At::Name, 1),
            (At::Name, b'"') => self.begin(At::InName),
            (At::Name, b',') | (At::Value, b':') => {}
            (At::Start | At::Name, _) => self.at = At::Over,
            (At::Value | At::Inside, b'"') => {
                self.begin(if self.at == At::Value { At::InText } else { At::InsideText });
            }
            (At::Value, b'0'..=b'9') => {
                self.begin(At::InNumber);
                self.keep(byte);
            }
            (At::Value | At::Inside, b'{' | b'[') => {
                (self.at, self.depth) = (At::Inside, self.depth.saturating_add(1))
            }
            (At::Inside, b'}' | b']') => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.at = At::Over;
                }
            }
            (At::Inside, b',') if self.depth == 1 => self.at = At::Name,
            (At::Value, _) => self.at = At::Inside,
            _ => {}
        }
    }

    fn begin(&mut self, at: At) {
        self.at = at;
        self.text.clear();
    }

    fn keep(&mut self, byte: u8) {
        // One byte more than the limit, so that a text that is too long is noticed.
        if self.text.len() <= LABEL_MAX_BYTES {
            self.text.push(char::from(byte));
        }
    }

    fn in_text(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => {
                self.escaped = true;
                // None of the names and types that we look for has an escape.
                self.keep(byte);
            }
            b'"' => self.text_ends(),
            _ if self.at == At::InsideText => {}
            _ => self.keep(byte),
        }
    }

    fn text_ends(&mut self) {
        if self.at == At::InName {
            self.member = match self.text.as_str() {
                "type" => Member::Type,
                "status" => Member::Status,
                _ => Member::Other,
            };
            self.at = At::Value;
            return;
        }
        if self.at == At::InText && self.member == Member::Type && self.text.len() <= LABEL_MAX_BYTES {
            self.label = Some(std::mem::take(&mut self.text));
        }
        self.at = At::Inside;
    }
}

impl Default for Label {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> (Option<String>, Option<u16>) {
        let mut label = Label::new();
        label.read(text.as_bytes());
        (label.label.clone(), label.status())
    }

    fn typed(name: &str, status: Option<u16>) -> (Option<String>, Option<u16>) {
        (Some(name.to_owned()), status)
    }

    #[test]
    fn the_type_of_the_outermost_object_is_found_at_any_place() {
        assert_eq!(of(r#"{"type":"response.create","model":"m"}"#), typed("response.create", None));
        assert_eq!(of("\n { \"a\" : { \"type\" : \"in\" } , \"type\" : \"out\" }"), typed("out", None));
        assert_eq!(of(r#"{"a":["{\"type\":\"x\"}",{"type":"y"},1,true,null],"type":"z"}"#), typed("z", None));
        assert_eq!(of(r#"{"type":"error","status":429,"error":{"status":1}}"#), typed("error", Some(429)));
        assert_eq!(of(r#"{"status": 400 ,"n":-1.5e3,"type":"error"}"#), typed("error", Some(400)));
    }

    #[test]
    fn texts_without_a_type_have_none() {
        for text in ["", "[]", "hello", "\"type\"", "{}", r#"{"a":1}"#, r#"{"type":7}"#, r#"{"type":null,"b":"c"}"#] {
            assert_eq!(of(text), (None, None), "{text}");
        }
        assert_eq!(of(r#"{"a":{"type":"in"}}"#), (None, None));
        assert_eq!(of(&format!(r#"{{"type":"{}"}}"#, "x".repeat(200))), (None, None));
        assert_eq!(of(r#"{"status":4000,"b":1}"#), (None, None));
        let mut label = Label::new();
        label.read(b"no object");
        assert!(label.is_over());
    }

    proptest! {
        #[test]
        fn any_split_finds_the_same_as_a_parser(
            before in "[a-z\"{}\\\\:, ]{0,30}",
            name in "[a-z.]{1,20}",
            status in prop::option::of(100u16..600),
            sizes in prop::collection::vec(1usize..9, 0..20),
        ) {
            let mut object = serde_json::Map::new();
            object.insert("before".to_owned(), serde_json::json!([before.clone(), { "type": before }]));
            object.insert("type".to_owned(), name.clone().into());
            if let Some(status) = status {
                object.insert("status".to_owned(), status.into());
            }
            let text = serde_json::Value::Object(object).to_string();
            let mut label = Label::new();
            for piece in super::super::testing::cut(text.as_bytes(), &sizes) {
                label.read(piece);
            }
            prop_assert_eq!(label.get(), Some(name.as_str()));
            prop_assert_eq!(label.status(), status);
            prop_assert!(label.is_over());
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut label = Label::new();
            label.read(&noise);
            label.read(b"}}]]]\"}");
        }
    }
}
