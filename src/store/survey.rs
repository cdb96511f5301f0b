//! Sums over the calls of a filter, and the calls in the order of a column.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::facts::{Entry, Facts};
use super::{Filter, Listed, StoreError, Viewer};

/// A pass looks at so many calls, the newest ones.
pub const SURVEYED: usize = 100_000;

/// A column that calls can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// When the request arrived.
    Started,
    /// The status code.
    Status,
    /// Host and path.
    Target,
    /// The model that answered, or else the requested one.
    Model,
    /// Input and output tokens together.
    Tokens,
    /// The share of the input that was read from the provider's cache.
    Cached,
    /// The cost.
    Cost,
    /// The latency.
    Latency,
}

/// An order of calls. Calls that do not have the fact come last; among equals, the newest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    /// The column.
    pub by: Column,
    /// From the largest to the smallest.
    pub descending: bool,
}

/// Sums over calls.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    /// The number of calls.
    pub calls: u64,
    /// Calls with an error.
    pub errors: u64,
    /// Input tokens. `None`: no call reported any.
    pub input_tokens: Option<u64>,
    /// Input tokens that were read from a cache. `None`: no call reported any.
    pub cached_tokens: Option<u64>,
    /// Output tokens. `None`: no call reported any.
    pub output_tokens: Option<u64>,
    /// The cost by currency. Empty: it is not known for any call.
    pub costs: BTreeMap<String, f64>,
    /// The latencies together, in milliseconds.
    pub latency_ms: f64,
    /// Whether these are all calls that match, not only the newest [`SURVEYED`].
    pub is_whole: bool,
}

/// What a call is sorted by.
#[derive(Debug, PartialEq)]
enum Key {
    Number(f64),
    Text(Box<str>),
    Name(Arc<str>),
    Unknown,
}

impl Viewer {
    /// The sums over all calls that match `filter`. Its limit is ignored.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn sums(&self, filter: &Filter) -> Result<Sums, StoreError> {
        let mut sums = Sums::none();
        self.survey(filter, false, |entry| {
            sums.add(&entry);
        })?;
        Ok(sums)
    }

    /// The calls that match `filter` in this order, without the first `skip`, and the sums over all that match.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn sorted(&self, filter: &Filter, sort: Sort, skip: usize) -> Result<(Vec<Listed>, Sums), StoreError> {
        let (mut sums, mut keyed) = (Sums::none(), Vec::new());
        self.survey(filter, sort.by == Column::Target, |entry| {
            if sums.add(&entry) {
                keyed.push((entry.id, Key::of(entry, sort.by)));
            }
        })?;
        let ids = ids_in_order(keyed, sort, skip, filter.limit);
        let mut calls = self.calls_with(&ids)?;
        let place: BTreeMap<i64, usize> = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        calls.sort_by_key(|listed| place.get(&listed.call.id).copied());
        Ok((calls, sums))
    }

    /// One call more than are summed up, if there are more.
    fn survey(&self, filter: &Filter, targets: bool, see: impl FnMut(Entry)) -> Result<(), StoreError> {
        self.entries(&Filter { limit: SURVEYED + 1, ..filter.clone() }, targets, see)
    }
}

/// The rows of the calls in this order, without the first `skip`, at most `limit`. Only those are sorted.
fn ids_in_order(mut keyed: Vec<(i64, Key)>, sort: Sort, skip: usize, limit: usize) -> Vec<i64> {
    let order = |(id, key): &(i64, Key), (other_id, other): &(i64, Key)| {
        in_order(key, other, sort.descending).then(other_id.cmp(id))
    };
    let end = skip.saturating_add(limit);
    if end < keyed.len() {
        keyed.select_nth_unstable_by(end, order);
        keyed.truncate(end);
    }
    keyed.sort_unstable_by(order);
    keyed.into_iter().skip(skip).map(|(id, _)| id).collect()
}

impl Sums {
    fn none() -> Self {
        Self { is_whole: true, ..Self::default() }
    }

    /// False: there are enough, and this call is left out.
    fn add(&mut self, entry: &Entry) -> bool {
        self.is_whole = self.calls < SURVEYED as u64;
        if !self.is_whole {
            return false;
        }
        self.calls += 1;
        self.errors += u64::from(entry.failed);
        self.latency_ms += entry.latency_ms;
        let Some(facts) = entry.facts.as_deref() else { return true };
        for (sum, more) in [
            (&mut self.input_tokens, facts.input_tokens),
            (&mut self.cached_tokens, facts.cached_tokens),
            (&mut self.output_tokens, facts.output_tokens),
        ] {
            // Unknown is not 0.
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or_default().saturating_add(more));
            }
        }
        if let Some((currency, cost)) = facts.money() {
            match self.costs.get_mut(currency) {
                Some(sum) => *sum += cost,
                None => drop(self.costs.insert(currency.to_owned(), cost)),
            }
        }
        true
    }
}

