//! The search index: what it takes, and how quickly a text is found.

use std::time::Instant;

use otas_proxy::event::BodyText;
use otas_proxy::store::{Condition, Fact, Filter, IndexerStep, SearchBounds, SessionRow, Store, Writer};
use rustix::time::{ClockId, clock_gettime};

use crate::large::{JSON, PLACES, fill, print, timed};
use crate::talk::call;

const BOUNDS: SearchBounds = SearchBounds { max_bytes: u64::MAX, min_free_bytes: 0 };
/// As many rows as the page shows.
const ROWS: usize = 200;
const LOOKS: usize = 20;
/// A word that one call has, in a body that no other has.
const RARE: &str = "parse_quokka_settings";
/// The texts to look for. The words of the conversations are made of the same syllables as the absent ones.
const TEXTS: [(&str, &str); 7] = [
    ("of one call", RARE),
    ("of nearly all calls", "let value = cache"),
    ("of some calls: a word of three syllables", "staverfage"),
    ("of none: a sentence", "there is no such sentence in any of the bodies"),
    ("of none: a word of seven of the syllables", "zeroconfagetistapar"),
    ("of none: six letters", "xqzjkw"),
    ("of none: three letters", "qzj"),
];

/// Measures and prints.
pub fn run(events: usize, conversations: usize) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("events.db")).unwrap();
    let session = store.begin_session("bench", "key", "{}").unwrap();
    let mut writer = store.writer().unwrap();
    println!(
        "\n| a search in {events} events of {conversations} conversations, in ms | p50 | p99 | max |\n|---|---|---|---|"
    );
    fill(&store, &mut writer, session, events / 2, conversations / 2);
    plant(&mut writer, session);
    fill(&store, &mut writer, session, events / 2, conversations / 2);
    look(&store, "without an index, ");
    build(&store);
    look(&store, "");
    follow(&store, &mut writer, session);
}

fn plant(writer: &mut Writer, session: SessionRow) {
    let bodies = [BodyText { at: PLACES[0], text: format!("fn {RARE}() {{}}\n").repeat(90).into() }];
    writer.append(session, &[call(JSON, &bodies, 0)]).unwrap();
}

/// The CPU time of this thread in seconds.
fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn build(store: &Store) {
    let (began, before, mut indexer, mut steps) = (Instant::now(), cpu(), store.indexer(BOUNDS), Vec::new());
    while timed(&mut steps, || indexer.step().unwrap()) == IndexerStep::Worked {}
    let (seconds, sizes) = (began.elapsed().as_secs_f64(), store.viewer().sizes().unwrap());
    print("step of the index", steps);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "| index of {:.1} MiB, {:.3} of the file, {:.5} of the bodies; made in {seconds:.1} s, {:.1} s CPU, {:.0} µs an event | | | |",
        mib(sizes.search_bytes),
        sizes.search_bytes as f64 / sizes.file_bytes as f64,
        sizes.search_bytes as f64 / sizes.logical_bytes as f64,
        cpu() - before,
        (cpu() - before) * 1e6 / sizes.events as f64,
    );
}

fn look(store: &Store, how: &str) {
    let viewer = store.viewer();
    for (name, text) in TEXTS {
        let filter =
            Filter { conditions: vec![Condition::Is(Fact::Text(text.to_owned()))], limit: ROWS, ..Filter::default() };
        let (mut took, mut found) = (Vec::new(), 0);
        for _ in 0..if how.is_empty() { LOOKS } else { 1 } {
            found = timed(&mut took, || viewer.calls(&filter, None).unwrap()).len();
        }
        let stopped = if filter.searched.note().is_some() { ", stopped" } else { "" };
        print(&format!("{how}a text {name} ({found} rows{stopped})"), took);
    }
}

/// What an append takes while the index follows, and what it takes to follow.
fn follow(store: &Store, writer: &mut Writer, session: SessionRow) {
    let (mut indexer, mut steps) = (store.indexer(BOUNDS), Vec::new());
    let mut talk = crate::talk::Conversation::new(u64::MAX - 1, 0);
    let (mut spent, calls) = (0.0, 200);
    for _ in 0..calls {
        let bodies = talk.next(PLACES);
        writer.append(session, &[call(JSON, &bodies, i64::MAX / 2)]).unwrap();
        let before = cpu();
        while timed(&mut steps, || indexer.step().unwrap()) == IndexerStep::Worked {}
        spent += cpu() - before;
    }
    print(&format!("step after each call ({:.0} µs of CPU a call)", spent * 1e6 / f64::from(calls)), steps);
}
