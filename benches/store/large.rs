//! A store with very many events of conversations.

use std::path::Path;
use std::time::{Duration, Instant};

use otas_proxy::event::BodyText;
use otas_proxy::store::{
    Bounds, Filter, Inspector, Outcome, Selection, SessionRow, Settlement, Sizes, Store, Writer,
};

use crate::talk::{Conversation, call};

pub const JSON: &[u8] = br#"{"method":"POST","path":"/v1/messages","status_code":200,"request_body":"","response_body":"","metadata":{"schema":1}}"#;
pub const PLACES: [usize; 2] = [73, 92];
/// Agents that talk at the same time.
const AGENTS: usize = 8;
/// The body of the last call.
const LARGE_BYTES: usize = 1 << 20;
const LOOKS: usize = 200;

const ALL: Bounds =
    Bounds { max_bytes: 1 << 40, min_free_bytes: 0, keep: Duration::MAX, keep_bytes: 1 << 40, may_drop: true };

/// Measures and prints.
pub fn run(events: usize, conversations: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let store = Store::open(&path).unwrap();
    let session = store.begin_session("bench", "key", "{}").unwrap();
    let mut writer = store.writer().unwrap();
    println!(
        "\n| with {events} events of {conversations} conversations, in ms | p50 | p99 | max |\n|---|---|---|---|"
    );
    fill(&store, &mut writer, session, events, conversations);
    read(&store);
    retain(&store, &mut writer, session);
    clear(&store, &mut writer, session);
    let began = Instant::now();
    let seen = Inspector::open(&path).unwrap().verify(&mut |fault| panic!("{fault}")).unwrap();
    print("verify what is left", vec![began.elapsed()]);
    println!("\n{} events and {} chunks are left.", seen.events, seen.chunks);
}

pub fn print(name: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
    println!("| {name} | {:.2} | {:.2} | {:.2} |", at(0.5), at(0.99), at(1.0));
}

pub fn timed<T>(took: &mut Vec<Duration>, act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = act();
    took.push(began.elapsed());
    done
}

/// All calls are delivered but those of the last conversation, whose body is large.
pub fn fill(store: &Store, writer: &mut Writer, session: SessionRow, events: usize, conversations: usize) {
    let (turns, mut took, mut id, mut at) = (events / conversations, Vec::new(), 0, 0);
    for group in 0..conversations.div_ceil(AGENTS) {
        let numbers = group * AGENTS..((group + 1) * AGENTS).min(conversations);
        let begins_with = |number| if number + 1 == conversations { LARGE_BYTES } else { 0 };
        let mut talks: Vec<_> = numbers.map(|number| Conversation::new(number as u64, begins_with(number))).collect();
        for _ in 0..turns {
            let bodies: Vec<[BodyText; 2]> = talks.iter_mut().map(|talk| talk.next(PLACES)).collect();
            at += 1_000;
            let calls: Vec<_> = bodies.iter().map(|bodies| call(JSON, bodies, at)).collect();
            timed(&mut took, || writer.append(session, &calls).unwrap());
            settle(store, id + 1..=id + calls.len() as i64);
            id += calls.len() as i64;
        }
    }
    print(&format!("append {AGENTS} calls"), took);
    let of = store.viewer().sizes().unwrap();
    println!("{}", described(&of, store.path()));
}

fn settle(store: &Store, ids: impl Iterator<Item = i64>) {
    let outcome = || Outcome::Delivered { otas_event_id: "e".to_owned() };
    store.settle(&ids.map(|id| Settlement { id, attempts: 1, outcome: outcome() }).collect::<Vec<_>>()).unwrap();
}

fn described(of: &Sizes, path: &Path) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let file = std::fs::metadata(path).unwrap().len();
    format!(
        "| file {:.0} MiB ({:.0} unused), bodies {:.0} MiB, stored {:.0} MiB in {} chunks | | | |",
        mib(file),
        mib(of.free_bytes),
        mib(of.logical_bytes),
        mib(of.stored_bytes),
        of.chunks
    )
}

fn read(store: &Store) {
    let (viewer, filter) = (store.viewer(), Filter { limit: 100, ..Filter::default() });
    let newest = viewer.newest().unwrap();
    let (mut lists, mut older, mut opened, mut sizes, mut damaged) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..LOOKS {
        assert_eq!(timed(&mut lists, || viewer.calls(&filter, None).unwrap()).len(), 100);
        assert_eq!(timed(&mut older, || viewer.calls(&filter, Some(newest / 2)).unwrap()).len(), 100);
        let event = timed(&mut opened, || viewer.event(newest).unwrap().unwrap());
        assert!(event.json.len() > LARGE_BYTES);
        timed(&mut sizes, || viewer.sizes().unwrap());
        timed(&mut damaged, || viewer.damaged_chunks().unwrap());
    }
    print("list the newest 100", lists);
    print("list 100 from the middle", older);
    print("open a call with a body of 1 MiB", opened);
    print("sizes (`store info`)", sizes);
    print("damaged chunks", damaged);
}

/// Half of the bytes, then nearly all by age; with an append after each step.
fn retain(store: &Store, writer: &mut Writer, session: SessionRow) {
    let kept = |store: &Store| store.viewer().sizes().unwrap();
    let before = kept(store);
    let half = Bounds { keep_bytes: before.stored_bytes / 2, ..ALL };
    let mut talk = Conversation::new(u64::MAX, 0);
    let (mut steps, mut appends) = (Vec::new(), Vec::new());
    while timed(&mut steps, || writer.tidy(&half, 0).unwrap()).more {
        let bodies = talk.next(PLACES);
        timed(&mut appends, || writer.append(session, &[call(JSON, &bodies, i64::MAX / 2)]).unwrap());
    }
    print("step of retention", steps);
    print("append between two steps", appends);
    println!("{}", described(&kept(store), store.path()));
}

/// Everything, by a second handle, while another thread appends.
fn clear(store: &Store, writer: &mut Writer, session: SessionRow) {
    let all = Selection { undelivered: false, ..Selection::default() };
    let (other, mut appends, mut talk) = (Store::open(store.path()).unwrap(), Vec::new(), Conversation::new(7, 0));
    std::thread::scope(|scope| {
        let clearing = scope.spawn(|| {
            let began = Instant::now();
            let counted = other.clearable(&all).unwrap();
            (other.clear(&all, &counted).unwrap(), began.elapsed())
        });
        while !clearing.is_finished() {
            let bodies = talk.next(PLACES);
            timed(&mut appends, || writer.append(session, &[call(JSON, &bodies, i64::MAX / 2)]).unwrap());
            std::thread::sleep(Duration::from_millis(2));
        }
        let (events, took) = clearing.join().unwrap();
        print(&format!("clear {events} events"), vec![took]);
    });
    print("append while they are deleted", appends);
}
