//! The sieve of JSON objects: compared with `serde_json`.

use proptest::prelude::*;
use serde_json::Value;

use super::super::sieve::{Sieve, Wanted};
use super::{CASES, pieces};

const WANTED: &[Wanted] = &[("model", 64), ("a.b", 64), ("a.c.d", 64), ("messages", 0), ("usage", 256)];

/// Reads a text. Also returns how many of its bytes belong to the object.
fn sifted(text: &[u8], sizes: &[usize]) -> (Sieve, usize) {
    let (mut sieve, mut used) = (Sieve::new(WANTED), 0);
    for piece in pieces(text, sizes) {
        let read = sieve.read(piece);
        used += read;
        if read < piece.len() {
            break;
        }
    }
    (sieve, used)
}

/// The oracle's verdict on the object that a text begins with.
enum Verdict {
    /// An object of this many bytes.
    Object(Value, usize),
    /// The text is too short.
    Unfinished,
    /// It is not valid JSON, or not an object.
    Invalid,
}

fn oracle(text: &[u8]) -> Verdict {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    match values.next() {
        Some(Ok(value @ Value::Object(_))) => Verdict::Object(value, values.byte_offset()),
        None => Verdict::Unfinished,
        Some(Err(error)) if error.is_eof() && text.trim_ascii_start().starts_with(b"{") => Verdict::Unfinished,
        Some(_) => Verdict::Invalid,
    }
}

/// Whether the sieve has found what is in the object.
fn agree(sieve: &Sieve, value: &Value) -> Result<(), TestCaseError> {
    for (path, max) in WANTED {
        let expected = value.pointer(&format!("/{}", path.replace('.', "/")));
        prop_assert_eq!(sieve.has(path), expected.is_some(), "{}", path);
        let long = sieve.too_long().any(|long| long == *path);
        if *max > 0 && !long {
            let found = sieve.get(path);
            prop_assert_eq!(found.as_ref(), expected.filter(|value| !value.is_null()), "{}", path);
        }
    }
    Ok(())
}

/// White space.
fn space() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "", "", " ", "\r\n", "\t "]).prop_map(str::to_owned)
}

/// A string as JSON, with and without escapes.
fn any_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        2 => prop::sample::select(vec!["", "a", "é", "{", "}", "[", "]", ",", ":", " x"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![r#"\""#, r"\\", r"\n", r"\/", r"\u00e9", r"\ud83d\ude00", r"\u0000"]).prop_map(str::to_owned),
    ];
    prop::collection::vec(part, 0..4).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

/// A name as JSON: often one that is wanted, also with escapes, and names that look like paths.
fn any_name() -> impl Strategy<Value = String> {
    let wanted = vec!["a", "b", "c", "d", "model", "usage", "messages", r"mod\u0065l", r"\u0061", "a.b", "", "é"];
    prop_oneof![
        8 => prop::sample::select(wanted).prop_map(|name| format!("\"{name}\"")),
        1 => any_text(),
        1 => (280usize..300).prop_map(|length| format!("\"{}\"", "n".repeat(length))),
    ]
}

fn member(name: &str, value: &str, [one, two]: &[String; 2]) -> String {
    format!("{one}{name}{two}:{one}{value}{two}")
}

fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["null", "true", "false", "0", "-1", "10.25", "-1.5e+3", "2E9"])
            .prop_map(str::to_owned),
        any_text(),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            1 => (prop::collection::vec(inner.clone(), 0..4), space())
                .prop_map(|(values, space)| format!("[{space}{}]", values.join(&format!("{space},")))),
            3 => prop::collection::vec((any_name(), inner, [space(), space()]), 0..4).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(name, value, spaces)| member(name, value, spaces)).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

type Member = (String, String, [String; 2]);

fn any_members() -> impl Strategy<Value = Vec<Member>> {
    prop::collection::vec((any_name(), any_value(), [space(), space()]), 1..4)
}

