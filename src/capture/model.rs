//! Reads a model call beside its data path: both bodies are copied as they pass, and a separate task reads the copies.
//! The exchange is handed off when they are read. The agent does not wait for that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::copies::{self, Copied, Copies, Tap};
use super::shared::Shared;
use super::{BodyEnd, Exchange, Failure, Fields, Finished, Outcome, Side};
use crate::llm;

/// Copied bytes of one body that may wait for the reader. Requests to models are large and arrive at once.
const WAITING_MAX_BYTES: usize = 8 << 20;

/// How long a reader works before it yields: it shares threads with the data path.
const SLICE: Duration = Duration::from_micros(500);
/// The total time that a reader may work on one call. Real calls take milliseconds.
const WORK_MAX: Duration = Duration::from_secs(2);
/// The same while the proxy shuts down, which must not take long.
const LAST_WORK_MAX: Duration = Duration::from_millis(200);

/// Copies one body of a model call.
pub(super) type ModelTap = Tap<Side, Message>;

/// Other messages to the reader.
pub(super) enum Message {
    /// The response head has arrived.
    Answered {
        status: StatusCode,
        headers: Fields,
        /// When the request was forwarded.
        forwarded: Option<Instant>,
    },
    /// The exchange is over.
    Over(Ending),
}

/// The reading of one model call, seen from its recorder.
pub(super) struct Reading {
    facts: Arc<Mutex<llm::Reader>>,
    /// Kept until the response head has arrived.
    response: Option<ModelTap>,
    /// For messages to the reader.
    line: ModelTap,
}

/// An exchange that is over except for its reading. It is handed off on drop, wherever that happens.
pub(super) struct Ending {
    finished: Option<Finished>,
    /// Bytes of the response body that were written to the agent.
    delivered_bytes: u64,
    facts: Arc<Mutex<llm::Reader>>,
    shared: Arc<Shared>,
    _open: TaskTrackerToken,
}

/// The model call that a request head suggests. `None` for most requests.
pub(super) fn recognised(exchange: &Exchange) -> Option<Box<llm::Call>> {
    let request = &exchange.request;
    let field = |name: &str| request.headers.get(name);
    let head = llm::Head {
        method: request.method.as_str(),
        host: &exchange.origin.host,
        path: &request.path,
        field: &field,
    };
    llm::Call::of(&head).map(Box::new)
}

impl Reading {
    /// Begins reading, and returns the tap for the request body. `None`: there is no async runtime to read on.
    pub(super) fn begin(call: llm::Call, shared: &Arc<Shared>) -> Option<(Self, ModelTap)> {
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let sides = [Side::Request, Side::Response];
        let ([request, response], copies) = copies::apart(sides, WAITING_MAX_BYTES, shared.budget());
        let facts = Arc::new(Mutex::new(llm::Reader::new(call)));
        runtime.spawn(read(copies, facts.clone(), shared.clone()));
        let line = response.clone();
        Some((Self { facts, response: Some(response), line }, request))
    }

    /// Returns the tap for the response body, whose head has arrived.
    pub(super) fn answered(
        &mut self,
        status: StatusCode,
        headers: &Fields,
        forwarded: Option<Instant>,
    ) -> Option<ModelTap> {
        let tap = self.response.take()?;
        let message = Message::Answered { status, headers: headers.clone(), forwarded };
        tap.message(message).ok().map(|()| tap)
    }

    /// The facts so far.
    pub(super) fn so_far(&self) -> Option<Box<llm::Facts>> {
        self.facts.lock().facts().map(Box::new)
    }

    /// The exchange is over. It is handed off when all copies are read.
    pub(super) fn over(self, finished: Finished, delivered_bytes: u64, shared: &Arc<Shared>, open: TaskTrackerToken) {
        let Self { facts, line, .. } = self;
        let ending = Ending { finished: Some(finished), delivered_bytes, facts, shared: shared.clone(), _open: open };
        // If the reader is gone, this drop hands it off now.
        drop(line.message(Message::Over(ending)));
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Some(mut finished) = self.finished.take() else { return };
        attach(&mut finished.exchange, &mut self.facts.lock(), self.delivered_bytes);
        self.shared.hand_over(finished);
    }
}

