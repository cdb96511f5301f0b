//! When the pieces of an event stream arrived, so that people can see when each of its events did.

use std::time::{Duration, Instant};

use super::Fields;

/// The number of pieces that are noted for one stream: the first ones.
const NOTED: usize = 256;

/// How much of a body had arrived at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Bytes since the start of the body.
    pub total_bytes: u64,
    /// Time since the response head.
    pub after: Duration,
}

/// Notes arrivals while the body passes.
pub(super) struct Arrivals {
    since: Instant,
    noted: Vec<Arrival>,
}

impl Arrivals {
    /// For a response whose head has just arrived. `None`: it is not an event stream.
    pub(super) fn of(headers: &Fields) -> Option<Self> {
        let kind = headers.get("content-type")?;
        let is_stream = kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"));
        is_stream.then(|| Self { since: Instant::now(), noted: Vec::new() })
    }

    /// A piece has passed at this time; `total_bytes` have passed with it.
    pub(super) fn note(&mut self, total_bytes: u64, at: Instant) {
        if self.noted.len() < NOTED {
            self.noted.push(Arrival { total_bytes, after: at.saturating_duration_since(self.since) });
        }
    }

    /// The arrivals so far.
    pub(super) fn noted(&self) -> &[Arrival] {
        &self.noted
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn of(kind: &'static str) -> Option<Arrivals> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(kind));
        Arrivals::of(&Fields::from(&headers))
    }

    #[test]
    fn the_first_pieces_of_event_streams_are_noted_and_no_others() {
        assert!(of("application/json").is_none() && of("text/event").is_none());
        assert!(Arrivals::of(&Fields::default()).is_none());
        let mut arrivals = of("Text/Event-Stream; charset=utf-8").unwrap();
        (1..=300).for_each(|bytes| arrivals.note(bytes, Instant::now()));
        assert_eq!(arrivals.noted().len(), NOTED);
        assert!(arrivals.noted().is_sorted_by_key(|arrival| (arrival.total_bytes, arrival.after)));
    }
}
