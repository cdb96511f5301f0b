//! How fast each view answers.

use std::time::{Duration, Instant};

use crate::runs::RUNS;
use crate::{Looker, print};

/// How often each view is requested.
const LOOKS: usize = 40;

/// Requests each view, and prints what it took.
pub async fn measure(looker: &Looker, events: u32) {
    println!("what it takes to answer, in ms");
    first(looker, "the sums, for the first time", &["/sums"]).await;
    let of_run = |id: &str| format!("/run?id=claude%3A{id}");
    let [compared @ .., one, other] = &RUNS;
    let pages: Vec<String> = compared.iter().map(|id| of_run(id)).collect();
    let parts: Vec<String> = pages.iter().map(|page| page.replace("/run?", "/run/part?")).collect();
    first(looker, "a run of 500 calls, for the first time", &pages.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    first(looker, "what is left of it", &parts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let both = format!("/compare?with=claude%3A{one}&with=claude%3A{other}");
    first(looker, "two such runs side by side, first time", &[&both]).await;
    first(looker, "what is left of them", &[&both.replace("/compare?", "/compare/part?")]).await;
    indexed(looker).await;
    for (name, path) in [
        ("list, with its sums if in time", "/"),
        ("list, older", "/?before=50000"),
        ("by host", "/?text=host:api.openai"),
        ("by status", "/?text=status:5xx"),
        ("calls to models", "/?text=is:model"),
        ("by model", "/?text=model:sonnet"),
        ("by tool that no call has", "/?text=tool:Nothing"),
        ("by agent", "/?text=agent:agent"),
        ("by cost", "/?text=cost>0.01"),
        ("by note", "/?text=note:nothing"),
        ("text in bodies that stands nowhere", "/?text=nowhere-at-all"),
        ("text in bodies of a long run", "/?text=%22sed+-n+311p%22"),
        ("the sums", "/sums"),
        ("sums of calls to models", "/sums?text=is:model"),
        ("sums by host", "/sums?text=host:api.openai"),
        ("sums by cost", "/sums?text=cost>0.01"),
        ("sorted by time", "/?sort=at"),
        ("sorted by status", "/?sort=-status"),
        ("sorted by what happened", "/?sort=call"),
        ("sorted by model", "/?sort=model"),
        ("sorted by tokens", "/?sort=-tokens"),
        ("sorted by what came from the cache", "/?sort=-cached"),
        ("sorted by cost", "/?sort=-cost"),
        ("sorted by time taken", "/?sort=-took"),
        ("calls to models sorted by cost", "/?text=is:model&sort=-cost"),
        ("a call with a body of 1 MiB", &format!("/event/{}", events + 1)),
        ("sessions of agents", "/sessions"),
        ("sessions with errors", "/sessions?text=status:error"),
        ("a run of 500 calls, again", &pages[0]),
        ("two such runs side by side, again", &both),
        ("health (sums over all)", "/health"),
    ] {
        let mut took = Vec::new();
        for _ in 0..LOOKS {
            took.push(look(looker, path).await);
        }
        print(name, took);
    }
}

/// Waits until the search index is made: then a text that stands nowhere is quickly not found.
async fn indexed(looker: &Looker) {
    let by = Instant::now() + Duration::from_secs(180);
    while look(looker, "/?text=nowhere-at-all").await > Duration::from_secs(1) && Instant::now() < by {}
}

/// Requests these once.
async fn first(looker: &Looker, name: &str, paths: &[&str]) {
    let mut took = Vec::new();
    for path in paths {
        took.push(look(looker, path).await);
    }
    print(name, took);
}

async fn look(looker: &Looker, path: &str) -> Duration {
    let began = Instant::now();
    looker.text(path).await;
    began.elapsed()
}
