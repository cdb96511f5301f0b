use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::super::escapes::ENTITIES;
use super::super::registry::{Searcher, forms};
use super::*;

/// An encoding, as another program writes and reads it.
struct Coding {
    name: &'static str,
    written: fn(&str) -> String,
    /// `None`: what was written over is no encoding any more.
    read: fn(&str) -> Option<String>,
}

/// All of them.
const CODINGS: &[Coding] = &[
    coding("JSON", json, from_json),
    coding(
        "JSON in ASCII",
        |text| each(text, |c| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()),
        from_json,
    ),
    coding("JSON with \\/", |text| json(text).replace('/', "\\/"), from_json),
    coding(
        "JSON for pages",
        |text| json(text).replace('&', "\\u0026").replace('+', "\\u002B").replace('=', "\\u003d"),
        from_json,
    ),
    coding("names of HTML", named, from_html),
    coding("numbers of HTML", |text| each(text, |c| format!("&#{};", u32::from(c))), from_html),
    coding("hexadecimal numbers of HTML", |text| each(text, |c| format!("&#x{:X};", u32::from(c))), from_html),
    coding("URL", url, from_url),
    coding("URL in small letters", url_small, from_url),
    coding("URL, each byte", |text| text.bytes().map(|byte| format!("%{byte:02X}")).collect(), from_url),
    coding("base64", |text| STANDARD.encode(text), |text| STANDARD.decode(text).ok().map(lossy)),
    coding("base64 in lines", in_lines, |text| STANDARD.decode(text.replace("\r\n", "")).ok().map(lossy)),
    coding(
        "base64 for URLs",
        |text| URL_SAFE_NO_PAD.encode(text),
        |text| URL_SAFE_NO_PAD.decode(text).ok().map(lossy),
    ),
    coding("hexadecimal", |text| text.bytes().map(|byte| format!("{byte:02x}")).collect(), from_hex),
    coding("hexadecimal in capitals", |text| text.bytes().map(|byte| format!("{byte:02X}")).collect(), from_hex),
];

const fn coding(name: &'static str, written: fn(&str) -> String, read: fn(&str) -> Option<String>) -> Coding {
    Coding { name, written, read }
}

fn each(text: &str, write: impl Fn(char) -> String) -> String {
    text.chars().map(write).collect()
}

fn json(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap();
    json[1..json.len() - 1].to_owned()
}

fn named(text: &str) -> String {
    each(text, |c| {
        let known = ENTITIES.iter().find(|(known, _)| *known == c && c != '\n');
        known.map_or(c.to_string(), |(_, names)| format!("&{};", names[names.len() - 1]))
    })
}

fn url(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn url_small(text: &str) -> String {
    url(text).split('%').enumerate().fold(String::new(), |out, (at, part)| match at {
        0 => part.to_owned(),
        _ => format!("{out}%{}{}", part[..2].to_lowercase(), &part[2..]),
    })
}

fn in_lines(text: &str) -> String {
    let whole = STANDARD.encode(text);
    let lines: Vec<_> = whole.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    lines.join("\r\n")
}

fn from_json(text: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{text}\"")).ok()
}

fn from_html(text: &str) -> Option<String> {
    Unescaped::of(text.as_bytes()).map(|plain| lossy(plain.bytes.clone()))
}

fn from_url(text: &str) -> Option<String> {
    Some(percent_encoding::percent_decode_str(text).decode_utf8_lossy().into())
}

