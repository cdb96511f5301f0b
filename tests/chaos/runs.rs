//! Several parallel runs on one store, some of them killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::origin::TestOrigin;
use crate::support::otas::{Overload, TestOtas};
use crate::support::program::{Folder, verified};
use crate::support::proxy::eventually;

const RUNS: usize = 10;
const CALLS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_runs_on_one_store_survive_three_kills_and_every_event_arrives_in_its_session() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    // Slow and patient: a busy machine must not fail the runs.
    otas.overload(Overload { time_out: Duration::from_secs(10), ..Overload::measured(20) });
    let folder = super::configured(&otas);
    let mut runs = Runs { folder: folder.path().to_owned(), children: Vec::new() };
    runs.children.extend((0..RUNS).map(|run| start(&folder, &origin, run)));
    let store = folder.path().join("events.db");
    eventually("each run has stored some calls", async || {
        let made: BTreeSet<String> = origin.received().iter().filter_map(|call| run_of(&call.body)).collect();
        let number = |sql| super::judge::number(&store, sql);
        made.len() == RUNS
            && number("SELECT count(*) FROM sessions WHERE total > 0") == RUNS as i64
            && number("SELECT sum(delivered) FROM sessions") > 5
    })
    .await;
    // The delivering run is killed first.
    let delivering = holder(folder.path()).expect("somebody delivers");
    let first = runs.children.iter().position(|run| run.id() == delivering).expect("one of ours delivers");
    let killed: BTreeSet<usize> = [first, (first + 3) % RUNS, (first + 6) % RUNS].into();
    for run in &killed {
        runs.children[*run].kill().unwrap();
    }
    std::fs::write(folder.path().join("go"), "").unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        runs.children.iter_mut().map(|run| run.wait().unwrap().success()).collect::<Vec<_>>()
    });
    for (run, well) in ended.await.unwrap().into_iter().enumerate() {
        assert_eq!(well, !killed.contains(&run), "run {run}");
    }
    // The next process delivers what the killed runs left.
    let flushed = tokio::task::spawn_blocking({
        let mut flush = folder.program();
        move || flush.args(["flush", "--timeout", "30s"]).output().unwrap()
    });
    let flushed = flushed.await.unwrap();
    assert!(flushed.status.success(), "{flushed:?}");
    assert_eq!(super::judge::number(&store, "SELECT sum(total - delivered) FROM sessions"), 0);
    verified(&store);

    let mut of_session: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    let mut calls: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in otas.stored_events().await {
        let body = event.body["request_body"].as_str().unwrap().to_owned();
        let Some(run) = run_of(body.as_bytes()) else { continue };
        of_session.entry(event.session_id).or_default().insert(run.clone());
        calls.entry(run).or_default().insert(body);
    }
    assert!(of_session.values().all(|runs| runs.len() == 1), "{of_session:?}");
    assert_eq!((of_session.len(), calls.len()), (RUNS, RUNS));
    for (run, calls) in calls {
        let was_killed = killed.contains(&run.trim_start_matches("run-").parse().unwrap());
        assert!(calls.len() == CALLS || was_killed, "{run}: {calls:?}");
    }
    assert!(otas.most_posts_at_once() <= 20, "together they overran OTAS: {}", otas.most_posts_at_once());
    assert_eq!(otas.refused().len(), 0, "{:?}", otas.refused());
}

/// Ends what is left of the runs when the test fails: a run that lives on would call a port that another test has by then. Shows
/// what they said.
struct Runs {
    folder: PathBuf,
    children: Vec<Child>,
}

impl Drop for Runs {
    fn drop(&mut self) {
        for (run, child) in self.children.iter_mut().enumerate() {
            if std::thread::panicking() {
                let said = std::fs::read_to_string(self.folder.join(log(run))).unwrap_or_default();
                println!("run {run} ({:?}):\n{said}", child.try_wait());
            }
            // Most have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Where a run's messages go.
fn log(run: usize) -> String {
    format!("run-{run}.log")
}

/// `otas-proxy run` around a command that makes this run's calls: some at once, and the rest when the file `go` exists, so that
/// no run ends before.
fn start(folder: &Folder, origin: &TestOrigin, run: usize) -> Child {
    let calls = format!(
        "for call in $(seq {CALLS}); do curl -sS -o answer-{run} --data \"run-{run} call-$call\" {} || exit 1; \
         [ $call != 4 ] || until [ -e go ] || [ ! -e {} ]; do sleep 0.05; done; done",
        origin.url("/echo"),
        folder.path().display()
    );
    let mut program = folder.program();
    program
        .args(["run", "--include-localhost", "--", "sh", "-c", &calls])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(folder.path().join(log(run))).unwrap());
    program.spawn().unwrap()
}

fn run_of(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    text.split(' ').next().filter(|word| word.starts_with("run-")).map(str::to_owned)
}

/// The process that holds the delivery lock, according to the system.
fn holder(folder: &Path) -> Option<u32> {
    let locks: BTreeSet<u64> = std::fs::read_dir(folder)
        .unwrap()
        .map(Result::unwrap)
        .filter(|file| file.file_name().to_string_lossy().contains(".deliver-"))
        .map(|file| file.metadata().unwrap().ino())
        .collect();
    // "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"
    std::fs::read_to_string("/proc/locks").unwrap().lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let inode: u64 = words.get(5)?.rsplit(':').next()?.parse().ok()?;
        locks.contains(&inode).then(|| words[4].parse().ok())?
    })
}
