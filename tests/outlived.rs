//! Processes that outlive their `run`: each of their calls is refused with what has happened, while they live and no longer.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::program::Folder;

const WITHIN: Duration = Duration::from_secs(60);
/// `nobody`, mostly; it need not exist.
const ANOTHER_USER: u32 = 65_534;

/// Leaves a process behind that calls in each way once `ended` is there, and stays until `go` is. It also ends when its folder is gone.
const LEAVES_ONE: &str = r#"
echo "$OTAS_PROXY_RUN_ID $OTAS_PROXY_URL"
until_there() { while test -e ca && ! test -e "$1"; do sleep 0.05; done; }
(
  until_there ended
  curl -sS -D get.head -o get.json 'http://origin.example/a?b=c'
  head -c 3000000 /dev/zero | curl -sS -o post.json -H 'Expect:' --data-binary @- http://origin.example/b
  curl -sS -I -o head.head http://origin.example/c
  curl -s -o /dev/null -w '%{http_connect}' https://origin.example/d >connect
  : >called
  until_there go
) >/dev/null 2>&1 &
"#;

fn run(folder: &Folder, script: &str) -> Output {
    folder.program().args(["run", "--", "sh", "-c", script]).output().unwrap()
}

/// The processes that keep the port of this run.
fn keepers(run_id: &str) -> Vec<u32> {
    let keeps = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let told = |entry: &[u8]| entry.starts_with(b"OTAS_PROXY_ENDED_RUN=") && entry.ends_with(b"}");
        environment
            .split(|byte| *byte == 0)
            .any(|entry| told(entry) && String::from_utf8_lossy(entry).contains(run_id))
    };
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(keeps).collect()
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + WITHIN;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn refusal(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

#[test]
fn calls_of_a_process_that_outlives_its_run_are_refused_with_its_name_while_that_process_lives() {
    let folder = Folder::new();
    folder.configure("[otas]\ndeliver = false\n");
    let at = |name: &str| folder.path().join(name);
    let done = run(&folder, LEAVES_ONE);
    let (said, told) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && told.contains(" still running; "), "{told}");
    let (run_id, url) = said.trim().split_once(' ').unwrap();

    // `run` has not waited for it.
    let keepers_now = keepers(run_id);
    assert_eq!(keepers_now.len(), 1, "{keepers_now:?}");
    let stat = fs::read_to_string(format!("/proc/{}/stat", keepers_now[0])).unwrap();
    let unix_session = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap();
    assert_eq!(unix_session, keepers_now[0].to_string(), "no terminal's end ends it");
    fs::write(at("ended"), "").unwrap();
    eventually("it has called", || at("called").exists());

    let get = refusal(&at("get.json"));
    let detail = get["detail"].as_str().unwrap();
    assert!(detail.contains(run_id) && detail.contains("(`sh -c ") && detail.contains("ended at 20"), "{get}");
    assert_eq!(
        (&get["status"], &get["error"]["code"], &get["host"]),
        (&503.into(), &"run_ended".into(), &"origin.example".into())
    );
    assert!(get["hint"].as_str().unwrap().contains("otas-proxy run"), "{get}");
    let head = fs::read_to_string(at("get.head")).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 503 ") && head.contains("application/problem+json"), "{head}");
    assert!(head.contains("proxy-status: otas-proxy; error=proxy_internal_error") && head.contains(run_id), "{head}");
    assert_eq!(refusal(&at("post.json"))["error"]["code"], "run_ended", "after content that was sent in vain");
    assert!(fs::read_to_string(at("head.head")).unwrap().starts_with("HTTP/1.1 503 "));
    assert_eq!(fs::read_to_string(at("connect")).unwrap(), "503");

    // It is nobody else's business what ran here.
    if rustix::process::geteuid().is_root() {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-w", "%{http_code}", "-x", url, "http://origin.example/"]).uid(ANOTHER_USER);
        assert_eq!(String::from_utf8_lossy(&curl.output().unwrap().stdout), "403");
    }

    fs::write(at("go"), "").unwrap();
    eventually("the port is given up", || keepers(run_id).is_empty());
}

#[test]
fn a_run_that_leaves_nobody_keeps_no_port() {
    let folder = Folder::new();
    folder.configure("[otas]\ndeliver = false\n");
    let done = run(&folder, "echo $OTAS_PROXY_RUN_ID");
    let run_id = String::from_utf8(done.stdout).unwrap();
    assert!(keepers(run_id.trim()).is_empty() && !String::from_utf8_lossy(&done.stderr).contains("still running"));
    // By hand there is nothing to keep.
    let done = folder.program().arg("ended-run").output().unwrap();
    assert!(!done.status.success() && String::from_utf8_lossy(&done.stderr).contains("is started by"), "{done:?}");
}
