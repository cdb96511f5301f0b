//! How long the search for secrets takes, for each megabyte of text: prose and code as agents send them, a conversation that is sent
//! again with one more turn, and texts made to be slow; and whether such texts delay the events of other callers. `just
//! masking-bench`. Compare each with prose: absolute figures are the machine's. `-- --search SECONDS` looks for slower mixtures of pieces
//! instead.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark reports and may stop"
)]
#![allow(dead_code, unreachable_pub, reason = "the tests' support has more than is needed here")]

use std::time::Duration;

use otas_proxy::config::Redact;
use otas_proxy::redact::{Fingerprint, Redactor};

#[path = "../src/redact/tests/hostile.rs"]
mod hostile;
#[path = "../tests/support/mod.rs"]
mod support;

#[path = "masking/delays.rs"]
mod delays;
#[path = "masking/mixtures.rs"]
mod mixtures;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hostile::{HOSTILE, HOSTILE_TO_FORMATS, HOSTILE_TO_GRAMMARS, SIDE_BY_SIDE};
use otas_proxy::secret::Secret;
use rustix::time::{ClockId, clock_gettime};

const BYTES: usize = 1 << 20;
const REPEATS: usize = 5;

/// What an agent sends all day.
const PROSE: &str = "Please look at the session handling in src/auth.rs: the token is refreshed too late, so the first call after an hour \
fails with 401. I think the key of the cache should hold the user id, not the name. Tests are in tests/auth.rs; run them before you commit. ";

/// The processor time of this thread: a busy machine does not lengthen it.
fn worked() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// A redactor that remembers nothing yet, and what was found in long texts in at most so many bytes.
fn redactor_with(remembered_bytes: usize) -> Redactor {
    let (headers, keys, patterns, allow) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let settings = Redact { headers, keys, patterns, allow, budget: Duration::from_secs(60) };
    let redactor = Redactor::new(&settings, &[], Fingerprint::new(b"bench")).unwrap();
    redactor.remember_at_most(remembered_bytes);
    redactor
}

/// A redactor that remembers nothing: texts that repeat a piece would be searched in part.
fn redactor() -> Redactor {
    redactor_with(0)
}

fn search(redactor: &Redactor, text: &str) -> Duration {
    let began = worked();
    let _ = redactor.masking("api.test", 443, "/").message(text);
    worked() - began
}

/// Whether a text needs more work than is done for it.
fn is_withheld(text: &str) -> bool {
    let redactor = redactor();
    let mut masking = redactor.masking("api.test", 443, "/");
    let _ = masking.message(text);
    masking.withheld()
}

fn shortest(search: impl Fn() -> Duration, text: &str) -> Duration {
    (0..REPEATS).map(|_| search()).min().unwrap() * (1 << 20) / u32::try_from(text.len()).unwrap()
}

fn per_megabyte(text: &str) -> Duration {
    shortest(|| search(&redactor(), text), text)
}

/// The request of a coding agent after so many turns, each with a tool's result of 6 KiB.
fn conversation(turns: usize) -> String {
    let messages = (0..turns).flat_map(|turn| {
        let line =
            |line: usize| format!("{line:>6}\tlet part_{turn} = self.read(&text[{line}..], \"turn {turn}\")?;\n");
        let result: String = (0..110).map(line).collect();
        let call = serde_json::json!({ "type": "tool_use", "id": format!("toolu_{turn:020}"), "name": "Read",
            "input": { "file_path": format!("/home/ada/project/src/part_{turn}.rs") } });
        let answer = serde_json::json!({ "type": "tool_result", "tool_use_id": format!("toolu_{turn:020}"),
            "content": [{ "type": "text", "text": result }] });
        [
            serde_json::json!({ "role": "assistant", "content": [{ "type": "text", "text": PROSE }, call] }),
            serde_json::json!({ "role": "user", "content": [answer] }),
        ]
    });
    let messages: Vec<_> = messages.collect();
    serde_json::json!({ "model": "claude", "max_tokens": 32_000, "stream": true, "messages": messages }).to_string()
}

/// A conversation of some turns: sent for the first time, sent again with one more turn, and sent again as it is.
fn of_a_conversation(turns: usize) {
    let (before, now) = (conversation(turns - 1), conversation(turns));
    let again = |known: &str| {
        let redactor = redactor_with(4 << 20);
        search(&redactor, known);
        search(&redactor, &now)
    };
    let rows = [
        ("for the first time", shortest(|| search(&redactor(), &now), &now)),
        ("with one more turn", shortest(|| again(&before), &now)),
        ("again", shortest(|| again(&now), &now)),
    ];
    for (what, time) in rows {
        let name = format!("conversation of {} KiB, {what}", now.len() >> 10);
        println!("{name:<52} {:>8.2} ms/MiB", time.as_secs_f64() * 1e3);
    }
}

