//! The page over a large store: how fast its list responds, whether its live table keeps up with 500 calls a second,
//! and what the agents notice of a viewer.
//!
//! `just page`, or `cargo bench --bench page -- --events 100000 --secs 10`. The calls go to an origin over TLS,
//! intercepted and recorded. Their latency is measured from the moment when each was due. The viewer requests `/live`
//! once a second, as the page's script does, and the whole list each time.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark reports and may stop"
)]
#![allow(dead_code, unreachable_pub, reason = "the tests' support has more than is needed here")]

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "shared/talk.rs"]
mod talk;
#[path = "llm/words.rs"]
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use otas_proxy::event::BodyText;
use otas_proxy::store::{NewEvent, SessionRow, Store, Writer};
use reqwest::Client;
use serde_json::Value;
use support::origin::{TestCa, TestOrigin};
use support::program::{Folder, Served};
use support::proxy::trusting;
use support::sample::{Sample, deliver};
use talk::{Conversation, call};
use tokio::task::JoinSet;

/// Conversations in the store, and agents that have one at the same time.
const CONVERSATIONS: u32 = 1_000;
const AGENTS: u32 = 8;
/// Calls per second.
const RATE: u32 = 500;
/// How often each page is requested.
const LOOKS: usize = 40;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |name: &str, usual: u32| {
        let at = args.iter().position(|arg| arg == name);
        at.map_or(usual, |at| args[at + 1].parse().expect("a number"))
    };
    let (events, secs) = (number("--events", 100_000), number("--secs", 10));
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run(events, secs));
}

async fn run(events: u32, secs: u32) {
    let files = tempfile::tempdir().unwrap();
    let ca = TestCa::new(files.path());
    let origin = TestOrigin::https(&ca).await;
    let folder = Folder::new();
    std::fs::copy(&ca.file, folder.path().join("origin-ca.pem")).unwrap();
    // Nothing else runs, so only the page is measured.
    folder.configure("[otas]\ndeliver = false\n");
    fill(&folder, events);
    let served = Served::start(folder, |program| program);
    println!("{events} events in the store, {:.0} MiB", size_mib(&served));
    let (page, _) = served.page.split_once("/?code=").expect("the page's address has a code");
    let token = std::fs::read_to_string(served.folder.path().join("admin.token")).expect("the page's token");
    let looker = Looker {
        http: Client::builder().no_proxy().tls_backend_preconfigured(trusting(&ca.file)).build().unwrap(),
        page: page.to_owned(),
        token: token.trim().to_owned(),
    };

    println!("what it takes to answer, in ms, of {LOOKS} times");
    for (name, path) in [
        ("list", "/"),
        ("list, older", "/?before=50000"),
        ("by host", "/?host=api.openai"),
        ("by status", "/?status=5xx"),
        ("calls to models", "/?llm=1"),
        ("text that stands nowhere", "/?text=nowhere-at-all"),
        ("the sums", "/sums"),
        ("sums of calls to models", "/sums?llm=1"),
        ("sorted by cost", "/?sort=-cost"),
        ("sorted by what happened", "/?sort=call"),
        ("a call with a body of 1 MiB", &format!("/event/{}", events + 1)),
        ("sessions", "/sessions"),
        ("health (sums over all)", "/health"),
    ] {
        let mut took = Vec::new();
        for _ in 0..LOOKS {
            let began = Instant::now();
            looker.text(path).await;
            took.push(began.elapsed());
        }
        print(name, took);
    }

    println!("{RATE} calls a second for {secs} s; latency from when each was due, in ms");
    let client = served.client();
    print("nobody looks", load(&client, &origin, secs, &Arc::default()).await);
    let ended = Arc::new(AtomicI64::new(0));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let looking = tokio::spawn(follow(looker, stopped, ended.clone()));
    let calls = load(&client, &origin, secs, &ended).await;
    stop.send(true).unwrap();
    let looked = looking.await.unwrap();
    print("somebody looks", calls);
    print("/live answers in", looked.took);
    println!("  the live table was behind the calls that had ended by {} at most", looked.behind);
}

