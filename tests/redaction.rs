//! Secrets reach the origin whole, and neither the disk, nor OTAS, nor the log, nor the figures. Through the program itself, with
//! its log at its loudest; afterwards all that it wrote is searched byte by byte.

mod everywhere;
mod harmless;
mod own;
mod places;
mod refused;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use regex::Regex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::nobody::Nobody;
use crate::support::origin::{Act, RawOrigin, TestCa, TestOrigin};
use crate::support::otas::TestOtas;
use crate::support::program::{Folder, content_of};
use crate::support::proxy::{TestProxy, trusting};

const WITHIN: Duration = Duration::from_secs(60);

/// One secret of each class that is known by its look.
const KNOWN: [&str; 12] = [
    "sk-ant-api03-c4n4ry0123456789abcdefWXYZ",
    "sk-proj-c4n4ry0123456789abcdefWXYZ",
    "AKIAC4N4RY0123456789",
    "ghp_c4n4ry0123456789abcdefghijklmnopWXYZ",
    "glpat-c4n4ry0123456789WXYZ",
    "xoxb-c4n4ry-0123456789-WXYZ",
    "AIzac4n4ry0123456789abcdefghijklmno_WXYZ",
    "eyJhbGciOiJIUzI1NiJ9.eyJjNG40cnkiOjF9.c4n4ry0123456789WXYZ",
    "hf_c4n4ry0123456789abcdefghijWXYZ",
    "sk_live_c4n4ry0123456789abWXYZ",
    "npm_c4n4ry0123456789abcdefghijklmnopWXYZ",
    "SG.c4n4ry0123456789abcd.efghijklmnopqrstuvWXYZ",
];

/// What shows that a canary is there: as it is, in capitals, in base64 (at each of its three places), in hexadecimal digits and
/// behind `%`.
const TRACES: [&str; 7] =
    ["c4n4ry", "C4N4RY", "YzRuNHJ5", "M0bjRye", "jNG40cn", "63346e347279", "%63%34%6E%34%72%79"];

/// An event with the tags of its masks left out.
pub(crate) fn untagged(event: &Value) -> Value {
    let tags = Regex::new(r"(\*\*\*\*[^#\s]{0,4})#[0-9a-f]{8}").unwrap();
    serde_json::from_str(&tags.replace_all(&event.to_string(), "$1")).unwrap()
}

/// The program, with its log at its loudest in a file.
struct Loud {
    child: Child,
    url: String,
    admin: String,
    folder: Folder,
    log: PathBuf,
}

