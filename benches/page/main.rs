//! The page over a large store: how fast each view answers, whether the live table keeps up with many calls a second, what the
//! browser's main thread has to do for it, and what the agents notice of a viewer.
//!
//! `just page`, or `cargo bench --bench page -- --events 100000 --rate 200 --secs 10`. `--only views` or `--only live` leaves the
//! other part out. The calls go to an origin over TLS, intercepted and recorded. Their latency is measured from the moment when each
//! was due. The viewer requests `/live` once a second, as the page's script does, and the whole list each time. If there is a
//! Chromium, it has the list open for as long again.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark reports and may stop"
)]
#![allow(dead_code, unreachable_pub, reason = "the tests' support has more than is needed here")]

#[path = "../shared/args.rs"]
mod args;
mod fill;
mod live;
mod runs;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../shared/talk.rs"]
mod talk;
mod views;
#[path = "../llm/words.rs"]
mod words;

use std::time::Duration;

use reqwest::Client;
use support::origin::{TestCa, TestOrigin};
use support::program::{Folder, Served};
use support::proxy::trusting;

fn main() {
    let args = args::Args::read();
    let is_wanted = |part: &str| args.text("--only").is_none_or(|only| only == part);
    let what = What {
        events: args.number("--events", 100_000),
        load: live::Load { rate: args.number("--rate", 200), secs: args.number("--secs", 10) },
        views: is_wanted("views"),
        live: is_wanted("live"),
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run(what));
}

/// What is measured.
struct What {
    events: u32,
    load: live::Load,
    views: bool,
    live: bool,
}

async fn run(what: What) {
    let files = tempfile::tempdir().unwrap();
    let ca = TestCa::new(files.path());
    let origin = TestOrigin::https(&ca).await;
    let folder = Folder::new();
    std::fs::copy(&ca.file, folder.path().join("origin-ca.pem")).unwrap();
    // Nothing else runs, so only the page is measured.
    folder.configure("[otas]\ndeliver = false\n");
    fill::fill(&folder, what.events);
    let served = Served::start(folder, |program| program);
    println!("{} events in the store, {:.0} MiB", what.events, size_mib(&served));
    let (page, _) = served.page.split_once("/?code=").expect("the page's address has a code");
    let token = std::fs::read_to_string(served.folder.path().join("admin.token")).expect("the page's token");
    let looker = Looker {
        http: Client::builder().no_proxy().tls_backend_preconfigured(trusting(&ca.file)).build().unwrap(),
        page: page.to_owned(),
        token: token.trim().to_owned(),
    };
    if what.views {
        views::measure(&looker, what.events).await;
    }
    if what.live {
        live::measure(looker, &served, &origin, &what.load).await;
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
    /// An address of the page that works once.
    fn link(&self) -> String {
        let at = self.page.strip_prefix("http://").unwrap().parse().unwrap();
        otas_proxy::admin::link(at, &otas_proxy::secret::Secret::new(&self.token)).unwrap()
    }

    async fn text(&self, path: &str) -> String {
        let response = self.http.get(format!("{}{path}", self.page)).bearer_auth(&self.token).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }
}

fn print(name: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
    println!("  {name:36} p50 {:7.2}  p99 {:7.2}  max {:7.2}", at(0.5), at(0.99), at(1.0));
}
