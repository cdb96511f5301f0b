//! The state of one agent connection: which requests are answered, and since when it is idle.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::strict::Verbatim;

/// The state of one agent connection. Its reader and its responses share it.
#[derive(Clone)]
pub(super) struct Activity(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Responses with a piece that the agent has not read yet.
    untaken: AtomicUsize,
    /// Responses with a body under way, of which more follows.
    more_follows: AtomicUsize,
    /// The agent read nothing for too long, so its connection ends.
    stuck: AtomicBool,
    /// A response that only the end of the connection frames is cut off.
    cut_short: AtomicBool,
}

struct State {
    /// Requests received.
    begun: u64,
    /// Requests whose responses have ended.
    answered: u64,
    /// When the last response ended, or the connection began.
    since: Instant,
    /// The connection has switched to another protocol.
    switched: bool,
    /// Woken when a response ends.
    waiting: Option<Waker>,
    /// Requests routed so far (HTTP/1.x only).
    routed: u64,
    /// Parts of requests that bypass the library, each with the number of its request.
    written: VecDeque<(u64, Verbatim)>,
}

/// A request in flight. Dropped when its response has ended.
pub(super) struct Answering {
    activity: Activity,
    /// The agent has not read a piece of the response yet.
    untaken: bool,
    /// The body is under way, and more of it follows.
    more_follows: bool,
}

impl Answering {
    /// Marks the response as cut off. Only the end of the connection can tell the agent so.
    pub(super) fn cut_short(&self) {
        self.activity.0.cut_short.store(true, Ordering::Relaxed);
    }

    /// Sets whether a piece of the response waits for the agent to read it.
    pub(super) fn waits(&mut self, untaken: bool) {
        count(&mut self.untaken, untaken, &self.activity.0.untaken);
    }

    /// Sets whether the body is under way and more of it follows.
    pub(super) fn more_follows(&mut self, more: bool) {
        count(&mut self.more_follows, more, &self.activity.0.more_follows);
    }
}

/// Sets `marked`. `all`: how many are.
fn count(marked: &mut bool, mark: bool, all: &AtomicUsize) {
    match (std::mem::replace(marked, mark), mark) {
        (false, true) => all.fetch_add(1, Ordering::Relaxed),
        (true, false) => all.fetch_sub(1, Ordering::Relaxed),
        _ => return,
    };
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.waits(false);
        self.more_follows(false);
        let mut state = self.activity.0.state.lock();
        state.answered += 1;
        state.since = Instant::now();
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }
}

impl Activity {
    pub(super) fn new() -> Self {
        let state = State {
            begun: 0,
            answered: 0,
            since: Instant::now(),
            switched: false,
            waiting: None,
            routed: 0,
            written: VecDeque::new(),
        };
        Self(Arc::new(Inner {
            state: Mutex::new(state),
            untaken: AtomicUsize::new(0),
            more_follows: AtomicUsize::new(0),
            stuck: AtomicBool::new(false),
            cut_short: AtomicBool::new(false),
        }))
    }

    /// Counts a new request.
    pub(super) fn answering(&self) -> Answering {
        self.0.state.lock().begun += 1;
        Answering { activity: self.clone(), untaken: false, more_follows: false }
    }

    /// Whether there was any request.
    pub(super) fn has_begun(&self) -> bool {
        self.0.state.lock().begun > 0
    }

    /// Keeps the parts of a request that bypass the library. Requests are numbered from 1.
    pub(super) fn wrote(&self, request: u64, written: Verbatim) {
        self.0.state.lock().written.push_back((request, written));
    }

    /// Counts the next request as routed, and returns the parts of it that bypassed the library. HTTP/1.x requests are routed one
    /// by one, in the order in which they came.
    pub(super) fn route(&self) -> Option<Verbatim> {
        let mut state = self.0.state.lock();
        state.routed += 1;
        let is_its = state.written.front().is_some_and(|(request, _)| *request == state.routed);
        if is_its { state.written.pop_front().map(|(_, written)| written) } else { None }
    }

    /// The number of requests whose responses have ended.
    pub(super) fn answered(&self) -> u64 {
        self.0.state.lock().answered
    }

    /// Ready when this many responses have ended.
    pub(super) fn poll_answered(&self, requests: u64, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.state.lock();
        if state.answered >= requests {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The number of responses with a piece that the agent has not read yet.
    pub(super) fn untaken(&self) -> usize {
        self.0.untaken.load(Ordering::Relaxed)
    }

    /// Whether more follows of a response's body that is under way.
    pub(super) fn more_follows(&self) -> bool {
        self.0.more_follows.load(Ordering::Relaxed) > 0
    }

    /// Marks the agent as stuck: it read nothing for too long.
    pub(super) fn got_stuck(&self) {
        self.0.stuck.store(true, Ordering::Relaxed);
    }

    /// Whether the agent read nothing for too long.
    pub(super) fn is_stuck(&self) -> bool {
        self.0.stuck.load(Ordering::Relaxed)
    }

    /// Whether a response that only the end of the connection frames is cut off.
    pub(super) fn is_cut_short(&self) -> bool {
        self.0.cut_short.load(Ordering::Relaxed)
    }

    /// Marks the connection as switched to another protocol.
    pub(super) fn switch(&self) {
        self.0.state.lock().switched = true;
    }

    /// Whether the connection has switched to another protocol.
    pub(super) fn switched(&self) -> bool {
        self.0.state.lock().switched
    }

    /// Ends when there was no request in flight for `limit`.
    pub(super) async fn idle_for(&self, limit: Duration) {
        loop {
            let (begun, idle_since) = {
                let state = self.0.state.lock();
                (state.begun, (state.begun == state.answered).then_some(state.since))
            };
            match idle_since.map(|since| since + limit) {
                None => poll_fn(|cx| self.poll_answered(begun, cx)).await,
                Some(due) if due <= Instant::now() => return,
                Some(due) => sleep_until(due).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_the_end_of_its_last_answer() {
        let limit = Duration::from_secs(10);
        let activity = Activity::new();
        let idle = tokio::spawn({
            let activity = activity.clone();
            async move { activity.idle_for(limit).await }
        });
        tokio::task::yield_now().await;
        let answering = activity.answering();
        advance(limit * 3).await;
        tokio::task::yield_now().await;
        assert!(!idle.is_finished(), "a request is being answered");
        drop(answering);
        tokio::task::yield_now().await;
        advance(limit / 2).await;
        tokio::task::yield_now().await;
        assert!(!idle.is_finished(), "not yet");
        let from = Instant::now();
        idle.await.unwrap();
        assert_eq!(from.elapsed(), limit / 2);
    }
}
