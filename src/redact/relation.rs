//! Values that belong to a name without `=` or `:` between them: elements and attributes of XML, pairs in arrays and objects, flags
//! of commands, tables, sentences. Quotes may be escaped, as in JSON in strings.

use std::ops::Range;

use super::judge::may_be_secret;
use super::reach::looked;
use super::value::{self, skip_space};
use super::work::steps;

/// A value that belongs to a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Related {
    /// The value.
    pub(super) range: Range<usize>,
    /// Whether the grammar alone makes it the value of the name; otherwise it must look like a secret.
    pub(super) certain: bool,
}

/// The longest value, in bytes.
const VALUE_MAX_BYTES: usize = 4096;
/// How far in front of a name the other half of a pair, or an explaining word, is searched for, in bytes.
const BACK_MAX_BYTES: usize = 160;

/// Names of the second member of a pair.
const VALUES: [&[u8]; 7] = [b"value", b"Value", b"val", b"default", b"secretValue", b"stringValue", b"content"];
/// Words of a sentence between a name and its value.
const VERBS: [&[u8]; 8] = [b"is", b"to", b"was", b"are", b"ist", b"lautet", b"equals", b"as"];
/// Words of netrc in front of a password.
const NETRC: [&[u8]; 2] = [b"login", b"machine"];
/// Words in front of a variable that is followed by its value without a sign.
const SETTERS: [&[u8]; 6] = [b"ENV", b"ARG", b"-gx", b"-x", b"setenv", b"set-env"];

/// No word of these lists is longer, in bytes.
const WORD_MAX_BYTES: usize = 16;
/// The longest of the setters, and what stands before it, in bytes.
const SETTER_MAX_BYTES: usize = 8;

/// What is known of a text around the names that were examined.
#[derive(Default)]
pub(super) struct Context {
    logins: WordsBefore,
    users: WordsBefore,
    verbs: Verbs,
}

impl Context {
    /// Whether a user, a host or the like is given in front of a name: then a password follows.
    pub(super) fn is_of_user(&mut self, text: &[u8], name: &Range<usize>) -> bool {
        const USERS: [&[u8]; 6] = [b"user", b"username", b"login", b"mail", b"auth", b"host"];
        self.users.any(text, name.start, *b":=", &USERS)
    }
}

/// The value that belongs to a name, if one does. `is_secret` says of a value, and of whether it is certain, whether it is a secret;
/// for one that is not, less is read.
pub(super) fn related(
    text: &[u8],
    name: &Range<usize>,
    is_secret: impl Fn(&[u8], bool) -> bool,
    context: &mut Context,
) -> Option<Related> {
    if !may_be_related(text, name) {
        return None;
    }
    written(text, name)
        .or_else(|| pair_backwards(text, name))
        .or_else(|| spoken(text, name, context))
        .or_else(|| set(text, name, is_secret, context))
}

/// Whether one of the forms below can begin: each needs a certain byte in front of the name or behind it.
fn may_be_related(text: &[u8], name: &Range<usize>) -> bool {
    let before = name.start.checked_sub(1).map(|at| text[at]);
    matches!(before, Some(b'<' | b'"'))
        || text.get(name.end).is_some_and(|next| {
            next.is_ascii_whitespace()
                || matches!(next, b'\\' | b'"' | b'\'' | b'`' | b']' | b')' | b'|' | b'?' | b':' | b'{' | b',' | b'<')
        })
}

/// The value that belongs to a name in settings, commands and code, but not in sentences.
pub(super) fn written(text: &[u8], name: &Range<usize>) -> Option<Related> {
    element(text, name).or_else(|| flag(text, name)).or_else(|| part(text, name)).or_else(|| pair(text, name))
}

