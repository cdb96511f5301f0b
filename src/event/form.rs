//! Form bodies: their fields for `post_data`, and the masking of secret fields in the body.

use std::borrow::Cow;
use std::ops::Range;

use super::content_type::extended_parameter;
use super::fit;
use super::json::Json;
use crate::redact::{Ends, Masking, OutOfTime};

/// The most fields that are listed. A form with more says how many.
const FIELDS_MAX: usize = 256;

/// Of a longer text field of a multipart form, only the size is shown.
const INLINE_MAX_BYTES: usize = 1024;

/// The fields of an urlencoded form whose secrets are already masked, as a JSON object. `cut`: the form is truncated.
pub(super) fn urlencoded_fields(body: &[u8], cut: bool) -> Vec<u8> {
    let mut pairs = form_urlencoded::parse(body);
    let fields: Vec<_> = pairs.by_ref().take(FIELDS_MAX).collect();
    object(&fields, pairs.count(), cut)
}

/// The fields of a multipart form whose secrets are already masked, as a JSON object: texts inline, files by name and
/// size. `cut`: the form is truncated.
pub(super) fn multipart_fields(body: &[u8], boundary: &str, cut: bool) -> Vec<u8> {
    let parts = parts(body, boundary);
    let fields: Vec<_> =
        parts.iter().take(FIELDS_MAX).map(|part| (Cow::Borrowed(&*part.name), part.shown(body))).collect();
    object(&fields, parts.len() - fields.len(), cut)
}

/// Masks secrets in a multipart form: fields by their names, texts and files by their content. `None`: there are none.
/// `cut`: the form is truncated.
///
/// # Errors
/// When the search does not finish in time.
pub(super) fn mask_multipart(
    body: &[u8],
    boundary: &str,
    cut: bool,
    masking: &mut Masking<'_>,
) -> Result<Option<Vec<u8>>, OutOfTime> {
    let mut out = Vec::new();
    let mut copied = 0;
    let mut searched = 0;
    for part in parts(body, boundary) {
        // The names of the field and of its file may hold secrets, too.
        let head = &body[searched..part.value.start];
        let shown = match std::str::from_utf8(head) {
            Ok(text) => masking.text(text, Ends::default())?.map(String::into_bytes),
            Err(_) => masking.bytes(head, false),
        };
        if let Some(shown) = shown {
            out.extend_from_slice(&body[copied..searched]);
            out.extend_from_slice(&shown);
            copied = part.value.start;
        }
        searched = part.value.end;
        let value = &body[part.value.clone()];
        let cut = cut && !part.whole;
        let shown = match (masking.field(&part.name, &String::from_utf8_lossy(value)), std::str::from_utf8(value)) {
            (Some(shown), _) => Some(shown.into_bytes()),
            (None, Ok(text)) => masking.text(text, Ends { cut_start: false, cut_end: cut })?.map(String::into_bytes),
            (None, Err(_)) => masking.bytes(value, cut),
        };
        if let Some(shown) = shown {
            out.extend_from_slice(&body[copied..part.value.start]);
            out.extend_from_slice(&shown);
            copied = part.value.end;
        }
    }
    if copied == 0 {
        return Ok(None);
    }
    out.extend_from_slice(&body[copied..]);
    Ok(Some(out))
}

/// Repeated names become an array at the position of the first.
fn object(fields: &[(Cow<'_, str>, Cow<'_, str>)], mut left_out: usize, cut: bool) -> Vec<u8> {
    let mut json = Json::object(256);
    for (index, (name, value)) in fields.iter().enumerate() {
        if fields[..index].iter().any(|(earlier, _)| earlier == name) {
            continue;
        }
        if json.len() > fit::POST_DATA_FILL_BYTES {
            left_out += fields[index..].iter().filter(|(later, _)| later == name).count();
            continue;
        }
        json.foreign_key(name, fit::FIELD_NAME_MAX_BYTES);
        let mut repeats = fields[index + 1..].iter().filter(|(later, _)| later == name).peekable();
        if repeats.peek().is_none() {
            json.text(value, fit::FIELD_VALUE_MAX_BYTES, fit::CUT);
            continue;
        }
        json.open_array();
        json.text(value, fit::FIELD_VALUE_MAX_BYTES, fit::CUT);
        for (_, value) in repeats {
            if json.len() > fit::POST_DATA_FILL_BYTES {
                left_out += 1;
                continue;
            }
            json.comma();
            json.text(value, fit::FIELD_VALUE_MAX_BYTES, fit::CUT);
        }
        json.close_array();
    }
    match (left_out, cut) {
        (0, false) => {}
        (0, true) => json.string("…", "the form is truncated"),
        (count, _) => json.string("…", &format!("{count} more fields")),
    }
    json.finish()
}

