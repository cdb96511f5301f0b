//! A search finds what a reading of all bodies finds, whatever is indexed.

use proptest::prelude::*;

use super::{Indexer, IndexerStep, SearchBounds};
use crate::event::{BodyText, Stored};
use crate::search::{Needle, fold};
use crate::store::{
    Bounds, Condition, Fact, Filter, NewEvent, Outcome, Selection, SessionRow, Settlement, Store, Writer, testing,
};

const JSON: &[u8] = br#"{"request_body":"","response_body":""}"#;
const PLACES: [usize; 2] = [17, 36];
const WIDE: SearchBounds = SearchBounds { max_bytes: u64::MAX, min_free_bytes: 0 };
const ALL: Bounds = Bounds {
    max_bytes: 1 << 40,
    min_free_bytes: 0,
    keep: std::time::Duration::MAX,
    keep_bytes: 1 << 40,
    may_drop: true,
};

struct Case {
    _folder: tempfile::TempDir,
    store: Store,
    writer: Writer,
    session: SessionRow,
    indexer: Indexer,
}

impl Case {
    fn new() -> Self {
        let (folder, store) = testing::store();
        let session = store.begin_session("run", "", "{}").unwrap();
        let (writer, indexer) = (store.writer().unwrap(), store.indexer(WIDE));
        Self { _folder: folder, store, writer, session, indexer }
    }

    fn append(&mut self, request: &str, response: &str) {
        let [request_at, response_at] = PLACES;
        let body = |at: usize, text: &str| BodyText { at, text: text.into() };
        let bodies = [body(request_at, request), body(response_at, response)];
        self.writer.append(self.session, &[NewEvent { bodies: &bodies, ..NewEvent::plain(JSON) }]).unwrap();
    }

    fn index(&mut self) {
        while self.indexer.step().unwrap() == IndexerStep::Worked {}
    }

    fn found(&self, fact: Fact) -> Vec<i64> {
        let filter = Filter { conditions: vec![Condition::Is(fact)], limit: usize::MAX, ..Filter::default() };
        let ids = self.store.ids(&filter).unwrap();
        assert_eq!(filter.searched.note(), None);
        ids
    }

    /// By reading everything.
    fn scanned(&self, text: &str) -> Vec<i64> {
        let needle = Needle::new(text).unwrap();
        let all = self.store.ids(&Filter { limit: usize::MAX, ..Filter::default() }).unwrap();
        let has = |id: &i64| {
            let event = Stored::parse(&self.store.event(*id).unwrap().json);
            [event.text("request_body"), event.text("response_body")].iter().any(|body| needle.is_in(&fold(body)))
        };
        all.into_iter().filter(has).collect()
    }

    fn check(&self, text: &str) {
        assert_eq!(self.found(Fact::Body(text.to_owned())), self.scanned(text), "{text:?}");
    }
}

/// What happens to a store.
#[derive(Debug, Clone)]
enum Act {
    /// A conversation goes on: its number, and how many words more.
    Talk(u8, u16),
    /// A conversation begins anew behind another beginning.
    Insert(u8),
    /// A short call.
    Short(u16),
    /// One step of the index, or all.
    Index(bool),
    /// The process that makes the index is killed.
    Kill,
    /// The oldest events are removed, so many of the rest.
    Retain(u8),
    /// The newest event is deleted. Its number is used again.
    DeleteNewest,
    /// A text is looked for: of which conversation, from which place, how long.
    Search(u8, prop::sample::Index, u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..4_u8, 1..900_u16).prop_map(|(which, words)| Act::Talk(which, words)),
        1 => (0..4_u8).prop_map(Act::Insert),
        2 => any::<u16>().prop_map(Act::Short),
        5 => any::<bool>().prop_map(Act::Index),
        1 => Just(Act::Kill),
        1 => (0..5_u8).prop_map(Act::Retain),
        1 => Just(Act::DeleteNewest),
        8 => (0..4_u8, any::<prop::sample::Index>(), 1..=250_u8).prop_map(|(which, at, bytes)| Act::Search(which, at, bytes)),
    ]
}

