//! Times and durations in the units of events.

use std::time::{Duration, SystemTime};

/// A duration in hundredths of a millisecond, rounded: what [`Json::hundredths`](super::json::Json::hundredths) writes.
/// Saturates after millions of years.
pub(super) fn hundredths(duration: Duration) -> u64 {
    let fraction = u64::from((duration.subsec_nanos() + 5_000) / 10_000);
    duration.as_secs().saturating_mul(100_000).saturating_add(fraction)
}

/// Milliseconds since 1970, negative before it.
pub fn unix_ms(at: SystemTime) -> i64 {
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_to_hundredths_of_a_millisecond() {
        assert_eq!(hundredths(Duration::from_nanos(1_234_999)), 123);
        assert_eq!(hundredths(Duration::from_nanos(1_235_000)), 124);
        assert_eq!(hundredths(Duration::from_nanos(999_999_999)), 100_000);
        assert_eq!(hundredths(Duration::MAX), u64::MAX);
    }
}
