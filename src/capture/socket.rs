//! Records a WebSocket: its bytes are copied as they pass, and read beside the relay, which never waits for that. The
//! socket is one exchange. If its protocol has turns, each turn is another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::copies::{self, Copied, Copies, Tap};
use super::keeper::Keeper;
use super::recorder::Recorder;
use super::transcript::Transcript;
use super::{BodyEnd, Failure, Side, SocketFacts, WebSocket};
use crate::llm;
use crate::websocket::{Conversation, Extensions, Form, Part, Peer, Step, Turns};

/// Copied bytes that may wait for the reader. With more, reading is given up, because the relay never waits.
const WAITING_MAX_BYTES: usize = 1 << 20;
/// How long the reader works before it yields: it shares threads with the data path.
const SLICE: Duration = Duration::from_micros(500);
/// Bytes read between two checks of the clock. A compressed byte may expand to a thousand.
const SLICE_BYTES: usize = 16 << 10;
/// See [`SLICE_BYTES`].
const COMPRESSED_SLICE_BYTES: usize = 64;
/// After this long without new bytes, a snapshot of the socket is taken, in case the proxy is killed.
const QUIET: Duration = Duration::from_secs(1);

/// How one direction of a relayed connection went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Bytes relayed.
    pub bytes: u64,
    /// How it ended.
    pub end: BodyEnd,
}

/// Reads the copies of both sides.
pub struct SocketReader {
    recorder: Recorder,
    heard: Copies<Peer>,
    conversation: Conversation,
    agent: Transcript,
    origin: Transcript,
    turns: Turns,
    /// The agent's current message, if it may begin a turn.
    asking: Option<Question>,
    open: VecDeque<Turn>,
    facts: SocketFacts,
    slice_bytes: usize,
}

/// A message of the agent that may begin a turn.
struct Question {
    recorder: Option<Recorder>,
    keeper: Keeper,
    model: llm::Reader,
}

/// A turn in flight.
struct Turn {
    recorder: Recorder,
    answer: Keeper,
    answered: bool,
    model: Arc<Mutex<llm::Reader>>,
    asked: Instant,
    /// Whether the origin's current message is text.
    in_text: bool,
}

/// Begins the record of a WebSocket. Returns the taps of the agent's and the origin's side, and the reader of the
/// copies.
pub fn socket(recorder: Recorder, extensions: Extensions) -> (Tap<Peer>, Tap<Peer>, SocketReader) {
    let budget = recorder.recording().budget();
    let ([agent_tap, origin_tap], heard) = copies::together([Peer::Agent, Peer::Origin], WAITING_MAX_BYTES, budget);
    let facts = SocketFacts::default();
    recorder.websocket(WebSocket::Socket(Box::new(facts.clone().interrupted())));
    let reader = SocketReader {
        heard,
        conversation: Conversation::new(extensions),
        agent: Transcript::new(recorder.plain_keeper()),
        origin: Transcript::new(recorder.plain_keeper()),
        turns: Turns::default(),
        asking: None,
        open: VecDeque::new(),
        facts,
        slice_bytes: match extensions {
            Extensions::Deflate { .. } => COMPRESSED_SLICE_BYTES,
            Extensions::None | Extensions::Unknown => SLICE_BYTES,
        },
        recorder,
    };
    (agent_tap, origin_tap, reader)
}

impl SocketReader {
    /// Reads until both taps are gone.
    pub async fn run(mut self) -> Self {
        let mut fresh = false;
        loop {
            let heard = match timeout(QUIET, self.heard.recv()).await {
                Ok(Some(heard)) => heard,
                Ok(None) => return self,
                Err(_) if !fresh => match self.heard.recv().await {
                    Some(heard) => heard,
                    None => return self,
                },
                Err(_) => {
                    fresh = !self.snapshot();
                    continue;
                }
            };
            match heard {
                Copied::Bytes { from, bytes, at, waiting: _waiting } => {
                    let mut began = Instant::now();
                    for slice in bytes.chunks(self.slice_bytes) {
                        if began.elapsed() > SLICE {
                            tokio::task::yield_now().await;
                            began = Instant::now();
                        }
                        self.read(from, slice, at);
                    }
                }
                Copied::GivenUp { why, .. } => self.give_up(why),
                // The ends of both sides come with `finish`.
                Copied::Ended { .. } => {}
            }
            fresh = !self.snapshot();
        }
    }

