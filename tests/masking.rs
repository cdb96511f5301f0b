//! The labelled corpus of the masker: texts with one secret each, in every form that people and tools write, and texts
//! without any. `just masking` prints precision and recall; the tests hold the bounds.

pub(crate) mod forms;
mod harmless;
mod kinds;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use otas_proxy::config::Redact;
use otas_proxy::redact::{Fingerprint, Redactor};
use serde_json::{Value, json};

use self::forms::Planted;

/// Part of a secret that must not be readable, in bytes. A mask may show the last four.
const TRACE_BYTES: usize = 6;

fn redactor() -> Redactor {
    let (headers, keys, patterns, allow) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let settings = Redact { headers, keys, patterns, allow, budget: Duration::from_secs(60) };
    Redactor::new(&settings, &[], Fingerprint::new(b"corpus")).unwrap()
}

/// The text as it would be stored.
fn masked(redactor: &Redactor, text: &str) -> String {
    redactor.masking("api.test", 443, "/").message(text).unwrap_or_else(|| text.to_owned())
}

/// Whether some part of the secret, longer than what a mask shows, can be read.
fn leaks(masked: &str, planted: &Planted) -> bool {
    let bytes = planted.traced.as_bytes();
    let whole = bytes.len().min(TRACE_BYTES);
    bytes.windows(whole).any(|part| masked.as_bytes().windows(whole).any(|at| at == part))
}

/// What share of the secrets is masked, and which are not: form, kind, masked text.
fn recall(redactor: &Redactor) -> (usize, Vec<String>) {
    let all = forms::all();
    let missed = all.iter().filter_map(|planted| {
        let masked = masked(redactor, &planted.text);
        leaks(&masked, planted).then(|| format!("{} / {}: {masked}", planted.form, planted.kind))
    });
    (all.len(), missed.collect())
}

/// Which texts without a secret are changed.
fn changed(redactor: &Redactor) -> (usize, Vec<String>) {
    let all = harmless::all();
    let changed = all.iter().filter_map(|(name, text)| {
        let masked = masked(redactor, text);
        (masked != *text).then(|| format!("{name}: {}", first_difference(text, &masked)))
    });
    (all.len(), changed.collect())
}

fn first_difference(text: &str, masked: &str) -> String {
    let at = text.bytes().zip(masked.bytes()).position(|(a, b)| a != b).unwrap_or(0);
    let around = |text: &str| {
        String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(50)..text.len().min(at + 50)]).into_owned()
    };
    format!("{:?} became {:?}", around(text), around(masked))
}