/// `<password>value</password>`, and `<key>password</key><string>value</string>` of property lists.
fn element(text: &[u8], name: &Range<usize>) -> Option<Related> {
    let before = &text[..name.start];
    if before.ends_with(b"<") {
        let inside = &text[name.end..text.len().min(name.end + BACK_MAX_BYTES)];
        let open = inside.iter().position(|byte| matches!(byte, b'>' | b'<' | b'\n'));
        looked(name.end..name.end + open.unwrap_or(inside.len()) + 1);
        let open = open?;
        if inside[open] != b'>' || inside[..open].ends_with(b"/") {
            return None;
        }
        return content(text, name.end + open + 1);
    }
    let rest = &text[name.end..];
    if before.ends_with(b">") {
        // The closing tag, and the tag of the value.
        const TAGS_BYTES: usize = 64;
        looked(name.end..name.end + TAGS_BYTES);
    }
    if before.ends_with(b">") && rest.starts_with(b"</") {
        let close = rest.iter().take(32).position(|byte| *byte == b'>')?;
        let next = skip_space(text, name.end + close + 1);
        let open = b"<string>";
        looked(next..next + open.len());
        return text[next..].starts_with(open).then(|| content(text, next + open.len()))?;
    }
    None
}

/// The content of an element, up to its closing tag.
fn content(text: &[u8], start: usize) -> Option<Related> {
    let reach = &text[start..text.len().min(start + VALUE_MAX_BYTES)];
    let length = reach.iter().position(|byte| *byte == b'<');
    looked(start..start + length.unwrap_or(reach.len()) + 2);
    steps(length.unwrap_or(reach.len()));
    let length = length?;
    (length > 0 && reach[length..].starts_with(b"</"))
        .then(|| Related { range: start..start + length, certain: true })
}

/// `--token value`.
fn flag(text: &[u8], name: &Range<usize>) -> Option<Related> {
    if text.get(name.start) != Some(&b'-') {
        return None;
    }
    word(text, spaces(text, name.end)?)
}

/// The first line of a field of a multipart form that stands in a text: `form-data; name="NAME"`, an empty line, the value. In a
/// string of JSON, quotes and line ends are escaped.
fn part(text: &[u8], name: &Range<usize>) -> Option<Related> {
    const FORM_DATA: &[u8] = b"form-data";
    /// Fields may stand between the name and the empty line.
    const FIELDS: usize = 3;
    let bracket = name.end + usize::from(text.get(name.end) == Some(&b']'));
    let mut at = behind_line_end(text, quote(text, bracket).unwrap_or(bracket))?;
    let reach = &text[name.start.saturating_sub(WORD_MAX_BYTES)..name.start];
    looked(name.start - reach.len()..name.start);
    let sign = memchr::memrchr(b'=', reach)?;
    // `name="user[password]"`
    let opens = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'"' | b'\\' | b'[' | b'_' | b'-' | b'.');
    if !reach[..sign].ends_with(b"name") || !reach[sign + 1..].iter().all(opens) {
        return None;
    }
    let before = trimmed(text, name.start - reach.len() + sign - b"name".len()).strip_suffix(b";")?;
    looked(before.len().saturating_sub(FORM_DATA.len())..before.len());
    if !before.len().checked_sub(FORM_DATA.len()).is_some_and(|at| before[at..].eq_ignore_ascii_case(FORM_DATA)) {
        return None;
    }
    for _ in 0..FIELDS {
        if let Some(start) = behind_line_end(text, at) {
            let end = end_of_line(text, start, VALUE_MAX_BYTES);
            return (end > start).then_some(Related { range: start..end, certain: true });
        }
        at = behind_line_end(text, end_of_line(text, at, BACK_MAX_BYTES))?;
    }
    None
}

/// Behind the line end that is here: as it is, or escaped at any depth of strings of JSON.
fn behind_line_end(text: &[u8], at: usize) -> Option<usize> {
    let one = |at: usize, plain: u8, letter: u8| {
        let slashes = value::backslashes_at(text, at);
        looked(at..at + slashes + 1);
        let sign = if slashes == 0 { plain } else { letter };
        (text.get(at + slashes) == Some(&sign)).then_some(at + slashes + 1)
    };
    one(one(at, b'\r', b'r').unwrap_or(at), b'\n', b'n')
}

/// Where the line ends that begins at `start`, or the string of JSON that it stands in.
fn end_of_line(text: &[u8], start: usize, max: usize) -> usize {
    // The backslashes of the line end before, which a line end here has, too. Twice as many are a backslash.
    let level = if text[..start].ends_with(b"n") { value::backslashes(text, start - 1) } else { 0 };
    let limit = text.len().min(start + max);
    let mut at = start;
    while at < limit {
        let slashes = if level == 0 { 0 } else { value::backslashes_at(text, at) };
        match text.get(at + slashes) {
            Some(b'\r' | b'\n') => break,
            Some(b'r' | b'n') if level > 0 && slashes % (2 * level) == level => break,
            Some(b'"') if slashes < level => break,
            _ => at += slashes + 1,
        }
    }
    let end = at.min(limit);
    looked(start..end + 2);
    steps(end - start);
    end
}

