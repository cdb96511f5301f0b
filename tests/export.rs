//! Exports and totals on the command line: HAR that other programs read, a curl command that repeats the call, the table, the
//! totals.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use otas_proxy::hosts::{HostRule, HostRules};
use otas_proxy::store::{SessionRow, Store};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::support::nobody::Nobody;
use crate::support::origin::{TestCa, TestOrigin};
use crate::support::program::Folder;
use crate::support::proxy::TestProxy;
use crate::support::sample::{HOSTILE, Sample, append, deliver};
use crate::support::websocket::{Ends, TEXT, bare, masked};

/// A store with some calls.
struct Bench {
    folder: Folder,
    session: SessionRow,
    store: Store,
}

impl Bench {
    fn with(samples: &[Sample]) -> Self {
        let folder = Folder::new();
        folder.configure("");
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let session = store.begin_session("run-1", "key-1", r#"{"command":"python agent.py"}"#).unwrap();
        append(&store, session, samples);
        Self { folder, session, store }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.folder.program().args(arguments).output().unwrap()
    }

    fn said(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }
}

fn samples() -> Vec<Sample> {
    let mut bytes = Sample::of("POST", "files.test", "/upload", 201);
    for side in ["request", "response"] {
        bytes.event[format!("{side}_body")] = "iVBORw0KGgo=\n…[otas-proxy: 90 of 98 bytes not kept]…\n".into();
        bytes.event["metadata"]["capture"][side]["encoding"] = "base64".into();
    }
    let mut bare = Sample::of("GET", "bare.test", "/", 0);
    bare.event = json!({ "path": "/" });
    vec![
        Sample::of("GET", "api.test", "/a", 200),
        Sample::model("api.openai.com", "/v1/responses", "gpt-x", (100, 20), 1_500.0),
        Sample::of("POST", "api.test", "/b", 503),
        bytes,
        bare,
        Sample::hostile(),
    ]
}

#[test]
fn events_are_exported_to_a_private_har_file() {
    let bench = Bench::with(&samples());
    let done = bench.run(&["events", "--har", "out.har"]);
    assert!(String::from_utf8_lossy(&done.stderr).contains("6 events in out.har"), "{done:?}");
    let file = bench.folder.path().join("out.har");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let har: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(har["log"]["version"], "1.2");
    let entries = har["log"]["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 6);
    assert_eq!(entries[0]["request"]["url"], "https://api.test/a?a=b");
    for entry in entries {
        let timings = entry["timings"].as_object().unwrap();
        let sum: f64 = ["blocked", "dns", "connect", "send", "wait", "receive"]
            .map(|name| timings[name].as_f64().unwrap().max(0.0))
            .iter()
            .sum();
        assert!((entry["time"].as_f64().unwrap() - sum).abs() < 0.02, "{entry}");
        assert!(url::Url::parse(entry["request"]["url"].as_str().unwrap()).is_ok(), "{entry}");
    }
    let piped = bench.said(&["events", "--har", "-", "--host", "openai"]);
    assert_eq!(serde_json::from_str::<Value>(&piped).unwrap()["log"]["entries"].as_array().unwrap().len(), 1);
}

#[test]
fn a_third_party_validator_accepts_the_har_file() {
    let bench = Bench::with(&samples());
    bench.said(&["events", "--har", "out.har"]);
    validate(&bench.folder.path().join("out.har"));
}

/// Runs `har-validator`, if `check.sh` has installed it.
fn validate(file: &Path) {
    let validator = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients-node/node_modules/har-validator");
    if !validator.exists() {
        assert!(std::env::var("OTAS_REQUIRE_CLIENTS").as_deref() != Ok("1"), "har-validator is not installed");
        // Bypasses the harness, which shows output only of failing tests.
        let _ = writeln!(
            std::io::stderr(),
            "har-validator is not installed, so this was NOT tested (run ./check.sh once)"
        );
        return;
    }
    let script = "const { har } = require(process.argv[1]); \
                  har(JSON.parse(require('fs').readFileSync(process.argv[2], 'utf8'))) \
                  .then(() => console.log('valid'), (error) => { console.log(JSON.stringify(error.errors)); process.exit(1); });";
    let done = Command::new("node").args(["-e", script]).arg(&validator).arg(file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), "valid", "{done:?}");
}

/// The fields of an entry that the importers of Chromium and Firefox read without checking.
fn importable(entry: &Value) {
    assert!(time::OffsetDateTime::parse(entry["startedDateTime"].as_str().unwrap(), &Rfc3339).is_ok(), "{entry}");
    for (side, texts) in [
        ("request", &["method", "url", "httpVersion"][..]),
        ("response", &["statusText", "httpVersion", "redirectURL"]),
    ] {
        let side = &entry[side];
        assert!(texts.iter().all(|text| side[text].is_string()), "{entry}");
        assert!(["headers", "cookies"].iter().all(|list| side[list].is_array()), "{entry}");
        assert!(["headersSize", "bodySize"].iter().all(|size| side[size].is_i64()), "{entry}");
        let headers = side["headers"].as_array().unwrap();
        assert!(headers.iter().all(|field| field["name"].is_string() && field["value"].is_string()), "{entry}");
    }
    let content = &entry["response"]["content"];
    assert!(
        content["size"].is_u64() && content["mimeType"].is_string() && entry["response"]["status"].is_u64(),
        "{entry}"
    );
    assert!(entry["request"]["queryString"].is_array() && entry["cache"].is_object(), "{entry}");
    // Firefox adds up all of these.
    let steps = ["blocked", "dns", "connect", "ssl", "send", "wait", "receive"];
    assert!(steps.iter().all(|step| entry["timings"][step].as_f64().is_some_and(|ms| ms >= -1.0)), "{entry}");
    if !entry["request"]["postData"].is_null() {
        assert!(entry["request"]["postData"]["text"].is_string(), "{entry}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_call_is_an_importable_entry() {
    let folder = Folder::new();
    folder.configure("");
    let files = tempfile::tempdir().unwrap();
    let ca = TestCa::new(files.path());
    let (plain, secure, secure_too) =
        (TestOrigin::http().await, TestOrigin::https(&ca).await, TestOrigin::https(&ca).await);
    let store = folder.path().join("events.db");
    let passthrough = HostRules::new(vec![HostRule::parse(&secure.url("").replace("https://", "")).unwrap()]);
    let proxy = TestProxy::new().trusting(&ca).with(|config| {
        config.store.path = store;
        (config.capture.body_max_bytes, config.capture.body_head_bytes, config.capture.body_tail_bytes) =
            (0, 4_096, 1_024);
        config.tls.passthrough = passthrough;
    });
    let proxy = proxy.run().await;
    let client = proxy.client();
    let get = async |url: String| client.get(url).send().await.unwrap().bytes().await;
    get(plain.url("/gzip")).await.unwrap();
    get(plain.url("/bytes/3000")).await.unwrap();
    get(plain.url("/bytes/100000")).await.unwrap();
    get(plain.url("/sse/5/1")).await.unwrap();
    get(plain.url("/status/204?a=%ff&b")).await.unwrap();
    get(secure_too.url("/echo")).await.unwrap();
    assert!(get(plain.url("/break/5000")).await.is_err());
    client.post(plain.url("/echo")).body(vec![0, 159, 146, 150]).send().await.unwrap();
    let form = client.post(plain.url("/echo")).header("content-type", "application/x-www-form-urlencoded");
    form.body("a=b&c=d%20e").send().await.unwrap();
    let closed = Nobody::new();
    get(format!("http://{closed}/")).await.unwrap();
    let blind = reqwest::Client::builder().proxy(reqwest::Proxy::all(proxy.url()).unwrap());
    let blind = blind.tls_backend_preconfigured(crate::support::proxy::trusting(&ca.file)).build().unwrap();
    blind.get(secure.url("/echo")).send().await.unwrap();
    drop(blind);
    let mut ends =
        Ends::open(&proxy, "/socket", "Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")
            .await;
    ends.say(&masked(TEXT, b"hello")).await;
    ends.answer(&bare(TEXT, b"there")).await;
    ends.end().await;
    proxy.events_so_far(12).await;
    proxy.stop().await;

    let done = folder.program().args(["events", "--har", "out.har"]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let file = folder.path().join("out.har");
    let har: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(har["log"]["pages"].is_array() && har["log"]["creator"]["version"].is_string());
    let entries = har["log"]["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 12);
    entries.iter().for_each(importable);
    let of =
        |path: &str| entries.iter().find(|entry| entry["request"]["url"].as_str().unwrap().contains(path)).unwrap();
    let content = |path: &str| &of(path)["response"]["content"];
    assert!(content("/gzip")["compression"].as_i64().unwrap() > 2_000 && content("/gzip")["text"].is_string());
    assert_eq!(
        (&content("/bytes/3000")["encoding"], &content("/bytes/3000")["size"]),
        (&"base64".into(), &3_000.into())
    );
    assert_eq!(content("/bytes/100000")["comment"], "cut: the whole body was not kept");
    assert!(content("/sse")["text"].as_str().unwrap().starts_with("data: "));
    assert!(of("/break")["comment"].as_str().unwrap().starts_with("origin_reset"));
    assert!(of(&closed.to_string())["comment"].as_str().unwrap().starts_with("connect_refused"));
    assert_eq!(of("/socket")["_resourceType"], "websocket");
    assert!(entries.iter().any(|entry| entry["request"]["method"] == "CONNECT"));
    assert!(of(&secure_too.url("/echo"))["timings"]["ssl"].as_f64().unwrap() > 0.0);
    validate(&file);
}

/// A request that its command must repeat.
struct Again {
    method: &'static str,
    content_type: &'static str,
    coding: Option<&'static str>,
    body: Vec<u8>,
}

impl Again {
    fn post(content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST", content_type, coding: None, body: body.into() }
    }

    /// The bytes that the origin reads of `sent`.
    fn content(&self, sent: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match self.coding {
            Some("gzip") => drop(flate2::read::GzDecoder::new(sent).read_to_end(&mut out).unwrap()),
            Some(_) => out = zstd::decode_all(sent).unwrap(),
            None => out = sent.to_vec(),
        }
        out
    }
}

/// A call to a model with at least so many bytes.
fn model_call_of(bytes: usize) -> String {
    let text = "It's a `text` of $1 \\ \"and so on\".\n".repeat(bytes / 30);
    let call =
        json!({ "model": "m", "max_tokens": 9, "messages": [{ "role": "user", "content": text }] }).to_string();
    assert!(call.len() > bytes);
    call
}

#[tokio::test(flavor = "multi_thread")]
async fn the_curl_command_of_a_call_repeats_it() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().with(|config| config.capture.body_head_bytes = 1 << 20).run().await;
    let odd = "it's \"odd\" $HOME `id` \\ \n\ttext, ünïcode";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(odd.as_bytes()).unwrap();
    let coded = |coding, body| Again { coding: Some(coding), ..Again::post("text/plain", body) };
    let calls = [
        Again::post("text/plain", odd),
        Again::post("application/octet-stream", [0, 159, 146, 150, 255]),
        Again { method: "HEAD", ..Again::post("text/plain", "") },
        coded("gzip", gzip.finish().unwrap()),
        coded("zstd", zstd::encode_all(odd.as_bytes(), 3).unwrap()),
        // Larger than an argument allows, with and without a final line end, and as bytes.
        Again::post("text/plain", format!("{odd}\n").repeat(6_000)),
        Again::post("text/plain", odd.repeat(6_000)),
        Again::post("application/octet-stream", [0, 159, 146, 150, 255].repeat(40_000)),
        Again::post("text/plain", "a\0b\u{1b}[2J\u{202e}c"),
        Again::post("text/plain", "\u{feff}with its mark"),
        Again::post("text/plain; charset=utf-16le", b"\xff\xfea\x00\xe9\x00".to_vec()),
        Again::post("text/plain; charset=iso-8859-1", b"caf\xe9".to_vec()),
        Again { method: "PUT", ..Again::post("text/plain", "") },
        Again::post("application/json", model_call_of(2 << 20)),
    ];
    for (at, call) in calls.iter().enumerate() {
        let method = call.method.parse::<reqwest::Method>().unwrap();
        let made = proxy.client().request(method, origin.url("/echo/it's%20here?q=a%26b[1]"));
        let made = made.header("content-type", call.content_type).header("x-own", "a 'quoted' value");
        let made = match call.coding {
            Some(coding) => made.header("content-encoding", coding),
            None => made,
        };
        made.body(call.body.clone()).send().await.unwrap();
        // A call may end for the proxy after the next one has ended. So each waits for the event of the one before it.
        proxy.events_so_far(at + 1).await;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    // `sh` is dash on some systems, and another shell where there is no dash.
    let is_there = |shell: &&str| Command::new(shell).args(["-c", "true"]).output().is_ok();
    let shells: Vec<&str> = ["sh", "bash", "dash"].into_iter().filter(is_there).collect();
    assert!(shells.len() >= 2, "{shells:?}");
    for (at, call) in calls.iter().enumerate() {
        let event = proxy.app.store.event(at as i64 + 1).unwrap();
        let command = otas_proxy::export::curl::command(&otas_proxy::event::Stored::parse(&event.json));
        std::fs::write(file.path(), &command).unwrap();
        for shell in &shells {
            let done = tokio::process::Command::new(shell).arg(file.path()).output();
            let done =
                tokio::time::timeout(std::time::Duration::from_secs(60), done).await.expect(call.method).unwrap();
            let shown: String = command.chars().take(2_000).collect();
            assert!(done.status.success(), "{shown}\n{}", String::from_utf8_lossy(&done.stderr));
            let received = origin.received();
            let (first, again) = (&received[at], received.last().unwrap());
            assert_eq!((&first.method, &first.uri), (&again.method, &again.uri), "{shown}");
            assert!(call.content(&first.body) == call.content(&again.body), "{shell}: {shown}");
            for name in ["x-own", "content-type", "content-encoding", "user-agent"] {
                let of =
                    |call: &crate::support::origin::Received| call.headers.iter().find(|(n, _)| n == name).cloned();
                assert_eq!(of(first), of(again), "{name}");
            }
            assert_eq!(command.starts_with("# the body is compressed again"), call.coding.is_some(), "{shown}");
        }
    }
    proxy.stop().await;
}

#[test]
fn the_table_has_the_filters_of_the_page_and_a_hostile_call_cannot_control_a_terminal() {
    let bench = Bench::with(&samples());
    deliver(&bench.store, [1]);
    let ids = |arguments: &[&str]| -> Vec<i64> {
        let said = bench.said(&[&["events", "--json"], arguments].concat());
        said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids(&["--host", "API.test"]), [1, 3]);
    assert_eq!(ids(&["--status", "5xx", "--text", "/b"]), [3]);
    assert_eq!(ids(&["--status", "none"]), [5]);
    assert_eq!(ids(&["--llm", "--text", "gpt-x"]), [2]);
    assert_eq!(ids(&["--agent", "agent.py", "--state", "delivered"]), [1]);
    assert_eq!(ids(&["--status", "503", "--status", "200", "--host", "api.test", "--host", "openai"]), [1, 2, 3]);
    assert_eq!(ids(&["--model", "GPT"]), [2]);
    assert_eq!(ids(&["--since", "1h", "--until", "2020-01-01"]), [0; 0]);
    assert_eq!(ids(&["--since", "10m"]), [1, 2, 3, 4, 5, 6]);
    for (arguments, words) in [
        (&["--status", "9xx"][..], "429"),
        (&["--since", "yesterday"], "10m, 2h, 3d"),
        (&["hst:api.test"], "unknown key `hst` in `hst:api.test` (did you mean `host`?)"),
        (&["status:5xx", "cost:1"], "`cost:1`"),
        (&["--state", "dead", "state:pending"], "give one"),
    ] {
        let done = bench.run(&[&["events"], arguments].concat());
        assert_eq!(done.status.code(), Some(2), "{done:?}");
        assert!(String::from_utf8_lossy(&done.stderr).contains(words), "{done:?}");
    }
    let list = bench.said(&["events"]);
    assert!(list.contains("\tgpt-x\t100\t20\t") && list.contains("\tPOST\tapi.test\t/b\t503\t"), "{list}");
    assert!(!list.contains('\u{1b}') && list.lines().count() == 7, "{list}");
    assert!(bench.said(&["events", "--curl", "1"]).starts_with("# secrets were masked"));
    assert!(bench.said(&["events", "--curl", "6"]).contains("curl -g -i -X '<script>"));
    assert!(HOSTILE.contains('\''), "what has to be quoted is there");
}

#[test]
fn the_command_line_and_the_pages_search_field_have_one_language() {
    let mut tool = Sample::model("api.anthropic.com", "/v1/messages", "claude-sonnet-4-5", (90_000, 50), 9_000.0);
    tool.llm["otas_proxy.llm.tool_calls"] = "Bash,Read".into();
    tool.llm["otas_proxy.llm.cost"] = 0.25.into();
    let old = Sample::of("GET", "old.test", "/", 200).ago(7_200_000);
    let bench = Bench::with(&[samples(), vec![tool, old]].concat());
    deliver(&bench.store, [1]);
    let viewer = bench.store.viewer();
    assert_eq!(viewer.newest().unwrap(), 8);
    let list = |query: &str| -> Vec<i64> {
        let said = bench.said(&["events", "--json", query]);
        said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_i64().unwrap()).collect()
    };
    for (query, expected) in [
        ("host:api.test", &[1, 3][..]),
        ("host:api.test status:5xx", &[3]),
        ("status:200 status:201 -host:test", &[2, 7]),
        ("model:sonnet", &[7]),
        ("tool:bash", &[7]),
        ("cost>0.1", &[7]),
        ("tokens<=120 is:model", &[2]),
        ("latency>5s", &[7]),
        ("agent:agent.py path:/b", &[3]),
        ("method:get until:1h", &[8]),
        ("since:1h -method:post state:pending", &[5, 6]),
        ("state:delivered", &[1]),
        ("\"api.test/b\"", &[3]),
        ("session:run-1 openai gpt-x", &[2]),
        ("<script>", &[6]),
    ] {
        assert_eq!(list(query), expected, "{query}");
        let totals: Value = serde_json::from_str(&bench.said(&["stats", "--json", query])).unwrap();
        assert_eq!(totals["all"]["calls"], expected.len(), "{query}");
    }
}

#[test]
fn totals_are_printed_by_one_fact() {
    let mut tool = Sample::model("api.anthropic.com", "/v1/messages", "claude-sonnet-4-5", (90_000, 50), 9_000.0);
    tool.llm["otas_proxy.llm.tool_calls"] = "Bash,Read".into();
    let bench = Bench::with(&[samples(), vec![tool]].concat());
    let other = bench.store.begin_session("run-2", "key-1", r#"{"agent":"claude"}"#).unwrap();
    append(&bench.store, other, &[Sample::of("GET", "api.test", "/c", 200).ago(7_200_000)]);
    let by = |fact: &str, more: &[&str]| -> Vec<(String, u64, u64)> {
        let said = bench.said(&[&["stats", "--json", "--by", fact], more].concat());
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["by"], fact);
        let groups = said["groups"].as_array().unwrap().iter();
        let number = |value: &Value| value.as_u64().unwrap();
        groups
            .map(|of| (of["name"].as_str().unwrap().to_owned(), number(&of["calls"]), number(&of["errors"])))
            .collect()
    };
    let rows = |rows: &[(&str, u64, u64)]| {
        rows.iter().map(|(name, calls, errors)| ((*name).to_owned(), *calls, *errors)).collect::<Vec<_>>()
    };
    assert_eq!(by("host", &[])[0], ("api.test".to_owned(), 3, 1));
    assert_eq!(by("host", &["--since", "1h"])[0], ("api.test".to_owned(), 2, 1));
    assert_eq!(by("model", &["--host", "anthropic"]), rows(&[("claude-sonnet-4-5", 1, 0)]));
    assert_eq!(by("agent", &[]), rows(&[("python agent.py", 7, 2), ("claude", 1, 0)]));
    assert_eq!(by("tool", &[]), rows(&[("Bash", 1, 0), ("Read", 1, 0)]));
    assert_eq!(by("session", &[]), rows(&[("run-1 python agent.py", 7, 2), ("run-2 claude", 1, 0)]));
    assert_eq!(by("status", &["host:api.test"]), rows(&[("200", 2, 0), ("503", 1, 1)]));
    let table = bench.said(&["stats", "--by", "model"]);
    for words in ["model", "p95", "90,000 → 50", "gpt-x"] {
        assert!(table.contains(words), "{words}\n{table}");
    }
}

#[test]
fn the_sessions_of_agents_are_listed_with_what_each_did() {
    let bench = Bench::with(&samples());
    let other = bench.store.begin_session("run-2", "key-1", r#"{"agent":"claude"}"#).unwrap();
    bench.store.begin_session("run-3", "key-1", r#"{"agent":"idle"}"#).unwrap();
    let mut dear = Sample::model("api.anthropic.com", "/v1/messages", "claude-sonnet-4-5", (7, 1), 20.0);
    dear.llm["otas_proxy.llm.cost"] = 0.5.into();
    append(&bench.store, other, &[dear.ago(7_200_000)]);
    let runs = |more: &[&str]| -> Vec<Value> {
        serde_json::from_str(&bench.said(&[&["runs", "--json"], more].concat())).unwrap()
    };
    let all = runs(&[]);
    let names: Vec<&str> = all.iter().map(|run| run["proxy_sessions"][0]["run_id"].as_str().unwrap()).collect();
    assert_eq!(names, ["run-2", "run-1"], "the one with the newest call is the last");
    assert_eq!((&all[0]["agent"], &all[0]["models"]), (&json!("claude"), &json!({ "claude-sonnet-4-5": 1 })));
    let totals = &all[0]["totals"];
    assert_eq!((&totals["costs"], &totals["input_tokens"]), (&json!({ "": 0.5 }), &json!(7)));
    assert_eq!((&all[1]["totals"]["model_calls"], &all[1]["other_calls"]), (&json!(2), &json!(4)));
    assert_eq!((&all[1]["totals"]["errors"], &all[1]["other_errors"]), (&json!(1), &json!(1)));
    let run_id = |more: &[&str]| runs(more)[0]["proxy_sessions"][0]["run_id"].clone();
    assert_eq!((run_id(&["--limit", "1"]), run_id(&["cost>0.1"])), (json!("run-1"), json!("run-2")));
    assert!(runs(&["host:nobody"]).is_empty());
    let table = bench.said(&["runs"]);
    for words in ["last call", "python agent.py", "sonnet-4-5", "gpt-x", "100 → 20", "0.50"] {
        assert!(table.contains(words), "{words}\n{table}");
    }
}

#[test]
fn totals_are_printed_as_tables_and_as_json() {
    let bench = Bench::with(&samples());
    let said = bench.said(&["stats"]);
    for words in ["api.test", "gpt-x", "100 → 20", "HTTPS, intercepted and read", "p99"] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let sums: Value = serde_json::from_str(&bench.said(&["stats", "--json", "--session", "run-1"])).unwrap();
    assert_eq!((&sums["all"]["calls"], &sums["hosts"]["api.test"]["errors"]), (&json!(6), &json!(1)));
    assert_eq!((&sums["models"]["gpt-x"]["output_tokens"], &sums["all"]["cost"]), (&json!(20), &Value::Null));
    assert_eq!(sums["coverage"]["intercepted"], 6);
    let other = bench.store.begin_session("run-2", "key-1", "{}").unwrap();
    assert_ne!(other, bench.session);
    let none: Value = serde_json::from_str(&bench.said(&["stats", "--json", "--session", "run-2"])).unwrap();
    assert_eq!((&none["all"]["calls"], &none["all"]["latency_ms"]["p50"]), (&json!(0), &Value::Null));
}
