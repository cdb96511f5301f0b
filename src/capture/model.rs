//! Reading a call to a model beside its data path: both bodies are copied as they pass, and a task of its own reads the copies. The
//! exchange is handed off when they are read, which the agent does not wait for.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use http::StatusCode;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::copies::{self, Copied, Copies, Tap};
use super::recorder::{Recording, lock};
use super::{Exchange, Failure, Fields, Finished, Outcome, Side};
use crate::llm;

/// Copied bytes of one body that may wait for the reader: questions are large and come at once.
const WAITING_MAX_BYTES: usize = 8 << 20;

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
    facts: Arc<Mutex<llm::Reader>>,
    recording: Arc<Recording>,
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
    pub(super) fn begin(call: llm::Call, recording: &Recording) -> Option<(Self, ModelTap)> {
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let sides = [Side::Request, Side::Response];
        let ([request, response], copies) = copies::apart(sides, WAITING_MAX_BYTES, recording.budget());
        let facts = Arc::new(Mutex::new(llm::Reader::new(call)));
        runtime.spawn(read(copies, facts.clone()));
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
        lock(&self.facts).facts().map(Box::new)
    }

    /// The exchange is over: it is handed off when all that was copied is read.
    pub(super) fn over(self, finished: Finished, recording: &Arc<Recording>, open: TaskTrackerToken) {
        let Self { facts, line, .. } = self;
        let ending = Ending { finished: Some(finished), facts, recording: recording.clone(), _open: open };
        // With no reader any more, it is handed off here and now.
        drop(line.tell(Told::Over(ending)));
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Some(mut finished) = self.finished.take() else { return };
        attach(&mut finished.exchange, lock(&self.facts).facts());
        self.recording.hand_over(finished);
    }
}

/// What was read becomes part of the exchange; an error inside an answer is one of the call, if nothing else failed before.
pub(super) fn attach(exchange: &mut Exchange, facts: Option<llm::Facts>) {
    let Some(mut facts) = facts else { return };
    if let Some(llm::Failure { id, detail }) = facts.failure.take()
        && exchange.outcome == Outcome::Complete
    {
        exchange.outcome = Outcome::Failed(Failure { id, detail });
    }
    exchange.llm = Some(Box::new(facts));
}

/// Reads what was copied until the exchange is over.
async fn read(mut copies: Copies<Side, Told>, reader: Arc<Mutex<llm::Reader>>) {
    let mut since = None;
    while let Some(copied) = copies.recv().await {
        let mut reader = lock(&reader);
        match copied {
            Copied::Bytes { from: Side::Request, bytes, waiting: _waiting, .. } => reader.asked(&bytes),
            Copied::Bytes { from: Side::Response, bytes, at, waiting: _waiting } => {
                reader.told(&bytes, since.map(|since| at.saturating_duration_since(since)));
            }
            Copied::Ended { from: Side::Request, whole } => reader.asked_all(whole),
            Copied::Ended { from: Side::Response, whole } => reader.told_all(whole),
            Copied::GivenUp { from, why } => reader.give_up(from == Side::Request, why),
            Copied::Told(Told::Answered { status, headers, forwarded }) => {
                since = forwarded;
                reader.answered(status.as_u16(), &|name| headers.get(name).map(<[u8]>::to_vec));
            }
            Copied::Told(Told::Over(ending)) => {
                drop(reader);
                return drop(ending);
            }
        }
    }
}
