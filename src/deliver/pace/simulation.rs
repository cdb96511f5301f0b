//! The pace against OTAS as it was measured, simulated: time is a number, so that hours pass in milliseconds.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::{Pace, Permit, Ticket};
use crate::deliver::backoff::{Backoff, random};

/// An OTAS: so many workers, each of which takes so long for a post. What is not done in time is refused, but its work is
/// done all the same: Brain gives up waiting, UASAM does not know.
struct Otas {
    workers: usize,
    takes: Box<dyn Fn() -> Duration>,
    time_out: Duration,
    /// Whether it takes posts at all, so long after the start.
    up: fn(Duration) -> bool,
}

/// What came of delivering a backlog.
#[derive(Debug)]
struct Delivery {
    took: Duration,
    taken: u32,
    refused: u32,
    highest_limit: usize,
    slowest: Duration,
}

/// Delivers so many events to it, or as many as fit `within`.
fn deliver(otas: &Otas, events: u32, within: Duration) -> Delivery {
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
        now = [ended, due].into_iter().flatten().min().expect("something is under way, or due");
        if ended == Some(now) {
            let Reverse((_, number)) = under_way.pop().unwrap();
            let (ticket, good) = tickets[number as usize];
            if good {
                seen.taken += 1;
                pace.success(&ticket, now);
            } else {
                seen.refused += 1;
                waiting += 1;
                pace.failure(&ticket, now, random(), None);
            }
        }
    }
    seen.took = now - start;
    seen
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Takes between 75 and 125 % of this.
fn about(ms: u64) -> Box<dyn Fn() -> Duration> {
    Box::new(move || Duration::from_millis(ms).mul_f64(0.75 + 0.5 * random()))
}

/// How much of what OTAS can do was used.
fn use_of(delivery: &Delivery, workers: u32, per_event: Duration) -> f64 {
    f64::from(delivery.taken) * per_event.as_secs_f64() / (f64::from(workers) * delivery.took.as_secs_f64())
}

#[test]
fn a_burst_of_2000_on_two_workers_is_delivered_without_refusals_at_nine_tenths_of_what_they_can_do() {
    for takes in [Box::new(|| ms(200)) as Box<dyn Fn() -> Duration>, about(200)] {
        let otas = Otas { workers: 2, takes, time_out: ms(5_000), up: |_| true };
        let seen = deliver(&otas, 2_000, Duration::MAX);
        assert_eq!(seen.taken, 2_000);
        assert!(f64::from(seen.refused) < 0.02 * 2_000.0, "{seen:?}");
        assert!(use_of(&seen, 2, ms(200)) > 0.9, "{seen:?}");
        assert!(seen.highest_limit <= 5 && seen.slowest < ms(1_000), "{seen:?}");
    }
}

#[test]
fn eight_workers_are_all_used() {
    for takes in [Box::new(|| ms(200)) as Box<dyn Fn() -> Duration>, about(200)] {
        let otas = Otas { workers: 8, takes, time_out: ms(5_000), up: |_| true };
        let seen = deliver(&otas, 5_000, Duration::MAX);
        assert_eq!((seen.taken, seen.refused), (5_000, 0));
        assert!(use_of(&seen, 8, ms(200)) > 0.9, "{seen:?}");
        assert!(seen.highest_limit <= 13, "{seen:?}");
    }
}

#[test]
fn one_worker_is_never_swamped() {
    let otas = Otas { workers: 1, takes: about(280), time_out: ms(5_000), up: |_| true };
    let seen = deliver(&otas, 1_000, Duration::MAX);
    assert_eq!((seen.taken, seen.refused), (1_000, 0));
    assert!(use_of(&seen, 1, ms(280)) > 0.9 && seen.highest_limit <= 4, "{seen:?}");
}

#[test]
fn fault_03_an_otas_of_ten_seconds_a_post_is_given_few_and_refuses_none() {
    let otas = Otas { workers: 1, takes: about(10_000), time_out: ms(30_000), up: |_| true };
    let seen = deliver(&otas, 100, Duration::MAX);
    assert_eq!((seen.taken, seen.refused), (100, 0));
    assert!(seen.highest_limit <= 2 && use_of(&seen, 1, ms(10_000)) > 0.8, "{seen:?}");
}

#[test]
fn an_otas_that_becomes_slow_is_given_less() {
    let calls = std::cell::Cell::new(0);
    let takes = move || {
        calls.set(calls.get() + 1);
        if calls.get() < 500 { ms(200) } else { ms(1_500) }
    };
    let otas = Otas { workers: 8, takes: Box::new(takes), time_out: ms(5_000), up: |_| true };
    let seen = deliver(&otas, 1_500, Duration::MAX);
    assert_eq!((seen.taken, seen.refused), (1_500, 0));
    assert!(seen.slowest < ms(3_500), "{seen:?}");
    assert!(seen.took < Duration::from_secs(1_000 * 3 / 2 / 8 * 2), "{seen:?}");
}

#[test]
fn fault_10_an_otas_that_comes_and_goes_gets_few_posts_in_vain() {
    let up = |at: Duration| (at.as_secs() / 20).is_multiple_of(2);
    let otas = Otas { workers: 2, takes: about(200), time_out: ms(5_000), up };
    let seen = deliver(&otas, 10_000, Duration::from_secs(1_200));
    // It is up for ten of twenty minutes, and needs some of them to be found so.
    assert!(seen.taken > 1_500, "{seen:?}");
    assert!(seen.refused < 30 * 12, "{seen:?}");
}

#[test]
fn fault_01_an_hour_away_costs_about_two_probes_a_minute() {
    let up = |at: Duration| at.as_secs() > 3_600;
    let otas = Otas { workers: 2, takes: about(200), time_out: ms(5_000), up };
    let seen = deliver(&otas, 1_000, Duration::MAX);
    assert_eq!(seen.taken, 1_000);
    assert!(seen.refused < 250, "{seen:?}");
}
