//! Shows a captured body as inert text. Only raster images are given to the browser as images.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, PreEscaped, html};

use super::format::{bytes, count, duration};
use super::shown;
use crate::brief;
use crate::event::{Content, Side, Stored};

/// Characters of a text that are shown. The rest is in the JSON and the HAR file.
const TEXT_MAX: usize = 512 << 10;
/// JSON up to this size is indented and coloured.
const PRETTY_MAX: usize = 384 << 10;
/// Images up to this size are shown.
const IMAGE_MAX: usize = 2 << 20;
/// Bytes that are shown in hex.
const HEX_MAX: usize = 4 << 10;
/// Events of a stream that are shown.
const SSE_MAX: usize = 1_000;

/// The body of one side.
pub(super) fn body(event: &Stored, side: Side) -> Markup {
    let size = event.bytes(side);
    match event.body(side) {
        Content::Empty if size == 0 => html! { p.dim { "No body." } },
        Content::Empty => html! { p.note { (bytes(size)) " passed; nothing was kept." } },
        Content::Text(text) => {
            let kind = event.content_type(side).to_ascii_lowercase();
            html! {
                @if event.body_is_cut(side) { p.note { "Not all of the body was kept: a mark in the text shows where." } }
                @if kind.starts_with("text/event-stream") { (stream(text, &event.event_times_ms(side))) }
                @else { (words(text)) }
            }
        }
        Content::Bytes(content) => match image(&content) {
            Some(kind) if content.len() <= IMAGE_MAX => html! {
                img.body alt={ "The body, an image of " (bytes(size)) } src={ "data:" (kind) ";base64," (STANDARD.encode(&content)) };
            },
            _ => hex(&content, size),
        },
    }
}

/// Text; JSON is indented.
pub(super) fn words(text: &str) -> Markup {
    let laid_out = (text.len() <= PRETTY_MAX).then(|| json(text)).flatten();
    match laid_out {
        Some(json) => html! { pre tabindex="0" { code { bdi { (json) } } } },
        None => {
            let kept = beginning(text);
            html! {
                pre tabindex="0" { code { (shown::lines(kept)) } }
                @if kept.len() < text.len() { p.note { "The first " (bytes(kept.len() as u64)) " are shown; the JSON has all." } }
            }
        }
    }
}

/// The part that is shown, in whole characters.
fn beginning(text: &str) -> &str {
    brief::head(text, TEXT_MAX)
}

/// Indented and coloured. `None` if the text is not a JSON object or array.
fn json(text: &str) -> Option<Markup> {
    let text = text.trim();
    if !text.starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    Some(laid_out(text))
}

/// Indents valid JSON and colours names, strings, numbers and words. Every value stays exactly as it was sent, numbers too.
fn laid_out(text: &str) -> Markup {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut length = 1;
        match first {
            '{' | '[' => {
                out.push(first);
                let inner = rest[1..].trim_start();
                if inner.starts_with(['}', ']']) {
                    out.push_str(&inner[..1]);
                    length = rest.len() - inner.len() + 1;
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(first);
            }
            ',' => {
                out.push(first);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                length = string_end(rest);
                let class = if rest[length..].trim_start().starts_with(':') { "k" } else { "s" };
                coloured(&mut out, class, &rest[..length]);
            }
            '-' | '0'..='9' | 'a'..='z' => {
                length = rest
                    .find(|c: char| !matches!(c, '-' | '+' | '.' | '0'..='9' | 'a'..='z' | 'E'))
                    .unwrap_or(rest.len());
                coloured(&mut out, if first.is_ascii_lowercase() { "w" } else { "num" }, &rest[..length]);
            }
            // White space; valid JSON has nothing else here.
            other => length = other.len_utf8(),
        }
        rest = &rest[length..];
    }
    PreEscaped(out)
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    // Deeper indentation would not be readable.
    out.extend(std::iter::repeat_n("  ", depth.min(40)));
}

fn coloured(out: &mut String, class: &str, token: &str) {
    out.push_str(&html! { span class=(class) { (shown::token(token)) } }.into_string());
}

/// The end of the JSON string that `text` starts with.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The events of a stream (WHATWG HTML, "Server-sent events"). `times_ms`: when the first of them were complete, counted from
/// the response's head.
fn stream(text: &str, times_ms: &[u64]) -> Markup {
    let events = events(text);
    let shown = events.len().min(SSE_MAX);
    // After a gap the number of missing events is unknown.
    let whole = events.iter().position(|(_, data)| is_mark(data)).unwrap_or(events.len());
    let time = |at: usize| times_ms.get(at).filter(|_| at < whole).map(|ms| duration(*ms as f64));
    html! {
        p.dim { (count(events.len() as u64)) " events" @if shown < events.len() { ", the first " (count(shown as u64)) " are shown" } }
        ol.sse {
            @for (at, (name, data)) in events.iter().take(SSE_MAX).enumerate() {
                li { span.dim { (at + 1) } span.dim { @if let Some(time) = time(at) { "+" (time) } } span { (shown::line(name)) } code.mono { (shown::lines(data)) } }
            }
        }
        details { summary { "As received" } (words(text)) }
    }
}

