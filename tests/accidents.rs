//! What happens to the store from outside: it is deleted or renamed while it is in use, the process may write no larger files,
//! others may read or write what was captured.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use otas_proxy::config::Sink;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::origin::TestOrigin;
use crate::support::otas::TestOtas;
use crate::support::program::{Folder, Served};
use crate::support::proxy::{Running, TestProxy, eventually};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A proxy whose store is in a folder of its own.
async fn proxy_with_data(otas: &TestOtas) -> (Running, PathBuf) {
    let proxy = TestProxy::new().otas(otas);
    let data = proxy.folder().join("data");
    let path = data.join("events.db");
    (proxy.with(|c| c.store.path = path).run().await, data)
}

async fn calls(proxy: &Running, origin: &TestOrigin, many: usize) {
    for _ in 0..many {
        proxy.client().get(origin.url("/")).send().await.unwrap();
    }
}

/// Five events are delivered, six wait, and then the store goes.
async fn goes(take_away: impl FnOnce(&Path)) {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let (proxy, data) = proxy_with_data(&otas).await;
    calls(&proxy, &origin, 5).await;
    eventually("they are delivered", async || proxy.status().await["events"]["delivered"] == 5).await;
    otas.down().await;
    calls(&proxy, &origin, 6).await;
    eventually("they wait", async || proxy.status().await["events"]["pending"] == 6).await;
    take_away(&data);
    eventually("it is noticed", async || proxy.status().await["events"]["lost"] == 6).await;
    calls(&proxy, &origin, 3).await;
    otas.up().await;
    let summary = proxy.stop().await;
    // Of what is delivered, one tells of the gap.
    assert_eq!((summary.calls, summary.delivered, summary.waiting, summary.failed), (14, 9, 0, 6), "{summary}");
    let events = otas.events().await;
    let [gap] = &events.iter().filter(|event| event["method"] == "GAP").collect::<Vec<_>>()[..] else {
        panic!("one gap: {events:#?}")
    };
    assert_eq!(gap["custom_properties"]["otas_proxy.gap.events"], 6);
    assert!(gap["error"].as_str().unwrap().contains("was deleted, or its folder renamed"), "{}", gap["error"]);
    assert_eq!((events.len(), otas.sessions().await.len()), (9, 1), "the session goes on");
}

