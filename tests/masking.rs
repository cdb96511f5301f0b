//! The labelled corpus of the masker: texts with one secret each, in every form that people and tools write, and texts
//! without any. `just masking` prints precision and recall; the tests hold the bounds.

pub(crate) mod forms;
mod harmless;
mod kinds;

use std::fmt::Write as _;
use std::time::Duration;

use otas_proxy::config::Redact;
use otas_proxy::redact::{Fingerprint, Redactor};

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