impl Loud {
    fn start(folder: Folder, key: &str) -> Self {
        let log = folder.path().join("log");
        let mut child = folder
            .program()
            .args(["serve", "--config", "proxy.toml"])
            .env("OTAS_PROXY_LOG", "trace")
            .env("OTAS_AGENT_KEY", key)
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut address = || {
            said.by_ref()
                .find_map(|line| line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned))
                .expect("it says where it listens")
        };
        let (url, admin) = (address(), address());
        std::thread::spawn(move || said.for_each(drop));
        Self { child, url, admin: admin.trim_end_matches("/healthz").to_owned(), folder, log }
    }

    fn client(&self) -> reqwest::Client {
        let proxy = reqwest::Proxy::all(&self.url).unwrap();
        let ca = self.folder.path().join("ca").join("ca.pem");
        reqwest::Client::builder().proxy(proxy).tls_backend_preconfigured(trusting(&ca)).build().unwrap()
    }

    /// What the admin port tells, those who have the page's token too.
    async fn page(&self, path: &str) -> String {
        let token = std::fs::read_to_string(self.folder.path().join("admin.token")).unwrap();
        let ask = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            token.trim()
        );
        let told = exchanged(&self.admin, ask.as_bytes()).await;
        assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
        told.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Literal bytes on a connection of its own, and all that comes back.
    async fn raw(&self, bytes: &[u8]) -> String {
        exchanged(&self.url, bytes).await
    }

    fn end(&mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Loud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn exchanged(url: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut all = Vec::new();
    tokio::time::timeout(WITHIN, stream.read_to_end(&mut all)).await.unwrap().unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn brotli(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    brotli::CompressorWriter::new(&mut out, 4096, 5, 20).write_all(data).unwrap();
    out
}

/// Bodies with secrets in all their places.
fn bodies() -> Vec<(&'static str, String)> {
    let known = KNOWN.join(" and ");
    let deep = json!({
        "model": "m", "max_tokens": 5,
        "messages": [{ "role": "user", "content": known }, { "content": [{ "text": format!("x\n{known}\n") }] }],
        "deep": [[{ "a": { "password": "c4n4ry", "clientSecret": "c4n4ry \"quoted\"", "credentials": { "x": ["c4n4ry"] } } }]],
        "tool_calls": [{ "arguments": json!({ "api_key": "c4n4ry", "cmd": format!("curl -H 'x: {}'", KNOWN[0]) }).to_string() }],
        "query": "mutation { login(password: \"c4n4ry\") }", "variables": { "otp": "c4n4ry" },
        "pem": "-----BEGIN PRIVATE KEY-----\nMIGHc4n4ry0123456789\n-----END PRIVATE KEY-----\n",
        "dsn": "postgres://user:c4n4ry@db.test/x", "usage": { "total_tokens": 7 },
    });
    let pieces: String = format!("it is {} .", KNOWN[1])
        .as_bytes()
        .chunks(5)
        .map(|piece| format!("data: {}\n\n", json!({ "delta": { "text": String::from_utf8_lossy(piece) } })))
        .collect();
    let multipart = format!(
        "--B\r\nContent-Disposition: form-data; name=\"client_secret\"\r\n\r\nc4n4ry\r\n--B\r\nContent-Disposition: form-data; \
         name=\"note\"\r\n\r\n{known}\r\n--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.json\"\r\n\r\n{deep}\r\n--B--\r\n"
    );
    let encoded: String = form_urlencoded::byte_serialize(deep.to_string().as_bytes()).collect();
    vec![
        ("application/json", deep.to_string()),
        ("application/json", serde_json::to_string_pretty(&deep).unwrap()),
        ("application/x-ndjson", format!("{deep}\n{deep}\n")),
        ("text/event-stream", format!("event: x\ndata: {deep}\n\n{pieces}data: [DONE]\n\n")),
        ("text/plain", format!("Authorization: Bearer c4n4ry0123456789abcdef\nAPI_KEY=c4n4ry1\n{known}")),
        ("multipart/form-data; boundary=B", multipart),
        ("application/x-www-form-urlencoded", format!("password=c4n4ry&max_tokens=5&payload={encoded}")),
        ("application/octet-stream", format!("\0\u{1}\u{2}{}\0", KNOWN.join("\0"))),
    ]
}

#[tokio::test]
async fn no_canary_is_left_in_anything_that_the_program_writes() {
    let folder = Folder::new();
    let ca = TestCa::new(folder.path());
    std::fs::rename(&ca.file, folder.path().join("origin-ca.pem")).unwrap();
    let otas = TestOtas::start().await;
    folder.configure(&format!("[otas]\nbrain_url = '{0}'\nuasam_url = '{0}'\n", otas.url()));
    let key = otas.key();
    let mut proxy = Loud::start(folder, key.expose());
    let (plain, h2) = (TestOrigin::http().await, TestOrigin::h2(&ca).await);
    let client = proxy.client();
    let mut calls = 0;

    // Bodies of all kinds, plain and coded; the origin sends each back, and gets what was sent.
    for (content_type, body) in bodies() {
        let zstd = zstd::encode_all(body.as_bytes(), 3).unwrap();
        for (coding, bytes) in [
            ("identity", body.clone().into_bytes()),
            ("gzip", gzip(body.as_bytes())),
            ("deflate", deflate(body.as_bytes())),
            ("br", brotli(body.as_bytes())),
            ("zstd", zstd),
        ] {
            let origin = if coding == "br" { &h2 } else { &plain };
            let post = client.post(origin.url("/echo")).header("content-type", content_type);
            let reply = post.header("content-encoding", coding).body(bytes.clone()).send().await.unwrap();
            assert_eq!(reply.status(), 200);
            assert_eq!(reply.bytes().await.unwrap(), bytes, "the agent gets what the origin sent");
            let seen = origin.received();
            let sent = ("content-type".to_owned(), content_type.to_owned());
            assert!(seen.last().unwrap().headers.contains(&sent));
            calls += 1;
        }
    }

    // Header fields, paths and queries, over HTTP/1.1 and HTTP/2.
    for known in KNOWN {
        for origin in [&plain, &h2] {
            let url =
                origin.url(&format!("/path/{known}?q={known}&api_key=c4n4ry&next=https%3A%2F%2Fu%3Ac4n4ry%40x.test"));
            let get = client
                .get(url)
                .header("authorization", format!("Bearer {known}"))
                .header("x-any", format!("say {known}"))
                .header("cookie", "sid=c4n4ry")
                .header("x-auth-token", "c4n4ry")
                .header("user-agent", format!("agent ({known})"))
                .header("referer", format!("https://u:c4n4ry@x.test/?code=c4n4ry#access_token={known}"));
            get.send().await.unwrap().bytes().await.unwrap();
            let sent = ("cookie".to_owned(), "sid=c4n4ry".to_owned());
            assert!(origin.received().last().unwrap().headers.contains(&sent), "the origin gets what the agent sent");
            calls += 1;
        }
    }

    // Answers: header fields, chunks that split secrets, trailers; and a call that fails.
    let head = "HTTP/1.1 200 OK\r\nSet-Cookie: a=c4n4ry; Path=/\r\nLocation: /cb?code=c4n4ry\r\nLink: <https://x.test/?sig=c4n4ry>\r\n\
        WWW-Authenticate: Negotiate c4n4ry\r\nX-Any: sk-ant-c4n4ry0123456789abcdefWXYZ\r\nContent-Type: application/json\r\n\
        Trailer: x-auth-token, x-any\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = format!("{{\"secret\":\"c4n4ry\",\"text\":\"use {} please\"}}", KNOWN[0]);
    let chunks: String = body.as_bytes().chunks(3).fold(String::new(), |all, chunk| {
        all + &format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk))
    });
    let trailers = "0\r\nx-auth-token: c4n4ry\r\nx-any: sk-ant-c4n4ry0123456789abcdefWXYZ\r\n\r\n";
    let origin = RawOrigin::start(vec![Act::Write(format!("{head}{chunks}{trailers}").into_bytes())]).await;
    let ask = format!(
        "POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nTE: trailers\r\nConnection: close, TE\r\nTrailer: x-api-key\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\nx-api-key: c4n4ry\r\n\r\n",
        origin.addr
    );
    assert!(proxy.raw(ask.as_bytes()).await.contains("a=c4n4ry; Path=/"));
    let closed = Nobody::new();
    let failing = format!(
        "GET http://user:c4n4ry@{closed}/{0}?token=c4n4ry HTTP/1.1\r\nHost: {closed}\r\nX-Any: {0}\r\nConnection: close\r\n\r\n",
        KNOWN[0]
    );
    assert!(proxy.raw(failing.as_bytes()).await.starts_with("HTTP/1.1 502 "));
    calls += 2;

    // Our own key, where an agent says it.
    let own = client.post(plain.url("/echo")).body(format!("my key is {}, is it?", key.expose()));
    own.send().await.unwrap().bytes().await.unwrap();
    calls += 1;

    let saved = otas.events_at_least(calls, WITHIN).await;
    let mut told = String::new();
    for page in ["/metrics", "/status", "/readyz"] {
        told += &proxy.page(page).await;
    }
    let while_running = found_in(proxy.folder.path(), key.expose());
    proxy.end();

    assert_eq!(otas.refused(), []);
    assert_eq!(saved.len() as u64, calls);
    for event in &saved {
        let text = event.to_string();
        let left: Vec<_> = TRACES.iter().filter(|trace| text.contains(**trace)).collect();
        assert!(left.is_empty() && !text.contains(key.expose()), "{left:?} {event:#}");
        if event["request_content_type"] == "application/json" && event["path"] == "/echo" {
            let body: Value = serde_json::from_str(event["request_body"].as_str().unwrap()).unwrap();
            assert_eq!((&body["max_tokens"], &body["usage"]["total_tokens"]), (&json!(5), &json!(7)));
        }
    }
    assert!(saved.iter().any(|event| event["metadata"]["redaction_rules"]["own"] == 2));
    assert!(TRACES.iter().all(|trace| !told.contains(trace)), "{told}");
    let log = std::fs::read_to_string(&proxy.log).unwrap();
    assert!(log.lines().count() > 100, "the log is loud");
    assert_eq!((while_running, found_in(proxy.folder.path(), key.expose())), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_gap_in_a_large_body_leaves_nothing_of_the_secrets_at_its_edges() {
    let otas = TestOtas::start().await;
    let origin = TestOrigin::http().await;
    for shift in 0..12 {
        let start = TestProxy::new().otas(&otas).with(|config| {
            (config.capture.body_max_bytes, config.capture.body_head_bytes, config.capture.body_tail_bytes) =
                (0, 1024, 512);
        });
        let proxy = start.run().await;
        let pad = |n: usize| "p ".repeat(n);
        let secret = KNOWN[0];
        let body = format!("{{\"a\":\"{}{secret} \",\"b\":\"{}\",\"c\":\"", pad(500 - shift), pad(2_000));
        let rest = format!("{secret}\",\"d\":\"{}\"}}", pad(240));
        let tail = &rest[..rest.len().min(512 + secret.len() / 2 - shift)];
        let post = proxy.client().post(origin.url("/echo")).header("content-type", "application/json");
        post.body(format!("{body}{tail}")).send().await.unwrap().bytes().await.unwrap();
        let [event] = proxy.events().await.try_into().unwrap();
        for trace in ["c4n4", "0123", "4567", "abcd"] {
            let shown = event["request_body"].as_str().unwrap();
            assert!(shown.contains("bytes not kept") && !shown.contains(trace), "{shift}: {trace} in {shown}");
        }
    }
}

#[tokio::test]
async fn a_body_over_its_search_budget_is_withheld_and_its_event_still_goes() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas).with(|config| config.redact.budget = Duration::ZERO).run().await;
    let post = proxy.client().post(origin.url("/echo")).header("content-type", "application/json");
    let note = json!({ "note": "c4n4ry", "more": "x".repeat(2000) }).to_string();
    let reply = post.body(note.clone()).send().await.unwrap();
    assert_eq!(reply.bytes().await.unwrap(), note, "the wire is never changed");
    let event = otas.events_at_least(1, WITHIN).await.remove(0);
    assert_eq!(event["metadata"]["redaction"], "failed_withheld");
    assert_eq!((&event["request_size_bytes"], &event["status_code"]), (&json!(note.len()), &json!(200)));
    for body in ["request_body", "response_body"] {
        assert!(event[body].as_str().unwrap().contains("withheld"), "{event}");
    }
    assert_eq!(found_in(proxy.folder.path(), otas.key().expose()), Vec::<String>::new());
    proxy.stop().await;
}

#[tokio::test]
async fn hosts_are_recorded_as_far_as_the_settings_say_and_rules_are_lifted_where_they_say() {
    let folder = Folder::new();
    let otas = TestOtas::start().await;
    folder.configure(&format!(
        "[otas]\nbrain_url = '{0}'\nuasam_url = '{0}'\n[[capture.rules]]\nhosts = ['127.0.0.1']\ncapture = 'none'\n\
         [redact]\nheaders = ['x-acme']\nkeys = ['employee_number']\npatterns = {{ acme = 'acme_[0-9]{{8}}' }}\n\
         [[redact.allow]]\nhosts = ['localhost']\npath = '/open/*'\nrules = ['key.*', 'pattern.acme']\n",
        otas.url()
    ));
    let mut proxy = Loud::start(folder, otas.key().expose());
    let origin = TestOrigin::http().await;
    let client = proxy.client();
    let port = origin.addr.port();
    for (host, path) in [("127.0.0.1", "/secret-path"), ("localhost", "/open/x"), ("localhost", "/closed/x")] {
        let post = client.post(format!("http://{host}:{port}{path}?employee_number=7")).header("x-acme", "hush");
        let body = r#"{"employeeNumber":"E7","a":"acme_01234567"}"#;
        post.header("content-type", "application/json").body(body).send().await.unwrap().bytes().await.unwrap();
    }
    let events = otas.events_at_least(3, WITHIN).await;
    let status: Value = serde_json::from_str(&proxy.page("/status").await).unwrap();
    proxy.end();
    let mut events: Vec<Value> = events.iter().map(untagged).collect();
    // Two that are under way at once may arrive swapped.
    events.sort_by_key(|event| event["metadata"]["event"]["seq"].as_u64());
    let [none, open, closed] = events.try_into().unwrap();
    assert_eq!((&none["path"], &none["query_params"], &none["request_body"]), (&json!("/"), &json!(""), &json!("")));
    assert_eq!((&none["metadata"]["capture"]["level"], &none["request_size_bytes"]), (&json!("none"), &json!(43)));
    assert_eq!(open["request_body"], r#"{"employeeNumber":"E7","a":"acme_01234567"}"#);
    assert_eq!(open["query_params"], "employee_number=7");
    assert_eq!(closed["request_body"], r#"{"employeeNumber":"****","a":"****"}"#);
    assert_eq!(closed["query_params"], "employee_number=****");
    for event in [&open, &closed] {
        assert!(event["request_headers"].as_str().unwrap().contains(r#""x-acme":"****""#), "{event}");
    }
    let allow = status["redaction"]["allow"][0].as_str().unwrap();
    assert_eq!(allow, r#"{ hosts = ["localhost"], path = "/open/*", rules = ["key.*", "pattern.acme"] }"#);
}

/// The files under `folder` that hold a trace of a canary or `secret`.
fn found_in(folder: &Path, secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(found_in(&path, secret));
        } else {
            let bytes = content_of(&path);
            let holds = |what: &str| bytes.windows(what.len()).any(|window| window == what.as_bytes());
            found.extend(
                TRACES
                    .iter()
                    .chain([&secret])
                    .filter(|what| holds(what))
                    .map(|what| format!("{}: {what}", path.display())),
            );
        }
    }
    found
}
