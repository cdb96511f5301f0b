//! Simulates the pace against OTAS as it was measured. Time is a number, so hours pass in milliseconds. Randomness comes from a
//! seed, so every run is the same.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Pace, Permit, Ticket};
use crate::deliver::backoff::Backoff;

/// The number of seeds for each simulation.
const SEEDS: u64 = 20;

/// A seeded random number generator (SplitMix64).
#[derive(Clone)]
struct Chance(Rc<Cell<u64>>);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(Rc::new(Cell::new(seed)))
    }

    /// From 0 to 1.
    fn next(&self) -> f64 {
        self.0.set(self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
        let mut bits = self.0.get();
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) as f64 / u64::MAX as f64
    }

    /// Between 75 and 125 % of this.
    fn about(&self, ms: u64) -> Box<dyn Fn() -> Duration> {
        let chance = self.clone();
        Box::new(move || Duration::from_millis(ms).mul_f64(0.75 + 0.5 * chance.next()))
    }
}

fn seeds() -> impl Iterator<Item = Chance> {
    (0..SEEDS).map(Chance::new)
}

/// A simulated OTAS with workers that take a fixed time for a post. A post that is not done in time is refused, but its work is
/// still done: Brain gives up waiting, and UASAM does not notice.
struct Otas {
    workers: usize,
    takes: Box<dyn Fn() -> Duration>,
    time_out: Duration,
    /// Whether it accepts posts at this time after the start.
    up: fn(Duration) -> bool,
}

/// The result of delivering a backlog.
#[derive(Debug)]
struct Delivery {
    took: Duration,
    taken: u32,
    refused: u32,
    highest_limit: usize,
    slowest: Duration,
}