    /// The relay has ended: completes the record.
    pub fn finish(mut self, from_agent: Passed, from_origin: Passed) {
        let summary = self.conversation.summary();
        if let Some((by, close)) = &summary.close {
            let transcript = if *by == Peer::Agent { &mut self.agent } else { &mut self.origin };
            let code = close.code.map_or_else(|| "without a code".to_owned(), |code| format!("with {code}"));
            let reason = if close.reason.is_empty() { String::new() } else { format!(": {}", close.reason) };
            transcript.note(&format!("closed {code}{reason}"));
        }
        let closed_by = summary.close.as_ref().map(|(by, _)| *by);
        // After a Close frame, a side may end its connection in any way. Between two turns nothing is missing either.
        let may_end = closed_by.is_some() || self.is_between_turns();
        let ended = |passed: Passed| match passed.end {
            BodyEnd::SenderFailed | BodyEnd::ReceiverLeft if may_end => Passed { end: BodyEnd::Complete, ..passed },
            _ => passed,
        };
        let (from_agent, from_origin) = (ended(from_agent), ended(from_origin));
        for turn in std::mem::take(&mut self.open) {
            turn.broken_off(self.facts.given_up, closed_by, from_agent.end, from_origin.end);
        }
        self.asking = None;
        self.facts.summary = summary;
        (self.facts.agent_bytes, self.facts.origin_bytes) = (from_agent.bytes, from_origin.bytes);
        let Self { recorder, agent, origin, facts, .. } = self;
        recorder.websocket(WebSocket::Socket(Box::new(facts)));
        recorder.body_ended(Side::Request, agent.finish(), from_agent.end);
        recorder.body_ended(Side::Response, origin.finish(), from_origin.end);
    }

    /// Whether all turns are answered completely and nothing is in flight. Agents keep such a socket, or open one in
    /// advance, and drop it without a Close frame.
    fn is_between_turns(&self) -> bool {
        let summary = self.conversation.summary();
        let unread = summary.unread.is_some() || self.facts.given_up.is_some();
        let silent = summary.agent.messages + summary.origin.messages == 0;
        let between = summary.unfinished.is_none() && self.open.is_empty() && self.asking.is_none();
        between && !unread && (self.facts.turns > 0 || silent)
    }

    fn read(&mut self, from: Peer, bytes: &[u8], at: Instant) {
        let Self { conversation, agent, origin, turns, asking, open, facts, recorder, .. } = self;
        let (transcript, passed) = match from {
            Peer::Agent => (agent, &mut facts.agent_bytes),
            Peer::Origin => (origin, &mut facts.origin_bytes),
        };
        *passed += bytes.len() as u64;
        let mut course = Course { from, at, turns, asking, open, facts, recorder };
        conversation.read(from, bytes, &mut |part| {
            if let Part::Begins(form) = part {
                course.begins(form);
            }
            if let Part::Content(content) = part {
                course.turns.content(from, content);
                course.model(content);
                course.may_ask();
            }
            transcript.read(part, &mut |line| course.content(line));
            if let Part::Ends { whole, .. } = part {
                course.ends(whole);
            }
        });
        if let Some(why) = self.conversation.unread(from) {
            self.end_turns(why);
        }
    }

    fn give_up(&mut self, why: &'static str) {
        self.facts.given_up = Some(why);
        let words = match why {
            "overrun" => "messages came faster than they could be read; from here on only bytes are counted",
            _ => "the memory for captures is exhausted; from here on only bytes are counted",
        };
        self.agent.note(words);
        self.origin.note(words);
        self.end_turns(why);
    }

    /// Ends all turns, because they cannot be followed any further.
    fn end_turns(&mut self, why: &'static str) {
        if let Some(Question { recorder: Some(recorder), .. }) = self.asking.take() {
            recorder.failed(not_read(why));
        }
        for turn in self.open.drain(..) {
            turn.broken_off(Some(why), None, BodyEnd::Complete, BodyEnd::Complete);
        }
    }

    /// Gives snapshots to the records that want one. False: not all did.
    fn snapshot(&self) -> bool {
        let mut all = true;
        for turn in &self.open {
            match turn.recorder.wants_body() {
                true => turn.recorder.body_so_far(Side::Response, turn.answer.so_far()),
                false => all = false,
            }
        }
        let wanted = self.recorder.wants_body();
        if wanted {
            self.recorder.body_so_far(Side::Request, self.agent.so_far());
            self.recorder.body_so_far(Side::Response, self.origin.so_far());
            let facts = SocketFacts { summary: self.conversation.summary(), ..self.facts.clone() };
            self.recorder.websocket(WebSocket::Socket(Box::new(facts.interrupted())));
        }
        wanted && all
    }
}

/// The state of turns, borrowed while bytes of one side are read.
struct Course<'a> {
    from: Peer,
    /// When the bytes passed.
    at: Instant,
    turns: &'a mut Turns,
    asking: &'a mut Option<Question>,
    open: &'a mut VecDeque<Turn>,
    facts: &'a mut SocketFacts,
    recorder: &'a Recorder,
}

