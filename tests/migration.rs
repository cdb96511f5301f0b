//! A store of version 0.1.0 (`tests/fixtures/store-0.1.0.db.gz`: events of two processes, delivered, pending and refused, and a
//! call in flight) is taken over without loss.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use otas_proxy::store::{Counts, Filter, State, Store};
use rusqlite::{Connection, OpenFlags};

use crate::support::program::{Folder, rows};
use crate::support::proxy::PATIENCE;

/// The version of the fixture's tables.
const OLD: i64 = 10;

/// A copy of the fixture.
fn fixture(folder: &Path) -> PathBuf {
    let path = folder.join("events.db");
    let packed = include_bytes!("fixtures/store-0.1.0.db.gz");
    let mut file = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut file).unwrap();
    std::fs::write(&path, file).unwrap();
    path
}

fn read<T: rusqlite::types::FromSql>(path: &Path, sql: &str) -> Vec<T> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let mut query = connection.prepare(sql).unwrap();
    query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// The events of a store, oldest first, as they are read.
fn events(path: &Path) -> Vec<Vec<u8>> {
    rows(path).into_iter().map(|event| event.json).collect()
}

#[test]
fn each_event_of_an_old_store_is_read_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = fixture(folder.path());
    assert_eq!(read::<i64>(&path, "PRAGMA user_version"), [OLD]);
    let before: Vec<Vec<u8>> = read(&path, "SELECT json FROM events ORDER BY id");
    assert_eq!(before.len(), 20);
    assert_eq!(events(&path), before);
    assert_ne!(read::<i64>(&path, "PRAGMA user_version"), [OLD]);
    let store = Store::open(&path).unwrap();
    let counts = Counts { total: 20, pending: 11, delivered: 8, dead: 1, kept: 0 };
    assert_eq!(store.counts(None).unwrap(), counts);
    let [key] = &read::<String>(&path, "SELECT key_id FROM sessions ORDER BY id DESC LIMIT 1")[..] else { panic!() };
    let waiting = store.waiting(key, &[], 100).unwrap();
    assert_eq!(waiting.len(), 11);
    for (id, _) in waiting {
        let sql = format!("SELECT json FROM events WHERE id = {id}");
        assert_eq!([store.pending_event(id).unwrap().unwrap().json], read::<Vec<u8>>(&path, &sql)[..]);
    }
    assert_eq!(store.recover_interrupted().unwrap(), 1, "the call in flight becomes an event");
    let newest = store.list(&Filter { limit: 1, ..Filter::default() }).unwrap();
    assert!(newest[0].state == State::Pending && newest[0].error.starts_with("proxy_interrupted"), "{newest:?}");
}

#[test]
fn a_store_that_an_older_process_uses_is_left_to_it() {
    let folder = Folder::new();
    folder.configure("[otas]\ndeliver = false\n");
    let path = fixture(folder.path());
    // What an older proxy has: an open connection with a write-ahead log. It may be idle.
    let older = Connection::open(&path).unwrap();
    older.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    let version = || older.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(version(), OLD);
    let ids: Vec<String> =
        read::<i64>(&path, "SELECT id FROM events WHERE state = 2").iter().map(i64::to_string).collect();
    for arguments in [&["events"][..], &["stats"], &["retry", &ids[0]], &["ui"], &["serve"], &["run", "--", "true"]] {
        let output = folder.program().args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains("events.db has version 10") && told.contains("stop that one"), "{arguments:?}: {told}");
        assert_eq!(version(), OLD, "{arguments:?}");
    }
    older.execute("UPDATE sessions SET total = total", []).unwrap();
    drop(older);
    assert_eq!(events(&path).len(), 20);
    assert_ne!(read::<i64>(&path, "PRAGMA user_version"), [OLD]);
}

/// A proxy on the store in this folder.
fn started(folder: &Folder) -> Child {
    let mut program = folder.program();
    program.arg("serve").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_process_that_is_killed_while_it_takes_a_store_over_loses_nothing() {
    let folder = Folder::new();
    folder.configure("[otas]\ndeliver = false\n");
    let is_old = |path: &Path| read::<i64>(path, "PRAGMA user_version") == [OLD];
    // How long it takes on this machine, so that the kills come before, while and after.
    let path = fixture(folder.path());
    let (began, mut whole) = (Instant::now(), started(&folder));
    while is_old(&path) {
        assert!(began.elapsed() < PATIENCE && whole.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    let takes = began.elapsed();
    whole.kill().unwrap();
    whole.wait().unwrap();
    let mut taken_over = 0;
    for kill in 0..10 {
        for side in ["-wal", "-shm", ".lock"] {
            let _ = std::fs::remove_file(folder.path().join(format!("events.db{side}")));
        }
        let path = fixture(folder.path());
        let before: Vec<Vec<u8>> = read(&path, "SELECT json FROM events ORDER BY id LIMIT 20");
        let mut program = started(&folder);
        std::thread::sleep(takes * kill / 7);
        program.kill().unwrap();
        program.wait().unwrap();
        taken_over += usize::from(!is_old(&path));
        assert_eq!(read::<String>(&path, "PRAGMA integrity_check"), ["ok"]);
        assert_eq!(&events(&path)[..20], before, "killed after {:?}", takes * kill / 7);
    }
    println!("{taken_over} of 10 were killed after the store was taken over, which took {takes:?}");
}