fn from_hex(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    hexadecimal(text.as_bytes(), &mut bytes);
    Some(lossy(bytes))
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn found(secret: &str, text: &str) -> Vec<Range<usize>> {
    Searcher::new(&forms(secret)).unwrap().find_all(text.as_bytes())
}

/// The text with each found byte replaced by one that every encoding takes.
fn blotted(secret: &str, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for range in found(secret, text) {
        bytes[range].fill(b'A');
    }
    String::from_utf8(bytes).unwrap()
}

fn readable(secret: &str, text: &str) -> bool {
    secret.as_bytes().windows(7).any(|part| text.as_bytes().windows(7).any(|at| at == part))
}

#[test]
fn each_encoding_inside_each_other_is_found() {
    let secret = "s3cr=t/&+\"-_'key<é>";
    for outer in CODINGS {
        for inner in CODINGS {
            for pad in ["", "x", "xy", "xyz"] {
                let text = (outer.written)(&format!("{pad} {} ", (inner.written)(&format!("{pad}{secret}?"))));
                let blotted = blotted(secret, &format!("/pre_fix/{text}\" and more"));
                let rest = blotted.strip_prefix("/pre_fix/").unwrap().strip_suffix("\" and more").unwrap();
                assert!(rest != text, "{} of {} is not found: {text}", outer.name, inner.name);
                let read = (outer.read)(rest).and_then(|read| (inner.read)(&read[pad.len() + 1..read.len() - 1]));
                assert!(!readable(secret, &read.unwrap_or_default()), "{} of {}: {text}", outer.name, inner.name);
            }
        }
    }
}

#[test]
fn nothing_is_found_where_nothing_is() {
    for text in ["", "\\", "%", "&", "\\u12", "%zz", "&#;", "&nosuch;", "\\u d83d", "====", "AAAA\r\n", "ab%2"] {
        assert!(found("s3cret-of-ours", text).is_empty(), "{text}");
    }
    let text = "x".repeat(100) + "\n" + &"\\n".repeat(50) + &"%25".repeat(50) + &"&amp;".repeat(50);
    assert!(found("s3cret-of-ours", &text).is_empty());
}

#[test]
fn a_secret_that_the_end_cuts_off_is_found_behind_an_encoding() {
    let secret = "s3cr=t/&+-_'key<é>";
    let begun = |text: &[u8]| {
        let lengths = (6..secret.len()).rev();
        lengths
            .map(|length| &secret.as_bytes()[..length])
            .find(|begun| text.ends_with(begun))
            .map(|begun| text.len() - begun.len())
    };
    for coding in CODINGS {
        let whole = (coding.written)(&format!("it is {secret} here"));
        let before = (coding.written)("it is ");
        for end in (before.len() + (coding.written)(&secret[..9]).len()..whole.len())
            .filter(|end| whole.is_char_boundary(*end))
        {
            let text = format!("a \"{}", &whole[..end]);
            if !found(secret, &text).is_empty() {
                break;
            }
            let escape = ["\\", "%", "&"].iter().any(|sign| whole[end.saturating_sub(11)..end].contains(sign));
            let start = cut_off(text.as_bytes(), &begun);
            assert!(start.is_some() || escape, "{}: {text}", coding.name);
            assert!(start.is_none_or(|start| start <= 3 + before.len()), "{} {start:?}: {text}", coding.name);
        }
    }
    assert_eq!(cut_off(b"of something s3", &begun), None);
}

proptest! {
    #[test]
    fn a_random_secret_is_found_behind_random_encodings(
        secret in "[!-~é]{8,40}",
        // It may end in half an escape, which makes one of it and the beginning of the secret.
        before in "[ -~]{0,90}([ .:]|%[0-9a-f]?|&(l|#[0-9]?)?)?",
        after in "[ -~]{0,20}",
        codings in prop::collection::vec(0..CODINGS.len(), 1..3),
    ) {
        let text = codings.iter().fold(format!("{before}{secret}{after}"), |text, at| (CODINGS[*at].written)(&text));
        let blotted = blotted(&secret, &text);
        prop_assert!(blotted != text, "{:?} is not found: {}", codings, text);
        let read = codings.iter().rev().try_fold(blotted, |text, at| (CODINGS[*at].read)(&text));
        prop_assert!(!read.unwrap_or_default().contains(&secret));
    }

    #[test]
    fn any_text_is_searched_and_ranges_are_in_it(text in "[\\\\%&#;xun0-9a-fA-F+/\r\n-]{0,200}") {
        for range in found("aaaaaaa0", &text) {
            prop_assert!(range.start < range.end && range.end <= text.len());
        }
    }
}
