//! The live table beside many calls a second: whether it keeps up, what the agents notice, and what a browser has to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;

use crate::support::browser::{Browser, chromium};
use crate::support::origin::TestOrigin;
use crate::support::program::Served;
use crate::{Looker, print};

/// The calls of the agents.
pub struct Load {
    /// Calls a second.
    pub rate: u32,
    /// For how long.
    pub secs: u32,
}

/// Makes the calls without a viewer, with one, and with a browser.
pub async fn measure(looker: Looker, served: &Served, origin: &TestOrigin, load: &Load) {
    println!("{} calls a second for {} s; latency from when each was due, in ms", load.rate, load.secs);
    let (client, link) = (served.client(), looker.link());
    print("nobody looks", calls(&client, origin, load, &Arc::default()).await);
    let ended = Arc::new(AtomicI64::new(0));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let looking = tokio::spawn(follow(looker, stopped, ended.clone()));
    let made = calls(&client, origin, load, &ended).await;
    stop.send(true).unwrap();
    let looked = looking.await.unwrap();
    print("somebody looks", made);
    print("/live answers in", looked.took);
    println!("  the live table was behind the calls that had ended by {} at most", looked.behind);
    let Some(program) = chromium() else { return println!("  no Chromium: the browser's share is not measured") };
    let mut browser = tokio::task::block_in_place(|| Browser::start(&program, (1280, 800), false));
    tokio::task::block_in_place(|| browser.open(&link));
    for (name, is_held) in [("the list is open in a browser", false), ("the same, with the pointer over a row", true)]
    {
        if is_held {
            hold(&mut browser);
        }
        let (began, before) = (Instant::now(), tokio::task::block_in_place(|| browser.worked()));
        print(name, calls(&client, origin, load, &Arc::default()).await);
        let worked = tokio::task::block_in_place(|| browser.worked()) - before;
        println!(
            "  its main thread works {:.1} % of the time",
            worked.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0
        );
    }
}

/// Puts the pointer over the list, so that its rows stay where they are.
fn hold(browser: &mut Browser) {
    tokio::task::block_in_place(|| {
        browser.point(300, 300);
        browser.eval(
            "document.querySelector('.rows').dispatchEvent(new PointerEvent('pointermove', { bubbles: true })); 1",
        );
    });
}

/// The viewer's measurements.
struct Looked {
    took: Vec<Duration>,
    /// The most calls that had ended when the table was requested and were not in it yet.
    behind: i64,
}

/// Follows the live table. `ended`: calls that have ended since then.
async fn follow(looker: Looker, mut stopped: Receiver<bool>, ended: Arc<AtomicI64>) -> Looked {
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
async fn calls(client: &Client, origin: &TestOrigin, load: &Load, ended: &Arc<AtomicI64>) -> Vec<Duration> {
    // Connections are opened before the first call is due.
    let mut warm = JoinSet::new();
    for _ in 0..8 {
        warm.spawn(client.get(origin.url("/bytes/200")).send());
    }
    warm.join_all().await;
    ended.fetch_add(8, Ordering::Relaxed);
    let (start, mut under_way) = (Instant::now(), JoinSet::new());
    for n in 0..load.rate * load.secs {
        let due = start + Duration::from_secs(1) * n / load.rate;
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
