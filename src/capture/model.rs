//! Reading a call to a model beside its data path: both bodies are copied as they pass, and a task of its own reads the copies. The
//! exchange is handed off when they are read, which the agent does not wait for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::copies::{self, Copied, Copies, Tap};
use super::shared::Shared;
use super::{BodyEnd, Exchange, Failure, Fields, Finished, Outcome, Side};
use crate::llm;

/// Copied bytes of one body that may wait for the reader: questions are large and come at once.
const WAITING_MAX_BYTES: usize = 8 << 20;

/// How long a reader works before it lets others work: it shares its threads with the data path.
const SLICE: Duration = Duration::from_micros(500);
/// How long a reader works on one call in all. Real answers take milliseconds.
const WORK_MAX: Duration = Duration::from_secs(2);
/// The same once the proxy is being stopped, for which no call may be lost.
const LAST_WORK_MAX: Duration = Duration::from_millis(200);

/// What copies one body of such a call.
pub(super) type ModelTap = Tap<Side, Told>;

/// What the reader is told beside the bytes.
pub(super) enum Told {
    /// The answer's head has come.
    Answered {
        status: StatusCode,
        headers: Fields,
        /// When the question was forwarded.
        forwarded: Option<Instant>,
    },
    /// The exchange is over.
    Over(Ending),
}

/// The reading of one call.
pub(super) struct Reading {
    facts: Arc<Mutex<llm::Reader>>,
    /// Kept until the response has a body.
    response: Option<ModelTap>,
    /// The way to the reader.
    line: ModelTap,
}

/// An exchange that is over but for what its reader still reads. It is handed off when this is dropped, whoever drops it.
pub(super) struct Ending {
    finished: Option<Finished>,
    /// Bytes of the response's body that the agent was sent.
    delivered_bytes: u64,
    facts: Arc<Mutex<llm::Reader>>,
    shared: Arc<Shared>,
    _open: TaskTrackerToken,
}

/// What the head of a request says of it as a call to a model; `None` for nearly all.
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
    /// Begins it, with what copies the request's body. `None`: there is nothing that a task could run on.
    pub(super) fn begin(call: llm::Call, shared: &Arc<Shared>) -> Option<(Self, ModelTap)> {
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let sides = [Side::Request, Side::Response];
        let ([request, response], copies) = copies::apart(sides, WAITING_MAX_BYTES, shared.budget());
        let facts = Arc::new(Mutex::new(llm::Reader::new(call)));
        runtime.spawn(read(copies, facts.clone(), shared.clone()));
        let line = response.clone();
        Some((Self { facts, response: Some(response), line }, request))
    }

    /// What copies the response's body, whose head has come.
    pub(super) fn answered(
        &mut self,
        status: StatusCode,
        headers: &Fields,
        forwarded: Option<Instant>,
    ) -> Option<ModelTap> {
        let tap = self.response.take()?;
        let told = Told::Answered { status, headers: headers.clone(), forwarded };
        tap.tell(told).ok().map(|()| tap)
    }

    /// What is known by now.
    pub(super) fn so_far(&self) -> Option<Box<llm::Facts>> {
        self.facts.lock().facts().map(Box::new)
    }

    /// The exchange is over: it is handed off when all that was copied is read.
    pub(super) fn over(self, finished: Finished, delivered_bytes: u64, shared: &Arc<Shared>, open: TaskTrackerToken) {
        let Self { facts, line, .. } = self;
        let ending = Ending { finished: Some(finished), delivered_bytes, facts, shared: shared.clone(), _open: open };
        // With no reader any more, it is handed off here and now.
        drop(line.tell(Told::Over(ending)));
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Some(mut finished) = self.finished.take() else { return };
        attach(&mut finished.exchange, &mut self.facts.lock(), self.delivered_bytes);
        self.shared.hand_over(finished);
    }
}