#[tokio::test]
async fn a_store_that_is_deleted_while_events_wait_is_a_gap_with_their_number() {
    goes(|data| {
        for name in ["events.db", "events.db-wal", "events.db-shm"] {
            fs::remove_file(data.join(name)).unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_store_whose_folder_is_renamed_while_events_wait_is_a_gap_with_their_number() {
    goes(|data| fs::rename(data, data.with_file_name("data.old")).unwrap()).await;
}

#[tokio::test]
async fn a_store_whose_folder_is_deleted_while_events_wait_is_a_gap_with_their_number() {
    goes(|data| fs::remove_dir_all(data).unwrap()).await;
}

/// Of two processes on one store, one counts what is missing.
#[tokio::test]
async fn a_loss_that_two_processes_notice_is_counted_once() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    otas.down().await;
    let (one, data) = proxy_with_data(&otas).await;
    let path = data.join("events.db");
    let two = TestProxy::new().otas(&otas).with(|c| c.store.path = path).run().await;
    calls(&one, &origin, 2).await;
    calls(&two, &origin, 3).await;
    eventually("they wait", async || one.status().await["delivery"]["backlog"] == 5).await;
    fs::rename(&data, data.with_file_name("data.old")).unwrap();
    let lost = async |proxy: &Running| proxy.status().await["events"]["lost"].as_u64().unwrap();
    eventually("it is noticed", async || lost(&one).await + lost(&two).await == 5).await;
    otas.up().await;
    one.stop().await;
    two.stop().await;
    let events = otas.events().await;
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(events[0]["custom_properties"]["otas_proxy.gap.events"], 5);
}

/// SIGXFSZ would end the process; a write that the limit stops counts as one to a full disk.
#[tokio::test]
async fn a_file_size_limit_counts_as_a_full_disk_and_the_store_resumes_when_it_is_lifted() {
    let folder = Folder::new();
    folder.configure(
        "[otas]\nbrain_url = 'http://127.0.0.1:9'\nuasam_url = 'http://127.0.0.1:9'\nagent_key = 'agent_a_b'\n",
    );
    let served = Served::start(folder, |program| program);
    let admin = url::Url::parse(&served.page).unwrap().socket_addrs(|| None).unwrap()[0];
    let ask = async |what: &str| {
        let mut stream = tokio::net::TcpStream::connect(admin).await.unwrap();
        let request = format!("GET {what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str::<Value>(body).unwrap())
    };
    let origin = TestOrigin::http().await;
    let client = served.client();
    let limit = |bytes: Option<u64>| {
        let limits = Rlimit { current: bytes, maximum: None };
        prlimit(Some(Pid::from_child(&served.child)), Resource::Fsize, limits).unwrap();
    };
    client.get(origin.url("/before")).send().await.unwrap();
    eventually("one is stored", async || ask("/status").await.1["events"]["stored"] == 1).await;
    assert_eq!(ask("/readyz").await.0, 200);
    limit(Some(0));
    for _ in 0..3 {
        assert_eq!(client.get(origin.url("/full")).send().await.unwrap().status(), 200, "agents notice nothing");
    }
    eventually("it is said", async || ask("/status").await.1["events"]["in_memory"] == 3).await;
    let (status, ready) = ask("/readyz").await;
    let reasons = ready["reasons"].to_string();
    assert!(
        status == 503 && reasons.contains("in memory only (3)") && reasons.contains("the disk is full"),
        "{ready}"
    );
    limit(None);
    eventually("all are stored", async || ask("/status").await.1["events"]["stored"] == 4).await;
    eventually("it is ready", async || ask("/readyz").await.0 == 200).await;
    let events = &ask("/status").await.1["events"];
    assert_eq!((&events["in_memory"], &events["lost"]), (&0.into(), &0.into()), "{events}");
    assert_eq!(served.events().len(), 4);
}

#[tokio::test]
async fn loose_permissions_of_store_and_sink_are_tightened_at_the_start() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas);
    let (store, sink) = (proxy.folder().join("data/events.db"), proxy.folder().join("out/events.jsonl"));
    for file in [&store, &sink] {
        let folder = file.parent().unwrap();
        fs::create_dir(folder).unwrap();
        set_mode(folder, 0o777);
        fs::write(file, "").unwrap();
        set_mode(file, 0o666);
    }
    let (path, to) = (store.clone(), sink.clone());
    let proxy = proxy.with(|c| (c.store.path, c.sinks) = (path, vec![Sink::JsonLines(Some(to))])).run().await;
    calls(&proxy, &origin, 1).await;
    let summary = proxy.app.stop(std::time::Duration::from_secs(20), Default::default(), |_| {}).await;
    assert_eq!(summary.sinks[0].fed.sent, 1);
    assert_eq!((mode(&store), mode(store.parent().unwrap())), (0o600, 0o775));
    assert_eq!((mode(&sink), mode(sink.parent().unwrap())), (0o640, 0o775));
    assert_eq!(fs::read_to_string(&sink).unwrap().lines().count(), 1);
}

#[test]
fn a_har_file_is_never_written_through_a_link() {
    let folder = Folder::new();
    folder.configure("");
    assert!(folder.program().args(["run", "--", "true"]).output().unwrap().status.success());
    let (other, link) = (folder.path().join("other"), folder.path().join("out.har"));
    fs::write(&other, "kept").unwrap();
    std::os::unix::fs::symlink(&other, &link).unwrap();
    for (arguments, why) in [
        (&["events", "--har", "out.har"][..], "exists already"),
        (&["events", "--har", "out.har", "--force"], "symbolic link"),
    ] {
        let done = folder.program().args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains(why), "{said}");
        assert_eq!(fs::read_to_string(&other).unwrap(), "kept");
    }
}