/// `["name", "value"]`, `get("name", "default")`, `"name": "NAME", "value": "…"`, `key="NAME" value="…"`, `env.NAME || "…"`.
fn pair(text: &[u8], name: &Range<usize>) -> Option<Related> {
    let closed = quote(text, name.end);
    let at = closed.unwrap_or(name.end);
    let bracket = at + text[at..].iter().take(2).take_while(|byte| matches!(byte, b']' | b')')).count();
    let next = skip_space(text, bracket);
    let rest = text.get(next..)?;
    if matches!(rest.first(), Some(b'|' | b'?' | b':')) {
        looked(next..next + 2);
    }
    if let [b'|', b'|', ..] | [b'?', b'?' | b':', ..] | [b':', b'-', ..] = rest {
        return quoted(text, skip_space(text, next + 2), false);
    }
    if rest.first() == Some(&b'|') {
        return word(text, spaces(text, next + 1)?);
    }
    if let Some(table) = rest.strip_prefix(b"{") {
        // Terraform: `variable "NAME" { default = "…" }`
        closed?;
        let inner = skip_space(text, text.len() - table.len());
        return after_value_name(text, inner);
    }
    if closed.is_none() && !name_of_a_list(text, name) {
        return None;
    }
    if let Some(found) = after_value_name(text, next) {
        return Some(found);
    }
    if rest.first() != Some(&b',') {
        return None;
    }
    let next = skip_space(text, next + 1);
    after_value_name(text, next).or_else(|| quoted(text, next, false))
}

/// Whether a name without quotes is that of `- name: NAME` in YAML.
fn name_of_a_list(text: &[u8], name: &Range<usize>) -> bool {
    let before = trimmed(text, name.start);
    if before.last() != Some(&b':') {
        return false;
    }
    looked(before.len().saturating_sub(b"name:".len())..name.start);
    before.ends_with(b"name:") || before.ends_with(b"key:")
}

/// `"value": "…"`, `value="…"`, `value: …`
fn after_value_name(text: &[u8], at: usize) -> Option<Related> {
    let start = quote(text, at).unwrap_or(at);
    looked(start..start + 1);
    let name = begun(text, start, &VALUES)?;
    let end = start + name.len();
    let end = quote(text, end).unwrap_or(end);
    let sign = skip_space(text, end);
    if !matches!(text.get(sign), Some(b':' | b'=')) {
        return None;
    }
    let value = skip_space(text, sign + 1);
    quoted(text, value, false).or_else(|| word(text, value))
}

/// `"value": "…", "name": "NAME"`
fn pair_backwards(text: &[u8], name: &Range<usize>) -> Option<Related> {
    const NAMES: [&[u8]; 3] = [b"name", b"key", b"Key"];
    let before = trimmed(text, unquoted_end(text, name.start)?).strip_suffix(b":")?;
    let before = &text[..unquoted_end(text, trimmed(text, before.len()).len())?];
    looked(before.len().saturating_sub(WORD_MAX_BYTES)..before.len());
    let before = NAMES.iter().find_map(|name| before.strip_suffix(*name))?;
    let before = trimmed(text, unquoted_end(text, before.len())?).strip_suffix(b",")?;
    let end = unquoted_end(text, trimmed(text, before.len()).len())?;
    let reach = &text[end.saturating_sub(VALUE_MAX_BYTES)..end];
    let quote = reach.iter().rposition(|byte| *byte == b'"');
    looked(end - reach.len()..end);
    steps(reach.len() - quote.unwrap_or(0));
    let quote = quote?;
    let start = end - reach.len() + quote + 1;
    let before = trimmed(text, unquoted_end(text, start)?).strip_suffix(b":")?;
    let before = &text[..unquoted_end(text, trimmed(text, before.len()).len())?];
    looked(before.len().saturating_sub(WORD_MAX_BYTES)..before.len());
    VALUES.iter().any(|name| before.ends_with(name)).then_some(Related { range: start..end, certain: false })
}