/// One part of a multipart form.
struct Part {
    name: String,
    file: Option<String>,
    /// The range of its content in the body.
    value: Range<usize>,
    /// Whether its end was captured.
    whole: bool,
}

impl Part {
    fn shown<'a>(&self, body: &'a [u8]) -> Cow<'a, str> {
        let size = fit::grouped(self.value.len() as u64);
        let more = if self.whole { "" } else { " or more" };
        let value = &body[self.value.clone()];
        match (&self.file, std::str::from_utf8(value)) {
            (Some(file), _) => format!("<file {file}, {size} bytes{more}>").into(),
            (None, Ok(text)) if text.len() <= INLINE_MAX_BYTES => text.into(),
            _ => format!("<{size} bytes{more}>").into(),
        }
    }
}

/// Splits a multipart body (RFC 7578, RFC 2046 5.1.1). Invalid parts are skipped.
fn parts(body: &[u8], boundary: &str) -> Vec<Part> {
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let Some(first) = find_line(body, delimiter.as_bytes(), 0) else { return parts };
    let mut start = first + delimiter.len();
    while !body[start..].starts_with(b"--") {
        let next = find_line(body, delimiter.as_bytes(), start);
        let end = next.map_or(body.len(), |next| without_line_end(body, start, next));
        parts.extend(part(body, start..end, next.is_some()));
        match next {
            Some(next) => start = next + delimiter.len(),
            None => break,
        }
    }
    parts
}

/// The header fields of a part, each on one line: a line that begins with white space continues the one before it (RFC 5322,
/// section 2.2.3). A byte that is no text costs only its own character.
fn unfolded(head: &[u8]) -> String {
    let text = String::from_utf8_lossy(head);
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if line.starts_with([' ', '\t']) {
            out.truncate(out.trim_end_matches(['\r', '\n']).len());
        }
        out.push_str(line);
    }
    out
}

fn part(body: &[u8], range: Range<usize>, whole: bool) -> Option<Part> {
    let (head, skip) =
        match (find(&body[..range.end], b"\r\n\r\n", range.start), find(&body[..range.end], b"\n\n", range.start)) {
            (Some(crlf), Some(lf)) if lf < crlf => (lf, 2),
            (Some(crlf), _) => (crlf, 4),
            (None, Some(lf)) => (lf, 2),
            // A part without complete headers has no known name.
            (None, None) => return None,
        };
    let head_text = unfolded(&body[range.start..head]);
    let disposition = head_text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value.trim())
    })?;
    Some(Part {
        name: extended_parameter(disposition, "name").unwrap_or_default(),
        file: extended_parameter(disposition, "filename"),
        value: head + skip..range.end,
        whole,
    })
}

fn without_line_end(body: &[u8], start: usize, end: usize) -> usize {
    let content = &body[start..end];
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    start + content.strip_suffix(b"\r").unwrap_or(content).len()
}

/// Finds a delimiter, which is always at the start of a line.
fn find_line(body: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let mut from = from;
    loop {
        let at = find(body, needle, from)?;
        if at == 0 || body[at - 1] == b'\n' {
            return Some(at);
        }
        from = at + 1;
    }
}

