//! The time axis of a run (pure). Long times in which nothing happened, such as the night between two turns, are shortened: else the
//! calls would be too small to see.

/// The width of the axis in units of its drawings.
pub(super) const WIDE: f64 = 1_000.0;
/// A time without any call that is longer than this share of the busy time is shortened.
const SHORTENED_FROM: i64 = 8;
/// Shorter ones never are, in milliseconds.
const SHORTENED_FROM_MS: i64 = 3_000;
/// The width of a shortened time, and of all of them.
const SHORT: (f64, f64) = (16.0, 300.0);

/// From milliseconds to places.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    /// One after the other, from the first call to the last.
    pieces: Vec<Piece>,
}

/// A part of the axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Piece {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) x: f64,
    pub(super) wide: f64,
    /// Nothing happened in it, and it is shortened.
    pub(super) is_short: bool,
}

impl Axis {
    /// For calls with these beginnings and ends, in Unix milliseconds.
    pub(super) fn of(calls: impl Iterator<Item = (i64, i64)>) -> Self {
        let busy = busy(calls);
        let busy_ms: i64 = busy.iter().map(|(from, to)| to - from).sum();
        let short_from = (busy_ms / SHORTENED_FROM).max(SHORTENED_FROM_MS);
        // Each part in real time, and whether it is shortened.
        let mut parts: Vec<(i64, i64, bool)> = Vec::new();
        for (from, to) in busy {
            match parts.last_mut() {
                Some(last) if from - last.1 < short_from => last.1 = to,
                Some(last) => {
                    let idle = (last.1, from, true);
                    parts.extend([idle, (from, to, false)]);
                }
                None => parts.push((from, to, false)),
            }
        }
        let shortened = parts.iter().filter(|(.., is_short)| *is_short).count();
        let short = SHORT.0.min(SHORT.1 / shortened.max(1) as f64);
        let drawn_ms: i64 = parts.iter().filter(|(.., is_short)| !is_short).map(|(from, to, _)| to - from).sum();
        let scale = (WIDE - short * shortened as f64) / drawn_ms.max(1) as f64;
        let mut x = 0.0;
        let pieces = parts.into_iter().map(|(from_ms, to_ms, is_short)| {
            let wide = if is_short { short } else { (to_ms - from_ms) as f64 * scale };
            let piece = Piece { from_ms, to_ms, x, wide, is_short };
            x += wide;
            piece
        });
        Self { pieces: pieces.collect() }
    }

    /// The place of a moment.
    pub(super) fn x(&self, ms: i64) -> f64 {
        let after = self.pieces.partition_point(|piece| piece.to_ms < ms);
        let Some(piece) = self.pieces.get(after).or(self.pieces.last()) else { return 0.0 };
        let share = (ms - piece.from_ms) as f64 / (piece.to_ms - piece.from_ms).max(1) as f64;
        piece.x + piece.wide * share.clamp(0.0, 1.0)
    }

    /// The moment at a place, in milliseconds after the beginning.
    pub(super) fn elapsed_ms(&self, x: f64) -> i64 {
        let after = self.pieces.partition_point(|piece| piece.x + piece.wide < x);
        let Some(piece) = self.pieces.get(after).or(self.pieces.last()) else { return 0 };
        let share = ((x - piece.x) / piece.wide.max(0.001)).clamp(0.0, 1.0);
        piece.from_ms + ((piece.to_ms - piece.from_ms) as f64 * share) as i64 - self.begins_ms()
    }

    /// The parts that are shortened.
    pub(super) fn shortened(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(|piece| piece.is_short)
    }

    fn begins_ms(&self) -> i64 {
        self.pieces.first().map_or(0, |piece| piece.from_ms)
    }
}

/// The times in which something happened, in order, without overlaps.
fn busy(calls: impl Iterator<Item = (i64, i64)>) -> Vec<(i64, i64)> {
    let mut calls: Vec<(i64, i64)> = calls.map(|(from, to)| (from, to.max(from))).collect();
    calls.sort_unstable();
    let mut busy: Vec<(i64, i64)> = Vec::new();
    for (from, to) in calls {
        match busy.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => busy.push((from, to)),
        }
    }
    busy
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_in_proportion_and_a_night_is_shortened() {
        let axis = Axis::of([(1_000, 3_000), (2_000, 4_000), (4_500, 11_000)].into_iter());
        assert_eq!((axis.x(1_000), axis.x(6_000), axis.x(11_000)), (0.0, 500.0, WIDE));
        assert_eq!((axis.elapsed_ms(500.0), axis.shortened().count()), (5_000, 0));
        let night = 8 * 3_600_000;
        let axis = Axis::of([(0, 10_000), (night, night + 10_000)].into_iter());
        let shortened: Vec<_> = axis.shortened().map(|piece| (piece.x, piece.wide)).collect();
        assert_eq!(shortened, [(492.0, 16.0)]);
        assert_eq!((axis.x(5_000), axis.x(night + 5_000)), (246.0, 754.0));
        assert_eq!(axis.elapsed_ms(WIDE), night + 10_000);
    }

    #[test]
    fn an_empty_run_and_one_without_duration_have_an_axis() {
        assert_eq!(Axis::of([].into_iter()).x(5), 0.0);
        assert!(Axis::of([(7, 7)].into_iter()).x(7).is_finite());
    }

    proptest! {
        #[test]
        fn places_are_on_the_axis_and_in_order(calls in prop::collection::vec((0i64..1_000_000_000, 0i64..100_000), 1..200)) {
            let axis = Axis::of(calls.iter().map(|(from, ms)| (*from, from + ms)));
            let mut moments: Vec<i64> = calls.iter().flat_map(|(from, ms)| [*from, from + ms]).collect();
            moments.sort_unstable();
            let places: Vec<f64> = moments.iter().map(|ms| axis.x(*ms)).collect();
            prop_assert!(places.iter().all(|x| (-0.01..=WIDE + 0.01).contains(x)), "{places:?}");
            prop_assert!(places.windows(2).all(|pair| pair[0] <= pair[1] + 1e-6), "{places:?}");
        }
    }
}