/// Words of many scripts, each time others.
fn words(from: u64, count: u16) -> String {
    (from..from + u64::from(count))
        .map(|n| {
            let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
            match mixed % 9 {
                0 => format!("Straße{} ", mixed % 77),
                1 => format!("漢{}字\n", mixed % 31),
                2 => format!("\"{mixed:X}\" "),
                _ => format!("{mixed:x} "),
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn a_search_finds_exactly_what_reading_everything_finds(acts in prop::collection::vec(act(), 1..40)) {
        let (mut case, mut talks, mut said) = (Case::new(), [const { String::new() }; 4], 0_u64);
        for act in acts {
            match act {
                Act::Talk(which, count) => {
                    let talk = &mut talks[usize::from(which)];
                    *talk += &words(said, count);
                    said += u64::from(count);
                    let answer = words(said, count / 4);
                    case.append(&talk.clone(), &answer);
                    talks[usize::from(which)] += &answer;
                }
                Act::Insert(which) => {
                    let talk = &mut talks[usize::from(which)];
                    *talk = words(said, 90) + talk;
                    said += 90;
                    case.append(&talk.clone(), "");
                }
                Act::Short(n) => case.append(&format!("a short text of number {n}"), "SHORT ANSWER"),
                Act::Index(true) => case.index(),
                Act::Index(false) => drop(case.indexer.step().unwrap()),
                Act::Kill => case.indexer = case.store.indexer(WIDE),
                Act::Retain(left) => {
                    let bytes = case.store.viewer().sizes().unwrap().stored_bytes;
                    let bounds = Bounds { keep_bytes: bytes * u64::from(left) / 5, ..ALL };
                    while case.writer.tidy(&bounds, 0).unwrap().more {}
                }
                Act::DeleteNewest => {
                    let newest = case.store.viewer().newest().unwrap();
                    case.store.connection().execute("UPDATE events SET started_at_ms = 5 WHERE id = ?1", [newest]).unwrap();
                    let selection = Selection { before_ms: Some(6), undelivered: true, ..Selection::default() };
                    let counted = case.store.clearable(&selection).unwrap();
                    case.store.clear(&selection, &counted).unwrap();
                }
                Act::Search(which, at, bytes) => {
                    let talk = &talks[usize::from(which)];
                    let mut from = at.index(talk.len() + 1);
                    while !talk.is_char_boundary(from) {
                        from -= 1;
                    }
                    let mut to = (from + usize::from(bytes)).min(talk.len());
                    while !talk.is_char_boundary(to) {
                        to -= 1;
                    }
                    if to > from {
                        case.check(&talk[from..to].to_uppercase().replace("SS", "ß"));
                        case.check(&talk[from..to]);
                        case.check(&talk[from..to].chars().rev().collect::<String>());
                    }
                    case.check("short answer");
                    case.check("a short text of number 7");
                }
            }
        }
        case.index();
        for talk in &talks {
            let chars: Vec<char> = talk.chars().collect();
            for piece in chars.chunks(3_001) {
                case.check(&piece.iter().take(40).collect::<String>());
            }
        }
        case.check("short answer");
    }
}

#[test]
fn what_the_events_of_a_stream_split_is_found_in_the_answer() {
    let mut case = Case::new();
    let json =
        br#"{"request_body":"","response_body":"","metadata":{"llm":{"text":"The parser has\nthree callers."}}}"#;
    // A short body stands in the event, a long one apart from it.
    for words in [words(0, 10), words(0, 9_000)] {
        let text = format!("data: {words}\n\ndata: {{\"delta\":\"thr\"}}\n\ndata: {{\"delta\":\"ee callers.\"}}");
        let bodies = [BodyText { at: PLACES[1], text: text.into() }];
        let event = NewEvent { bodies: &bodies, llm: r#"{"x":1}"#, ..NewEvent::plain(json) };
        case.writer.append(case.session, &[event]).unwrap();
    }
    for _ in 0..2 {
        for (text, found) in [("has\nTHREE callers", 2), ("three callers", 2), ("ee callers", 2), ("four callers", 0)]
        {
            assert_eq!(case.found(Fact::Body(text.to_owned())).len(), found, "{text}");
        }
        case.index();
    }
}

#[test]
fn every_text_across_every_seam_is_found() {
    let mut case = Case::new();
    let mut talk = words(0, 900);
    for turn in 1..9 {
        case.append(&talk, "");
        talk += &words(turn * 5_000, 500);
    }
    case.index();
    let ends: Vec<i64> = {
        let connection = case.store.connection();
        let mut query = connection.prepare("SELECT bytes FROM chunks ORDER BY id").unwrap();
        query.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    assert!(ends.len() > 10, "{}", ends.len());
    // Some text of each length at many places, so that each seam is within some.
    let bytes = talk.len();
    for (n, at) in (0..bytes).step_by(bytes / 150).enumerate() {
        let (mut from, mut to) = (at, (at + 1 + n * 7 % 230).min(bytes));
        while !talk.is_char_boundary(from) {
            from -= 1;
        }
        while !talk.is_char_boundary(to) {
            to -= 1;
        }
        if from < to {
            case.check(&talk[from..to]);
        }
    }
}

#[test]
fn what_retention_removes_leaves_the_index() {
    let mut case = Case::new();
    for n in 0..300 {
        let text = words(n * 9_000, 2_500);
        case.append(&text, "a short answer");
    }
    case.append("one that stays", "");
    case.index();
    let size = |case: &Case, sql: &str| -> i64 {
        let path = crate::store::files::with_suffix(case.store.path(), "-search");
        rusqlite::Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let (blocks, columns) = ("SELECT count(*) FROM blocks", "SELECT coalesce(sum(count), 0) FROM blocks");
    assert!(size(&case, blocks) > 0, "{} {}", size(&case, blocks), size(&case, "SELECT count(*) FROM columns"));
    let before = size(&case, columns);
    case.store.connection().execute("UPDATE events SET started_at_ms = 5 WHERE id <= 250", []).unwrap();
    let selection = |before_ms| Selection { before_ms: Some(before_ms), undelivered: true, ..Selection::default() };
    let clear = |case: &Case, before_ms| {
        let counted = case.store.clearable(&selection(before_ms)).unwrap();
        case.store.clear(&selection(before_ms), &counted).unwrap()
    };
    assert_eq!(clear(&case, 6), 250);
    case.index();
    assert!(size(&case, columns) < before / 3, "{before} {}", size(&case, columns));
    case.check(&words(270 * 9_000 + 7, 9));
    case.check(&words(50 * 9_000 + 7, 9));
    assert_eq!(case.found(Fact::Body("one that stays".into())).len(), 1);
    clear(&case, i64::MAX);
    case.index();
    assert_eq!((size(&case, blocks), size(&case, "SELECT count(*) FROM slices")), (0, 0));
    assert!(size(&case, "SELECT count(*) FROM columns") <= 1 && size(&case, "SELECT count(*) FROM spans") == 0);
    case.append("another one", "");
    case.index();
    case.check("another one");
}

#[test]
fn an_index_that_is_full_drops_what_was_indexed_first_and_searches_read_it() {
    let mut case = Case::new();
    case.indexer = case.store.indexer(SearchBounds { max_bytes: 300_000, min_free_bytes: 0 });
    for n in 0..300 {
        case.append(&words(n * 9_000, 2_500), "");
        if n % 50 == 0 {
            case.index();
        }
    }
    case.index();
    let bytes = case.store.viewer().sizes().unwrap().search_bytes;
    assert!(bytes > 200_000 && bytes < 6_000_000, "{bytes}");
    for n in [1, 299] {
        case.check(&words(n * 9_000 + 700, 9));
    }
}

#[test]
fn an_index_of_another_store_or_a_damaged_one_is_made_again() {
    let mut case = Case::new();
    case.append(&words(1, 5_000), "an answer");
    case.index();
    let path = crate::store::files::with_suffix(case.store.path(), "-search");
    let text = words(70, 5);
    for damage in
        ["DELETE FROM state", "UPDATE state SET store = x'00'", "PRAGMA user_version = 99", "DROP TABLE columns"]
    {
        case.indexer = case.store.indexer(WIDE);
        rusqlite::Connection::open(&path).unwrap().execute_batch(damage).unwrap();
        case.check(&text);
        while !matches!(case.indexer.step(), Ok(IndexerStep::Done)) {}
        case.check(&text);
        let columns: i64 = rusqlite::Connection::open(&path)
            .unwrap()
            .query_row("SELECT count(*) FROM columns", [], |row| row.get(0))
            .unwrap();
        assert!(columns > 0, "{damage}");
    }
    // Deleted while it is in use.
    std::fs::remove_file(&path).unwrap();
    case.check(&text);
    case.index();
    assert!(path.exists());
    case.check(&text);
    case.indexer = case.store.indexer(WIDE);
    std::fs::write(&path, "no database at all ".repeat(900)).unwrap();
    case.check(&text);
    case.index();
    case.check(&text);
}

#[test]
fn one_process_makes_the_index_and_others_use_it() {
    let mut case = Case::new();
    case.append(&words(1, 5_000), "");
    case.index();
    let mut other = case.store.indexer(WIDE);
    assert_eq!(other.step().unwrap(), IndexerStep::Elsewhere);
    case.indexer = case.store.indexer(WIDE);
    assert_eq!(other.step().unwrap(), IndexerStep::Done);
    assert_eq!(case.indexer.step().unwrap(), IndexerStep::Elsewhere);
}

#[test]
fn facts_and_bodies_are_one_search_and_can_be_negated() {
    let mut case = Case::new();
    case.append("The Quick brown fox", "jumps");
    case.append(&("over ".to_owned() + &words(9, 3_000)), "the lazy dog a.test");
    case.index();
    case.append("not indexed yet: quick", "");
    assert_eq!(case.found(Fact::Text("quick".into())), [1, 3]);
    assert_eq!(case.found(Fact::Text("A.TEST".into())), [1, 2, 3], "the host of all");
    assert_eq!(case.found(Fact::Body("A.TEST".into())), [2]);
    let filter = |conditions: &[Condition]| Filter { conditions: conditions.to_vec(), limit: 9, ..Filter::default() };
    let not = filter(&[Condition::Not(Fact::Text("lazy".into())), Condition::Is(Fact::Text("quick".into()))]);
    assert_eq!(case.store.ids(&not).unwrap(), [1, 3]);
    assert_eq!(case.store.viewer().calls(&not, Some(3)).unwrap().len(), 1);
    let long = filter(&[Condition::Is(Fact::Text("x".repeat(300)))]);
    assert_eq!(case.store.ids(&long).unwrap(), [0; 0]);
    assert!(long.searched.note().unwrap().contains("more than 256 bytes"));
}

#[test]
fn a_search_that_is_stopped_says_so_and_takes_nothing_for_found() {
    let mut case = Case::new();
    for n in 0..5 {
        case.append(&words(n * 9_000, 4_000), "");
    }
    let connection = case.store.connection();
    for fact in [Condition::Is(Fact::Body("e".into())), Condition::Not(Fact::Body("e".into()))] {
        let filter = Filter { conditions: vec![fact], ..Filter::default() };
        let clauses = filter.clauses();
        let past = Some(std::time::Instant::now());
        let _function =
            super::query::attach_until(&connection, case.store.path(), &clauses, &filter.searched, past).unwrap();
        let sql = format!("SELECT count(*) FROM events WHERE 1{}", clauses.sql);
        let count: i64 = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
        assert_eq!(count, 0);
        assert!(filter.searched.note().unwrap().contains("5 calls could not be looked through"));
    }
}

#[test]
fn settled_events_are_found_as_well() {
    let mut case = Case::new();
    let session = case.store.begin_session("other", "key", "{}").unwrap();
    case.session = session;
    case.append(&words(1, 900), "");
    let outcome = Outcome::Delivered { otas_event_id: "e".into() };
    case.store.settle(&[Settlement { id: 1, attempts: 1, outcome }]).unwrap();
    case.index();
    case.check(&words(20, 3));
}