impl Course<'_> {
    fn begins(&mut self, form: Form) {
        self.turns.begins(self.from, form);
        if self.from == Peer::Agent {
            let asking = || Question {
                recorder: None,
                keeper: self.recorder.text_keeper(),
                model: llm::Reader::new(self.recorder.model_turn()),
            };
            *self.asking = self.turns.may_ask().then(asking);
        } else if let Some(turn) = self.open.front_mut() {
            turn.in_text = form == Form::Text;
        }
    }

    /// Checks whether the agent's current message begins a turn.
    fn may_ask(&mut self) {
        if self.from == Peer::Origin || self.asking.is_none() {
            return;
        }
        if !self.turns.may_ask() {
            *self.asking = None;
        } else if self.turns.asks()
            && let Some(asking) = self.asking
            && asking.recorder.is_none()
        {
            asking.recorder = self.recorder.turn(self.facts.turns + 1);
        }
    }

    /// Content as received, for the model reader.
    fn model(&mut self, content: &[u8]) {
        match self.from {
            Peer::Agent => {
                if let Some(asking) = self.asking {
                    asking.model.read_request(content);
                }
            }
            Peer::Origin => {
                if let Some(turn) = self.open.front().filter(|turn| turn.in_text) {
                    let after = self.at.saturating_duration_since(turn.asked);
                    turn.model.lock().read_response(content, Some(after));
                }
            }
        }
    }

    /// Content as people see it, for the record.
    fn content(&mut self, line: &Bytes) {
        match self.from {
            Peer::Agent => {
                if let Some(asking) = self.asking {
                    asking.keeper.see(line);
                }
            }
            Peer::Origin => {
                if let Some(turn) = self.open.front_mut() {
                    if !turn.answered {
                        turn.answered = true;
                        turn.recorder.answered(StatusCode::OK, &HeaderMap::new(), None);
                    }
                    turn.answer.see(line);
                }
            }
        }
    }

    fn ends(&mut self, whole: bool) {
        if self.from == Peer::Origin
            && let Some(turn) = self.open.front_mut().filter(|turn| turn.answered)
        {
            turn.answer.see(&Bytes::from_static(b"\n"));
        }
        let step = self.turns.ends(self.from);
        match step {
            Step::Begins => self.asked(whole),
            Step::None => {}
            Step::Completes | Step::Fails { .. } => {
                if let Some(turn) = self.open.pop_front() {
                    turn.ended(step);
                }
            }
        }
        if self.from == Peer::Agent {
            *self.asking = None;
        }
    }

    fn asked(&mut self, whole: bool) {
        let Some(Question { recorder: Some(recorder), keeper, mut model }) = self.asking.take() else { return };
        model.end_request(whole);
        model.response_in_messages();
        let model = Arc::new(Mutex::new(model));
        recorder.read_by(&model);
        self.facts.turns += 1;
        let answer = recorder.text_keeper();
        recorder.body_ended(
            Side::Request,
            keeper.finish(),
            if whole { BodyEnd::Complete } else { BodyEnd::SenderFailed },
        );
        self.open.push_back(Turn { recorder, answer, answered: false, model, asked: self.at, in_text: false });
    }
}

impl Turn {
    /// The origin's message ended the turn.
    fn ended(self, how: Step) {
        let Self { recorder, answer, model, .. } = self;
        model.lock().end_response(true);
        if let Step::Fails { status } = how {
            if let Some(status) = status.and_then(|status| StatusCode::from_u16(status).ok()) {
                recorder.turned_out(status);
            }
            let detail =
                format!("{} ended the turn with an error: see the last line of the response", recorder.host());
            recorder.failed(Failure { id: "turn_failed", detail });
        }
        recorder.body_ended(Side::Response, answer.finish(), BodyEnd::Complete);
    }

    /// The turn did not end, or its end was not seen.
    fn broken_off(
        self,
        unread: Option<&'static str>,
        closed_by: Option<Peer>,
        agent_end: BodyEnd,
        origin_end: BodyEnd,
    ) {
        let Self { recorder, answer, .. } = self;
        let host = recorder.host();
        let (id, detail, end) = match (unread, closed_by, agent_end, origin_end) {
            (Some(why), ..) => {
                let Failure { id, detail } = not_read(why);
                (id, detail, BodyEnd::SenderFailed)
            }
            (_, _, BodyEnd::ShutDown, _) | (_, _, _, BodyEnd::ShutDown) => {
                ("proxy_shutdown", "the proxy was stopped during the turn".to_owned(), BodyEnd::ShutDown)
            }
            (_, Some(Peer::Agent), ..) | (_, None, _, BodyEnd::ReceiverLeft) => {
                ("agent_left", "the agent closed the WebSocket during the turn".to_owned(), BodyEnd::ReceiverLeft)
            }
            (_, Some(Peer::Origin), ..) | (_, None, _, BodyEnd::SenderFailed) => {
                ("origin_closed", format!("{host} closed the WebSocket during the turn"), BodyEnd::SenderFailed)
            }
            (_, None, ..) => {
                ("websocket_ended", "the WebSocket ended during the turn".to_owned(), BodyEnd::SenderFailed)
            }
        };
        recorder.failed(Failure { id, detail });
        recorder.body_ended(Side::Response, answer.finish(), end);
    }
}

