//! The limit of posts in flight: as many as OTAS can process, and one probe at a time while it accepts none.
//!
//! Posts beyond OTAS's capacity only queue there, and a post that waits for five seconds is refused as if its key were bad
//! (contract, "Overload looks like a bad key"). So the limit is found from latency, long before anything fails (as in TCP
//! Vegas). A post that is alone shows OTAS's latency without queueing. Additional latency at a higher limit is queueing. The
//! limit rises by one after a window of successes with less than one post queued on average. It falls to OTAS's capacity when
//! more than two are queued. Each failure halves it.

mod lane;
#[cfg(test)]
mod simulation;

use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;

pub(crate) use lane::Ceiling;
pub(super) use lane::{Lane, Slip};

/// The limit rises if fewer posts than this are queued at OTAS, or less than this fraction of the limit (latency varies).
const FEW_WAIT: f64 = 0.75;
const FEW_WAIT_OF_LIMIT: f64 = 0.1;

/// The limit falls if more posts than this are queued at OTAS, or more than this fraction of the limit.
const MANY_WAIT: f64 = 2.0;
const MANY_WAIT_OF_LIMIT: f64 = 0.3;

/// The minimum number of successes in a window, except at a limit of one.
const WINDOW: u32 = 4;

/// After this many windows one post goes alone, to measure the latency without queueing again.
const WINDOWS_UNTIL_SOUNDING: u32 = 100;

/// Latency variation from the scheduling of two machines.
const NOISE: Duration = Duration::from_millis(5);

/// Less queueing than this counts as none.
const BARELY_WAITS: f64 = 0.3;

/// Half of the time that Brain waits for a key check (contract). Posts that take longer are close to being refused: the limit
/// must not rise, and it falls if some are queued.
const NEAR_REFUSAL: Duration = Duration::from_millis(2_500);

/// If parallel posts are not faster by this factor, OTAS has only as many workers as one post keeps busy.
const SOME_GAIN: f64 = 1.1;

/// Below this latency the gain is not measured: then our own work between two posts is what parallel posts save.
const FAST: Duration = Duration::from_millis(50);

/// After this long without parallel posts, their gain is unknown again.
const GAIN_IS_KNOWN_FOR: Duration = Duration::from_secs(300);

/// `Retry-After` is honoured up to this long.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// The gate that every call to OTAS passes. It knows nothing about events or replies.
///
/// Calls in flight at the same time fail together, and that is one failure. So each call carries the `epoch` in which it
/// started, each failure starts a new epoch, and only calls of the current epoch change the gate.
#[derive(Debug)]
pub(super) struct Pace {
    ceiling: usize,
    backoff: Backoff,
    limit: usize,
    epoch: u64,
    failures: u32,
    gate: Gate,
    /// The latency of a post without queueing.
    unqueued: Option<Duration>,
    window: Window,
    windows: u32,
    /// One post must go alone.
    sounding: bool,
    /// How much faster parallel posts were than single ones, and when that was last measured.
    gain: Option<(f64, Instant)>,
}

#[derive(Debug, Clone, Copy)]
enum Gate {
    Open,
    Closed {
        /// When the next probe may go.
        until: Instant,
        /// OTAS asked for this wait. It is never shortened.
        asked_until: Instant,
    },
}

/// Posts that were started at the current limit and accepted.
#[derive(Debug, Default)]
struct Window {
    number: u64,
    taken: u32,
    latency: Duration,
    /// The limit was reached, so a higher one would have been used.
    full: bool,
}

/// Whether a call may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    /// Yes.
    Now,
    /// Not before then.
    After(Instant),
    /// Not before a call in flight has ended.
    Full,
}

/// A call that was started. It must be passed back at its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    epoch: u64,
    window: u64,
    started: Instant,
    alone: bool,
}

impl Pace {
    /// Starts at a limit of one. A ceiling of 0 counts as 1.
    pub(super) fn new(ceiling: usize, backoff: Backoff) -> Self {
        Self {
            ceiling: ceiling.max(1),
            backoff,
            limit: 1,
            epoch: 0,
            failures: 0,
            gate: Gate::Open,
            unqueued: None,
            window: Window::default(),
            windows: 0,
            sounding: false,
            gain: None,
        }
    }

    /// From now on with this ceiling and these waits.
    pub(super) fn adjust(&mut self, ceiling: usize, backoff: Backoff) {
        self.ceiling = ceiling.max(1);
        self.backoff = backoff;
        self.limit = self.limit.min(self.ceiling);
    }

