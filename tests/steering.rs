//! Seeing and steering: what waits and why is told on the command line and the admin port, and can be acted upon.

use std::io::{BufRead, BufReader};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use otas_proxy::store::{Counts, NewEvent, Outcome, SessionRow, Settlement, State, Store};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use uuid::Uuid;

use crate::support::program::Folder;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn events_are_listed_newest_last_in_a_table_and_whole_as_json() {
    let bench = Bench::new();
    bench.append(3);
    bench.settle(2, Outcome::Dead { verdict: "answered 400: invalid_json".into() });
    bench.settle(3, Outcome::Delivered { otas_event_id: "e-3".into() });
    let table = bench.said(&["events"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert!(lines[0].starts_with("id") && lines[2].starts_with("1 ") && lines[4].starts_with("3 "), "{table}");
    assert!(lines[3].contains("dead") && lines[3].contains("answered 400: invalid_json"), "{table}");
    let whole: Vec<Value> = json_lines(&bench.said(&["events", "--json"]));
    assert_eq!(whole.iter().map(|event| event["id"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(whole[1]["state"], "dead");
    assert_eq!(whole[1]["attempts"], 1);
    assert_eq!(whole[1]["verdict"], "answered 400: invalid_json");
    assert_eq!(whole[2]["otas_event_id"], "e-3");
    assert_eq!(whole[2]["metadata"]["seq"], 2, "what is stored is there as it is");
}

#[test]
fn events_are_chosen_by_state_session_and_number() {
    let bench = Bench::new();
    bench.append(4);
    bench.settle(1, Outcome::Dead { verdict: "no".into() });
    let other = bench.store.begin_session("run-2", "k", "{}").unwrap();
    bench.append_to(other, 1);
    let ids = |arguments: &[&str]| -> Vec<i64> {
        let said = bench.said(&[&["events", "--json"], arguments].concat());
        json_lines(&said).iter().map(|event| event["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids(&["--limit", "2"]), [4, 5]);
    assert_eq!(ids(&["--state", "dead"]), [1]);
    assert_eq!(ids(&["--session", "run-2"]), [5]);
    assert_eq!(ids(&["--session", "1", "--state", "pending"]), [2, 3, 4]);
    let one = bench.said(&["events", "show", "4"]);
    assert!(one.lines().count() > 5, "{one}");
    assert_eq!(serde_json::from_str::<Value>(&one).unwrap()["id"], 4);
    assert_eq!(bench.said(&["events", "--id", "4"]), one);
    for (arguments, told) in
        [(["events", "--id", "9"], "there is no event 9"), (["events", "--session", "x"], "no session `x`")]
    {
        let done = bench.run(&arguments);
        assert_eq!((done.status.code(), text(&done.stderr).contains(told)), (Some(1), true), "{done:?}");
    }
}

#[test]
fn a_store_that_is_not_there_is_said_and_not_made() {
    let folder = Folder::new();
    folder.configure("");
    for arguments in [&["events"][..], &["events", "show", "1"], &["retry", "--dead"]] {
        let done = folder.program().args(arguments).output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{arguments:?}");
        assert!(text(&done.stderr).contains("there is no event store"), "{}", text(&done.stderr));
        assert!(!folder.path().join("events.db").exists());
    }
}

#[test]
fn following_prints_what_is_new_until_it_is_asked_to_stop() {
    let bench = Bench::new();
    bench.append(2);
    for signal in [Signal::INT, Signal::TERM] {
        let mut child =
            bench.folder.program().args(["events", "--follow", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut next = || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            serde_json::from_str::<Value>(&line).unwrap()["id"].as_i64().unwrap()
        };
        let before = bench.store.counts(None).unwrap().total as i64;
        for id in 1..=before {
            assert_eq!(next(), id);
        }
        bench.append(1);
        assert_eq!(next(), before + 1);
        bench.append(2);
        assert_eq!((next(), next()), (before + 2, before + 3));
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(ended(&mut child), Some(0));
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let bench = Bench::new();
    bench.append(2_000);
    let mut child =
        bench.folder.program().args(["events", "--json", "--limit", "2000"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(ended(&mut child), Some(0));
}

#[test]
fn dead_events_are_put_back_by_number_or_all() {
    let bench = Bench::new();
    bench.append(4);
    for id in 1..=3 {
        bench.settle(id, Outcome::Dead { verdict: "no".into() });
    }
    bench.settle(4, Outcome::Delivered { otas_event_id: "e".into() });
    assert_eq!(bench.said(&["retry", "2"]), "1 event is pending again\n");
    assert_eq!(bench.store.event(2).unwrap().state, State::Pending);
    for (id, told) in
        [("2", "event 2 is pending, not dead"), ("4", "event 4 is delivered, not dead"), ("9", "no event 9")]
    {
        let done = bench.run(&["retry", "1", id]);
        assert_eq!(done.status.code(), Some(1));
        assert!(text(&done.stderr).contains(told), "{}", text(&done.stderr));
    }
    assert_eq!(bench.store.counts(None).unwrap(), Counts { total: 4, pending: 1, delivered: 1, dead: 2 });
    assert_eq!(bench.said(&["retry", "--dead", "--session", "run-1"]), "2 events are pending again\n");
    assert_eq!(bench.said(&["retry", "--dead"]), "no event is dead: nothing to put back\n");
    assert_eq!(bench.store.counts(None).unwrap(), Counts { total: 4, pending: 3, delivered: 1, dead: 0 });
    for usage in [&["retry"][..], &["retry", "1", "--dead"], &["retry", "1", "--session", "1"]] {
        assert_eq!(bench.run(usage).status.code(), Some(2), "{usage:?}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A program that must end by itself: its exit code.
fn ended(child: &mut Child) -> Option<i32> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("it did not end");
}

/// A folder with settings and a store that has one session, `run-1`.
struct Bench {
    folder: Folder,
    store: Store,
    session: SessionRow,
}

impl Bench {
    fn new() -> Self {
        let folder = Folder::new();
        folder.configure("");
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let session = store.begin_session("run-1", "k", "{}").unwrap();
        Self { folder, store, session }
    }

    fn append(&self, count: usize) {
        self.append_to(self.session, count);
    }

    fn append_to(&self, session: SessionRow, count: usize) {
        let json = |seq| {
            format!(
                r#"{{"path":"/v1/chat","method":"POST","status_code":200,"latency_ms":1.5,"error":"","metadata":{{"seq":{seq}}}}}"#
            )
        };
        let jsons: Vec<String> = (0..count).map(json).collect();
        let events = (0..).zip(&jsons).map(|(seq, json)| NewEvent {
            event_id: Uuid::now_v7(),
            seq,
            started_at_ms: 1_700_000_000_000,
            method: "POST",
            host: "api.example.com",
            path: "/v1/chat",
            status_code: 200,
            latency_ms: 1.5,
            request_bytes: 0,
            response_bytes: 0,
            error: "",
            json: json.as_bytes(),
        });
        let events: Vec<NewEvent<'_>> = events.collect();
        self.store.writer().unwrap().append(session, &events).unwrap();
    }

    fn settle(&self, id: i64, outcome: Outcome) {
        self.store.settle(&[Settlement { id, attempts: 1, outcome }]).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.folder.program().args(arguments).output().unwrap()
    }

    /// What a command that must go well says.
    fn said(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stdout)
    }
}