/// Delivers this many events, or as many as fit `within`.
fn deliver(otas: &Otas, events: u32, within: Duration, chance: &Chance) -> Delivery {
    let start = Instant::now();
    let mut now = start;
    let mut pace = Pace::new(16, Backoff::new(Duration::from_millis(500), Duration::from_secs(60)));
    let mut free_at = VecDeque::from(vec![start; otas.workers]);
    let mut under_way: BinaryHeap<Reverse<(Instant, u64)>> = BinaryHeap::new();
    let mut tickets: Vec<(Ticket, bool)> = Vec::new();
    let mut seen = Delivery { took: Duration::ZERO, taken: 0, refused: 0, highest_limit: 0, slowest: Duration::ZERO };
    let mut waiting = events;
    while seen.taken < events && now - start < within {
        let mut due = None;
        while waiting > 0 {
            match pace.permit(now, under_way.len()) {
                Permit::Full => break,
                Permit::After(until) => {
                    due = Some(until);
                    break;
                }
                Permit::Now => {}
            }
            seen.highest_limit = seen.highest_limit.max(pace.limit());
            let ticket = pace.begin(now, under_way.len());
            waiting -= 1;
            let (ends, good) = if (otas.up)(now - start) {
                let begins = free_at.pop_front().unwrap().max(now);
                let done = begins + (otas.takes)();
                free_at.push_back(done);
                free_at.make_contiguous().sort();
                (done.min(now + otas.time_out), done <= now + otas.time_out)
            } else {
                (now + Duration::from_millis(1), false)
            };
            seen.slowest = seen.slowest.max(ends - now);
            under_way.push(Reverse((ends, tickets.len() as u64)));
            tickets.push((ticket, good));
        }
        let ended = under_way.peek().map(|Reverse((ends, _))| *ends);
        now = [ended, due].into_iter().flatten().min().expect("something is in flight or due");
        if ended == Some(now) {
            let Reverse((_, number)) = under_way.pop().unwrap();
            let (ticket, good) = tickets[number as usize];
            if good {
                seen.taken += 1;
                pace.success(&ticket, now);
            } else {
                seen.refused += 1;
                waiting += 1;
                pace.failure(&ticket, now, chance.next(), None);
            }
        }
    }
    seen.took = now - start;
    seen
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The fraction of OTAS's capacity that was used.
fn use_of(delivery: &Delivery, workers: u32, per_event: Duration) -> f64 {
    f64::from(delivery.taken) * per_event.as_secs_f64() / (f64::from(workers) * delivery.took.as_secs_f64())
}

#[test]
fn a_burst_of_2000_on_two_workers_is_delivered_without_refusals_at_90_percent_of_capacity() {
    for chance in seeds() {
        for takes in [Box::new(|| ms(200)) as Box<dyn Fn() -> Duration>, chance.about(200)] {
            let otas = Otas { workers: 2, takes, time_out: ms(5_000), up: |_| true };
            let seen = deliver(&otas, 2_000, Duration::MAX, &chance);
            assert_eq!(seen.taken, 2_000);
            assert!(f64::from(seen.refused) < 0.02 * 2_000.0, "{seen:?}");
            assert!(use_of(&seen, 2, ms(200)) > 0.9, "{seen:?}");
            assert!(seen.highest_limit <= 5 && seen.slowest < ms(1_000), "{seen:?}");
        }
    }
}

#[test]
fn eight_workers_are_all_used() {
    for chance in seeds() {
        for takes in [Box::new(|| ms(200)) as Box<dyn Fn() -> Duration>, chance.about(200)] {
            let otas = Otas { workers: 8, takes, time_out: ms(5_000), up: |_| true };
            let seen = deliver(&otas, 5_000, Duration::MAX, &chance);
            assert_eq!((seen.taken, seen.refused), (5_000, 0));
            assert!(use_of(&seen, 8, ms(200)) > 0.9, "{seen:?}");
            assert!(seen.highest_limit <= 13, "{seen:?}");
        }
    }
}

#[test]
fn one_worker_is_never_overloaded() {
    for chance in seeds() {
        let otas = Otas { workers: 1, takes: chance.about(280), time_out: ms(5_000), up: |_| true };
        let seen = deliver(&otas, 1_000, Duration::MAX, &chance);
        assert_eq!((seen.taken, seen.refused), (1_000, 0));
        assert!(use_of(&seen, 1, ms(280)) > 0.9 && seen.highest_limit <= 4, "{seen:?}");
    }
}

#[test]
fn fault_03_an_otas_of_ten_seconds_a_post_gets_few_and_refuses_none() {
    for chance in seeds() {
        let otas = Otas { workers: 1, takes: chance.about(10_000), time_out: ms(30_000), up: |_| true };
        let seen = deliver(&otas, 100, Duration::MAX, &chance);
        assert_eq!((seen.taken, seen.refused), (100, 0));
        assert!(seen.highest_limit <= 2 && use_of(&seen, 1, ms(10_000)) > 0.8, "{seen:?}");
    }
}

#[test]
fn an_otas_that_becomes_slow_gets_fewer_posts() {
    let calls = Cell::new(0);
    let takes = move || {
        calls.set(calls.get() + 1);
        if calls.get() < 500 { ms(200) } else { ms(1_500) }
    };
    let otas = Otas { workers: 8, takes: Box::new(takes), time_out: ms(5_000), up: |_| true };
    let seen = deliver(&otas, 1_500, Duration::MAX, &Chance::new(0));
    assert_eq!((seen.taken, seen.refused), (1_500, 0));
    assert!(seen.slowest < ms(3_500), "{seen:?}");
    assert!(seen.took < Duration::from_secs(1_000 * 3 / 2 / 8 * 2), "{seen:?}");
}

#[test]
fn fault_10_an_intermittent_otas_gets_few_failing_posts() {
    let up = |at: Duration| (at.as_secs() / 20).is_multiple_of(2);
    let mut taken = 0;
    for chance in seeds() {
        let otas = Otas { workers: 2, takes: chance.about(200), time_out: ms(5_000), up };
        let seen = deliver(&otas, 10_000, Duration::from_secs(1_200), &chance);
        assert!(seen.taken > 1_000, "{seen:?}");
        assert!(seen.refused < 30 * 12, "{seen:?}");
        taken += u64::from(seen.taken);
    }
    // It is up for ten of every twenty minutes, and some of that time passes before it is probed.
    assert!(taken > 1_500 * SEEDS, "{taken}");
}

#[test]
fn fault_01_an_hour_of_outage_costs_about_two_probes_a_minute() {
    let up = |at: Duration| at.as_secs() > 3_600;
    for chance in seeds() {
        let otas = Otas { workers: 2, takes: chance.about(200), time_out: ms(5_000), up };
        let seen = deliver(&otas, 1_000, Duration::MAX, &chance);
        assert_eq!(seen.taken, 1_000);
        assert!(seen.refused < 250, "{seen:?}");
    }
}