/// Adds the facts to the exchange. An agent that leaves after it got the whole answer has not left early, even if the
/// body or its end mark would have gone on. An error inside an answer becomes the outcome, unless something failed
/// before.
pub(super) fn attach(exchange: &mut Exchange, reader: &mut llm::Reader, delivered_bytes: u64) {
    let left = exchange.response.as_ref().map(|response| response.body.end);
    let left = matches!(left, Some(BodyEnd::ReceiverLeft | BodyEnd::ShutDown));
    let ended = left && is_cut_off(&exchange.outcome) && reader.ended_within(delivered_bytes);
    let Some(mut facts) = reader.facts() else { return };
    if ended {
        exchange.outcome = Outcome::Complete;
    }
    if let Some(llm::AnswerError { id, detail }) = facts.failure.take()
        && exchange.outcome == Outcome::Complete
    {
        exchange.outcome = Outcome::Failed(Failure { id, detail });
    }
    exchange.llm = Some(Box::new(facts));
}

fn is_cut_off(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(Failure { id: "agent_left" | "proxy_shutdown", .. }))
}

/// Reads the copies until the exchange is over.
async fn read(mut copies: Copies<Side, Message>, reader: Arc<Mutex<llm::Reader>>, shared: Arc<Shared>) {
    let (mut since, mut worked) = (None, Duration::ZERO);
    while let Some(copied) = copies.recv().await {
        match copied {
            Copied::Bytes { from, bytes, at, waiting: _waiting } => {
                match from {
                    Side::Request => reader.lock().feed_request(&bytes),
                    Side::Response => {
                        let after = since.map(|since| at.saturating_duration_since(since));
                        reader.lock().feed_response(&bytes, after);
                    }
                }
                work(&reader, from, &mut worked, &shared).await;
            }
            Copied::Ended { from: Side::Request, whole } => reader.lock().end_request(whole),
            Copied::Ended { from: Side::Response, whole } => reader.lock().end_response(whole),
            Copied::GivenUp { from, why } => reader.lock().give_up(from == Side::Request, why),
            Copied::Message(Message::Answered { status, headers, forwarded }) => {
                since = forwarded;
                reader.lock().response_head(status.as_u16(), &|name| {
                    let values: Vec<&[u8]> = headers.get_all(name).collect();
                    (!values.is_empty()).then(|| values.join(&b", "[..]))
                });
            }
            Copied::Message(Message::Over(ending)) => return drop(ending),
        }
    }
}

/// Reads what has arrived, one time slice after the other: a compression bomb must not block a thread that serves
/// agents.
async fn work(reader: &Mutex<llm::Reader>, from: Side, worked: &mut Duration, shared: &Shared) {
    let most = || if shared.is_shutting_down() { LAST_WORK_MAX } else { WORK_MAX };
    while !work_a_slice(&mut reader.lock(), from, worked, most()) {
        tokio::task::yield_now().await;
    }
}

