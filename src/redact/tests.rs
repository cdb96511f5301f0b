//! Properties of the whole masker: no canary of any class is left in any place, and other texts stay as they were.

pub(super) mod hostile;
mod identity;
mod places;
mod time;

use std::time::Duration;

use proptest::prelude::*;
use regex::Regex;
use serde_json::{Map, Value, json};

use super::testing::{redactor, settings, untagged};
use super::*;
use crate::deadline::worked;
use crate::hosts::{HostRule, HostRules};
use crate::secret::{MASK, registry as own};

/// One secret of each class that has a known format.
pub(super) const CANARIES: [&str; 22] = [
    "sk-ant-api03-c4n4ry0123456789abcdefWXYZ",
    "sk-proj-c4n4ry0123456789abcdefWXYZ",
    "AKIAC4N4RY0123456789",
    "ghp_c4n4ry0123456789abcdefghijklmnopWXYZ",
    "github_pat_c4n4ry0123456789abcdefghijWXYZ",
    "glpat-c4n4ry0123456789WXYZ",
    "xoxb-c4n4ry-0123456789-WXYZ",
    "AIzac4n4ry0123456789abcdefghijklmno_WXYZ",
    "eyJhbGciOiJIUzI1NiJ9.eyJjNG40cnkiOjF9.c4n4ry0123456789WXYZ",
    "hf_c4n4ry0123456789abcdefghijWXYZ",
    "SG.c4n4ry0123456789abcd.efghijklmnopqrstuvWXYZ",
    "sk_live_c4n4ry0123456789abWXYZ",
    "rk_test_c4n4ry0123456789abWXYZ",
    "npm_c4n4ry0123456789abcdefghijklmnopWXYZ",
    "agent_AbCdEf01_c4n4rypqrstuv1234WXYZ",
    "Bearer c4n4ry0123456789abcdefWXYZ",
    "Basic YzRuNHJ5OnBhc3N3b3JkMDEyMzQ1",
    "https://user:c4n4ry-passw0rd@db.test/x",
    "postgres://user:c4n4ry-passw0rd@db.test:5432/x",
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMc4n4ry0123456789\nabcd+/==\n-----END PRIVATE KEY-----",
    "https://hooks.slack.com/services/T00000000/B00000000/c4n4ry0123456789",
    "123456789:AAc4n4ry0123456789abcdefghijklmnopqrs",
];

/// Texts that show that a canary was left.
const TRACES: [&str; 3] = ["c4n4ry", "C4N4RY", "YzRuNHJ5"];

fn masking() -> Masking<'static> {
    redactor().masking("api.test", 443, "/")
}

fn masked(text: &str) -> String {
    masking().text(text, Ends::default()).unwrap().unwrap_or_else(|| text.to_owned())
}

fn clean(text: &str) -> bool {
    !TRACES.iter().any(|trace| text.contains(trace))
}

// ---- Canaries

#[test]
fn a_known_format_is_found_in_any_text() {
    for canary in CANARIES {
        let quoted = serde_json::to_string(canary).unwrap();
        let nested = serde_json::to_string(&json!({ "arguments": json!({ "x": [canary] }).to_string() })).unwrap();
        for text in [
            canary.to_owned(),
            format!("use {canary} please"),
            format!("({canary})"),
            format!("x={canary};y"),
            format!("line\n{canary}\nline"),
            format!("{{\"messages\":[{{\"content\":{quoted}}}]}}"),
            format!("{{\"content\":\"see\\n{}\"}}", &quoted[1..quoted.len() - 1]),
            nested,
            format!("data: {{\"delta\":{quoted}}}\n\ndata: [DONE]\n\n"),
            format!("é€🦀{canary}é€🦀"),
        ] {
            let shown = masked(&text);
            assert!(clean(&shown), "{text}\n{shown}");
            if text.starts_with('{') {
                serde_json::from_str::<Value>(&shown).unwrap();
            }
            assert_eq!(masked(&shown), shown, "masking twice is masking once");
        }
        for place in ["user-agent", "x-anything", "authorization", "cookie", "referer"] {
            let value = canary.replace('\n', " ");
            let shown = masking().header(place, &value).unwrap_or(value);
            assert!(clean(&shown), "{place}: {shown}");
        }
        let path = format!("/v1/{canary}/x");
        assert!(clean(&masking().line(&path).unwrap()), "{path}");
        let encoded: String = form_urlencoded::byte_serialize(canary.as_bytes()).collect();
        for query in [format!("q={encoded}"), format!("a=1&q={encoded}&b=%20"), format!("q=x%20{encoded}")] {
            let shown = masking().query(&query).unwrap_or_else(|| query.clone());
            let plain = percent_encoding::percent_decode_str(&shown).decode_utf8_lossy().into_owned();
            assert!(clean(&shown) && clean(&plain), "{query}\n{shown}");
        }
    }
}

