//! The search in windows finds what the search of the whole text finds, with and without what is remembered.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use proptest::prelude::*;

use super::long::Sizes;
use super::*;
use crate::chunking::ChunkSizes;
use crate::redact::settings::{Redact, RedactAllow};
use crate::redact::testing::settings;
use crate::redact::tests::CANARIES;
use crate::redact::tests::hostile::{HOSTILE, HOSTILE_TO_FORMATS, HOSTILE_TO_GRAMMARS};
use crate::redact::work;
use crate::redact::{Fingerprint, Redactor};
use crate::secret::registry as own;

/// Short texts have many seams.
fn sizes() -> Sizes {
    Sizes { from: 512, cores: ChunkSizes { least: 64, average: 256, most: 1024 }, kept: 1 << 20 }
}

fn redactor(settings: &Redact, sizes: Sizes) -> Redactor {
    Redactor::with_sizes(settings, &[], Fingerprint::new(b"test"), sizes).unwrap()
}

/// A redactor that searches all texts as a whole.
fn at_once() -> Redactor {
    redactor(&settings(), Sizes { from: usize::MAX, ..sizes() })
}

/// The masked text, or `None` when it is withheld; and what was counted.
fn masked(redactor: &Redactor, text: &str, ends: Ends) -> (Option<String>, Vec<(String, u32)>) {
    let mut masking = redactor.masking("api.test", 443, "/");
    let shown = masking.text(text, ends).ok().map(|shown| shown.unwrap_or_else(|| text.to_owned()));
    let mut counts: Vec<_> = masking.counts().iter().map(|(rule, count)| ((*rule).to_owned(), *count)).collect();
    counts.sort();
    (shown, counts)
}

fn deadline() -> Deadline {
    Deadline::after(std::time::Duration::from_secs(60))
}

/// Prose with numbers, so that no two cores are the same.
fn prose(bytes: usize, mut seed: u32) -> String {
    let mut text = String::new();
    while text.len() < bytes {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += ["see ", "the line ", "é ", "fn at() ", "(x) ", "so ", ", "][(seed >> 16) as usize % 7];
        text += &(seed >> 8).to_string();
        text.push(' ');
    }
    text
}

/// Texts of which a part has a meaning for the search.
fn piece() -> impl Strategy<Value = String> {
    let hostile = [HOSTILE, HOSTILE_TO_FORMATS, HOSTILE_TO_GRAMMARS].concat();
    let long = |length: usize| "aB3dE6gH9+/".chars().cycle().take(length).collect::<String>();
    prop_oneof![
        6 => (1_usize..2_000, any::<u32>()).prop_map(|(bytes, seed)| prose(bytes, seed)),
        3 => prop::sample::select(&CANARIES[..]).prop_map(|canary| format!(" {canary} ")),
        2 => prop::sample::select(&CANARIES[..]).prop_map(|canary| serde_json::to_string(canary).unwrap()),
        3 => (prop::sample::select(hostile), 1_usize..40).prop_map(|(piece, times)| piece.repeat(times)),
        2 => "(\"|\\\\|\n|\\{|\\}|:|=|,| |password|token|sk-|://|@|\\\\u0061|&quot;|[a-z0-9]{1,6}){0,40}",
        1 => (1_usize..9_000).prop_map(move |length| format!("{{\"password\":\"{}\",\"b\":1}}", long(length))),
        1 => (1_usize..30_000).prop_map(|bytes| format!("{{\\\"secret\\\":\\\"{}\\\",", prose(bytes, 7))),
        1 => (1_usize..200).prop_map(|count| format!("\"credentials\":[{}]", "{\"a\":\"v\"},".repeat(count))),
        1 => (1_usize..30_000).prop_map(move |length| {
            format!("-----BEGIN PRIVATE KEY-----\n{}*{}\n-----END PRIVATE KEY-----", long(length), long(length / 2))
        }),
        1 => (1_usize..40_000).prop_map(move |length| format!("eyJhbGciOiJI.{}.{}", "x1".repeat(length), long(9))),
        1 => (1_usize..400).prop_map(|spaces| format!("password{}= h4rmless", " ".repeat(spaces))),
        1 => (1_usize..5_000).prop_map(move |length| {
            format!("\"value\":\"{}\",\"name\":\"DB_PASSWORD\"", long(length).replace('/', ""))
        }),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 1..60).prop_map(|pieces| pieces.concat())
}