impl Key {
    fn of(entry: Entry, by: Column) -> Self {
        let known = |number: Option<f64>| number.map_or(Self::Unknown, Self::Number);
        let facts = entry.facts.as_deref();
        match by {
            Column::Started => Self::Number(entry.started_at_ms as f64),
            Column::Status => Self::Number(entry.status_code.into()),
            Column::Latency => Self::Number(entry.latency_ms),
            Column::Cost => known(facts.and_then(|facts| facts.cost)),
            Column::Tokens => known(facts.and_then(Facts::tokens).map(|tokens| tokens as f64)),
            Column::Cached => known(facts.and_then(Facts::cached_share)),
            Column::Model => facts.and_then(|facts| facts.model.clone()).map_or(Self::Unknown, Self::Name),
            Column::Target => entry.target.map_or(Self::Unknown, Self::Text),
        }
    }
}

fn in_order(one: &Key, other: &Key, descending: bool) -> Ordering {
    let order = match (one, other) {
        (Key::Number(one), Key::Number(other)) => one.total_cmp(other),
        (Key::Text(one), Key::Text(other)) => one.cmp(other),
        (Key::Name(one), Key::Name(other)) if Arc::ptr_eq(one, other) => Ordering::Equal,
        (Key::Name(one), Key::Name(other)) => one.cmp(other),
        (Key::Unknown, Key::Unknown) => Ordering::Equal,
        // Whatever the order, what is not known comes last.
        (Key::Unknown, _) => return Ordering::Greater,
        (_, _) => return Ordering::Less,
    };
    if descending { order.reverse() } else { order }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::names;
    use crate::store::{Condition, Fact, NewEvent, Store};

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let session = store.begin_session("run", "key", "{}").unwrap();
        let facts = |model: &str, cost: f64, tokens: (u64, u64, u64)| {
            json!({
                names::RESPONSE_MODEL: model, names::COST: cost, names::COST_CURRENCY: "USD",
                names::INPUT_TOKENS: tokens.0, names::CACHE_READ_TOKENS: tokens.1, names::OUTPUT_TOKENS: tokens.2,
            })
            .to_string()
        };
        let (dear, cheap) = (facts("b", 0.5, (100, 10, 7)), facts("a", 0.25, (200, 100, 3)));
        let plain = NewEvent::plain(b"{}");
        let events = [
            NewEvent { llm: &cheap, latency_ms: 20.0, host: "z.test", ..plain },
            NewEvent { error: "http_503: no", status_code: 503, latency_ms: 30.0, ..plain },
            NewEvent { llm: &dear, latency_ms: 10.0, ..plain },
            NewEvent { llm: "not JSON", latency_ms: 1.0, ..plain },
            NewEvent { method: "GAP", host: "otas-proxy", ..plain },
        ];
        store.writer().unwrap().append(session, &events).unwrap();
        (folder, store)
    }

    #[test]
    fn sums_are_over_all_that_match_and_unknown_is_not_zero() {
        let (_folder, store) = store();
        let all = store.viewer().sums(&Filter::default()).unwrap();
        let expected = Sums {
            calls: 4,
            errors: 1,
            input_tokens: Some(300),
            cached_tokens: Some(110),
            output_tokens: Some(10),
            costs: BTreeMap::from([("USD".to_owned(), 0.75)]),
            latency_ms: 61.0,
            is_whole: true,
        };
        assert_eq!(all, expected);
        let failed = Filter { conditions: vec![Condition::Not(Fact::Llm)], ..Filter::default() };
        let failed = store.viewer().sums(&failed).unwrap();
        assert_eq!((failed.calls, failed.input_tokens, failed.costs.len()), (1, None, 0));
    }

    #[test]
    fn calls_are_sorted_by_any_column_and_unknown_ones_come_last() {
        let (_folder, store) = store();
        let of = |by: Column, descending: bool, skip: usize| {
            let filter = Filter { limit: 9, ..Filter::default() };
            let (calls, sums) = store.viewer().sorted(&filter, Sort { by, descending }, skip).unwrap();
            assert_eq!(sums.calls, 4);
            calls.iter().map(|listed| listed.call.id).collect::<Vec<_>>()
        };
        assert_eq!(of(Column::Cost, true, 0), [3, 1, 4, 2]);
        assert_eq!(of(Column::Cost, false, 0), [1, 3, 4, 2]);
        assert_eq!(of(Column::Cost, true, 3), [2]);
        assert_eq!(of(Column::Tokens, true, 0), [1, 3, 4, 2]);
        assert_eq!(of(Column::Cached, true, 0), [1, 3, 4, 2]);
        assert_eq!(of(Column::Model, false, 0), [1, 3, 4, 2]);
        assert_eq!(of(Column::Latency, true, 0), [2, 1, 3, 4]);
        assert_eq!(of(Column::Status, true, 0), [2, 4, 3, 1]);
        assert_eq!(of(Column::Target, true, 0)[0], 1);
        assert_eq!(of(Column::Started, true, 0).len(), 4);
    }
}