#[test]
fn a_secret_is_found_by_its_key_in_any_writing() {
    for key in [
        "password",
        "passwd",
        "secret",
        "client_secret",
        "clientSecret",
        "api_key",
        "apiKey",
        "access_token",
        "refresh_token",
        "id_token",
        "private_key",
        "authorization",
        "credentials",
        "session_id",
        "session_token",
        "sessionKey",
        "cookie",
        "otp",
        "pin",
        "card_number",
        "cvv",
        "DB_PASSWORD",
        "x-api-key",
    ] {
        for text in [
            format!(r#"{{"{key}":"c4n4ry"}}"#),
            format!(r#"{{"a":[{{"{key}" :  "c4n4ry \"and\" more"}}],"b":1}}"#),
            format!("{{\n  \"{key}\": \"c4n4ry\",\n  \"b\": 1\n}}"),
            format!(r#"{{"a":"{{\"{key}\":\"c4n4ry\",\"b\":1}}"}}"#),
            format!(r#"{{"a":"{{\"b\":\"{{\\\"{key}\\\":\\\"c4n4ry\\\"}}\"}}"}}"#),
            format!(
                r#"{{"query":"mutation M($i: I!) {{ login(i: $i) }}","variables":{{"i":{{"{key}":"c4n4ry"}}}}}}"#
            ),
            format!(r#"{{"{key}":"c4n4ry"#),
            format!("event: x\ndata: {{\"{key}\":\"c4n4ry\"}}\n\n"),
            format!("{{\"a\":1}}\n{{\"{key}\":\"c4n4ry\"}}\n"),
            format!("settings['{key}'] = 'c4n4ry'"),
            format!(r#"{{"{key}":["c4n4ry","c4n4ry"],"b":1}}"#),
            format!(r#"{{"{key}":{{"value":"c4n4ry","type":"x"}},"b":1}}"#),
        ] {
            // One that is a name for several things is masked only with a string.
            let shown = masked(&text);
            assert!(clean(&shown), "{text}\n{shown}");
            if let Ok(before) = serde_json::from_str::<Value>(&text) {
                let after: Value = serde_json::from_str(&shown).unwrap();
                assert_eq!(before.get("b"), after.get("b"), "{shown}");
            }
            assert_eq!(masked(&shown), shown, "masking twice is masking once");
        }
    }
    for text in [
        r#"{"query":"mutation { login(password: \"c4n4ry\") }"}"#,
        "export DB_PASSWORD=c4n4ry\n",
        "https://x.test/?access_token=c4n4ry&sig=c4n4ry&page=2",
        r#"{"url":"https://x.test/?a=1\u0026token=c4n4ry\u0026X-Amz-Signature=c4n4ry"}"#,
        r#"{"pass\u0077ord":"c4n4ry"}"#,
        r#"{"token":"c4n4ry0123456789"}"#,
    ] {
        assert!(clean(&masked(text)), "{}", masked(text));
    }
    assert_eq!(
        untagged(&masked(r#"{"pin":1234,"cvv":12,"password":1234}"#)),
        r#"{"pin":"****","cvv":"****","password":1234}"#
    );
}

#[test]
fn forms_within_values_are_looked_through() {
    let payload = "payload=%7B%22password%22%3A%22c4n4ry%22%2C%22n%22%3A1%7D&b=%20+x";
    let shown = masking().form(payload, false).unwrap().unwrap();
    let plain = percent_encoding::percent_decode_str(&shown).decode_utf8_lossy().into_owned();
    assert!(clean(&plain) && plain.contains("\"n\":1") && shown.ends_with("&b=%20+x"), "{shown}");
    let next = "next=https%3A%2F%2Fu%3Ac4n4ry%40x.test%2F%3Ftoken%3Dc4n4ry&a=1";
    assert!(clean(&masking().query(next).unwrap()));
    let cut = masking().form("a=1&b=sk-ant-c4n4", true).unwrap().unwrap();
    assert_eq!(untagged(&cut), "a=1&b=****");
}

#[test]
fn a_secret_in_pieces_of_a_stream_is_found() {
    for canary in CANARIES.iter().filter(|canary| !canary.contains('\n')) {
        for size in [1, 3, 7] {
            let chars: Vec<char> = format!("it is {canary} .").chars().collect();
            let events = chars.chunks(size).map(|piece| {
                let piece: String = piece.iter().collect();
                format!(
                    "data: {}\n\n",
                    json!({ "id": "x", "choices": [{ "index": 0, "delta": { "content": piece } }] })
                )
            });
            let stream = events.collect::<String>() + "data: [DONE]\n\n";
            let shown = masked(&stream);
            let told: String = shown
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
                .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
                .collect();
            assert!(clean(&told) && told.starts_with("it is ") && told.ends_with(" ."), "{size}: {told}");
            assert_eq!(shown.lines().count(), stream.lines().count());
        }
    }
    // The arguments of a call, whose name and value are in different events.
    let pieces = [r#"{"pass"#, r#"word": "#, r#""hun"#, r#"ter2", "n": 1}"#];
    let stream: String = pieces.iter().map(|piece| format!("data: {}\n\n", json!({ "arguments": piece }))).collect();
    let shown = masked(&stream);
    assert!(!shown.contains("hun") && !shown.contains("ter2") && shown.contains(r#"\"n\": 1}"#), "{shown}");
}

#[test]
fn the_rest_of_a_secret_beside_a_gap_is_removed() {
    let (head_end, tail_start) =
        (Ends { cut_end: true, ..Ends::default() }, Ends { cut_start: true, ..Ends::default() });
    for canary in CANARIES {
        for text in
            [format!("say {canary} and go on"), format!("{{\"a\":{}}}", serde_json::to_string(canary).unwrap())]
        {
            let Some(start) = TRACES.iter().find_map(|trace| text.find(trace)) else { panic!("{text}") };
            for at in (start + 6..text.len()).filter(|at| text.is_char_boundary(*at)) {
                let head = masking().text(&text[..at], head_end).unwrap().unwrap_or_default();
                assert!(clean(&head), "{head}");
            }
        }
    }
    own::register("our-own-s3cret-that-is-cut");
    let shown = masking().text("{\"a\":\"it is our-own-s3cret-th", head_end).unwrap();
    assert_eq!(shown.as_deref(), Some("{\"a\":\"it is ****"));
    for (tail, shown) in [
        ("0123456789abcdefWXYZ\",\"b\":1}", "****\",\"b\":1}"),
        ("correct horse\",\"b\":1}", "****\",\"b\":1}"),
        ("of the story, which goes on", "of the story, which goes on"),
    ] {
        assert_eq!(masking().text(tail, tail_start).unwrap().unwrap_or_else(|| tail.to_owned()), shown);
    }
}

#[test]
fn a_message_of_a_web_socket_is_a_text_like_any_other() {
    let event =
        r#"{"type":"session.update","session":{"client_secret":{"value":"c4n4ry"},"instructions":"be kind"}}"#;
    let shown = masking().message(event).unwrap();
    assert!(clean(&shown) && shown.contains("be kind"), "{shown}");
    assert_eq!(masking().message(r#"{"type":"ping"}"#), None);
}

fn json_with(canary: &'static str) -> impl Strategy<Value = Value> {
    let key =
        prop_oneof![Just("password".to_owned()), Just("userApiKey".to_owned()), Just("client-secret".to_owned())];
    let plain = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~é€🦀\n\t\"\\\\]{0,12}".prop_map(Value::from),
    ];
    let secret = "[ -~é€\n\"\\\\]{0,6}".prop_map(move |around| Value::from(format!("{around}{canary}{around}")));
    // Known by its look, under any name and in any sentence.
    let known = ("[a-z]{0,3}", prop::sample::select(&CANARIES[..]), "[ -~é€\n\"\\\\]{0,6}").prop_map(
        |(name, canary, around)| {
            Value::Object(Map::from_iter([(name, Value::from(format!("{around} {canary} {around}")))]))
        },
    );
    let leaf = prop_oneof![
        3 => plain,
        2 => known,
        2 => (key, secret).prop_map(|(key, secret)| Value::Object(Map::from_iter([(key, secret)]))),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[a-z \"\\\\]{0,6}", inner.clone()), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
            // JSON in a string of JSON.
            inner.prop_map(|value| json!({ "arguments": value.to_string() })),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_secret_is_left_at_any_depth_of_any_json(value in json_with("c4n4ry-0123"), pretty in any::<bool>(), cut in any::<prop::sample::Index>()) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let shown = masked(&text);
        prop_assert!(clean(&shown), "{}\n{}", text, shown);
        let after: Value = serde_json::from_str(&shown).map_err(|error| TestCaseError::fail(format!("{error}: {shown}")))?;
        prop_assert!(same_shape(&value, &after), "{}\n{}", text, shown);
        prop_assert_eq!(masked(&shown), shown.clone());
        // Cut anywhere, it is masked as far as it goes.
        let mut at = cut.index(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let ends = Ends { cut_end: true, ..Ends::default() };
        prop_assert!(clean(&masking().text(&text[..at], ends).unwrap().unwrap_or_default()));
    }

    #[test]
    fn any_text_can_be_masked_and_no_mask_is_lost_by_masking_again(text in "(\"|\\\\|\n|\\{|\\}|:|=|,| |data: |password|token|sk-|eyJ|://|@|u0061|-----BEGIN PRIVATE KEY-----|é|[a-z0-9]{1,6}){0,60}") {
        let once = masked(&text);
        let twice = masked(&once);
        prop_assert_eq!(once.contains(MASK), twice.contains(MASK));
        prop_assert!(twice.len() <= once.len() + 32, "{} {}", once, twice);
    }
}

/// Strings may be masked; nothing else may differ, and no string that holds no secret.
fn same_shape(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_shape(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k == l && same_shape(a, b))
        }
        (Value::String(a), Value::String(_)) if !clean(a) => true,
        (a, b) => a == b,
    }
}

// ---- What is no secret

#[test]
fn a_value_that_is_too_long_may_end_in_a_character() {
    for name in ["x_amz_credential:", "password=", "--token ", "password: '"] {
        for pad in 0..4 {
            let shown = masked(&format!("{name}b0{}{}", "a".repeat(pad), "é€".repeat(3000)));
            assert!(shown.len() > name.len(), "{name}");
        }
    }
}

#[test]
fn a_pass_is_a_password_only_beside_a_user() {
    for text in ["pass: shadow2\npass: bloom1\n", "{\"pass\":\"shadow2\"}", "{ pass: 'shadow2' }"] {
        assert_eq!(masked(text), text);
    }
    for text in [
        "user: ada\npass: hunter2\n",
        "{\"username\":\"ada\",\"pass\":\"hunter2\"}",
        "auth: { user: 'ada', pass: 'hunter2' }",
        "pass=hunter2",
        "pass: hunter22",
        "pass: Hunter2",
    ] {
        assert!(!masked(text).contains("unter2"), "{text}");
    }
}

#[test]
fn a_log_of_a_stream_hides_no_secret_in_pieces() {
    let secret = "sk-ant-0123456789abcdefWXYZ";
    for stamp in
        ["2026-01-01T00:00:00Z ", "[12:00:00.123] INFO app: ", "web-1  | ", "2026-01-01T00:00:00.1Z stdout F "]
    {
        for event in ["data: ", ""] {
            let line = |piece: &[u8]| {
                let text = json!({ "delta": { "text": String::from_utf8_lossy(piece) } });
                format!("{stamp}{event}{text}\n{stamp}\n")
            };
            let log: String = format!("it is {secret} .").as_bytes().chunks(5).map(line).collect();
            for text in [log.clone(), json!({ "content": log }).to_string()] {
                let shown = masked(&text);
                assert!(!["89abc", "4567", "bcdef"].iter().any(|part| shown.contains(part)), "{shown}");
            }
        }
    }
}

#[test]
fn text_without_secrets_stays_unchanged() {
    let image = format!(
        "data:image/png;base64,{}",
        "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4".repeat(400)
    );
    for text in [
        r#"{"model":"m","max_tokens":4096,"total_tokens":512,"usage":{"prompt_tokens":12,"completion_tokens":5,"cached_tokens":0}}"#,
        r#"{"logprobs":{"content":[{"token":" Hello","logprob":-0.1,"bytes":[32,72]},{"token":"tokenization","logprob":-2}]}}"#,
        r#"{"eos_token":"<|endoftext|>","pad_token":"<pad>","token_type":"Bearer","tokenizer":"cl100k_base"}"#,
        r#"{"next_page_token":"CAUQAA0123456789abcdef","nextPageToken":"CAUQAA0123456789abcdef"}"#,
        r#"{"content":"In this session we talk about the token: what a password is, and why a secret matters."}"#,
        r#"{"session_title":"My secret garden","sessions":[{"n":1}],"session":{"instructions":"be kind","voice":"alloy"}}"#,
        r#"{"sha":"3f786850e387550fdab836ed7e6dc881de23001b","id":"550e8400-e29b-41d4-a716-446655440000"}"#,
        r#"{"etag":"\"33a64df551425fcc55e4d42a148795d9f25f89d4\"","md5":"d41d8cd98f00b204e9800998ecf8427e"}"#,
        r#"{"tools":[{"parameters":{"type":"object","properties":{"password":{"type":"string","description":"The password"}},"required":["password"]}}]}"#,
        r#"{"key":"value","keys":["a"],"cache_key":"a/b/c","idempotency_key":"a1b2c3d4e5f6a7b8","public_key":"ssh-ed25519 AAAAC3Nz"}"#,
        r#"{"code":"invalid_api_key","state":"active","author":"me","passenger":"you","pinned":true,"spin":"left"}"#,
        "commit 3f786850e387550fdab836ed7e6dc881de23001b\nAuthor: A <a@x.test>\n\n    tokens: count them\n",
        "fn token(&self) -> Token { self.tokens[0].clone() } // password == secret ? a::b : c",
        "Basic authentication and Bearer tokens are described in RFC 7617 and RFC 6750.",
        "see ssh://git@github.com/a/b.git, https://x.test:8080/@user and mailto:a@x.test",
        "https://x.test/search?q=token+count&page=2&state=CA&code=5#session",
        "class=\"sk-fading-circle-container\" id=\"task-board-item\"",
        "if password == None: raise ValueError('password required')",
        "MAX_TOKENS=4096\nTOKEN_LIMIT=100000\nSESSION_TIMEOUT=3600\n",
        "The card number is on the front, the pin is yours alone; otp: none.",
        &image,
        &format!("{{\"image_url\":\"{image}\"}}"),
    ] {
        assert_eq!(masked(text), text);
        // A URL in a header field loses its user and all parameters that can be secret.
        assert!(text.contains("://") || masking().header("x-anything", text).is_none(), "{text}");
    }
    for query in ["q=session+token&max_tokens=5&page_token=abc&id=550e8400-e29b-41d4-a716-446655440000&a=%zz", ""] {
        assert_eq!(masking().query(query), None);
    }
}

// ---- Tags, counts, settings

#[test]
fn a_secret_has_one_tag_wherever_it_stands() {
    let secret = "sk-proj-c4n4ry0123456789abcdefWXYZ";
    let tag = format!("****WXYZ#{}", redactor().fingerprint.tag(secret));
    let mut masking = masking();
    assert_eq!(masking.header("authorization", &format!("Bearer {secret}")).unwrap(), format!("Bearer {tag}"));
    assert_eq!(masking.header("x-api-key", secret).unwrap(), tag);
    assert_eq!(masking.query(&format!("key={secret}")).unwrap(), format!("key={tag}"));
    assert_eq!(masking.line(&format!("a {secret} b")).unwrap(), format!("a {tag} b"));
    let json = masking.text(&format!("{{\"authorization\":\"Bearer {secret}\"}}"), Ends::default()).unwrap().unwrap();
    assert_eq!(json, format!("{{\"authorization\":\"Bearer {tag}\"}}"));
    let escaped = masking.text(r#"{"password":"a\"b"}"#, Ends::default()).unwrap().unwrap();
    assert_eq!(escaped, format!("{{\"password\":\"****#{}\"}}", redactor().fingerprint.tag("a\"b")));
    assert_eq!(
        masking.counts(),
        [
            ("header.authorization", 1),
            ("header.x-api-key", 1),
            ("key.key", 1),
            ("pattern.openai", 1),
            ("key.authorization", 1),
            ("key.password", 1)
        ]
        .map(|(rule, count)| if rule == "header.x-api-key" {
            ("header.*-api-key", count)
        } else {
            (rule, count)
        })
    );
    assert_eq!(masking.total(), 6);
}

fn hosts(names: &[&str]) -> HostRules {
    HostRules::new(names.iter().map(|name| HostRule::parse(name).unwrap()).collect())
}

#[test]
fn the_operator_adds_and_lifts_rules() {
    let mut settings = settings();
    settings.headers = vec!["x-acme".to_owned()];
    settings.keys = vec!["employeeNumber".to_owned()];
    settings.patterns = vec![("acme".to_owned(), Regex::new("acme_[0-9a-f]{8}").unwrap())];
    settings.allow = vec![
        RedactAllow {
            hosts: hosts(&["*.open.test"]),
            path: Some("/v1/*".to_owned()),
            rules: vec!["key.*".to_owned()],
        },
        RedactAllow { hosts: hosts(&["jwt.test"]), path: None, rules: vec!["pattern.jwt".to_owned()] },
    ];
    assert!(!names_unknown_rule(&settings));
    let rules = Redactor::new(&settings, &[], Fingerprint::new(b"k")).unwrap();
    let mask = |host: &str, path: &str, text: &str| {
        let shown = rules.masking(host, 443, path).text(text, Ends::default()).unwrap();
        untagged(&shown.unwrap_or_else(|| text.to_owned()))
    };
    let text = r#"{"employee_number":"E-1","x":"acme_0123abcd","password":"p"}"#;
    assert_eq!(mask("a.test", "/v1/x", text), r#"{"employee_number":"****","x":"****","password":"****"}"#);
    assert_eq!(mask("a.open.test", "/v1/x", text), r#"{"employee_number":"E-1","x":"****","password":"p"}"#);
    assert_eq!(mask("a.open.test", "/v2/x", text), r#"{"employee_number":"****","x":"****","password":"****"}"#);
    let jwt = "eyJhbGciOiJub25lIn0.eyJhIjoxfQ.";
    assert_eq!(mask("jwt.test", "/", jwt), jwt);
    assert_eq!(mask("a.test", "/", jwt), "****xfQ.");
    assert_eq!(untagged(&rules.masking("a.test", 1, "/").header("x-acme", "v").unwrap()), "****");
    settings.allow[0].rules.push("key.pasword".to_owned());
    assert!(names_unknown_rule(&settings));
}

#[test]
fn our_own_secrets_are_masked_by_their_text_and_no_rule_lifts_that() {
    own::register("our-own-s3cret-in-redact-tests");
    let mut settings = settings();
    settings.allow = vec![RedactAllow { hosts: hosts(&["*"]), path: None, rules: vec!["*".to_owned()] }];
    let rules = Redactor::new(&settings, &[], Fingerprint::new(b"k")).unwrap();
    let mut masking = rules.masking("a.test", 443, "/");
    assert_eq!(masking.line("say our-own-s3cret-in-redact-tests!").unwrap(), "say ****!");
    assert_eq!(masking.line("password=hunter2"), None);
    assert_eq!(masking.counts(), [("own", 1)]);
}

// ---- Bounds

#[test]
fn a_text_that_takes_too_long_is_withheld() {
    let mut settings = settings();
    settings.budget = Duration::ZERO;
    let rules = Redactor::new(&settings, &[], Fingerprint::new(b"k")).unwrap();
    let mut masking = rules.masking("a.test", 443, "/");
    let long = "harmless ".repeat(200);
    assert_eq!(masking.text(&long, Ends::default()), Err(OutOfTime));
    assert!(masking.withheld());
    assert_eq!(masking.line(&long).as_deref(), Some(WITHHELD));
    assert_eq!(masking.line("harmless"), None);
    assert!(masking.form("a=harmless+text", false).is_err());
}

#[test]
fn texts_made_to_be_slow_end_in_time() {
    let mut settings = settings();
    settings.budget = Duration::from_millis(200);
    let rules = Redactor::new(&settings, &[], Fingerprint::new(b"k")).unwrap();
    for part in [
        "eyJ-",
        "sk-",
        "{\"secret\":",
        "\"token\":\"",
        "token=\\\"",
        "-----BEGIN PRIVATE KEY-----!",
        "://a:",
        "password",
        "\\\\\\\\\\\\\\\\",
        "data: {\"a\":[[[[\n",
        "\\u0061",
        "key=",
    ] {
        let text = part.repeat((1 << 20) / part.len());
        let began = worked();
        let _ = rules.masking("a.test", 443, "/").text(&text, Ends { cut_start: true, cut_end: true });
        let took = worked() - began;
        assert!(took < Duration::from_secs(4), "{part}: {took:?} of processor time");
    }
}
