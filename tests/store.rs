//! The commands about the store's file, with the real program and real traffic.

use std::process::Output;

use otas_proxy::store::Store;
use rusqlite::Connection;

use crate::support::origin::TestOrigin;
use crate::support::program::{Folder, Served};
use crate::support::proxy::eventually;

/// A proxy without OTAS whose agent has resent a growing conversation.
async fn conversation(calls: usize) -> (Served, TestOrigin) {
    let folder = Folder::new();
    folder.configure("[otas]\ndeliver = false\n");
    let (served, origin) = (Served::start(folder, |program| program), TestOrigin::http().await);
    talk(&served, &origin, 0..calls).await;
    (served, origin)
}

async fn talk(served: &Served, origin: &TestOrigin, calls: std::ops::Range<usize>) {
    let client = served.client();
    for call in calls.clone() {
        let sent: String = (0..8_000 + call * 800).map(|word| format!("{word} ")).collect();
        let reply = client.post(origin.url("/echo")).body(sent).send().await.unwrap();
        assert_eq!(reply.status(), 200);
        reply.bytes().await.unwrap();
    }
    let store = Store::open(&served.folder.path().join("events.db")).unwrap();
    eventually("the calls are stored", async || store.counts(None).unwrap().total == calls.end as u64).await;
}

fn store(folder: &Folder, args: &[&str]) -> Output {
    folder.program().arg("store").args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn info(folder: &Folder, name: &str) -> u64 {
    let output = store(folder, &["info", "--json"]);
    let sizes: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    sizes[name].as_u64().unwrap_or_else(|| panic!("{name}: {sizes}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_reported_with_its_event_and_the_others_are_intact() {
    let (served, _origin) = conversation(6).await;
    // Beside the proxy, and after it.
    let verified = store(&served.folder, &["verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
    let folder = served.into_folder();
    let verified = store(&folder, &["verify"]);
    assert!(verified.status.success() && text(&verified).contains("6 events and "), "{}", text(&verified));
    assert!(info(&folder, "shared_bytes") > info(&folder, "logical_bytes") / 2);
    assert!(info(&folder, "stored_bytes") * 4 < info(&folder, "logical_bytes"));
    let shown = text(&store(&folder, &["info"]));
    assert!(shown.contains("events    6\n") && shown.contains("events.db"), "{shown}");

    let file = Connection::open(folder.path().join("events.db")).unwrap();
    let last = "SELECT id, data FROM chunks ORDER BY id DESC LIMIT 1";
    let (chunk, mut data): (i64, Vec<u8>) = file.query_row(last, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let middle = data.len() / 2;
    data[middle] ^= 1;
    file.execute("UPDATE chunks SET data = ?2 WHERE id = ?1", (chunk, data)).unwrap();
    drop(file);
    let verified = store(&folder, &["verify"]);
    let said = text(&verified);
    assert_eq!(verified.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("chunk {chunk} is damaged")), "{said}");
    assert_eq!(said.matches("event ").count(), 1, "{said}");
    assert!(said.contains("event 6 (") && said.contains("faults"), "{said}");
    let shown = |event: &str| {
        let output = folder.program().args(["events", "show", event]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    assert!(shown("6").contains("is damaged in the event store"));
    assert!(!shown("5").contains("is damaged in the event store"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clearing_asks_first_and_compacting_gives_the_space_back() {
    let (served, origin) = conversation(6).await;
    // Nobody is there to answer.
    let asked = store(&served.folder, &["clear"]);
    assert_eq!(asked.status.code(), Some(1), "{}", text(&asked));
    assert!(text(&asked).contains("6 events in ") && text(&asked).contains("--yes"), "{}", text(&asked));
    let none = store(&served.folder, &["clear", "--yes", "--before", "7d"]);
    assert!(none.status.success() && text(&none).contains("no events to delete"), "{}", text(&none));
    let cleared = store(&served.folder, &["clear", "--yes", "--status", "2xx"]);
    assert!(cleared.status.success() && text(&cleared).contains("6 events deleted"), "{}", text(&cleared));
    assert_eq!((info(&served.folder, "events"), info(&served.folder, "chunks")), (0, 0));
    // The proxy goes on, though chunks that it remembers are gone.
    talk(&served, &origin, 6..7).await;
    let refused = store(&served.folder, &["compact"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("a proxy uses the event store"), "{}", text(&refused));
    let folder = served.into_folder();
    let before = info(&folder, "file_bytes") + info(&folder, "log_bytes");
    let compacted = store(&folder, &["compact"]);
    assert!(compacted.status.success() && text(&compacted).contains(" before, "), "{}", text(&compacted));
    let after = info(&folder, "file_bytes") + info(&folder, "log_bytes");
    assert!(after < before && info(&folder, "free_bytes") == 0, "{before} {after}");
    let verified = store(&folder, &["verify"]);
    assert!(verified.status.success() && text(&verified).contains("1 event and "), "{}", text(&verified));
}
