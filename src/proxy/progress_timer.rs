//! Measures how long an agent stays at one position of its stream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::strict::Position;

/// Measures how long the agent stays at one position. Progress costs nothing: the timer is checked and set again only when it
/// expires.
pub(super) struct ProgressTimer {
    position: Option<Position>,
    /// When the agent reached its position, or last made progress there.
    since: Instant,
    progressed: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ProgressTimer {
    pub(super) fn new() -> Self {
        Self { position: None, since: Instant::now(), progressed: false, timer: None }
    }

    /// Notes progress.
    pub(super) fn progress(&mut self) {
        self.progressed = true;
    }

    /// Stops the measurement.
    pub(super) fn rest(&mut self) {
        self.position = None;
    }

    /// Ready when the agent has been at `position` for `limit`. In a head, progress does not count: the whole head has this limit.
    pub(super) fn poll_over(&mut self, position: Position, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let goes_on = std::mem::take(&mut self.progressed) && position != Position::Head;
        if self.position != Some(position) || goes_on {
            (self.position, self.since) = (Some(position), Instant::now());
        }
        let due = self.since + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}