    /// Whether parallel posts are faster than single ones, as far as known.
    pub(super) fn gains_by_more(&self, now: Instant) -> bool {
        self.gain.is_none_or(|(gain, seen)| gain > SOME_GAIN || seen + GAIN_IS_KNOWN_FOR <= now)
    }

    /// The current limit of calls in flight.
    pub(super) fn limit(&self) -> usize {
        match self.gate {
            Gate::Open if !self.sounding => self.limit,
            _ => 1,
        }
    }

    pub(super) fn permit(&self, now: Instant, in_flight: usize) -> Permit {
        match self.gate {
            _ if in_flight >= self.limit() => Permit::Full,
            Gate::Closed { until, .. } if now < until => Permit::After(until),
            _ => Permit::Now,
        }
    }

    /// Starts a call, with this many others in flight.
    pub(super) fn begin(&mut self, now: Instant, in_flight: usize) -> Ticket {
        self.window.full |= in_flight + 1 >= self.limit;
        let alone = in_flight == 0 && self.limit() == 1;
        Ticket { epoch: self.epoch, window: self.window.number, started: now, alone }
    }

    /// When the next call may be made.
    pub(super) fn next_at(&self, now: Instant) -> Instant {
        match self.gate {
            Gate::Open => now,
            Gate::Closed { until, .. } => until.max(now),
        }
    }

    /// A post was accepted. Returns true if this opened the gate.
    pub(super) fn success(&mut self, ticket: &Ticket, now: Instant) -> bool {
        if ticket.epoch != self.epoch {
            return false;
        }
        self.failures = 0;
        let opened = matches!(std::mem::replace(&mut self.gate, Gate::Open), Gate::Closed { .. });
        let latency = now.saturating_duration_since(ticket.started);
        if ticket.alone {
            self.unqueued = Some(latency);
        }
        if self.sounding {
            if ticket.alone {
                self.sounding = false;
                self.next_window();
            }
        } else if ticket.window == self.window.number {
            self.window.taken += 1;
            self.window.latency += latency;
            self.judge_window(now);
        }
        opened
    }

