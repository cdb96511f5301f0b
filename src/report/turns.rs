//! Fair turns: a queue per caller. Callers are served in turn, and each has one job at a time, so its jobs end in order. Pure.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Jobs of many callers.
pub(super) struct Turns<K, J> {
    callers: HashMap<K, Of<J>>,
    /// Callers with jobs that wait, in the order of their turns.
    order: VecDeque<K>,
}

struct Of<J> {
    waiting: VecDeque<J>,
    is_running: bool,
}

impl<K: Clone + Eq + Hash, J> Turns<K, J> {
    pub(super) fn new() -> Self {
        Self { callers: HashMap::new(), order: VecDeque::new() }
    }

    /// Adds a job behind those of its caller.
    pub(super) fn push(&mut self, caller: K, job: J) {
        let of =
            self.callers.entry(caller.clone()).or_insert_with(|| Of { waiting: VecDeque::new(), is_running: false });
        if of.waiting.is_empty() {
            self.order.push_back(caller);
        }
        of.waiting.push_back(job);
    }

    /// The next job to run. Its caller goes to the end of the line.
    pub(super) fn start(&mut self) -> Option<(K, J)> {
        for _ in 0..self.order.len() {
            let caller = self.order.pop_front()?;
            let Some(of) = self.callers.get_mut(&caller) else { continue };
            if of.is_running {
                self.order.push_back(caller);
                continue;
            }
            let Some(job) = of.waiting.pop_front() else { continue };
            of.is_running = true;
            if !of.waiting.is_empty() {
                self.order.push_back(caller.clone());
            }
            return Some((caller, job));
        }
        None
    }

    /// A job of this caller has ended.
    pub(super) fn ended(&mut self, caller: &K) {
        let Some(of) = self.callers.get_mut(caller) else { return };
        of.is_running = false;
        if of.waiting.is_empty() {
            self.callers.remove(caller);
        }
    }

    /// Whether nothing waits and nothing runs.
    pub(super) fn is_empty(&self) -> bool {
        self.callers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_caller_with_many_jobs_holds_up_no_other() {
        let mut turns = Turns::new();
        (0..60).for_each(|n| turns.push("hostile", n));
        assert_eq!(turns.start(), Some(("hostile", 0)));
        assert_eq!(turns.start(), None, "the other workers are left for others");
        turns.push("other", 100);
        turns.push("other", 101);
        assert_eq!(turns.start(), Some(("other", 100)));
        turns.ended(&"hostile");
        assert_eq!(turns.start(), Some(("hostile", 1)));
        turns.ended(&"other");
        assert_eq!(turns.start(), Some(("other", 101)), "it is served though 58 others came first");
        turns.ended(&"other");
        assert!(!turns.is_empty());
    }

    proptest! {
        #[test]
        fn each_job_runs_once_and_those_of_one_caller_begin_in_their_order(
            jobs in prop::collection::vec(0_u8..4, 0..60),
        ) {
            let mut turns = Turns::new();
            jobs.iter().enumerate().for_each(|(at, caller)| turns.push(*caller, at));
            let (mut begun, mut running) = (Vec::new(), VecDeque::new());
            while !turns.is_empty() {
                match turns.start() {
                    Some((caller, at)) => {
                        prop_assert_eq!(jobs[at], caller);
                        begun.push(at);
                        running.push_back(caller);
                        prop_assert!(running.iter().filter(|of| **of == caller).count() == 1);
                    }
                    None => turns.ended(&running.pop_front().unwrap()),
                }
            }
            prop_assert_eq!(begun.len(), jobs.len());
            for caller in 0..4 {
                let of_one: Vec<_> = begun.iter().filter(|at| jobs[**at] == caller).collect();
                prop_assert!(of_one.is_sorted());
            }
        }
    }
}