/// The text in front of a place, without the space at its end.
fn trimmed(text: &[u8], end: usize) -> &[u8] {
    let trimmed = text[..end].trim_ascii_end();
    looked(trimmed.len().saturating_sub(1)..end);
    trimmed
}

/// `the password is 'value'`, `set the token to value`.
fn spoken(text: &[u8], name: &Range<usize>, context: &mut Context) -> Option<Related> {
    let at = quote(text, name.end).unwrap_or(name.end);
    let start = spaces(text, at)?;
    let after = match begun(text, start, &VERBS) {
        Some(verb) => start + verb.len(),
        None => later_verb(text, start, context)?,
    };
    looked(start..after + 1);
    let after = after + usize::from(text.get(after) == Some(&b':'));
    word(text, spaces(text, after)?)
}

/// Behind the verb of `the password for guests is value`, where a few words stand before the verb.
fn later_verb(text: &[u8], start: usize, context: &mut Context) -> Option<usize> {
    const PREPOSITIONS: [&[u8]; 6] = [b"for ", b"of ", b"on ", b"in ", b"at ", b"to "];
    begun(text, start, &PREPOSITIONS)?;
    looked(start..start + 2 * Verbs::REACH_BYTES);
    context.verbs.behind_next(text, start)
}

/// The verbs of sentences. A text is searched for them once, even if it has many names.
#[derive(Default)]
struct Verbs {
    /// A part of a sentence without a verb.
    none: Range<usize>,
}

impl Verbs {
    const WORDS: [&[u8]; 4] = [b"is ", b"was ", b"ist ", b"lautet "];
    const REACH_BYTES: usize = 48;

    /// Behind the first verb of the sentence, if it begins not far behind `start`.
    fn behind_next(&mut self, text: &[u8], start: usize) -> Option<usize> {
        if !self.none.contains(&start) {
            self.none = start..start;
        }
        let limit = text.len().min(start + Self::REACH_BYTES);
        let from = self.none.end;
        for at in from..limit {
            match text[at] {
                b' ' => {
                    if let Some(verb) = begun(text, at + 1, &Self::WORDS) {
                        return Some(at + verb.len());
                    }
                }
                byte if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') => {}
                _ => break,
            }
            self.none.end = at + 1;
        }
        steps(self.none.end - from);
        None
    }
}

/// `ENV NAME value`, `set -gx NAME value`, `login ada password value`, `PASSWORD 'value'`.
fn set(
    text: &[u8],
    name: &Range<usize>,
    is_secret: impl Fn(&[u8], bool) -> bool,
    context: &mut Context,
) -> Option<Related> {
    let value = spaces(text, name.end)?;
    let quoted = quoted(text, value, false);
    if quoted.is_some() {
        return quoted;
    }
    // The words in front are searched for last, because that costs most, and because the search of a copy of the text need not do
    // again what depends on little of it.
    let found = bare_word(text, value).filter(|found| {
        let value = &text[found.range.clone()];
        may_be_secret(value) && is_secret(value, found.certain)
    })?;
    let line = &text[name.start.saturating_sub(BACK_MAX_BYTES)..name.start];
    let before = line.trim_ascii_end();
    looked(name.start.saturating_sub(line.len() - before.len() + SETTER_MAX_BYTES)..name.start);
    let setter = before.len() < line.len() && SETTERS.iter().any(|word| ends(before, word));
    (setter || context.logins.any(text, name.start, *b"  ", &NETRC)).then_some(found)
}

/// Certain words in front of names. The text is searched for them once, even if it has many names.
#[derive(Default)]
struct WordsBefore {
    /// The text was searched up to here.
    searched: usize,
    /// Where the last word ends.
    last: Option<usize>,
}

impl WordsBefore {
    const LONGEST: usize = 10;

