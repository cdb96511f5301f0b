//! The value behind a name in a text: `: "value"`, `=value`, `:{…}`, at any depth of JSON in strings of JSON. The level of a string
//! is the number of backslashes before its quotes: a string at the outermost level has `"`, one inside it `\"`, the next `\\\"`.

use std::ops::Range;

use super::finding::Quote;
use super::reach::looked;
use super::work::steps;

/// A sign between a name and its value, and where the value begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sign {
    /// Where the value begins.
    pub(super) at: usize,
    /// Whether it is `=`; otherwise it is `:`.
    pub(super) assigns: bool,
    /// Whether there is no space around it.
    pub(super) tight: bool,
    /// The number of backslashes before the quotes of the name; `None` if it has no quotes.
    pub(super) level: Option<usize>,
}

/// The value of a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A string.
    Quoted {
        /// The content.
        range: Range<usize>,
        /// Whether the closing quote is there.
        closed: bool,
        /// Where the text behind it begins.
        next: usize,
    },
    /// A number.
    Number(Range<usize>),
    /// An object or an array that begins here.
    Container(usize),
    /// Any other value without quotes.
    Bare(Range<usize>),
    /// Nothing, or `true`, `false`, `null`.
    None,
}

/// A quote in HTML.
const ENTITY: &[u8] = b"&quot;";
/// The longest white space that is skipped, in bytes.
const SPACE_MAX_BYTES: usize = 256;
/// The longest value without quotes, in bytes.
const BARE_MAX_BYTES: usize = 4096;

/// Members that describe others, as in JSON Schema. They are not secrets, even in a container under the name of one.
const DESCRIPTIVE: [&[u8]; 8] =
    [b"type", b"description", b"title", b"format", b"$ref", b"name", b"pattern", b"anyOf"];

/// The sign behind a name, if there is one.
pub(super) fn sign_after(text: &[u8], name: &Range<usize>) -> Option<Sign> {
    let level = match text[..name.start].last() {
        Some(b'"' | b'\'') => Some(backslashes(text, name.start - 1)),
        _ => None,
    };
    let mut at = name.end;
    let mut closed = false;
    if let Some(level) = level {
        let quote = text[name.start - 1];
        // Backslashes, the quote and a bracket.
        looked(at..at + level + 3);
        let slashes = text[at..].iter().take(level + 1).take_while(|byte| **byte == b'\\').count();
        closed = slashes == level && text.get(at + slashes) == Some(&quote);
        if closed {
            at += slashes + 1;
            // `settings["password"] = …`
            at += usize::from(text.get(at) == Some(&b']'));
        }
    }
    // `{&quot;password&quot;:…` in a page.
    at = behind_entity(text, at);
    // A quote that is not closed behind the name belongs to a longer text: `"TOKEN=…"`.
    let level = level.filter(|_| closed);
    let before = at;
    at = skip_space(text, at);
    looked(at..at + 2);
    let assigns = match (text.get(at)?, text.get(at + 1)) {
        (b'=', Some(b'>')) | (b':', Some(b'=')) => {
            at += 1;
            true
        }
        // A comparison, a path in code.
        (b'=', Some(b'=')) | (b':', Some(b':')) => return None,
        (b'=', _) => true,
        (b':', _) => false,
        _ => return None,
    };
    let after = at + 1;
    let mut value = skip_space(text, after);
    // `**Password:** …` in Markdown.
    if !assigns && value == after && text.get(value) == Some(&b'*') {
        looked(value..value + b"** ".len());
        if text[value..].starts_with(b"** ") {
            value = skip_space(text, value + 2);
        }
    }
    value = behind_entity(text, value);
    Some(Sign { at: value, assigns, tight: at == before && value == after, level })
}

/// Behind the quote of HTML, if one is here.
fn behind_entity(text: &[u8], at: usize) -> usize {
    if text.get(at) != Some(&b'&') {
        return at;
    }
    looked(at..at + ENTITY.len());
    if text[at..].starts_with(ENTITY) { at + ENTITY.len() } else { at }
}