/// The failure of a turn whose end was not seen.
fn not_read(why: &str) -> Failure {
    Failure { id: "turn_not_read", detail: format!("the end of the turn could not be read ({why})") }
}

#[cfg(test)]
mod tests {
    use http::{Method, Version};

    use super::*;
    use crate::capture::{
        Budget, Caller, Exchange, Fields, Finished, Kind, Limits, Origin, Recording, RequestFacts, Sink,
    };

    #[derive(Clone, Default)]
    struct Taken(Arc<Mutex<Vec<Exchange>>>);

    impl Sink for Taken {
        fn take(&self, finished: Finished) {
            self.0.lock().push(*finished.exchange);
        }
    }

    /// Begins a socket: the taps of both sides, the reader, and the sink of the record.
    fn begun(budget: &Arc<Budget>, extensions: Extensions) -> (Tap<Peer>, Tap<Peer>, SocketReader, Taken) {
        let taken = Taken::default();
        let recording = Recording::new(
            taken.clone(),
            Limits { head_bytes: 1000, tail_bytes: 1000, text_bytes: 0 },
            budget.clone(),
        );
        let request = RequestFacts::without_body(Method::GET, "/".to_owned(), None, Fields::default());
        let agent = (std::net::SocketAddr::from(([127, 0, 0, 1], 1)), Caller::Proxy);
        let origin = Origin { scheme: "http", host: "a.test".into(), port: 80 };
        let recorder = Recorder::begin(&recording, Kind::Http, agent, origin, Version::HTTP_11, request);
        recorder.answered(StatusCode::SWITCHING_PROTOCOLS, &HeaderMap::new(), None);
        let (from_agent, from_origin, reader) = socket(recorder, extensions);
        (from_agent, from_origin, reader, taken)
    }

    /// The record of a socket whose origin sends this many bytes before any of them is read.
    async fn flooded(budget: &Arc<Budget>, bytes: usize) -> SocketFacts {
        let (from_agent, from_origin, reader, taken) = begun(budget, Extensions::None);
        let message = [&[0x82, 126, 0x0F, 0xFC][..], &[7; 4092]].concat();
        (0..bytes / 4096).for_each(|_| from_origin.see(&message));
        from_agent.see(b"\x81\x81\0\0\0\0x");
        drop((from_agent, from_origin));
        let passed = |bytes| Passed { bytes, end: BodyEnd::Complete };
        reader.run().await.finish(passed(7), passed(bytes as u64));
        let taken = taken.0.lock().pop().unwrap();
        let Some(WebSocket::Socket(facts)) = taken.websocket else { panic!("no socket") };
        *facts
    }

    #[tokio::test]
    async fn an_overrun_reader_gives_up_and_says_so_and_releases_its_memory() {
        let budget = Budget::new(8 << 20);
        let kept_up = flooded(&budget, 512 << 10).await;
        assert_eq!((kept_up.given_up, kept_up.summary.origin.messages), (None, 128));
        assert_eq!(kept_up.summary.agent.messages, 1);
        let overrun = flooded(&budget, 2 << 20).await;
        assert_eq!((overrun.given_up, overrun.origin_bytes), (Some("overrun"), 2 << 20));
        assert!((200..256).contains(&overrun.summary.origin.messages), "{overrun:?}");
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_bomb_is_read_in_slices_so_that_other_tasks_run_in_between() {
        let deflate = Extensions::Deflate { agent_alone: false, origin_alone: false };
        let (from_agent, from_origin, reader, _taken) = begun(&Budget::new(8 << 20), deflate);
        let bomb = crate::websocket::testing::Deflater::new().message(&vec![0; 40 << 20], false);
        from_origin.see(&crate::websocket::testing::frame(0xC1, &bomb, None));
        drop((from_agent, from_origin));
        let reading = tokio::spawn(reader.run());
        let mut turns = 0;
        while !reading.is_finished() {
            tokio::task::yield_now().await;
            turns += 1;
        }
        assert!(turns > 20, "{turns} turns of others while a bomb was read");
        assert_eq!(reading.await.unwrap().conversation.summary().origin.clear_bytes, 40 << 20);
    }

    #[tokio::test]
    async fn without_memory_a_little_is_still_read() {
        let budget = Budget::new(0);
        assert_eq!(flooded(&budget, 32 << 10).await.given_up, None);
        assert_eq!(flooded(&budget, 512 << 10).await.given_up, Some("no_memory"));
    }
}