fn ends() -> impl Strategy<Value = Ends> {
    (any::<bool>(), any::<bool>()).prop_map(|(cut_start, cut_end)| Ends { cut_start, cut_end })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn windows_find_what_a_search_of_the_whole_text_finds(text in text(), ends in ends()) {
        let redactor = redactor(&settings(), sizes());
        let masking = redactor.masking("api.test", 443, "/");
        let long = &redactor.long;
        let cores = Cores::of(&text, long.sizes.cores, &long.known);
        let mut progress = Progress::of(&text, deadline());
        // Windows as short as here overlap, and are made longer, far more than those of real texts.
        (progress.spare, progress.longer_bytes) = (Spare::unlimited(deadline()), usize::MAX);
        let (in_windows, _) = masking.scanned_in_windows(&cores, ends, &mut progress).unwrap();
        let (whole, _) = masking.scanned(&text, ends, Limits::of(deadline())).unwrap();
        let show = |found| {
            let mut masks = Vec::new();
            masking.merged(&text, found, |range, rule, shown| masks.push((range, rule.to_owned(), shown.to_owned())));
            masks
        };
        prop_assert_eq!(show(in_windows), show(whole));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn remembered_findings_change_no_result(
        pieces in prop::collection::vec(text(), 2..5),
        turns in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 1..4), 2..6),
        kept in prop::sample::select(vec![1_000, 8_000, 1 << 20]),
        ends in ends(),
    ) {
        let remembering = redactor(&settings(), Sizes { kept, ..sizes() });
        for turn in turns {
            // The pieces in any order, as a text of any length.
            let text: String = turn.iter().map(|at| at.get(&pieces).as_str()).collect();
            let fresh = redactor(&settings(), Sizes { kept: 0, ..sizes() });
            prop_assert_eq!(masked(&remembering, &text, ends), masked(&fresh, &text, ends));
            let cores = |of: &Redactor| {
                let cores = Cores::of(&text, sizes().cores, &of.long.known);
                (0..cores.len()).map(|nth| cores.core(nth)).collect::<Vec<_>>()
            };
            prop_assert_eq!(cores(&remembering), cores(&fresh));
        }
    }
}

/// A long text with a secret at each place around the seams, written in each way.
#[test]
fn a_secret_on_a_seam_is_found() {
    let (windows, whole) = (redactor(&settings(), sizes()), at_once());
    for (nth, secret) in [
        "\"password\": \"c4n4ry hush\"",
        "{\\\"client_secret\\\":\\\"c4n4ry\\\"}",
        "export DB_PASSWORD=c4n4ry1\n",
        "--api-key sk-proj-c4n4ry0123456789abcdefWXYZ",
        r#"{"pass\u0077ord":"c4n4ry1x"}"#,
        "&lt;password&gt;c4n4ry1&lt;/password&gt;",
        "curl -u ada:c4n4ry1 https://x.test",
        "Authorization: Basic YzRuNHJ5OnBhc3N3b3JkMDEyMzQ1",
        "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMc4n4ry0123456789\nabcd+/==\n-----END PRIVATE KEY-----",
    ]
    .into_iter()
    .enumerate()
    {
        let around = prose(30_000, nth as u32);
        let seams = Cores::of(&around, windows.long.sizes.cores, &windows.long.known);
        let seam = seams.core(seams.len() / 2).start;
        for place in (seam - secret.len() - 5..seam + 4).filter(|at| around.is_char_boundary(*at)) {
            let text = format!("{} {secret} {}", &around[..place], &around[place..]);
            let shown = masked(&windows, &text, Ends::default());
            assert!(!shown.0.as_ref().unwrap().contains("c4n4ry"), "{secret} at {place}");
            if place % 7 == 0 {
                assert_eq!(shown, masked(&whole, &text, Ends::default()));
            }
        }
    }
}

