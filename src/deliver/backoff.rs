//! The wait after failures: full jitter between a minimum and a doubling ceiling, without end.

use std::time::Duration;

/// Waits between a minimum and a maximum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
}

impl Backoff {
    /// A maximum below the minimum counts as the minimum.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min) }
    }

    /// The wait after `failures` consecutive failures (1 or more): between the minimum and `2^failures` times it, at most the
    /// maximum. `random` in `0.0..=1.0` selects the point. An even spread keeps many senders apart.
    pub(crate) fn delay(&self, failures: u32, random: f64) -> Duration {
        let ceiling = 2_u32.checked_pow(failures).and_then(|factor| self.min.checked_mul(factor));
        let ceiling = ceiling.map_or(self.max, |ceiling| ceiling.min(self.max));
        self.min + (ceiling - self.min).mul_f64(random.clamp(0.0, 1.0))
    }

    /// The wait while an operator is needed: the longest.
    pub(super) fn slowest(&self) -> Duration {
        self.max
    }
}

/// A random number in `0.0..=1.0`, good enough to spread waits.
pub(crate) fn random() -> f64 {
    let (bits, _) = uuid::Uuid::new_v4().as_u64_pair();
    bits as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delay_is_never_out_of_bounds(
            min in 0_u64..5_000, max in 0_u64..600_000, failures in any::<u32>(), random in any::<f64>()
        ) {
            prop_assume!(!random.is_nan());
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
            let delay = Backoff::new(min, max).delay(failures, random);
            prop_assert!(delay >= min);
            prop_assert!(delay <= max.max(min));
        }

        #[test]
        fn the_ceiling_only_grows(failures in 1_u32..100) {
            let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
            prop_assert!(backoff.delay(failures + 1, 1.0) >= backoff.delay(failures, 1.0));
        }
    }

    #[test]
    fn it_doubles_up_to_the_maximum_and_continues_for_ever() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let ceilings: Vec<u64> = (1..9).map(|failures| backoff.delay(failures, 1.0).as_secs()).collect();
        assert_eq!(ceilings, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff.delay(u32::MAX, 1.0), Duration::from_secs(60));
        assert_eq!(backoff.delay(7, 0.0), Duration::from_secs(1));
    }

    #[test]
    fn random_numbers_differ_and_stay_in_range() {
        let numbers: Vec<f64> = (0..100).map(|_| random()).collect();
        assert!(numbers.iter().all(|number| (0.0..=1.0).contains(number)));
        assert!(numbers.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
