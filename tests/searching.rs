//! Large bodies are searched for secrets beside the reporting thread: fairly by caller, and without a loss when the proxy is
//! stopped or killed meanwhile.

use std::time::{Duration, Instant};

use otas_proxy::store::Store;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::sessions::{client, with_agents_and};
use crate::support::origin::TestOrigin;
use crate::support::otas::TestOtas;
use crate::support::program::{Folder, Served};
use crate::support::proxy::{Running, eventually};

/// Calls with bodies that take long to search.
const CALLS: usize = 60;
/// What `capture.body_head_bytes` keeps of a body.
const BODY_BYTES: usize = 256 << 10;
/// Repeated, they take the longest to search of all that is known.
const SLOWEST: [&str; 4] = ["sshpass -p ", "api key ", "\"password\":'", "identified by '"];

fn slow(n: usize) -> String {
    let piece = SLOWEST[n % SLOWEST.len()];
    piece.repeat(BODY_BYTES / piece.len())
}

/// How many events there are of this path, or of all.
fn stored(store: &std::path::Path, path: &str) -> usize {
    let connection = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let sql = "SELECT count(*) FROM events WHERE path LIKE ?1";
    connection.query_row(sql, [path], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap()
}

/// Makes all the slow calls at once.
async fn make_slow_calls(client: &reqwest::Client, url: &str) {
    let calls = (0..CALLS).map(|n| {
        let call = client.post(url).body(slow(n)).send();
        async move { assert_eq!(call.await.unwrap().bytes().await.unwrap().len(), slow(n).len()) }
    });
    futures_util::future::join_all(calls).await;
}

async fn two_agents(otas: &TestOtas) -> Running {
    // Enough for all of their bodies, request and answer.
    with_agents_and(otas, &["hostile", "other"], |proxy| proxy.with(|c| c.capture.memory_bytes = 256 << 20)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_take_long_to_search_hold_up_no_other_callers_events() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = two_agents(&otas).await;
    let (hostile, other) =
        (client(&proxy, "hostile", "secret-of-hostile"), client(&proxy, "other", "secret-of-other"));
    make_slow_calls(&hostile, &origin.url("/echo/hostile")).await;
    let store = proxy.app.store.path().to_owned();
    let mut slowest = Duration::ZERO;
    // A small one, and one that is searched beside as well: their caller has its turn.
    for (n, body) in ["small".to_owned(), "a large body of prose. ".repeat(BODY_BYTES / 23)].into_iter().enumerate() {
        let path = format!("/echo/other-{n}");
        other.post(origin.url(&path)).body(body).send().await.unwrap().bytes().await.unwrap();
        let began = Instant::now();
        eventually("the other caller's event is stored", async || stored(&store, &path) == 1).await;
        slowest = slowest.max(began.elapsed());
        let waiting = CALLS - stored(&store, "/echo/hostile");
        println!("stored after {:?}, while {waiting} of {CALLS} wait", began.elapsed());
        assert!(waiting > 0, "the slow ones were all searched before");
    }
    // A stop does not wait for all searches: what is not searched is withheld, and no event is missing.
    let events = proxy.events().await;
    let of_calls = events.iter().filter(|event| event["metadata"]["kind"] != "gap").count();
    assert_eq!((of_calls, events.len()), (CALLS + 2, CALLS + 2));
}

/// What a body says that was not searched.
fn is_withheld(event: &Value) -> bool {
    let body = event["request_body"].as_str().unwrap();
    body.contains("withheld") && event["metadata"]["redaction"] == "failed_withheld"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_is_killed_while_bodies_are_searched_leaves_an_event_of_each_call() {
    let folder = Folder::new();
    folder.configure(
        "[otas]\nbrain_url = 'http://127.0.0.1:9'\nuasam_url = 'http://127.0.0.1:9'\nagent_key = 'agent_a_b'\n\
         [capture]\nmemory_bytes = 268435456\n",
    );
    let mut served = Served::start(folder, |program| program);
    let origin = TestOrigin::http().await;
    let client = served.client();
    make_slow_calls(&client, &origin.url("/echo/hostile")).await;
    client.post(origin.url("/echo/small")).body("small").send().await.unwrap().bytes().await.unwrap();
    let store = served.folder.path().join("events.db");
    eventually("each call is in the store, as an event or as a note", async || {
        let connection = Connection::open_with_flags(&store, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let sql = "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM open_exchanges)";
        connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() == CALLS as i64 + 1
    })
    .await;
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    // The small call waits behind those of its own caller.
    let hostile = stored(&store, "/echo/hostile");
    let searched = hostile + stored(&store, "/echo/small");
    assert!(hostile < CALLS, "all were searched before");

    let recovered = Store::open(&store).unwrap().recover_interrupted().unwrap();
    assert_eq!(recovered, CALLS + 1 - searched);
    let events = served.events();
    assert_eq!(events.len(), CALLS + 1);
    let mut places: Vec<_> = events.iter().map(|event| event["metadata"]["event"]["seq"].as_u64().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, (1..=CALLS as u64 + 1).collect::<Vec<_>>(), "each has the place at which it ended");
    for event in &events {
        // The call had ended well, and its event says so; only what was not searched is not shown.
        assert_eq!((&event["status_code"], &event["error"]), (&200.into(), &"".into()), "{event:#}");
    }
    assert_eq!(events.iter().filter(|event| is_withheld(event)).count(), CALLS - hostile);
}