    /// Whether one of these words, with one of these signs behind it, stands not far in front of a name. Calls come in the order
    /// of the names.
    fn any(&mut self, text: &[u8], name: usize, signs: [u8; 2], words: &[&[u8]]) -> bool {
        let far = name.saturating_sub(BACK_MAX_BYTES);
        looked(far.saturating_sub(2 * Self::LONGEST)..name);
        let from = self.searched.saturating_sub(Self::LONGEST).max(far);
        steps(name.saturating_sub(from));
        let reach = text.get(from..name).unwrap_or_default();
        let is_word = |sign: &usize| {
            let before = match &reach[..*sign] {
                [before @ .., b' ' | b'"' | b'\''] => before,
                before => before,
            };
            let Some(last) = before.last().map(u8::to_ascii_lowercase) else { return false };
            words.iter().any(|word| {
                word.last() == Some(&last)
                    && before.len() >= word.len()
                    && before[before.len() - word.len()..].eq_ignore_ascii_case(word)
            })
        };
        if let Some(sign) = memchr::memrchr2_iter(signs[0], signs[1], reach).find(is_word) {
            self.last = Some(from + sign);
        }
        self.searched = name;
        self.last.is_some_and(|at| at >= far && at < name)
    }
}

/// A value in quotes, escaped or not.
fn quoted(text: &[u8], at: usize, certain: bool) -> Option<Related> {
    let at = at + usize::from(text.get(at) == Some(&b'@'));
    let slashes = value::backslashes_at(text, at);
    let quote = *text.get(at + slashes)?;
    if !matches!(quote, b'"' | b'\'' | b'`') {
        return None;
    }
    let start = at + slashes + 1;
    let reach = &text[start..text.len().min(start + VALUE_MAX_BYTES)];
    let length = reach.iter().position(|byte| *byte == quote || *byte == b'\n');
    looked(start..start + length.unwrap_or(reach.len()) + 1);
    steps(length.unwrap_or(reach.len()));
    let length = length?;
    let end = start + length - slashes.min(length);
    (reach[length] == quote && end > start).then_some(Related { range: start..end, certain })
}

/// A value with or without quotes. It must look like a secret.
fn word(text: &[u8], at: usize) -> Option<Related> {
    quoted(text, at, false).or_else(|| bare_word(text, at))
}

/// A value without quotes. It must look like a secret.
fn bare_word(text: &[u8], at: usize) -> Option<Related> {
    let ends = |byte: &u8| {
        byte.is_ascii_whitespace()
            || matches!(
                byte,
                b'"' | b'\'' | b'`' | b',' | b';' | b'<' | b'>' | b'(' | b')' | b'[' | b']' | b'\\' | b'|'
            )
    };
    let reach = &text[at..text.len().min(at + VALUE_MAX_BYTES)];
    let length = reach.iter().position(ends).unwrap_or(reach.len());
    looked(at..at + length + 1);
    steps(length);
    // A call or an index is code.
    let code = matches!(reach.get(length), Some(b'(' | b'['));
    let end = at + reach[..length].trim_ascii_end().strip_suffix(b".").map_or(length, <[u8]>::len);
    (!code && length > 0 && reach[0] != b'-').then_some(Related { range: at..end, certain: false })
}

/// Behind a quote, escaped or not, or a backtick.
fn quote(text: &[u8], at: usize) -> Option<usize> {
    let slashes = value::backslashes_at(text, at);
    matches!(text.get(at + slashes), Some(b'"' | b'\'' | b'`')).then_some(at + slashes + 1)
}

/// The end of the text in front of the quote (and its backslashes) that ends at `at`.
fn unquoted_end(text: &[u8], at: usize) -> Option<usize> {
    let before = text.get(..at)?.strip_suffix(b"\"")?;
    Some(before.len() - value::backslashes(text, before.len()))
}

/// The first of these words that begins at a place. The first letter rules most out.
fn begun<'w>(text: &[u8], at: usize, words: &[&'w [u8]]) -> Option<&'w [u8]> {
    let text = &text[at..];
    let first = text.first()?;
    if !words.iter().any(|word| word.first() == Some(first)) {
        return None;
    }
    looked(at..at + WORD_MAX_BYTES);
    words.iter().find(|word| word.first() == Some(first) && text.starts_with(word)).copied()
}

/// Whether a text ends with a word.
fn ends(text: &[u8], word: &[u8]) -> bool {
    text.last() == word.last() && text.ends_with(word)
}

/// Behind at least one space.
fn spaces(text: &[u8], at: usize) -> Option<usize> {
    let next = skip_space(text, at);
    (next > at && next < text.len()).then_some(next)
}