/// Whether the text is our mark for a missing part.
fn is_mark(line: &str) -> bool {
    line.contains("[otas-proxy: ")
}

/// Name and data of each event.
fn events(text: &str) -> Vec<(String, String)> {
    let mut events = Vec::new();
    let (mut name, mut data) = (String::new(), Vec::new());
    for line in text.lines().chain([""]) {
        if line.is_empty() {
            let name = std::mem::take(&mut name);
            if !data.is_empty() {
                events.push((name, std::mem::take(&mut data).join("\n")));
            }
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value.to_owned(),
            "data" => data.push(value),
            _ if is_mark(line) => events.push((String::new(), line.to_owned())),
            _ => {}
        }
    }
    events
}

/// The type of a raster image by its first bytes. The header is not trusted, and an SVG is a document.
fn image(content: &[u8]) -> Option<&'static str> {
    let begins = |with: &[u8]| content.starts_with(with);
    match () {
        () if begins(b"\x89PNG\r\n\x1a\n") => Some("image/png"),
        () if begins(b"\xff\xd8\xff") => Some("image/jpeg"),
        () if begins(b"GIF87a") || begins(b"GIF89a") => Some("image/gif"),
        () if begins(b"RIFF") && content.get(8..12) == Some(b"WEBP") => Some("image/webp"),
        () if content.get(4..12) == Some(b"ftypavif") => Some("image/avif"),
        () => None,
    }
}

fn hex(content: &[u8], size: u64) -> Markup {
    let shown = content.get(..HEX_MAX).unwrap_or(content);
    let mut dump = String::new();
    for (line, row) in shown.chunks(16).enumerate() {
        let hex: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String = row
            .iter()
            .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
            .collect();
        dump.push_str(&format!("{:08x}  {:<47}  {text}\n", line * 16, hex.join(" ")));
    }
    html! {
        p.dim { (bytes(size)) " of bytes" @if shown.len() < content.len() { ", the first " (bytes(shown.len() as u64)) " are shown" } }
        pre.hex tabindex="0" { code { (dump) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_and_markup_in_it_stays_text() {
        let shown = words(r#"{"a<b":"</span><script>alert(1)</script>\"","n":[-1.5e3,true,null]}"#).into_string();
        assert!(shown.contains(r#"<span class="k">&quot;a&lt;b&quot;</span>: "#), "{shown}");
        assert!(shown.contains("&lt;script&gt;") && !shown.contains("<script"), "{shown}");
        assert!(
            shown.contains(r#"<span class="num">-1.5e3</span>"#) && shown.contains(r#"<span class="w">null</span>"#),
            "{shown}"
        );
        let precise = words(r#" { "big" :12345678901234567890123, "empty": {} , "list":[ ] } "#).into_string();
        assert!(precise.contains("12345678901234567890123") && precise.contains("</span>: {},\n"), "{precise}");
        assert!(!words("no json <b>").into_string().contains("<b>"));
        assert!(words(r#"{"half": <img"#).into_string().contains("&lt;img"));
    }

    #[test]
    fn a_stream_is_shown_as_its_events() {
        let text = "event: start\ndata: {\"a\":\ndata: 1}\n\n: ping\n\ndata:x\n\n…[otas-proxy: 9 of 99 bytes not kept]…\ndata: cut";
        let expected =
            [("start", "{\"a\":\n1}"), ("", "x"), ("", "…[otas-proxy: 9 of 99 bytes not kept]…"), ("", "cut")];
        assert_eq!(events(text), expected.map(|(name, data)| (name.to_owned(), data.to_owned())));
        let shown = stream(text, &[5, 1_250, 2_000, 3_000]).into_string();
        assert!(shown.contains("+5.00 ms") && shown.contains("+1.2 s") && !shown.contains("+2.0 s"), "{shown}");
    }

    #[test]
    fn only_raster_images_are_images() {
        assert_eq!(image(b"\x89PNG\r\n\x1a\n...."), Some("image/png"));
        assert_eq!(image(b"<svg onload=alert(1)>"), None);
        assert_eq!(image(b""), None);
        let dump = hex(b"\x00<b>A", 5).into_string();
        assert!(dump.contains("00000000  00 3c 62 3e 41") && dump.contains(".&lt;b&gt;A"), "{dump}");
    }
}
