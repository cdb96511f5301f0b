//! How long the search for secrets takes, for each megabyte of text: prose and code as agents send them, and texts made to be slow.
//! `just masking-bench`. Compare each with prose: absolute figures are the machine's.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark reports and may stop")]

use std::time::{Duration, Instant};

use otas_proxy::config::Redact;
use otas_proxy::redact::{Fingerprint, Redactor};

const BYTES: usize = 1 << 20;
const REPEATS: usize = 5;

/// What an agent sends all day.
const PROSE: &str = "Please look at the session handling in src/auth.rs: the token is refreshed too late, so the first call after an hour \
fails with 401. I think the key of the cache should hold the user id, not the name. Tests are in tests/auth.rs; run them before you commit. ";

/// Pieces that, repeated, look like the beginning of something again and again.
const HOSTILE: &[&str] = &[
    "sk-",
    "eyJ-",
    "eyJ",
    "eyJa.eyJ",
    "ghp_",
    "xoxb-",
    "SG.",
    "SG.a",
    "agent_",
    "key-",
    "AKIA",
    ":AA",
    "bearer ",
    "basic ",
    "basic YTph",
    "hooks.slack.com/services/",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----!",
    "://",
    "://a:",
    "://a:b",
    "password",
    "password ",
    "password=",
    "password:",
    "\"password\":\"",
    "\"password\":'",
    "'password':\"",
    "token=\\\"",
    "token=\\\\\\\"",
    "{\"secret\":",
    "\"secret\":[",
    "\"token\":\"",
    "key",
    "key ",
    "key=",
    "key:",
    "key,\"",
    "\"key\",\"",
    "\"key\",",
    "key|",
    "<key>",
    "<key><string>",
    "</key><string>",
    "key is ",
    "key is '",
    "key {default=",
    "\"key\" {default=",
    "\"name\":\"key",
    "\"value\":\"a\",\"name\":\"key",
    "--key ",
    "--key=",
    "-key",
    "_key",
    ".key",
    "key\\n",
    "key\\\\",
    "login password ",
    "machine password ",
    "curl ",
    "curl -u ",
    "mysql -p",
    "sshpass -p ",
    "identified by '",
    "api key ",
    "\\u0061",
    "\\\\\\\\\\\\\\\\",
    "\\",
    "\"",
    "'",
    "{",
    "[",
    "data: ",
    "data: {\"a\":[[[[\n",
    "data: x\n\n",
    "{\"t\":\"a\"}\n",
    "[{\"candidates\":\"\"},",
    "&quot;",
    "key&quot;:&quot;",
    "$",
    "${",
    "%28",
    "a",
    " ",
    "\n",
    "é",
    "pwd",
    "otp",
    "sig",
];

/// The same for the formats of services and of hashes.
const HOSTILE_TO_FORMATS: &[&str] = &[
    "datadog ",
    "datadog=",
    "datadog_key=",
    "datadog_key = \"",
    "\"datadog\":\"",
    "\"datadog\",",
    "--datadog-key ",
    "<datadog>",
    "\"heroku\", \"",
    "$1$",
    "$1$a",
    "$2b$",
    "$6$aaaa$",
    "{SSHA}a",
    "SCRAM-SHA-256$1:",
    "Private-Lines: 1\n",
    "aQ~",
    "abcdQ~",
    "a_mmk",
    ".atlasv1.",
    "xghp_",
    "eyJa..",
    "pat.",
    "sl.",
    "cio",
    "v1.0-",
    ".make.com/a",
    "discord.com/api/webhooks/a",
];

fn per_megabyte(redactor: &Redactor, text: &str) -> Duration {
    let run = || {
        let began = Instant::now();
        let _ = redactor.masking("api.test", 443, "/").message(text);
        began.elapsed()
    };
    (0..REPEATS).map(|_| run()).min().unwrap() * (1 << 20) / u32::try_from(text.len()).unwrap()
}

fn main() {
    let (headers, keys, patterns, allow) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let settings = Redact { headers, keys, patterns, allow, budget: Duration::from_secs(60) };
    let redactor = Redactor::new(&settings, &[], Fingerprint::new(b"bench")).unwrap();
    let filled = |part: &str| part.repeat(BYTES / part.len());
    let prose = per_megabyte(&redactor, &filled(PROSE));
    let json =
        serde_json::json!({ "messages": [{ "role": "user", "content": filled(&format!("{PROSE}\n")) }] }).to_string();
    println!("{:<36} {:>8.2} ms/MiB", "prose", prose.as_secs_f64() * 1e3);
    println!("{:<36} {:>8.2} ms/MiB", "prose in JSON", per_megabyte(&redactor, &json).as_secs_f64() * 1e3);
    let mut slowest: Vec<_> = HOSTILE
        .iter()
        .chain(HOSTILE_TO_FORMATS)
        .map(|part| (per_megabyte(&redactor, &filled(part)), *part))
        .collect();
    slowest.sort_by(|a, b| b.cmp(a));
    for (time, part) in slowest {
        let ratio = time.as_secs_f64() / prose.as_secs_f64();
        println!("{:<36} {:>8.2} ms/MiB {ratio:>8.2} × prose", format!("{part:?}"), time.as_secs_f64() * 1e3);
    }
}
