//! One pass over the calls of a filter: their sums, and the calls in the order of a column. Only the index of lists is read.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use rusqlite::params_from_iter;
use serde::Deserialize;

use super::{Filter, Listed, StoreError, Viewer, search};

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

/// What a sum or an order needs of a model call's facts: the names are those of `llm::names`.
#[derive(Default, Deserialize)]
struct Facts<'a> {
    #[serde(rename = "gen_ai.usage.input_tokens")]
    input_tokens: Option<u64>,
    #[serde(rename = "gen_ai.usage.cache_read.input_tokens")]
    cached_tokens: Option<u64>,
    #[serde(rename = "gen_ai.usage.output_tokens")]
    output_tokens: Option<u64>,
    #[serde(rename = "otas_proxy.llm.cost")]
    cost: Option<f64>,
    #[serde(borrow, rename = "otas_proxy.llm.cost.currency")]
    currency: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "gen_ai.response.model")]
    response_model: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "gen_ai.request.model")]
    request_model: Option<Cow<'a, str>>,
}

/// What a call is sorted by.
#[derive(Debug, PartialEq)]
enum Key {
    Number(f64),
    Text(String),
    Unknown,
}

impl Viewer {
    /// The sums over all calls that match `filter`. Its limit is ignored.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn sums(&self, filter: &Filter) -> Result<Sums, StoreError> {
        self.survey(filter, None).map(|(sums, _)| sums)
    }

    /// The calls that match `filter` in this order, without the first `skip`, and the sums over all that match.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn sorted(&self, filter: &Filter, sort: Sort, skip: usize) -> Result<(Vec<Listed>, Sums), StoreError> {
        let (sums, mut keys) = self.survey(filter, Some(sort))?;
        keys.sort_unstable_by(|(one, one_id), (other, other_id)| {
            in_order(one, other, sort.descending).then(other_id.cmp(one_id))
        });
        let ids: Vec<i64> = keys.iter().skip(skip).take(filter.limit).map(|(_, id)| *id).collect();
        let mut calls = self.calls_with(&ids)?;
        let place: BTreeMap<i64, usize> = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        calls.sort_by_key(|listed| place.get(&listed.call.id).copied());
        Ok((calls, sums))
    }

    fn survey(&self, filter: &Filter, sort: Option<Sort>) -> Result<(Sums, Vec<(Key, i64)>), StoreError> {
        let clauses = filter.clauses();
        let by = sort.map(|sort| sort.by);
        let target = if by == Some(Column::Target) { "host || path" } else { "''" };
        // A gap is no call, but a report of lost events.
        let sql = format!(
            "SELECT id, error <> '', latency_ms, llm, started_at_ms, status_code, {target} FROM events INDEXED BY events_listed
             WHERE NOT (method = 'GAP' AND host = 'otas-proxy'){} ORDER BY id DESC LIMIT ?",
            clauses.sql
        );
        self.look("sum up its events", |connection| {
            let _function = search::attach(connection, self.path(), &clauses, &filter.searched)?;
            let values = clauses.values_and_limit(SURVEYED + 1);
            let (mut sums, mut keys) = (Sums { is_whole: true, ..Sums::default() }, Vec::new());
            let mut query = connection.prepare(&sql)?;
            let mut rows = query.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                if sums.calls == SURVEYED as u64 {
                    sums.is_whole = false;
                    break;
                }
                let llm = row.get_ref(3)?.as_str().unwrap_or_default();
                let facts: Facts<'_> = serde_json::from_str(llm).unwrap_or_default();
                let latency_ms = row.get(2)?;
                sums.add(row.get(1)?, latency_ms, &facts);
                let key = match by {
                    None => continue,
                    Some(Column::Started) => Key::Number(row.get::<_, i64>(4)? as f64),
                    Some(Column::Status) => Key::Number(row.get(5)?),
                    Some(Column::Latency) => Key::Number(latency_ms),
                    Some(Column::Target) => Key::Text(row.get(6)?),
                    Some(Column::Model) => facts.model().map_or(Key::Unknown, |name| Key::Text(name.to_owned())),
                    Some(Column::Cost) => facts.cost.map_or(Key::Unknown, Key::Number),
                    Some(Column::Tokens) => facts.tokens().map_or(Key::Unknown, |tokens| Key::Number(tokens as f64)),
                    Some(Column::Cached) => facts.cached_share().map_or(Key::Unknown, Key::Number),
                };
                keys.push((key, row.get(0)?));
            }
            Ok((sums, keys))
        })
    }
}

impl Sums {
    fn add(&mut self, failed: bool, latency_ms: f64, facts: &Facts<'_>) {
        self.calls += 1;
        self.errors += u64::from(failed);
        self.latency_ms += latency_ms;
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
        if let Some(cost) = facts.cost {
            let currency = facts.currency.as_deref().unwrap_or_default();
            match self.costs.get_mut(currency) {
                Some(sum) => *sum += cost,
                None => drop(self.costs.insert(currency.to_owned(), cost)),
            }
        }
    }
}

impl Facts<'_> {
    fn model(&self) -> Option<&str> {
        self.response_model.as_deref().or(self.request_model.as_deref())
    }

    fn tokens(&self) -> Option<u64> {
        self.input_tokens.or(self.output_tokens)?;
        Some(self.input_tokens.unwrap_or_default().saturating_add(self.output_tokens.unwrap_or_default()))
    }

    fn cached_share(&self) -> Option<f64> {
        let input = self.input_tokens.filter(|input| *input > 0)?;
        Some(self.cached_tokens? as f64 / input as f64)
    }
}

fn in_order(one: &Key, other: &Key, descending: bool) -> Ordering {
    let order = match (one, other) {
        (Key::Number(one), Key::Number(other)) => one.total_cmp(other),
        (Key::Text(one), Key::Text(other)) => one.cmp(other),
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