#[test]
fn a_secret_of_ours_on_a_seam_is_found_behind_encodings() {
    const SECRET: &str = "0wn-s3cret-on-a-seam";
    own::register(SECRET);
    let redactor = redactor(&settings(), sizes());
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let escaped: String = SECRET.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    for form in [SECRET.to_owned(), SECRET.replace('-', "%252D"), STANDARD_NO_PAD.encode(SECRET), hex, escaped] {
        let around = prose(30_000, 5);
        let seams = Cores::of(&around, redactor.long.sizes.cores, &redactor.long.known);
        let seam = seams.core(seams.len() / 2).start;
        for place in (seam - form.len() - 2..seam + 2).step_by(3).filter(|at| around.is_char_boundary(*at)) {
            let text = format!("{} {form} {}", &around[..place], &around[place..]);
            let shown = masked(&redactor, &text, Ends::default());
            assert_eq!(shown.0.unwrap(), text.replace(&form, "****"), "{form} at {place}");
        }
    }
}

#[test]
fn a_secret_in_pieces_of_a_stream_inside_a_long_text_is_found() {
    let redactor = redactor(&settings(), sizes());
    for size in [1, 3, 7] {
        let told: Vec<char> = "it is sk-proj-c4n4ry0123456789abcdefWXYZ .".chars().collect();
        let filler = "y".repeat(2_000);
        let events = told.chunks(size).map(|piece| {
            let piece: String = piece.iter().collect();
            let event = serde_json::json!({ "id": filler, "delta": { "content": piece } });
            format!("data: {event}\n\n")
        });
        let stream = events.collect::<String>();
        let lines = stream.replace("data: ", "").replace("\n\n", "\n");
        for stream in [stream, lines] {
            let inside =
                serde_json::json!({ "log": format!("{}\n{stream}", prose(20_000, 3)), "x": prose(20_000, 4) });
            for text in [format!("{}\n{stream}{}", prose(20_000, 1), prose(20_000, 2)), inside.to_string()] {
                let (shown, _) = masked(&redactor, &text, Ends::default());
                let shown = shown.unwrap();
                let parts: String =
                    shown.split("content").skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
                let letters: String = parts.chars().filter(char::is_ascii_alphanumeric).collect();
                assert!(letters.contains("itis") && !letters.contains("c4n4ry"), "{size}: {letters}");
            }
        }
    }
}

#[test]
fn a_conversation_that_goes_on_is_searched_only_where_it_is_new() {
    let redactor = redactor(&settings(), Sizes::default());
    let turn = |nth: u32| format!("{{\"role\":\"user\",\"content\":\"{}\"}},", prose(6_000, nth));
    let mut text: String = (0..60).map(turn).collect();
    let searched = |text: &str| {
        work::taken();
        masked(&redactor, text, Ends::default());
        work::taken()
    };
    let first = searched(&text);
    assert_eq!(searched(&text), 0);
    text += &turn(60);
    let again = searched(&text);
    assert!(first > 360_000 && (6_000..120_000).contains(&again), "{first}, {again}");
    // Something new in front moves everything.
    let moved = searched(&format!("[{text}"));
    assert!(moved < 120_000, "{moved}");
}

#[test]
fn a_new_secret_of_ours_is_found_where_all_was_searched_before() {
    let redactor = redactor(&settings(), sizes());
    for (nth, secret) in ["0wn-s3cret-in-windows", "another-0wn-s3cret\"in-windows"].into_iter().enumerate() {
        let forms = [secret.to_owned(), secret.replace('-', "%2D"), STANDARD.encode(secret)];
        let inside: Vec<_> = forms.iter().map(|form| format!("{form} {}", prose(700, nth as u32))).collect();
        let text = format!("{}{}", prose(20_000, 9), inside.concat());
        assert_eq!(masked(&redactor, &text, Ends::default()).0.unwrap(), text);
        own::register(secret);
        let (shown, counts) = masked(&redactor, &text, Ends::default());
        let shown = shown.unwrap();
        assert!(forms.iter().all(|form| !shown.contains(form)), "{shown}");
        assert_eq!(counts, [("own".to_owned(), 3)]);
    }
}

#[test]
fn rules_that_are_lifted_for_a_host_are_applied_to_what_is_remembered() {
    let mut settings = settings();
    let hosts = crate::hosts::HostRules::new(vec![crate::hosts::HostRule::parse("open.test").unwrap()]);
    settings.allow = vec![RedactAllow { hosts, path: None, rules: vec!["key.password".to_owned()] }];
    let redactor = redactor(&settings, sizes());
    let text = format!("{} \"password\":\"hush-hush\" {}", prose(2_000, 1), prose(2_000, 2));
    let shown = |host: &str| {
        let mut masking = redactor.masking(host, 443, "/");
        (masking.text(&text, Ends::default()).unwrap().is_none(), masking.total())
    };
    for _ in 0..2 {
        assert_eq!((shown("other.test"), shown("open.test")), ((false, 1), (true, 0)));
    }
}

