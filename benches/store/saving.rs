//! What saving a body costs: the CPU time of the thread that appends.

use std::time::Duration;

use otas_proxy::event::BodyText;
use otas_proxy::store::{SessionRow, Store, Writer};
use rustix::time::{ClockId, clock_gettime};

use crate::talk::{base64, call};
use crate::words::Words;

const JSON: &[u8] = br#"{"path":"/v1/messages","request_body":"","response_body":""}"#;
const REQUEST_AT: usize = 39;
const MIB: usize = 1 << 20;
const REPETITIONS: u64 = 20;

/// A store in a folder of its own, and what was stored before.
struct Case {
    _folder: tempfile::TempDir,
    store: Store,
    writer: Writer,
    session: SessionRow,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let session = store.begin_session("bench", "key", "{}").unwrap();
        Self { writer: store.writer().unwrap(), store, session, _folder: folder }
    }

    /// The CPU time of an append.
    fn append(&mut self, text: String) -> Duration {
        let bodies = [BodyText { at: REQUEST_AT, text: text.into() }];
        let before = cpu();
        self.writer.append(self.session, &[call(JSON, &bodies, 0)]).unwrap();
        cpu() - before
    }
}

/// The CPU time of this thread.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}

/// A text that does not repeat itself: 4 of 8 bits of each byte are random.
fn random(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::with_capacity(bytes + 20);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text += &format!("{state:x} ");
    }
    text
}

/// The kinds of bodies: its name, its size, and the text of the nth repetition.
type Kind = (&'static str, usize, fn(&str, u64) -> String);

const KINDS: [Kind; 7] = [
    ("new, random hexadecimal digits", MIB, |_, n| random(n + 1, MIB)),
    ("new, prose", MIB, |_, n| Words::new(n + 1).listing(MIB)),
    ("new, base64", MIB, |_, n| base64(&mut Words::new(n + 1), MIB)),
    ("known", MIB, |first, _| first.to_owned()),
    ("a conversation, 6 KB new at its end", 400 << 10, |last, n| last.to_owned() + &Words::new(!n).listing(6_000)),
    ("known", 16 * MIB, |first, _| first.to_owned()),
    ("6 KB inserted into its middle", 16 * MIB, |last, n| {
        let (before, after) = last.split_at(last.len() / 2);
        [before, &Words::new(!n).listing(6_000), after].concat()
    }),
];

/// Measures and prints.
pub fn run() {
    println!("| body | size | CPU of an append, median | a MiB | stored, of its bytes |\n|---|---|---|---|---|");
    for (name, bytes, next) in KINDS {
        let mut case = Case::new();
        let mut text = Words::new(99).listing(bytes);
        case.append(text.clone());
        let before = case.store.viewer().sizes().unwrap();
        let mut took = Vec::new();
        for n in 0..REPETITIONS {
            text = next(&text, n);
            took.push(case.append(text.clone()));
        }
        took.sort_unstable();
        let median = took[took.len() / 2].as_secs_f64() * 1e6;
        let after = case.store.viewer().sizes().unwrap();
        let share =
            (after.stored_bytes - before.stored_bytes) as f64 / (after.logical_bytes - before.logical_bytes) as f64;
        println!(
            "| {name} | {:.1} MiB | {median:.0} µs | {:.0} µs | {share:.3} |",
            bytes as f64 / MIB as f64,
            median * MIB as f64 / bytes as f64
        );
    }
}