    /// A call failed: backs off for at least as long as OTAS asks. Returns true if this is news.
    pub(super) fn failure(
        &mut self,
        ticket: &Ticket,
        now: Instant,
        random: f64,
        retry_after: Option<Duration>,
    ) -> bool {
        if ticket.epoch != self.epoch {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        self.limit = if self.failures == 1 { (self.limit / 2).max(1) } else { 1 };
        let asked_until = now + retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        self.close(asked_until.max(now + self.backoff.delay(self.failures, random)), asked_until);
        self.failures == 1
    }

    /// An operator is needed: only slow probes from here on.
    pub(super) fn slow_down(&mut self, now: Instant) {
        self.limit = 1;
        self.close(now + self.backoff.slowest(), now);
    }

    /// The next probe need not wait, except for what OTAS asked. The failure count stays, because nothing has been accepted
    /// yet.
    pub(super) fn probe_at_once(&mut self, now: Instant) {
        if let Gate::Closed { until, asked_until } = &mut self.gate {
            *until = now.max(*asked_until);
        }
    }

    fn close(&mut self, until: Instant, asked_until: Instant) {
        self.epoch += 1;
        self.gate = Gate::Closed { until, asked_until };
        self.sounding = false;
        self.next_window();
    }

    fn judge_window(&mut self, now: Instant) {
        let enough = if self.limit == 1 { 1 } else { WINDOW.max(u32::try_from(self.limit).unwrap_or(u32::MAX)) };
        if self.window.taken < enough {
            return;
        }
        let latency = self.window.latency / self.window.taken;
        let unqueued = self.unqueued.map_or(latency, |before| before.min(latency));
        self.unqueued = Some(unqueued);
        if self.limit > 1 && self.window.full && unqueued >= FAST {
            let gain = self.limit as f64 * unqueued.as_secs_f64() / latency.as_secs_f64().max(1e-6);
            let gain = self.gain.map_or(gain, |(before, _)| (before + gain) / 2.0);
            self.gain = Some((gain, now));
        }
        let before = self.limit;
        self.limit = self.next_limit(latency, unqueued);
        self.windows += 1;
        // A fall of more than one step: OTAS has changed.
        if self.windows >= WINDOWS_UNTIL_SOUNDING || self.limit + 1 < before {
            self.windows = 0;
            self.sounding = self.limit > 1;
        }
        self.next_window();
    }

    /// By Little's law: of `limit` posts in flight, the share by which latency exceeds its unqueued value is queued.
    fn next_limit(&self, latency: Duration, unqueued: Duration) -> usize {
        let limit = self.limit as f64;
        let busy = unqueued.as_secs_f64() / latency.saturating_sub(NOISE).max(unqueued).as_secs_f64().max(1e-6);
        let waiting = limit * (1.0 - busy.min(1.0));
        if latency > NEAR_REFUSAL && waiting > BARELY_WAITS {
            (self.limit / 2).max(1)
        } else if waiting > MANY_WAIT.max(MANY_WAIT_OF_LIMIT * limit) {
            // The number that OTAS processes, plus one that is queued so that OTAS never idles.
            ((limit - waiting).floor() as usize + 1).clamp(1, self.limit)
        } else if waiting < FEW_WAIT.max(FEW_WAIT_OF_LIMIT * limit) && latency <= NEAR_REFUSAL && self.window.full {
            (self.limit + 1).min(self.ceiling)
        } else {
            self.limit
        }
    }

    fn next_window(&mut self) {
        self.window = Window { number: self.window.number + 1, ..Window::default() };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const D: Duration = Duration::from_millis(200);

    fn pace(ceiling: usize) -> Pace {
        Pace::new(ceiling, Backoff::new(Duration::from_secs(1), Duration::from_secs(60)))
    }

    /// Posts at the limit until a window is judged, with this latency each.
    fn window(pace: &mut Pace, now: Instant, latency: Duration) {
        let number = pace.window.number;
        while pace.window.number == number {
            let in_flight = pace.limit() - 1;
            let ticket = pace.begin(now, in_flight);
            pace.success(&ticket, now + latency);
        }
    }

    #[test]
    fn it_starts_with_one_and_rises_by_one_while_nothing_is_queued() {
        let (mut pace, now) = (pace(4), Instant::now());
        for limit in [1, 2, 3, 4, 4] {
            assert_eq!(pace.limit(), limit);
            assert_eq!(pace.permit(now, limit - 1), Permit::Now);
            assert_eq!(pace.permit(now, limit), Permit::Full);
            window(&mut pace, now, D);
        }
        assert_eq!(Pace::new(0, pace.backoff).permit(now, 0), Permit::Now);
    }

    #[test]
    fn latency_that_grows_with_the_limit_lowers_it() {
        let (mut pace, now) = (pace(16), Instant::now());
        window(&mut pace, now, D);
        window(&mut pace, now, D);
        assert_eq!(pace.limit(), 3);
        window(&mut pace, now, D * 3 / 2);
        assert_eq!(pace.limit(), 3, "one waits: enough");
        window(&mut pace, now, D * 12);
        assert_eq!(pace.limit(), 1, "OTAS has become slow");
    }

    #[test]
    fn it_measures_whether_parallel_posts_are_faster() {
        let (mut one_worker, mut many_workers, now) = (pace(4), pace(4), Instant::now());
        assert!(one_worker.gains_by_more(now), "not known yet");
        for _ in 0..4 {
            let limit = u32::try_from(one_worker.limit()).unwrap();
            window(&mut one_worker, now, D * limit);
            window(&mut many_workers, now, D);
        }
        assert!(!one_worker.gains_by_more(now) && many_workers.gains_by_more(now));
        assert!(one_worker.gains_by_more(now + GAIN_IS_KNOWN_FOR + D * 4), "it may have changed");
    }

    #[test]
    fn a_limit_that_was_not_reached_is_not_raised() {
        let (mut pace, now) = (pace(16), Instant::now());
        window(&mut pace, now, D);
        for _ in 0..50 {
            let ticket = pace.begin(now, 0);
            pace.success(&ticket, now + D);
        }
        assert_eq!(pace.limit(), 2);
    }

    #[test]
    fn after_a_failure_one_probe_at_a_time_and_half_the_limit() {
        let (mut pace, now) = (pace(8), Instant::now());
        for _ in 0..3 {
            window(&mut pace, now, D);
        }
        assert_eq!(pace.limit(), 4);
        let ticket = pace.begin(now, 3);
        assert!(pace.failure(&ticket, now, 1.0, None));
        let due = now + Duration::from_secs(2);
        assert_eq!(pace.permit(now, 0), Permit::After(due));
        assert_eq!(pace.permit(due, 1), Permit::Full);
        assert_eq!(pace.permit(due, 0), Permit::Now);
        let probe = pace.begin(due, 0);
        assert!(pace.success(&probe, due + D));
        assert_eq!(pace.limit(), 2);
    }

    #[test]
    fn calls_that_fail_together_are_one_failure() {
        let (mut pace, now) = (pace(4), Instant::now());
        let tickets = [(); 4].map(|()| pace.begin(now, 0));
        for ticket in tickets {
            pace.failure(&ticket, now, 1.0, None);
        }
        assert_eq!(pace.next_at(now), now + Duration::from_secs(2));
    }

    #[test]
    fn a_late_success_does_not_open_the_gate() {
        let (mut pace, now) = (pace(4), Instant::now());
        let (one, other) = (pace.begin(now, 0), pace.begin(now, 1));
        pace.failure(&one, now, 1.0, None);
        assert!(!pace.success(&other, now));
        assert_ne!(pace.permit(now, 0), Permit::Now);
    }

    #[test]
    fn an_immediate_probe_skips_the_wait_and_keeps_the_failure_count() {
        let (mut pace, now) = (pace(4), Instant::now());
        let ticket = pace.begin(now, 0);
        pace.failure(&ticket, now, 1.0, None);
        pace.probe_at_once(now);
        assert_eq!(pace.permit(now, 0), Permit::Now);
        let ticket = pace.begin(now, 0);
        assert!(!pace.failure(&ticket, now, 1.0, None));
        assert_eq!(pace.next_at(now), now + Duration::from_secs(4));
        pace.slow_down(now);
        assert_eq!(pace.next_at(now), now + Duration::from_secs(60));
    }

    #[test]
    fn fault_04_retry_after_is_honoured_up_to_five_minutes_and_never_shortened() {
        let (mut pace, now) = (pace(4), Instant::now());
        for (asked, waited) in [(0, 2), (90, 90), (86_400, 300), (u64::MAX / 2, 300)] {
            let mut pace = Pace::new(4, pace.backoff);
            let ticket = pace.begin(now, 0);
            pace.failure(&ticket, now, 1.0, Some(Duration::from_secs(asked)));
            assert_eq!(pace.next_at(now), now + Duration::from_secs(waited), "{asked}");
        }
        let ticket = pace.begin(now, 0);
        pace.failure(&ticket, now, 1.0, Some(Duration::from_secs(10)));
        pace.probe_at_once(now);
        assert_eq!(pace.next_at(now), now + Duration::from_secs(10));
    }

    #[test]
    fn from_time_to_time_a_post_goes_alone() {
        let (mut pace, now) = (pace(2), Instant::now());
        for _ in 0..WINDOWS_UNTIL_SOUNDING {
            window(&mut pace, now, D);
        }
        assert_eq!(pace.permit(now, 1), Permit::Full);
        let ticket = pace.begin(now, 0);
        pace.success(&ticket, now + D);
        assert_eq!(pace.permit(now, 1), Permit::Now);
    }

    proptest! {
        #[test]
        fn the_limit_always_stays_within_bounds_and_a_call_can_always_start(
            ceiling in 0_usize..20, steps in proptest::collection::vec((0_u8..5, 0_u64..20_000, 0.0..1.0), 1..300)
        ) {
            let mut pace = pace(ceiling);
            let mut now = Instant::now();
            let mut under_way = Vec::new();
            for (act, ms, random) in steps {
                now += Duration::from_millis(ms);
                match act {
                    0 | 1 if pace.permit(now, under_way.len()) == Permit::Now => {
                        under_way.push(pace.begin(now, under_way.len()));
                    }
                    2 => if let Some(ticket) = under_way.pop() { pace.success(&ticket, now); },
                    3 => if let Some(ticket) = under_way.pop() {
                        pace.failure(&ticket, now, random, Some(Duration::from_millis(ms * ms)));
                    },
                    _ => pace.probe_at_once(now),
                }
                prop_assert!((1..=ceiling.max(1)).contains(&pace.limit()));
                prop_assert!(under_way.len() <= ceiling.max(1));
                if let Permit::After(due) = pace.permit(now, 0) {
                    prop_assert!(due <= now + RETRY_AFTER_MAX);
                }
            }
        }
    }
}