/// The value after a sign.
pub(super) fn value_at(text: &[u8], sign: &Sign) -> Value {
    value_from(text, sign, &mut 0)
}

/// The same. `bare_end` is where the last value without quotes ended, so that a value with many names in it is walked once.
pub(super) fn value_from(text: &[u8], sign: &Sign, bare_end: &mut usize) -> Value {
    // `@"…"` in C#.
    let verbatim =
        text.get(sign.at) == Some(&b'@') && text.get(sign.at + 1 + backslashes_at(text, sign.at + 1)) == Some(&b'"');
    let sign = &Sign { at: sign.at + usize::from(verbatim), ..*sign };
    let slashes = backslashes_at(text, sign.at);
    match text.get(sign.at + slashes) {
        Some(quote @ (b'"' | b'\'')) => {
            let start = sign.at + slashes + 1;
            let StringEnd { content, next, closed } = string_end(text, start, *quote, slashes);
            Value::Quoted { range: start..content, closed, next }
        }
        _ if slashes > 0 => Value::None,
        Some(b'{' | b'[') if sign.level.is_some() || !sign.assigns => Value::Container(sign.at),
        Some(byte) if sign.level.is_some() && (byte.is_ascii_digit() || *byte == b'-') => {
            let number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
            let length = text[sign.at..].iter().take_while(|byte| number(byte)).count();
            looked(sign.at..sign.at + length + 1);
            Value::Number(sign.at..sign.at + length)
        }
        // Behind a name in quotes, only words of JSON (`true`, `null`) have no quotes.
        Some(_) if sign.level.is_none() => {
            let ends = |byte: &u8| {
                byte.is_ascii_whitespace()
                    || matches!(
                        byte,
                        b'"' | b'\''
                            | b'`'
                            | b','
                            | b';'
                            | b'&'
                            | b'<'
                            | b'>'
                            | b'('
                            | b')'
                            | b'{'
                            | b'}'
                            | b'['
                            | b']'
                            | b'\\'
                            | b'|'
                            | b'#'
                    )
            };
            if *bare_end <= sign.at {
                let rest = &text[sign.at..text.len().min(sign.at + BARE_MAX_BYTES)];
                *bare_end = sign.at + rest.iter().position(ends).unwrap_or(rest.len());
                steps(*bare_end - sign.at);
            }
            looked(sign.at..*bare_end + 1);
            Value::Bare(sign.at..*bare_end)
        }
        _ => Value::None,
    }
}

/// Schemes of credentials (RFC 9110, section 11.1), which stand in front of the secret.
const SCHEMES: [&[u8]; 7] = [b"bearer", b"basic", b"token", b"apikey", b"digest", b"dpop", b"key"];

/// A value without quotes. If it is the scheme of credentials, the word behind it is a part of it.
pub(super) fn with_scheme(text: &[u8], range: Range<usize>) -> Range<usize> {
    let scheme = |known: &&[u8]| text[range.clone()].eq_ignore_ascii_case(known);
    if text.get(range.end) != Some(&b' ') || !SCHEMES.iter().any(scheme) {
        return range;
    }
    let sign = Sign { at: range.end + 1, assigns: false, tight: false, level: None };
    match value_at(text, &sign) {
        Value::Bare(value) if !value.is_empty() => range.start..value.end,
        _ => range,
    }
}

/// The string behind the type that begins at `start`: `String = "value"`; and whether it is closed.
pub(super) fn behind_a_type(text: &[u8], start: usize) -> Option<(Range<usize>, bool)> {
    const TYPE_MAX_BYTES: usize = 48;
    /// The characters of types.
    static OF_TYPES: [bool; 256] = {
        let mut of_types = [false; 256];
        let mut at = 0;
        while at < 256 {
            let byte = at as u8;
            let sign = matches!(byte, b'&' | b'<' | b'>' | b'_' | b' ' | b'|' | b':' | b'?');
            of_types[at] = byte.is_ascii_alphanumeric() || sign;
            at += 1;
        }
        of_types
    };
    let reach = &text[start..text.len().min(start + TYPE_MAX_BYTES)];
    let end = reach.iter().position(|byte| !OF_TYPES[usize::from(*byte)]);
    looked(start..start + end.unwrap_or(reach.len()) + 1);
    let equals = end.filter(|end| reach[*end] == b'=')?;
    let sign = Sign { at: skip_space(text, start + equals + 1), assigns: true, tight: false, level: None };
    match value_at(text, &sign) {
        Value::Quoted { range, closed, .. } => Some((range, closed)),
        _ => None,
    }
}

