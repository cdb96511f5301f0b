//! The commands about the store's file, with the real program and real traffic.

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Output;

use otas_proxy::store::Store;
use rusqlite::Connection;

use crate::support::origin::TestOrigin;
use crate::support::program::{Folder, Served};
use crate::support::proxy::eventually;
use crate::support::sample::{Sample, append};

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

/// The names, modes and contents of what is in a folder.
fn everything(folder: &Path) -> Vec<(OsString, u32, Vec<u8>)> {
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            (entry.file_name(), mode, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn commands_leave_a_file_that_is_no_whole_store_as_it_is() {
    let whole = tempfile::tempdir().unwrap();
    let events = whole.path().join("events.db");
    let made = Store::open(&events).unwrap();
    let session = made.begin_session("run", "key", "{}").unwrap();
    append(&made, session, &[Sample::of("GET", "a.test", "/x", 200)]);
    drop(made);
    let whole = std::fs::read(&events).unwrap();

    let folder = Folder::new();
    folder.configure("");
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("mine.db");
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let theirs = std::fs::read(&file).unwrap();
    let files = [
        ("another program's database", theirs, "is not an event store"),
        ("no database", b"notes of the user\n".repeat(300), "is not an event store"),
        ("an empty file", Vec::new(), "is empty"),
        ("a truncated store", whole[..40_000].to_vec(), "is damaged"),
    ];
    let commands: [&[&str]; 13] = [
        &["events"],
        &["show", "1"],
        &["diff", "1"],
        &["runs"],
        &["stats"],
        &["search", "text"],
        &["share", "1", "--output", "-"],
        &["note", "1", "text"],
        &["retry", "--dead"],
        &["store", "info"],
        &["store", "verify"],
        &["store", "compact"],
        &["store", "clear", "--yes"],
    ];
    for (what, contents, said) in files {
        std::fs::write(&file, contents).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let before = everything(place.path());
        for command in commands {
            let done = folder.program().args(command).arg("--store-path").arg(&file).output().unwrap();
            let is_verified = command == ["store", "verify"] && text(&done).contains("file damaged");
            assert_eq!(done.status.code(), Some(1), "{what}: {command:?}: {}", text(&done));
            assert!(is_verified || text(&done).contains(said), "{what}: {command:?}: {}", text(&done));
            // SQLite may leave the empty side files of a store that it has read.
            let mut after = everything(place.path());
            after.retain(|(name, ..)| !["mine.db-wal", "mine.db-shm"].iter().any(|side| name == side));
            assert_eq!(after.len(), 1, "{what}: {command:?}");
            assert!(after == before, "{what}: {command:?}");
        }
        for side in ["mine.db-wal", "mine.db-shm"] {
            let _ = std::fs::remove_file(place.path().join(side));
        }
    }
}

#[test]
fn a_store_in_a_folder_that_cannot_be_written_is_read_and_what_hides_it_is_named() {
    const USER: u32 = 65_532;
    let folder = Folder::new();
    let place = tempfile::tempdir().unwrap();
    let (closed, file) = (place.path().join("closed"), place.path().join("closed/events.db"));
    let made = Store::open(&file).unwrap();
    let session = made.begin_session("run", "key", "{}").unwrap();
    append(&made, session, &[Sample::of("GET", "a.test", "/x", 200)]);
    drop(made);
    std::fs::remove_file(closed.join("events.db.lock")).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&file, Some(USER), Some(USER)).unwrap();
    }
    let open = |mode| {
        for path in [folder.path(), place.path()] {
            std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::set_permissions(&closed, Permissions::from_mode(mode)).unwrap();
    };
    let ran = |arguments: &[&str]| {
        let mut command = folder.program();
        command.env_remove("OTAS_PROXY_CONFIG").args(arguments).arg("--store-path").arg(&file);
        if is_root {
            command.uid(USER).gid(USER);
        }
        let done = command.output().unwrap();
        (done.status.code(), text(&done))
    };
    open(0o555);
    for arguments in [&["events"][..], &["show", "1"], &["stats"], &["store", "info"], &["store", "verify"]] {
        let (code, said) = ran(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
    }
    let (code, said) = ran(&["note", "1", "text"]);
    assert!(code == Some(1) && said.contains("can write its folder"), "{said}");
    assert_eq!(std::fs::read_dir(&closed).unwrap().count(), 1, "nothing is made");
    open(if is_root { 0o700 } else { 0o000 });
    let (code, said) = ran(&["events"]);
    assert!(code == Some(1) && said.contains("permissions") && !said.contains("not found"), "{said}");
    open(0o755);
}

#[test]
fn a_word_of_a_filter_may_begin_with_a_dash_wherever_it_stands() {
    let folder = Folder::new();
    folder.configure("");
    let made = Store::open(&folder.path().join("events.db")).unwrap();
    let session = made.begin_session("run", "key", "{}").unwrap();
    append(&made, session, &[Sample::of("GET", "a.test", "/x", 200), Sample::of("GET", "b.test", "/y", 500)]);
    let ran = |arguments: &[&str]| folder.program().args(arguments).output().unwrap();
    for words in
        [&["-host:a.test"][..], &["-path:/x"], &["-status:200"], &["host:b", "-host:a.test"], &["--not", "host:a"]]
    {
        let listed = ran(&[&["events"], words].concat());
        let listed = (listed.status.code(), text(&listed));
        assert!(
            listed.0 == Some(0) && listed.1.contains("b.test") && !listed.1.contains("a.test"),
            "{words:?}: {listed:?}"
        );
        assert!(text(&ran(&[&["stats", "--json"], words].concat())).contains("\"calls\": 1"), "{words:?}");
    }
    let unknown = ran(&["events", "-hst:a"]);
    assert!(unknown.status.code() == Some(2) && text(&unknown).contains("hst"), "{}", text(&unknown));
    let none = ran(&["events", "--limit", "0"]);
    assert!(none.status.code() == Some(2) && text(&none).contains("from 1 on"), "{}", text(&none));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_with_what_was_to_be_written() {
    let folder = Folder::new();
    folder.configure("");
    let made = Store::open(&folder.path().join("events.db")).unwrap();
    let session = made.begin_session("run", "key", "{}").unwrap();
    append(&made, session, &[Sample::of("GET", "a.test", "/x", 200)]);
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for arguments in [
        &["events"][..],
        &["events", "--json"],
        &["events", "--har", "-"],
        &["stats"],
        &["share", "1", "--output", "-"],
    ] {
        let done = folder.program().args(arguments).stdout(full()).output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{arguments:?}: {}", text(&done));
        assert!(text(&done).contains("cannot write to standard output: "), "{arguments:?}: {}", text(&done));
    }
    for arguments in [["events", "--har", "/dev/full"], ["share", "1", "--output=/dev/full"]] {
        let done = folder.program().args(arguments).output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{arguments:?}: {}", text(&done));
        assert!(text(&done).contains("cannot write `/dev/full`: "), "{arguments:?}: {}", text(&done));
    }
}