/// A text that holds others.
type Holder = (&'static str, fn(&str) -> String);

/// Where a stream can stand.
const HOLDERS: &[Holder] = &[
    ("string", |t| json!({ "content": t, "n": 1 }).to_string()),
    ("string in a string", |t| json!({ "arguments": json!({ "output": t }).to_string() }).to_string()),
    ("string in a string in a string", |t| {
        json!({ "a": json!({ "b": json!([{ "c": t }]).to_string() }).to_string() }).to_string()
    }),
    ("lines of JSON", |t| format!("{}\n{}\n", json!({ "n": 1 }), json!({ "log": t }))),
    ("prose", |t| format!("The answer is this:\n\n{t}\nIt has no end.\n")),
    ("quoted lines", |t| t.lines().map(|line| format!("> {line}\n")).collect()),
    ("YAML", |t| format!("note: |\n{}", t.lines().map(|line| format!("  {line}\n")).collect::<String>())),
    ("page", |t| format!("<body><pre>{}\n</pre>", entities(t))),
    ("string in pieces", |t| {
        let pieces = t.as_bytes().chunks(6).map(|piece| json!({ "delta": String::from_utf8_lossy(piece) }));
        pieces.map(|piece| format!("data: {piece}\n\n")).collect()
    }),
    ("string of a string in pieces", |t| {
        let inner = json!({ "command": t }).to_string();
        let pieces = inner.as_bytes().chunks(6).map(|piece| json!({ "delta": String::from_utf8_lossy(piece) }));
        pieces.map(|piece| format!("data: {piece}\n\n")).collect()
    }),
];

#[test]
fn a_stream_is_read_in_every_text_that_holds_it() {
    let redactor = redactor();
    let streams: Vec<Planted> =
        (0..10).flat_map(forms::one_each).filter(|planted| forms::STREAMS.contains(&planted.form)).collect();
    assert_eq!(streams.len(), 10 * forms::STREAMS.len());
    let mut left = Vec::new();
    for planted in &streams {
        for (holder, hold) in HOLDERS {
            let text = hold(&planted.text);
            let masked = masked(&redactor, &text);
            if leaks_in_pieces(&masked, planted) {
                left.push(format!("{} / {} in {holder}: {masked}", planted.form, planted.kind));
            }
            let json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
            assert!(!json(&text) || json(&masked), "{holder}: {text} became {masked}");
        }
    }
    // As messages of one WebSocket, in each order.
    for first in 0..forms::STREAMS.len() {
        let mut order: Vec<&Planted> = streams.iter().collect();
        order.rotate_left(first);
        let text: String = order.iter().map(|planted| planted.text.clone() + "\n").collect();
        let masked = masked(&redactor, &text);
        left.extend(
            streams
                .iter()
                .filter(|planted| leaks_in_pieces(&masked, planted))
                .map(|planted| format!("{} / {} in the transcript from {first} on", planted.form, planted.kind)),
        );
    }
    assert!(left.is_empty(), "{} leak:\n{}", left.len(), left.join("\n"));
}

/// Whether some part of a secret can be read in a piece of a stream, but for what a mask shows: its end, and a tag.
fn leaks_in_pieces(masked: &str, planted: &Planted) -> bool {
    let core = &planted.traced.as_bytes()[..planted.traced.len() - 4];
    let without_tags = regex::Regex::new("#[0-9a-f]{8}").unwrap().replace_all(masked, "#").into_owned();
    core.windows(4).any(|part| without_tags.as_bytes().windows(4).any(|at| at == part))
}

/// Texts that hold many others in one line.
type Line = (&'static str, fn(&[&str]) -> String);

/// How one line holds them.
const LINES: &[Line] = &[
    ("messages", |all| messages(all).to_string()),
    ("messages in a string", |all| json!({ "body": messages(all).to_string() }).to_string()),
    ("messages in a string in a string", |all| {
        json!({ "log": json!({ "body": messages(all).to_string() }).to_string() }).to_string()
    }),
    ("strings", |all| json!(all).to_string()),
    ("strings in the middle of which the texts stand", |all| {
        json!(all.iter().map(|text| format!("First run this: {text} - and then that")).collect::<Vec<_>>())
            .to_string()
    }),
    ("strings in strings", |all| {
        json!(all.iter().map(|text| json!({ "arguments": text }).to_string()).collect::<Vec<_>>()).to_string()
    }),
    ("attributes", |all| all.iter().map(|text| format!("<step run=\"{}\" />", entities(text))).collect()),
];

fn messages(all: &[&str]) -> Value {
    let all = all.iter().map(|text| json!({ "role": "user", "content": text }));
    json!({ "model": "m", "messages": all.collect::<Vec<_>>() })
}

fn entities(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// All of them in another order, which is the same for the same seed.
fn shuffled<T>(mut all: Vec<T>, seed: u64) -> Vec<T> {
    let mut number = seed;
    for last in (1..all.len()).rev() {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        all.swap(last, (number >> 33) as usize % (last + 1));
    }
    all
}

#[test]
fn no_secret_hides_another_in_one_line() {
    /// So many texts are searched, however they are held.
    const PART: usize = 25;
    let redactor = redactor();
    let mut left = Vec::new();
    for seed in 0..3 {
        let all: Vec<Planted> =
            forms::all().into_iter().filter(|planted| !forms::STREAMS.contains(&planted.form)).collect();
        // In the order of the corpus, and in others.
        let all = if seed == 0 { all } else { shuffled(all, seed) };
        let texts: Vec<&str> = all.iter().map(|planted| planted.text.as_str()).collect();
        for (line, hold) in LINES {
            // All of them may need too much work. Then nothing of them is shown.
            for (part, planted) in texts.chunks(PART).zip(all.chunks(PART)).chain([(&texts[..], &all[..])]) {
                let text = hold(part);
                let mut masking = redactor.masking("api.test", 443, "/");
                let masked = masking.message(&text).unwrap();
                assert!(part.len() > PART || !masking.withheld(), "{line}");
                let json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
                assert!(!json(&text) || json(&masked) || masking.withheld(), "{line}");
                let seen: HashSet<&[u8]> = masked.as_bytes().windows(TRACE_BYTES).collect();
                for planted in planted {
                    if planted.traced.as_bytes().windows(TRACE_BYTES).any(|part| seen.contains(part)) {
                        left.push(format!("{} / {} in {line}, order {seed}", planted.form, planted.kind));
                    }
                }
            }
        }
    }
    assert!(left.is_empty(), "{} leak:\n{}", left.len(), left.join("\n"));
}

#[test]
fn texts_without_a_secret_stay_as_they_are_in_one_line() {
    let redactor = redactor();
    // The ids of an agent's session are known by the members of a body.
    let all = harmless::all().into_iter().filter(|(_, text)| !text.contains("session_id"));
    let all = shuffled(all.collect(), 1);
    let texts: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
    for (line, hold) in LINES {
        let text = hold(&texts);
        let masked = masked(&redactor, &text);
        assert!(masked == text, "{line}: {}", first_difference(&text, &masked));
    }
}

#[test]
fn secrets_in_every_form_are_masked_and_other_texts_are_left_alone() {
    let redactor = redactor();
    let (secrets, missed) = recall(&redactor);
    let (texts, changed) = changed(&redactor);
    let mut report = String::new();
    writeln!(report, "texts with a secret:    {secrets}, masked {}", secrets - missed.len()).unwrap();
    writeln!(report, "recall:                 {:.4}", (secrets - missed.len()) as f64 / secrets as f64).unwrap();
    writeln!(report, "texts without a secret: {texts}, changed {}", changed.len()).unwrap();
    writeln!(report, "precision:              {:.4}", {
        let right = (secrets - missed.len()) as f64;
        right / (right + changed.len() as f64)
    })
    .unwrap();
    for line in missed.iter().chain(&changed) {
        writeln!(report, "  {line}").unwrap();
    }
    println!("{report}");
    assert!(secrets >= 400 && texts >= 400, "{report}");
    assert!(missed.len() * 50 <= secrets, "recall is below 0.98\n{report}");
    assert!(changed.len() * 200 <= texts, "more than 0.5 % of the texts without a secret are changed\n{report}");
}
