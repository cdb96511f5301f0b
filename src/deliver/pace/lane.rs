//! The pace of one delivery, alone or below a ceiling that it shares with others: the deliveries of a relay go to one OTAS, which
//! refuses good keys when all of them together are too fast.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Pace, Permit, Ticket};
use crate::deliver::backoff::Backoff;

/// A limit of posts in flight for several deliveries. It adapts as that of one does.
pub(crate) struct Ceiling(Mutex<Shared>);

struct Shared {
    pace: Pace,
    in_flight: usize,
    /// No post starts later than this.
    until: Option<Instant>,
    /// Lanes that found it full, in the order in which they came.
    queue: VecDeque<Arc<Notify>>,
}

#[cfg(any(test, feature = "nats"))]
impl Ceiling {
    /// At most `most` posts in flight. None starts until [`Ceiling::open_until`] allows it.
    pub(crate) fn new(most: usize, backoff_min: Duration, backoff_max: Duration) -> Self {
        let pace = Pace::new(most, Backoff::new(backoff_min, backoff_max));
        Self(Mutex::new(Shared { pace, in_flight: 0, until: None, queue: VecDeque::new() }))
    }

    /// Posts may start until then.
    pub(crate) fn open_until(&self, until: Instant) {
        self.0.lock().until = Some(until);
    }

    /// Whether posts may start.
    pub(crate) fn is_open(&self) -> bool {
        self.0.lock().is_open(Instant::now())
    }

    /// No post may start.
    pub(crate) fn close(&self) {
        self.0.lock().until = None;
    }
}

impl Ceiling {
    /// The current limit, and posts in flight.
    pub(crate) fn load(&self) -> (usize, usize) {
        let shared = self.0.lock();
        (shared.pace.limit(), shared.in_flight)
    }
}

impl Shared {
    fn permit(&self, now: Instant) -> Permit {
        if self.is_open(now) { self.pace.permit(now, self.in_flight) } else { Permit::Full }
    }

    fn is_open(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    fn wake_next(&mut self) {
        if let Some(next) = self.queue.pop_front() {
            next.notify_one();
        }
    }
}

/// The pace of one delivery.
pub(in crate::deliver) struct Lane {
    own: Pace,
    ceiling: Option<Arc<Ceiling>>,
    freed: Arc<Notify>,
}

/// A call that was started. It must be passed back at its end; a place below the ceiling is freed when it is dropped.
pub(in crate::deliver) struct Slip {
    own: Ticket,
    shared: Option<(Ticket, Place)>,
}

impl Slip {
    /// Whether the call may still begin. The process may have been paused since its slip was made.
    pub(in crate::deliver) fn stands(&self, now: Instant) -> bool {
        self.shared.as_ref().is_none_or(|(_, place)| place.0.0.lock().is_open(now))
    }
}

/// A place below the ceiling.
struct Place(Arc<Ceiling>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut shared = self.0.0.lock();
        shared.in_flight = shared.in_flight.saturating_sub(1);
        shared.wake_next();
    }
}

impl Lane {
    pub(in crate::deliver) fn new(own: Pace, ceiling: Option<Arc<Ceiling>>) -> Self {
        Self { own, ceiling, freed: Arc::default() }
    }

    /// Returns when a place below the ceiling may be free.
    pub(in crate::deliver) fn freed(&self) -> Arc<Notify> {
        self.freed.clone()
    }

    pub(in crate::deliver) fn adjust(&mut self, ceiling: usize, backoff: Backoff) {
        self.own.adjust(ceiling, backoff);
    }

    pub(in crate::deliver) fn gains_by_more(&self, now: Instant) -> bool {
        self.own.gains_by_more(now)
    }

    pub(in crate::deliver) fn limit(&self) -> usize {
        let shared = self.ceiling.as_ref().map(|ceiling| ceiling.load().0);
        shared.unwrap_or(usize::MAX).min(self.own.limit())
    }