/// A text that is made by a rule, not by repetition: each of its pieces is another.
type Made = (&'static str, fn(&mut Numbers) -> String);

/// Texts in which nothing repeats, so that nothing is known from before; and encodings in encodings.
const MADE: &[Made] = &[
    ("other names", |n| format!("token{}=a ", n.next())),
    ("other names in quotes", |n| format!("\"x{}_token\":\"", n.next())),
    ("other passwords in JSON", |n| format!("\"password\":\"a{}b\",", n.next())),
    ("other tokens in a query", |n| format!("?token=a{}b{}&", n.next(), n.next())),
    ("other keys with a prefix", |n| format!("sk-proj-{} ", n.of(48))),
    ("other web tokens", |n| format!("eyJ{}.eyJ{}.{} ", n.of(12), n.of(12), n.of(20))),
    ("other members", |n| format!("{{\"a{}\":{{\"key\":\"{}\"}}}}\n", n.next(), n.of(8))),
    ("other events", |n| format!("data: {{\"a\":\"{}\",\"b\":\"{}\"}}\n\n", n.of(8), n.of(4))),
    ("base64 in lines", |n| n.of(76) + "\n"),
    ("base64 of text", |n| STANDARD.encode(format!("token {} of {} words", n.next(), n.next())) + " "),
    ("base64 in base64", |n| STANDARD.encode(STANDARD.encode(n.of(90)))),
    ("hexadecimal digits", |n| format!("{:016x}", n.next())),
    ("hexadecimal digits in base64", |n| STANDARD.encode(format!("{:016x}{:016x}", n.next(), n.next()))),
    ("escapes in base64", |n| STANDARD.encode(format!("%41&amp;\\u0041\\n{}", n.of(6)))),
    ("base64 behind escapes", |n| format!("\\/{}", n.of(40))),
];

/// Pseudo-random numbers, the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 20
    }

    /// So many characters of base64.
    fn of(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        (0..length).map(|_| char::from(ALPHABET[self.next() as usize % 64])).collect()
    }
}

fn made(make: fn(&mut Numbers) -> String) -> String {
    let mut numbers = Numbers(7);
    let mut text = String::new();
    while text.len() < BYTES {
        text += &make(&mut numbers);
    }
    text
}

/// Quotes escaped as often as JSON in strings of JSON escapes them.
fn nested() -> String {
    let inner = "{\"token\":\"a\",\"b\":[".repeat(40);
    let deep = (0..8).fold(inner, |text, _| serde_json::json!({ "a": text }).to_string());
    deep.repeat(BYTES / deep.len() + 1)
}

fn main() {
    // The proxy always has secrets of its own, so it looks for them behind every encoding.
    for secret in ["agent_b3nchM4r_0123456789abcdefWXYZ", "a-passw0rd/of+ours", "MIGHAgEAMBMGByqGSM49AgEGbench"] {
        let _ = Secret::new(secret);
    }
    let filled = |part: &str| part.repeat(BYTES / part.len());
    let prose = per_megabyte(&filled(PROSE));
    let json =
        serde_json::json!({ "messages": [{ "role": "user", "content": filled(&format!("{PROSE}\n")) }] }).to_string();
    println!("{:<36} {:>8.2} ms/MiB", "prose", prose.as_secs_f64() * 1e3);
    println!("{:<36} {:>8.2} ms/MiB", "prose in JSON", per_megabyte(&json).as_secs_f64() * 1e3);
    if let Some(seconds) = mixtures::seconds() {
        return mixtures::search(Duration::from_secs(seconds), prose);
    }
    [10, 57, 400].into_iter().for_each(of_a_conversation);
    let repeated = [HOSTILE, HOSTILE_TO_FORMATS, HOSTILE_TO_GRAMMARS, SIDE_BY_SIDE].into_iter().flatten();
    let repeated = repeated.map(|part| (format!("{part:?}"), filled(part)));
    let made = MADE.iter().map(|(name, make)| ((*name).to_owned(), made(*make)));
    let all = repeated.chain(made).chain([("JSON in JSON, eight deep".to_owned(), nested())]);
    let named = |(name, text): (String, String)| {
        let withheld = if is_withheld(&text) { " (withheld)" } else { "" };
        (per_megabyte(&text), format!("{name}{withheld}"))
    };
    let mut slowest: Vec<_> = all.map(named).collect();
    slowest.sort_by(|a, b| b.cmp(a));
    for (time, name) in slowest {
        let ratio = time.as_secs_f64() / prose.as_secs_f64();
        println!("{name:<44} {:>8.2} ms/MiB {ratio:>8.2} × prose", time.as_secs_f64() * 1e3);
    }
    SIDE_BY_SIDE.iter().take(1).for_each(|text| delays::run(text));
}