#[test]
fn a_text_that_is_not_searched_in_time_is_withheld_and_no_part_of_a_search_is_remembered() {
    let mut none = settings();
    none.budget = std::time::Duration::ZERO;
    let redactor = redactor(&none, sizes());
    let text = prose(5_000, 1);
    assert_eq!(masked(&redactor, &text, Ends::default()).0, None);
    assert_eq!(redactor.long.kept.len(), 0);
}

#[test]
fn a_secret_of_any_length_is_masked_or_the_text_is_withheld() {
    let redactor = redactor(&settings(), Sizes::default());
    let whole = at_once();
    for bytes in [100 << 10, 900 << 10] {
        let text = format!("{}{{\"password\":\"{}\",\"b\":1}}", prose(40_000, 1), prose(bytes, 2));
        assert_eq!(masked(&redactor, &text, Ends::default()), masked(&whole, &text, Ends::default()));
    }
    let text = format!("{{\"password\":\"{}\",\"b\":1}}", "ab ".repeat(900 << 10));
    assert_eq!(masked(&redactor, &text, Ends::default()).0, None);
}

#[test]
fn long_strings_in_lines_of_json_are_searched_as_a_stream() {
    let redactor = redactor(&settings(), Sizes::default());
    // An escape of each kind: the strings are read three times, but only beside these is anything examined again.
    let line = |nth: u32| {
        let text = format!("a && b, \"\u{1}\" and the token of {}. {}", nth, prose(900, nth));
        serde_json::json!({ "text": text }).to_string() + "\n"
    };
    let mut text: String = (0..200).map(line).collect();
    assert_eq!(masked(&redactor, &text, Ends::default()).0.unwrap(), text);
    text += "{\"text\":\"password=hunt\"}\n{\"text\":\"er2secret\"}\n";
    let shown = masked(&redactor, &text, Ends::default()).0.unwrap();
    assert!(!shown.contains("er2secret"), "{}", &shown[shown.len() - 200..]);
}

#[test]
fn a_text_that_needs_too_much_work_is_withheld_whatever_is_remembered() {
    let (remembering, forgetful) = (redactor(&settings(), Sizes::default()), redactor(&settings(), Sizes::default()));
    forgetful.remember_at_most(0);
    let slow = |nth: usize| format!("{{\"b{nth}\"{{\"\":\"&quot;\\u0074\"}}\n\"pass:{{");
    let text: String = (0..20_000).map(slow).collect();
    for _ in 0..2 {
        assert_eq!(masked(&forgetful, &text, Ends::default()).0, None);
        assert_eq!(masked(&remembering, &text, Ends::default()).0, None);
    }
    // A page full of secrets is far from that.
    let page = |nth: usize| format!("<pre>{{&quot;token&quot;:&quot;aB3dE6gH9jK1mN4pQ{nth}&quot;}}</pre>\n");
    let text: String = (0..10_000).map(page).collect();
    assert!(masked(&remembering, &text, Ends::default()).0.is_some_and(|shown| !shown.contains("aB3dE6gH9")));
}

#[test]
fn texts_made_to_be_slow_take_work_in_proportion_to_their_length() {
    let redactor = redactor(&settings(), Sizes::default());
    // A piece that repeats would be searched once.
    redactor.remember_at_most(0);
    let steps = |text: &str| {
        work::taken();
        masked(&redactor, text, Ends::default());
        work::taken() as f64 / text.len() as f64
    };
    for piece in [
        ".eyJ",
        "-sk-",
        "-----BEGIN PRIVATE KEY-----!",
        "\\\"token\\\":\\\"",
        "\"secret\":{",
        "$argon2id$",
        "password: String = \"",
        "data: {\"a\":[[[[\n",
        "&amp;amp;quot;token",
        "\\u0061",
        "://a:",
        "key=",
    ] {
        let text = piece.repeat((512 << 10) / piece.len());
        let taken = steps(&text);
        assert!(taken <= 40.0, "{piece:?}: {taken:.1} steps a byte");
    }
}