    pub(in crate::deliver) fn permit(&self, now: Instant, in_flight: usize) -> Permit {
        let own = self.own.permit(now, in_flight);
        let (Permit::Now, Some(ceiling)) = (own, &self.ceiling) else { return own };
        let mut shared = ceiling.0.lock();
        let permit = shared.permit(now);
        if permit == Permit::Full && !shared.queue.iter().any(|waits| Arc::ptr_eq(waits, &self.freed)) {
            shared.queue.push_back(self.freed.clone());
        }
        permit
    }

    /// It has nothing to post, although it may: another one may have.
    pub(in crate::deliver) fn passes(&self) {
        if let Some(ceiling) = &self.ceiling {
            ceiling.0.lock().wake_next();
        }
    }

    pub(in crate::deliver) fn begin(&mut self, now: Instant, in_flight: usize) -> Slip {
        let shared = self.ceiling.as_ref().map(|ceiling| {
            let mut shared = ceiling.0.lock();
            let others = shared.in_flight;
            shared.in_flight += 1;
            (shared.pace.begin(now, others), Place(ceiling.clone()))
        });
        Slip { own: self.own.begin(now, in_flight), shared }
    }

    pub(in crate::deliver) fn next_at(&self, now: Instant) -> Instant {
        self.own.next_at(now)
    }

    pub(in crate::deliver) fn success(&mut self, slip: &Slip, now: Instant) -> bool {
        if let Some((ticket, place)) = &slip.shared {
            place.0.0.lock().pace.success(ticket, now);
        }
        self.own.success(&slip.own, now)
    }

    pub(in crate::deliver) fn failure(
        &mut self,
        slip: &Slip,
        now: Instant,
        random: f64,
        retry_after: Option<Duration>,
    ) -> bool {
        if let Some((ticket, place)) = &slip.shared {
            place.0.0.lock().pace.failure(ticket, now, random, retry_after);
        }
        self.own.failure(&slip.own, now, random, retry_after)
    }

    pub(in crate::deliver) fn slow_down(&mut self, now: Instant) {
        self.own.slow_down(now);
    }

    pub(in crate::deliver) fn probe_at_once(&mut self, now: Instant) {
        self.own.probe_at_once(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    fn lanes(most: usize) -> (Arc<Ceiling>, [Lane; 2]) {
        let ceiling = Arc::new(Ceiling::new(most, SOON, SOON));
        let lane = || Lane::new(Pace::new(16, Backoff::new(SOON, SOON)), Some(ceiling.clone()));
        let lanes = [lane(), lane()];
        (ceiling, lanes)
    }

    #[tokio::test]
    async fn lanes_share_the_limit_and_the_one_that_waits_is_woken() {
        let (ceiling, [mut one, other]) = lanes(8);
        let now = Instant::now();
        assert_eq!(one.permit(now, 0), Permit::Full, "not open yet");
        ceiling.open_until(now + SOON);
        assert_eq!(one.permit(now, 0), Permit::Now);
        let slip = one.begin(now, 0);
        assert_eq!((other.permit(now, 0), ceiling.load()), (Permit::Full, (1, 1)));
        assert_eq!([slip.stands(now), slip.stands(now + SOON)], [true, false], "paused before it began");
        drop(slip);
        // The first one waited before, and passes on.
        one.passes();
        other.freed().notified().await;
        assert_eq!((other.permit(now, 0), ceiling.load()), (Permit::Now, (1, 0)));
        assert_eq!(other.permit(now + SOON, 0), Permit::Full, "no longer open");
        ceiling.close();
        assert!(other.permit(now, 0) == Permit::Full && !ceiling.is_open(), "closed");
    }

    #[test]
    fn a_failure_of_one_slows_all_and_a_delivery_that_is_paused_only_itself() {
        let (ceiling, [mut one, other]) = lanes(8);
        let now = Instant::now();
        ceiling.open_until(now + SOON * 10);
        one.slow_down(now);
        assert_ne!(one.permit(now, 0), Permit::Now);
        assert_eq!(other.permit(now, 0), Permit::Now);
        let slip = one.begin(now, 0);
        one.failure(&slip, now, 0.0, None);
        drop(slip);
        assert_eq!(other.permit(now, 0), Permit::After(now + SOON));
    }
}