/// The quotes of a name, and the number of backslashes in front of each.
pub(super) fn quote(text: &[u8], name: &Range<usize>) -> (u8, Quote) {
    let quote = if text[name.start - 1] == b'"' { Quote::Double } else { Quote::Single };
    (u8::try_from(backslashes(text, name.start - 1)).unwrap_or(u8::MAX), quote)
}

/// Gives the strings in the object or array that begins at `start`, without names of members and descriptions. Returns where the
/// object or array ends.
pub(super) fn leaves(text: &[u8], start: usize, mut leaf: impl FnMut(Range<usize>)) -> usize {
    let (mut open, mut at) = (Vec::new(), start);
    let mut level = None;
    let mut member: Option<Range<usize>> = None;
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' | b'[' => open.push(*byte),
            b'}' | b']' => {
                open.pop();
                if open.is_empty() {
                    looked(start..at + 1);
                    steps(at - start);
                    return at + 1;
                }
            }
            b',' if open.last() == Some(&b'{') => member = None,
            b'"' => {
                let level = *level.get_or_insert_with(|| backslashes(text, at));
                // All that is read here is looked at and counted as one.
                let StringEnd { content, next, closed } = string_end_of(text, at + 1, b'"', level);
                let string = at + 1..content;
                let follows = skip_space(text, next);
                if closed && text.get(follows) == Some(&b':') {
                    member = Some(string);
                } else if !member.as_ref().is_some_and(|name| describes(&text[name.clone()])) {
                    leaf(string);
                }
                at = next;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    looked(start..text.len() + 1);
    steps(text.len() - start);
    text.len()
}

/// Whether a member with this name describes others. Its first letter rules most names out.
fn describes(name: &[u8]) -> bool {
    matches!(name.first(), Some(b't' | b'd' | b'f' | b'$' | b'n' | b'p' | b'a')) && DESCRIPTIVE.contains(&name)
}

/// Where a string ends.
struct StringEnd {
    /// Behind its content.
    content: usize,
    /// Behind its closing quote.
    next: usize,
    /// Whether there is a closing quote.
    closed: bool,
}

/// The end of the string whose content begins at `start`. A quote of the same level or of an outer one closes it; a quote of an
/// inner level has more backslashes.
fn string_end(text: &[u8], start: usize, quote: u8, level: usize) -> StringEnd {
    let end = string_end_of(text, start, quote, level);
    looked(start..end.next + 1);
    steps(end.next - start);
    end
}

#[inline]
fn string_end_of(text: &[u8], start: usize, quote: u8, level: usize) -> StringEnd {
    let unit = level + 1;
    // A string of JSON has no line end.
    let line_end = if level == 0 { b'\n' } else { quote };
    let mut at = start;
    while let Some(sign) = next_of(text, at, [quote, b'\\', line_end]) {
        at = sign;
        let slashes = text[at..].iter().take_while(|byte| **byte == b'\\').count();
        at += slashes;
        match text.get(at) {
            Some(byte) if *byte == quote && slashes % (2 * unit) < unit => {
                return StringEnd { content: at - slashes.min(level), next: at + 1, closed: true };
            }
            Some(b'\n') if level == 0 => return StringEnd { content: at, next: at, closed: false },
            _ => at += 1,
        }
    }
    StringEnd { content: text.len(), next: text.len(), closed: false }
}

/// The next of these bytes. Most strings are short, so that a few bytes are read first, which costs less than a search.
#[inline]
fn next_of(text: &[u8], from: usize, signs: [u8; 3]) -> Option<usize> {
    const NEAR_BYTES: usize = 12;
    let far = text.len().min(from + NEAR_BYTES);
    let [one, two, three] = signs;
    let near = text.get(from..far)?.iter().position(|byte| *byte == one || *byte == two || *byte == three);
    match near {
        Some(length) => Some(from + length),
        None => memchr::memchr3(one, two, three, &text[far..]).map(|length| far + length),
    }
}

/// The number of backslashes at a place.
pub(super) fn backslashes_at(text: &[u8], at: usize) -> usize {
    let slashes = text.get(at..).unwrap_or_default().iter().take(64).take_while(|byte| **byte == b'\\').count();
    looked(at..at + slashes + 1);
    slashes
}

pub(super) fn backslashes(text: &[u8], before: usize) -> usize {
    let slashes = text[..before].iter().rev().take(64).take_while(|byte| **byte == b'\\').count();
    looked(before.saturating_sub(slashes + 1)..before);
    slashes
}

/// Behind white space, which may be escaped.
#[inline]
pub(super) fn skip_space(text: &[u8], start: usize) -> usize {
    // Mostly there is none.
    match text.get(start) {
        Some(byte) if byte.is_ascii_whitespace() || *byte == b'\\' => skip_some_space(text, start),
        _ => {
            looked(start..start + 1);
            start
        }
    }
}

fn skip_some_space(text: &[u8], start: usize) -> usize {
    let mut at = start;
    let limit = text.len().min(at + SPACE_MAX_BYTES);
    while at < limit {
        if text[at].is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if text[at] != b'\\' {
            break;
        }
        let slashes = text[at..limit].iter().take(64).take_while(|byte| **byte == b'\\').count();
        looked(at..at + slashes + 1);
        if matches!(text.get(at + slashes), Some(b'n' | b'r' | b't')) {
            at += slashes + 1;
            continue;
        }
        break;
    }
    looked(start..at + 1);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, name: &str) -> Option<(String, Value)> {
        let start = text.find(name)?;
        let sign = sign_after(text.as_bytes(), &(start..start + name.len()))?;
        let value = value_at(text.as_bytes(), &sign);
        let shown = match &value {
            Value::Quoted { range, .. } | Value::Number(range) | Value::Bare(range) => text[range.clone()].to_owned(),
            Value::Container(_) | Value::None => String::new(),
        };
        Some((shown, value))
    }

    #[test]
    fn values_are_found_at_any_level_of_quoting() {
        for (text, value) in [
            (r#"{"k":"v"}"#, "v"),
            (r#"{"k" : "a\"b\\", "x":1}"#, r#"a\"b\\"#),
            (r#"{"a":"{\"k\": \"v\\\"w\\n\", \"x\":1}"}"#, r#"v\\\"w\\n"#),
            (r#"{"a":"{\"b\":\"{\\\"k\\\":\\\"v\\\"}\"}"}"#, "v"),
            (r#"{"a":"{\"k\":\"v"}"#, "v"),
            (r#"{\n  \"k\":\n \"v\"}"#, "v"),
            ("x['k'] = 'v'", "v"),
            ("k=v&b", "v"),
            (r#"f(k: \"v\")"#, "v"),
            ("{'k' => 'v'}", "v"),
            (r#"{"k":"half"#, "half"),
            (r#"{"k":-12.5e3,"#, "-12.5e3"),
        ] {
            assert_eq!(of(text, "k").map(|(shown, _)| shown).as_deref(), Some(value), "{text}");
        }
        for text in ["k", "\"k\"", "\"k\" ]", "k == v", "k::v"] {
            assert!(of(text, "k").is_none(), "{text}");
        }
        assert_eq!(of("{\"k\":null}", "k").unwrap().1, Value::None);
    }

    #[test]
    fn the_leaves_of_a_container_are_its_values_but_for_what_describes() {
        let text = r#"{"a":"1","type":["x","y"],"b":[{"c":"2"},"3",4],"description":"d"} after "z""#;
        let mut found = Vec::new();
        let end = leaves(text.as_bytes(), 0, |range| found.push(&text[range]));
        assert_eq!((found, &text[end..]), (vec!["1", "2", "3"], r#" after "z""#));
        assert!(DESCRIPTIVE.iter().all(|name| describes(name)));
    }
}