/// A store with this many delivered calls of a thousand conversations. The newest one has a body of 1 MiB.
fn fill(folder: &Folder, events: u32) {
    let store = Store::open(&folder.path().join("events.db")).unwrap();
    let session = store.begin_session("before", "key", r#"{"command":"agent"}"#).unwrap();
    let mut writer = store.writer().unwrap();
    let kinds = [
        Sample::of("GET", "api.example.com", "/v1/items/4711", 200),
        Sample::of("POST", "files.example.com", "/upload", 503),
        Sample::model("api.openai.com", "/v1/responses", "gpt-5", (1_200, 340), 2_400.0),
        Sample::of("GET", "docs.example.org", "/guide/start", 404),
    ];
    let (turns, mut next) = (events.div_ceil(CONVERSATIONS).max(1), 1);
    let mut talks = Vec::new();
    while next <= events {
        if (next - 1).is_multiple_of(AGENTS * turns) {
            talks = (0..AGENTS).map(|agent| Conversation::new((next + agent).into(), 0)).collect();
        }
        let count = AGENTS.min(events - next + 1);
        append(&mut writer, session, next, events, &kinds, &mut talks[..count as usize]);
        deliver(&store, (next..next + count).map(i64::from));
        next += count;
    }
    append(&mut writer, session, next, events, &kinds[2..3], &mut [Conversation::new(0, 1 << 20)]);
}

/// The next call of each of these conversations.
fn append(
    writer: &mut Writer,
    session: SessionRow,
    first: u32,
    events: u32,
    kinds: &[Sample],
    talks: &mut [Conversation],
) {
    let calls: Vec<_> =
        (first..).zip(talks).map(|(n, talk)| (n, Stored::of(&kinds[n as usize % kinds.len()], n, talk))).collect();
    let now = otas_proxy::event::unix_ms(std::time::SystemTime::now());
    let events: Vec<_> =
        calls.iter().map(|(n, of)| of.event(now - i64::from(events.saturating_sub(*n)) * 10)).collect();
    writer.append(session, &events).unwrap();
}

/// What is stored of a call.
struct Stored<'a> {
    kind: &'a Sample,
    path: String,
    llm: String,
    json: String,
    bodies: [BodyText; 2],
}

impl<'a> Stored<'a> {
    fn of(kind: &'a Sample, n: u32, talk: &mut Conversation) -> Self {
        let mut event = kind.event.clone();
        for body in ["request_body", "response_body"] {
            event[body] = "".into();
        }
        let json = event.to_string();
        let place = |name: &str| json.find(name).map(|at| at + name.len()).unwrap();
        let bodies = talk.next([r#""request_body":""#, r#""response_body":""#].map(place));
        let llm = if kind.llm.is_null() { String::new() } else { kind.llm.to_string() };
        Self { kind, path: format!("{}/{n}", kind.path), llm, json, bodies }
    }

    fn event(&self, started_at_ms: i64) -> NewEvent<'_> {
        let Sample { method, host, status, error, latency_ms, .. } = self.kind;
        NewEvent {
            method,
            host,
            path: &self.path,
            status_code: *status,
            latency_ms: *latency_ms,
            error,
            llm: &self.llm,
            ..call(self.json.as_bytes(), &self.bodies, started_at_ms)
        }
    }
}

fn size_mib(served: &Served) -> f64 {
    std::fs::metadata(served.folder.path().join("events.db")).unwrap().len() as f64 / f64::from(1 << 20)
}

/// A viewer with the page's token.
struct Looker {
    http: Client,
    page: String,
    token: String,
}

impl Looker {
    async fn text(&self, path: &str) -> String {
        let response = self.http.get(format!("{}{path}", self.page)).bearer_auth(&self.token).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }
}

/// The viewer's measurements.
struct Looked {
    took: Vec<Duration>,
    /// The most calls that had ended when the table was requested and were not in it yet.
    behind: i64,
}

/// Follows the live table. `ended`: calls that have ended since then.
async fn follow(looker: Looker, mut stopped: tokio::sync::watch::Receiver<bool>, ended: Arc<AtomicI64>) -> Looked {
    let mut looked = Looked { took: Vec::new(), behind: 0 };
    let newest =
        |page: &str| page.split_once("data-newest=\"").unwrap().1.split('"').next().unwrap().parse::<i64>().unwrap();
    let first = newest(&looker.text("/").await);
    let mut after = first;
    while !*stopped.borrow() {
        let (before, began) = (ended.load(Ordering::Relaxed), Instant::now());
        let news: Value = serde_json::from_str(&looker.text(&format!("/live?after={after}")).await).unwrap();
        looked.took.push(began.elapsed());
        after = news["newest"].as_i64().unwrap();
        looked.behind = looked.behind.max(before - (after - first));
        looker.text("/").await;
        let _ = tokio::time::timeout(Duration::from_secs(1), stopped.changed()).await;
    }
    looked
}

/// The time of each call from when it was due to its end.
async fn load(client: &Client, origin: &TestOrigin, secs: u32, ended: &Arc<AtomicI64>) -> Vec<Duration> {
    // Connections are opened before the first call is due.
    let mut warm = JoinSet::new();
    for _ in 0..8 {
        warm.spawn(client.get(origin.url("/bytes/200")).send());
    }
    warm.join_all().await;
    ended.fetch_add(8, Ordering::Relaxed);
    let (start, mut under_way) = (Instant::now(), JoinSet::new());
    for n in 0..RATE * secs {
        let due = start + Duration::from_secs(1) * n / RATE;
        tokio::time::sleep_until(due.into()).await;
        let call = client.post(origin.url("/echo")).body("a call of the benchmark").send();
        let ended = ended.clone();
        under_way.spawn(async move {
            assert_eq!(call.await.unwrap().bytes().await.unwrap().len(), 23);
            ended.fetch_add(1, Ordering::Relaxed);
            due.elapsed()
        });
    }
    under_way.join_all().await
}

fn print(name: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
    println!("  {name:26} p50 {:7.2}  p99 {:7.2}  max {:7.2}", at(0.5), at(0.99), at(1.0));
}
