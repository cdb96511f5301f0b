//! The store that is looked at: calls of many conversations, each in a session of its own, and a few long runs.

use otas_proxy::event::BodyText;
use otas_proxy::store::{NewEvent, SessionRow, Store, Writer};

use crate::runs;
use crate::support::program::Folder;
use crate::support::sample::{Sample, deliver};
use crate::talk::{Conversation, call};

/// Conversations in the store, and agents that have one at the same time.
const CONVERSATIONS: u32 = 1_000;
const AGENTS: u32 = 8;

/// A store with this many delivered calls of a thousand conversations, half of them to models. Then come a call with a body of 1 MiB,
/// and the long runs.
pub fn fill(folder: &Folder, events: u32) {
    let store = Store::open(&folder.path().join("events.db")).unwrap();
    let mut writer = store.writer().unwrap();
    let kinds = [
        Sample::of("GET", "api.example.com", "/v1/items/4711", 200),
        priced(Sample::model("api.openai.com", "/v1/responses", "gpt-5", (1_200, 340), 2_400.0), 0.0049),
        Sample::of("POST", "files.example.com", "/upload", 503),
        priced(Sample::model("api.anthropic.com", "/v1/messages", "claude-sonnet-5", (48_000, 520), 5_100.0), 0.023),
    ];
    let (turns, mut next) = (events.div_ceil(CONVERSATIONS).max(1), 1);
    let mut talks: Vec<Talk> = Vec::new();
    while next <= events {
        if (next - 1).is_multiple_of(AGENTS * turns) {
            talks = (0..AGENTS).map(|agent| Talk::begin(&store, next + agent)).collect();
        }
        let count = AGENTS.min(events - next + 1);
        for (n, talk) in (next..).zip(&mut talks[..count as usize]) {
            append(&mut writer, n, events, &kinds[(n / AGENTS) as usize % kinds.len()], talk);
        }
        deliver(&store, (next..next + count).map(i64::from));
        next += count;
    }
    let large = Talk { text: Conversation::new(0, 1 << 20), ..Talk::begin(&store, next) };
    append(&mut writer, next, events, &kinds[1], &mut { large });
    runs::append(&store);
}

/// With a price.
fn priced(mut sample: Sample, cost: f64) -> Sample {
    sample.llm["otas_proxy.llm.cost"] = cost.into();
    sample.llm["otas_proxy.llm.cost.currency"] = "USD".into();
    sample.llm["gen_ai.usage.cache_read.input_tokens"] = 1_000.into();
    sample
}

/// A conversation and its session.
struct Talk {
    session: SessionRow,
    id: String,
    text: Conversation,
}

impl Talk {
    fn begin(store: &Store, number: u32) -> Self {
        let session = store.begin_session(&format!("run-{number}"), "key", r#"{"command":"agent"}"#).unwrap();
        let id = format!("{number:08x}-8c55-4bb1-a7a5-7f0c4c2b9d01");
        Self { session, id, text: Conversation::new(number.into(), 0) }
    }
}

/// The next call of a conversation.
fn append(writer: &mut Writer, n: u32, events: u32, kind: &Sample, talk: &mut Talk) {
    let stored = Stored::of(kind, n, talk);
    let now = otas_proxy::event::unix_ms(std::time::SystemTime::now());
    // The long runs are newer.
    let before = runs::LASTED_MS + i64::from(events.saturating_sub(n)) * 10;
    writer.append(talk.session, &[stored.event(now - before)]).unwrap();
}

/// What is stored of a call.
struct Stored<'a> {
    kind: &'a Sample,
    path: String,
    llm: String,
    json: String,
    bodies: [BodyText; 2],
}

impl<'a> Stored<'a> {
    fn of(kind: &'a Sample, n: u32, talk: &mut Talk) -> Self {
        let mut event = kind.event.clone();
        for body in ["request_body", "response_body"] {
            event[body] = "".into();
        }
        let json = event.to_string();
        let place = |name: &str| json.find(name).map(|at| at + name.len()).unwrap();
        let bodies = talk.text.next([r#""request_body":""#, r#""response_body":""#].map(place));
        let mut llm = kind.llm.clone();
        if !llm.is_null() {
            llm["session.id"] = talk.id.as_str().into();
            llm["gen_ai.agent.name"] = "claude".into();
        }
        let llm = if llm.is_null() { String::new() } else { llm.to_string() };
        Self { kind, path: format!("{}/{n}", kind.path), llm, json, bodies }
    }

    fn event(&self, started_at_ms: i64) -> NewEvent<'_> {
        let Sample { method, host, status, error, latency_ms, .. } = self.kind;
        NewEvent {
            method,
            host,
            path: &self.path,
            status_code: *status,
            latency_ms: *latency_ms,
            error,
            llm: &self.llm,
            ..call(self.json.as_bytes(), &self.bodies, started_at_ms)
        }
    }
}