/// An object whose punctuation is wrong in this way, at the member with this number.
fn object(members: &[Member], fault: &str, at: usize) -> String {
    let at = at % members.len();
    let texts = members.iter().enumerate().map(|(index, (name, value, spaces))| {
        let [one, two] = spaces;
        match fault {
            _ if index != at => member(name, value, spaces),
            "no colon" => format!("{one}{name} {value}{two}"),
            "two colons" => format!("{one}{name}::{value}{two}"),
            "no value" => format!("{one}{name}:{two}"),
            "no name" => format!("{one}:{value}{two}"),
            "name alone" => format!("{one}{name}{two}"),
            "value alone" => format!("{one}{value}{two}"),
            "bare name" => format!("{one}x:{value}{two}"),
            "single quotes" => format!("{one}'x':{value}{two}"),
            "comment" => format!("{one}/* x */{name}:{value}{two}"),
            "junk" => format!("{one}{name}:{value} x{two}"),
            "two values" => format!("{one}{name}:{value} {value}{two}"),
            "wrong bracket" => format!("{one}{name}:{value}]{two}"),
            "string after" => format!("{one}{name}:{value}\"x\"{two}"),
            "extra comma" => format!("{one}{name}:{value},{two}"),
            "comma before" => format!(",{one}{name}:{value}{two}"),
            _ => member(name, value, spaces),
        }
    });
    let texts: Vec<String> = texts.collect();
    let joined = texts.join(if fault == "no comma" { " " } else { "," });
    match fault {
        "no end" => format!("{{{joined}"),
        "no start" => format!("{joined}}}"),
        "another end" => format!("{{{joined}]"),
        _ => format!("{{{joined}}}"),
    }
}

const FAULTS: [&str; 20] = [
    "",
    "no colon",
    "two colons",
    "no value",
    "no name",
    "name alone",
    "value alone",
    "bare name",
    "single quotes",
    "comment",
    "junk",
    "two values",
    "wrong bracket",
    "string after",
    "extra comma",
    "comma before",
    "no comma",
    "no end",
    "no start",
    "another end",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn the_punctuation_of_an_object_is_judged_as_by_a_parser_and_its_members_are_the_same(
        members in any_members(),
        (fault, at, nested) in (prop::sample::select(FAULTS.to_vec()), 0usize..6, any::<bool>()),
        after in prop::sample::select(vec!["", " ", ",{\"model\":\"next\"}", "}", "]", "x"]),
        sizes in prop::collection::vec(1usize..20, 1..5),
    ) {
        let mut text = object(&members, fault, at);
        if nested {
            text = format!(r#"{{"model":"m","a":{text},"usage":[]}}"#);
        }
        text += after;
        let (sieve, used) = sifted(text.as_bytes(), &sizes);
        match oracle(text.as_bytes()) {
            Verdict::Object(value, bytes) => {
                prop_assert!(sieve.is_whole(), "{}", text);
                prop_assert_eq!(used, bytes, "{}", text);
                agree(&sieve, &value)?;
            }
            Verdict::Unfinished => prop_assert!(!sieve.is_whole() && !sieve.is_bad(), "{}", text),
            Verdict::Invalid => prop_assert!(!sieve.is_whole(), "{}", text),
        }
    }

    /// Inside of values the sieve is lenient: it does not check what it skips. All that it gives was checked.
    #[test]
    fn a_damaged_object_is_never_taken_for_another(
        members in any_members(),
        (at, byte, how) in (any::<prop::sample::Index>(), prop::sample::select(b"{}[]\",:\\ 0a\x01\xFF".to_vec()), 0..4),
        (sizes, others) in (prop::collection::vec(1usize..20, 1..5), prop::collection::vec(1usize..20, 1..5)),
    ) {
        let mut text = object(&members, "", 0).into_bytes();
        let place = at.index(text.len());
        match how {
            0 => text[place] = byte,
            1 => text.insert(place, byte),
            2 => drop(text.remove(place)),
            _ => text.truncate(place),
        }
        let (sieve, used) = sifted(&text, &sizes);
        let (again, used_again) = sifted(&text, &others);
        prop_assert_eq!((sieve.is_whole(), sieve.is_bad(), used), (again.is_whole(), again.is_bad(), used_again));
        for (path, _) in WANTED {
            prop_assert_eq!((sieve.has(path), sieve.raw(path)), (again.has(path), again.raw(path)));
        }
        match oracle(&text) {
            Verdict::Object(value, bytes) => {
                prop_assert!(sieve.is_whole() && used == bytes);
                agree(&sieve, &value)?;
            }
            Verdict::Unfinished => prop_assert!(!sieve.is_whole() && !sieve.is_bad()),
            Verdict::Invalid => {}
        }
    }
}