fn find(body: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    body[from..].windows(needle.len()).position(|window| window == needle).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::testing::{redactor, untagged};

    fn masked(body: &[u8]) -> Option<Vec<u8>> {
        mask_multipart(body, "B", true, &mut redactor().masking("x.test", 443, "/")).unwrap()
    }

    const UPLOAD: &str = "--B\r\nContent-Disposition: form-data; name=\"who\"\r\n\r\nme\r\n\
        --B\r\ncontent-disposition: form-data; name=\"f\"; filename=\"a \\\"b\\\".bin\"\r\nContent-Type: x/y\r\n\r\n\x01\x02\r\n\r\n\
        --B\r\nContent-Disposition: form-data; name=client_secret\r\n\r\nhush\r\n--B--\r\n";

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn urlencoded_fields_are_decoded_and_repeats_are_arrays() {
        assert_eq!(text(urlencoded_fields(b"a=1&b=x+y%21&a=2&c", false)), r#"{"a":["1","2"],"b":"x y!","c":""}"#);
        assert_eq!(text(urlencoded_fields(b"a=1", true)), r#"{"a":"1","…":"the form is truncated"}"#);
        assert_eq!(text(urlencoded_fields(b"", false)), "{}");
    }

    #[test]
    fn a_form_with_many_fields_says_how_many_are_left_out() {
        let many: String = (0..300).map(|n| format!("f{n}=1&")).collect();
        assert!(text(urlencoded_fields(many.as_bytes(), false)).ends_with(r#","…":"44 more fields"}"#));
        let same = format!("a={}&", "\u{1}".repeat(2000)).repeat(200);
        assert!(urlencoded_fields(same.as_bytes(), false).len() <= fit::POST_DATA_MAX_BYTES);
    }

    #[test]
    fn multipart_shows_text_and_names_files() {
        let masked = masked(UPLOAD.as_bytes()).unwrap();
        assert_eq!(untagged(&text(masked.clone())), UPLOAD.replace("hush", "****"));
        assert_eq!(
            untagged(&text(multipart_fields(&masked, "B", false))),
            r#"{"who":"me","f":"<file a \"b\".bin, 4 bytes>","client_secret":"****"}"#
        );
    }

    #[test]
    fn a_field_has_its_name_however_the_name_is_written() {
        for disposition in [
            "form-data;\r\n name=\"client_secret\"",
            "form-data; name=\r\n\t\"client_secret\"",
            "form-data;\n  name=client_secret",
            "\r\n form-data; name=\"client_secret\"",
            "form-data; filename=\"caf\u{e9};name=x\"; name=\"client_secret\"",
            "form-data; name*=UTF-8''client%5Fsecret",
            "form-data; name*=utf-8'en'client%5fsecret; name=\"x\"",
            "form-data; name*0=\"client_\"; name*1=\"secret\"",
            "form-data; name*0*=UTF-8''client%5F;\r\n name*1=secret",
            "form-data; name=\"auth[client_secret]\"",
            "form-data; name=\"client%5Fsecret\"",
            "form-data; name=\"\\\"client_secret\\\"\"",
            "form-data; name=\"%22client_secret%22\"",
        ] {
            let body = format!(
                "--B\r\nContent-Type: text/plain\r\nContent-Disposition: {disposition}\r\n\r\nhush hush\r\n--B--\r\n"
            );
            let shown = masked(body.as_bytes()).map(text).unwrap_or_default();
            assert_eq!(untagged(&shown), body.replace("hush hush", "****"), "{disposition}");
        }
        let latin = b"--B\r\nX-Note: caf\xe9\r\nContent-Disposition: form-data; filename=\"\xe9\"; name=\"client_secret\"\r\n\r\nhush\r\n--B--\r\n";
        assert!(!masked(latin).unwrap().windows(4).any(|part| part == b"hush"));
    }

    #[test]
    fn a_multipart_body_truncated_anywhere_is_read_as_far_as_it_goes() {
        for end in 0..UPLOAD.len() {
            let shown = text(multipart_fields(&UPLOAD.as_bytes()[..end], "B", true));
            assert!(shown.starts_with('{') && shown.ends_with('}'));
            let masked = masked(&UPLOAD.as_bytes()[..end]);
            assert!(masked.is_none_or(|body| !text(body).contains("hush")));
        }
        let cut = &UPLOAD.as_bytes()[..UPLOAD.find("\x02").unwrap()];
        assert_eq!(
            text(multipart_fields(cut, "B", false)),
            r#"{"who":"me","f":"<file a \"b\".bin, 1 bytes or more>"}"#
        );
    }
}
