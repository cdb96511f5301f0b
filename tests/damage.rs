//! A bit of a stored body flips on the disk. `store verify`, the page and the event for OTAS say so, and all other events stay whole.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use otas_proxy::store::{Filter, Store};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::page::client;
use crate::support::origin::TestOrigin;
use crate::support::otas::TestOtas;
use crate::support::program::{Folder, Served};
use crate::support::proxy::eventually;

const CALLS: usize = 3;
/// Stands in place of what is damaged.
const MARK: &str = "\n…[otas-proxy: a part of this body is damaged in the event store]…\n";

/// A chunk as it is stored.
struct Chunk {
    number: i64,
    data: Vec<u8>,
    text: String,
    /// The calls that have it. Each has it in both bodies, because the origin echoes.
    calls: usize,
}

impl Chunk {
    /// Which calls have it. The end of a body is also in the next bodies, but there in a chunk with what follows.
    fn hits(&self, texts: &[String]) -> Vec<bool> {
        let mut left = self.calls;
        let mut hits = |text: &String| {
            let is_hit = left > 0 && text.contains(&self.text);
            left -= usize::from(is_hit);
            is_hit
        };
        texts.iter().map(&mut hits).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_reported_everywhere_and_nothing_else_is_lost() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    otas.down().await;
    let folder = Folder::new();
    folder.configure(&format!(
        "[otas]\nbrain_url = '{0}'\nuasam_url = '{0}'\nagent_key = '{1}'\n[delivery]\nbackoff_min_ms = 5\nbackoff_max_ms = 50\n",
        otas.url(),
        otas.key().expose()
    ));
    let served = Served::start(folder, |program| program);
    let store = served.folder.path().join("events.db");
    let texts = talk(&served, &origin, &store).await;
    let mut folder = served.into_folder();
    close(&store);
    let (intact, chunks) = (std::fs::read(&store).unwrap(), chunks(&store));
    assert!(chunks.len() > CALLS, "{}", chunks.len());
    otas.up().await;

    for chunk in chunks {
        restore(&store, &intact);
        flip(&store, &chunk.data);
        let is_hit = chunk.hits(&texts);
        verify_names(&folder, &chunk, &is_hit);

        let before = otas.stored_events().await.len();
        let served = Served::start(folder, |program| program);
        eventually("all are delivered", async || otas.stored_events().await.len() >= before + CALLS).await;
        let delivered = otas.stored_events().await.split_off(before);
        for (text, is_hit) in texts.iter().zip(&is_hit) {
            let expected = if *is_hit { text.replace(&chunk.text, MARK) } else { text.clone() };
            let event = delivered.iter().find(|event| event.body["request_body"] == *expected);
            let event = &event.unwrap_or_else(|| panic!("chunk {}: {} of {}", chunk.number, is_hit, text.len())).body;
            assert_eq!(event["response_body"], *expected);
            assert_eq!(event["metadata"]["cut"]["bodies_damaged"], if *is_hit { true.into() } else { Value::Null });
        }
        page_reports(&served, &is_hit).await;
        folder = served.into_folder();
    }
}

/// An agent sends a conversation that grows. Returns the bodies of its calls, once they are stored.
async fn talk(served: &Served, origin: &TestOrigin, store: &Path) -> Vec<String> {
    let words = |call: usize| (0..3_000 + call * 900).map(|word| format!("word {word}, ")).collect::<String>();
    let texts: Vec<String> = (0..CALLS).map(words).collect();
    let client = served.client();
    for text in &texts {
        let reply = client.post(origin.url("/echo")).body(text.clone()).send().await.unwrap();
        assert_eq!(reply.text().await.unwrap(), *text);
    }
    let store = Store::open(store).unwrap();
    eventually("the calls are stored", async || store.counts(None).unwrap().pending == CALLS as u64).await;
    let events = store.list(&Filter { limit: 9, ..Filter::default() }).unwrap();
    let bodies = events.iter().rev().map(|event| serde_json::from_slice::<Value>(&event.json).unwrap());
    let bodies: Vec<Value> = bodies.map(|event| event["request_body"].clone()).collect();
    assert_eq!(bodies, texts);
    texts
}

/// Writes the log back, so that all is in one file.
fn close(store: &Path) {
    let file = Connection::open(store).unwrap();
    file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

fn chunks(store: &Path) -> Vec<Chunk> {
    let file = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let sql = "SELECT id, data, refs FROM chunks JOIN chunk_refs ON chunk = id ORDER BY id";
    let mut query = file.prepare(sql).unwrap();
    let rows = query.query_map([], |row| {
        let data: Vec<u8> = row.get(1)?;
        let text = String::from_utf8(zstd::decode_all(&data[..]).unwrap()).unwrap();
        Ok(Chunk { number: row.get(0)?, data, text, calls: row.get::<_, u32>(2)? as usize / 2 })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn restore(store: &Path, intact: &[u8]) {
    for side in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(store.with_file_name(format!("events.db{side}")));
    }
    std::fs::write(store, intact).unwrap();
}

/// Flips one bit of a chunk in the file.
fn flip(store: &Path, data: &[u8]) {
    let bytes = std::fs::read(store).unwrap();
    let places: Vec<usize> =
        memchr::memmem::find_iter(&bytes, &data[..data.len().min(200)]).map(|place| place + 100).collect();
    let [place] = places[..] else { panic!("{places:?}") };
    let file = std::fs::OpenOptions::new().write(true).open(store).unwrap();
    file.write_all_at(&[bytes[place] ^ 8], place as u64).unwrap();
}

fn verify_names(folder: &Folder, chunk: &Chunk, is_hit: &[bool]) {
    let output = folder.program().args(["store", "verify"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("chunk {} is damaged", chunk.number)), "{said}");
    for (event, is_hit) in (1..).zip(is_hit) {
        assert_eq!(said.contains(&format!("event {event} (")), *is_hit, "{said}");
    }
    assert_eq!(said.lines().count(), 2 + is_hit.iter().filter(|hit| **hit).count(), "{said}");
}

async fn page_reports(served: &Served, is_hit: &[bool]) {
    let (page, _) = served.page.split_once("/?code=").unwrap();
    let token = std::fs::read_to_string(served.folder.path().join("admin.token")).unwrap();
    let read = async |path: String| {
        let reply = client().get(format!("{page}{path}")).bearer_auth(token.trim()).send().await.unwrap();
        reply.text().await.unwrap()
    };
    for (event, is_hit) in (1..).zip(is_hit) {
        let shown = read(format!("/event/{event}")).await;
        assert_eq!(shown.contains("Parts of the bodies are damaged in the event store"), *is_hit, "event {event}");
    }
    eventually("the health page reports it", async || {
        read("/health".to_owned()).await.contains("parts of bodies are damaged in the event store")
    })
    .await;
}