/// What was read becomes part of the exchange. An agent that leaves when it has been sent the whole answer has not left early,
/// though more of its body, or the end of that, would have come. An error inside an answer is one of the call, if nothing else
/// failed before.
pub(super) fn attach(exchange: &mut Exchange, reader: &mut llm::Reader, delivered_bytes: u64) {
    let left = exchange.response.as_ref().map(|response| response.body.end);
    let left = matches!(left, Some(BodyEnd::ReceiverLeft | BodyEnd::ShutDown));
    let ended = left && is_cut_off(&exchange.outcome) && reader.left_after(delivered_bytes);
    let Some(mut facts) = reader.facts() else { return };
    if ended {
        exchange.outcome = Outcome::Complete;
    }
    if let Some(llm::Failure { id, detail }) = facts.failure.take()
        && exchange.outcome == Outcome::Complete
    {
        exchange.outcome = Outcome::Failed(Failure { id, detail });
    }
    exchange.llm = Some(Box::new(facts));
}

fn is_cut_off(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(Failure { id: "agent_left" | "proxy_shutdown", .. }))
}

/// Reads what was copied until the exchange is over.
async fn read(mut copies: Copies<Side, Told>, reader: Arc<Mutex<llm::Reader>>, shared: Arc<Shared>) {
    let (mut since, mut worked) = (None, Duration::ZERO);
    while let Some(copied) = copies.recv().await {
        match copied {
            Copied::Bytes { from, bytes, at, waiting: _waiting } => {
                match from {
                    Side::Request => reader.lock().take_question(&bytes),
                    Side::Response => {
                        let after = since.map(|since| at.saturating_duration_since(since));
                        reader.lock().take_answer(&bytes, after);
                    }
                }
                work(&reader, from, &mut worked, &shared).await;
            }
            Copied::Ended { from: Side::Request, whole } => reader.lock().asked_all(whole),
            Copied::Ended { from: Side::Response, whole } => reader.lock().told_all(whole),
            Copied::GivenUp { from, why } => reader.lock().give_up(from == Side::Request, why),
            Copied::Told(Told::Answered { status, headers, forwarded }) => {
                since = forwarded;
                reader.lock().answered(status.as_u16(), &|name| {
                    let values: Vec<&[u8]> = headers.get_all(name).collect();
                    (!values.is_empty()).then(|| values.join(&b", "[..]))
                });
            }
            Copied::Told(Told::Over(ending)) => return drop(ending),
        }
    }
}

/// Reads what was taken to its end, a slice at a time: a compression bomb must not hold up a thread that serves agents.
async fn work(reader: &Mutex<llm::Reader>, from: Side, worked: &mut Duration, shared: &Shared) {
    let most = || if shared.is_shutting_down() { LAST_WORK_MAX } else { WORK_MAX };
    while !work_a_slice(&mut reader.lock(), from, worked, most()) {
        tokio::task::yield_now().await;
    }
}

/// Reads for a while, if it has not worked for too long by then. False: there is more to be read.
fn work_a_slice(reader: &mut llm::Reader, from: Side, worked: &mut Duration, most: Duration) -> bool {
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
        let limits = Limits { head_bytes: 10, tail_bytes: 0 };
        (Recording::new(taken.clone(), limits, budget.clone()), taken)
    }

    fn begun(recording: &Arc<Recording>) -> Recorder {
        let path = "/v1/chat/completions".to_owned();
        let request = RequestFacts::without_body(Method::POST, path, None, Fields::default());
        let origin = Origin { scheme: "https", host: "api.openai.com".into(), port: 443 };
        let agent = (std::net::SocketAddr::from(([127, 0, 0, 1], 1)), Caller::Proxy);
        Recorder::begin(recording, Kind::Http, agent, origin, Version::HTTP_11, request)
    }

    /// A call whose answer comes in one go, before any of it is read.
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
    async fn what_comes_faster_than_it_is_read_is_given_up_and_said_and_memory_is_given_back() {
        for (memory, bytes, why) in [(64 << 20, WAITING_MAX_BYTES, "overrun"), (0, 128 << 10, "no_memory")] {
            let budget = Budget::new(memory);
            let (recording, taken) = recording(&budget);
            called(&recording, (ANSWER.to_owned() + &" ".repeat(bytes)).into()).await;
            assert_eq!(fact(&taken, names::PARSE_ERROR), Some(Fact::Text(why.to_owned())));
            assert_eq!(budget.used_bytes(), 0);
        }
    }

    #[tokio::test]
    async fn a_bomb_is_read_in_slices_between_which_others_work() {
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
    fn a_runtime_that_ends_before_all_is_read_loses_no_exchange() {
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