/// Reads for one time slice, or gives up if the call took too long in total. False: there is more to read.
fn work_a_slice(reader: &mut llm::Reader, from: Side, worked: &mut Duration, most: Duration) -> bool {
    // Most pieces are short events of a stream, which are read in one step. To ask for the time would take as long.
    if !reader.work() || !reader.work() {
        return true;
    }
    let began = Instant::now();
    let mut more = reader.work();
    while more && began.elapsed() < SLICE {
        more = reader.work();
    }
    *worked += began.elapsed();
    if more && *worked > most {
        reader.give_up(from == Side::Request, "overtime");
        return true;
    }
    !more
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method, Version};
    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::capture::{
        Budget, Caller, CapturedBody, Kind, Limits, Origin, Recorder, Recording, RequestFacts, Sink,
    };
    use crate::llm::{Fact, names};

    #[derive(Clone, Default)]
    struct Taken(Arc<Mutex<Vec<Exchange>>>);

    impl Sink for Taken {
        fn take(&self, finished: Finished) {
            self.0.lock().push(*finished.exchange);
        }
    }

    const QUESTION: &[u8] = br#"{"model":"m","messages":[]}"#;
    const ANSWER: &str =
        r#"{"id":"1","choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#;

    fn recording(budget: &Arc<Budget>) -> (Arc<Recording>, Taken) {
        let taken = Taken::default();
        let limits = Limits { head_bytes: 10, tail_bytes: 0, text_bytes: 0 };
        (Recording::new(taken.clone(), limits, budget.clone()), taken)
    }

    fn begun(recording: &Arc<Recording>) -> Recorder {
        let path = "/v1/chat/completions".to_owned();
        let request = RequestFacts::without_body(Method::POST, path, None, Fields::default());
        let origin = Origin { scheme: "https", host: "api.openai.com".into(), port: 443 };
        let agent = (std::net::SocketAddr::from(([127, 0, 0, 1], 1)), Caller::Proxy);
        Recorder::begin(recording, Kind::Http, agent, origin, Version::HTTP_11, request)
    }

    /// A call whose response arrives at once, before any of it is read.
    async fn called(recording: &Arc<Recording>, answer: Bytes) {
        let recorder = begun(recording);
        let question = CapturedBody::new(Full::new(Bytes::from_static(QUESTION)), recorder.clone(), Side::Request);
        question.collect().await.unwrap();
        recorder.answered(StatusCode::OK, &HeaderMap::new(), None);
        let mut answer_body = CapturedBody::new(Full::new(answer), recorder, Side::Response);
        while answer_body.frame().await.is_some() {}
        drop(answer_body);
        recording.all_handed_off().await;
    }

    fn fact(taken: &Taken, name: &str) -> Option<Fact> {
        let exchange = taken.0.lock().pop().expect("handed off");
        exchange.llm.as_ref().and_then(|facts| facts.get(name).cloned())
    }

    #[tokio::test]
    async fn the_exchange_has_its_facts_when_it_is_handed_off() {
        let (recording, taken) = recording(&Budget::new(1 << 20));
        called(&recording, ANSWER.into()).await;
        assert_eq!(taken.0.lock().len(), 1);
        assert_eq!(fact(&taken, names::INPUT_TOKENS), Some(Fact::from(1)));
    }

    #[tokio::test]
    async fn an_overrun_reader_gives_up_and_says_so_and_releases_its_memory() {
        for (memory, bytes, why) in [(64 << 20, WAITING_MAX_BYTES, "overrun"), (0, 128 << 10, "no_memory")] {
            let budget = Budget::new(memory);
            let (recording, taken) = recording(&budget);
            called(&recording, (ANSWER.to_owned() + &" ".repeat(bytes)).into()).await;
            assert_eq!(fact(&taken, names::PARSE_ERROR), Some(Fact::Text(why.to_owned())));
            assert_eq!(budget.used_bytes(), 0);
        }
    }

    #[tokio::test]
    async fn a_bomb_is_read_in_slices_so_that_other_tasks_run_in_between() {
        let (recording, taken) = recording(&Budget::new(1 << 20));
        let recorder = begun(&recording);
        let question = CapturedBody::new(Full::new(Bytes::from_static(QUESTION)), recorder.clone(), Side::Request);
        question.collect().await.unwrap();
        let bomb = zstd::encode_all(std::io::Read::take(std::io::repeat(0), 100 << 20), 3).unwrap();
        let mut coded = HeaderMap::new();
        coded.insert("content-encoding", http::HeaderValue::from_static("zstd"));
        coded.insert("content-type", http::HeaderValue::from_static("text/event-stream"));
        recorder.answered(StatusCode::OK, &coded, None);
        CapturedBody::new(Full::new(Bytes::from(bomb)), recorder, Side::Response).collect().await.unwrap();
        let mut turns = 0;
        while taken.0.lock().is_empty() {
            tokio::task::yield_now().await;
            turns += 1;
        }
        assert!(turns > 20, "{turns} turns of others while a bomb was read");
        let why = fact(&taken, names::PARSE_ERROR);
        assert!(matches!(why, Some(Fact::Text(why)) if why == "response_too_large" || why == "overtime"));
    }

    #[tokio::test]
    async fn an_exchange_without_an_answer_is_handed_off_too() {
        let (recording, taken) = recording(&Budget::new(1 << 20));
        let recorder = begun(&recording);
        drop(CapturedBody::new(Full::new(Bytes::from_static(QUESTION)), recorder.clone(), Side::Request));
        drop(recorder);
        recording.all_handed_off().await;
        let exchange = taken.0.lock().pop().unwrap();
        assert!(exchange.response.is_none() && exchange.request.body.end == BodyEnd::ReceiverLeft);
        assert!(exchange.llm.is_some());
    }

    #[test]
    fn no_exchange_is_lost_when_the_runtime_ends_before_all_is_read() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (recording, taken) = recording(&Budget::new(1 << 20));
        let recorder = {
            let _guard = runtime.enter();
            let recorder = begun(&recording);
            drop(CapturedBody::new(Full::new(Bytes::from_static(QUESTION)), recorder.clone(), Side::Request));
            recorder
        };
        let (before, other) = (recorder, begun(&recording));
        drop(before);
        assert_eq!(taken.0.lock().len(), 0);
        drop(runtime);
        assert_eq!(taken.0.lock().len(), 1);
        // With no runtime at all, nothing is read.
        drop(CapturedBody::new(Full::new(Bytes::from_static(QUESTION)), other, Side::Request));
        assert_eq!(taken.0.lock().len(), 2);
    }
}
