//! The query of a page: filters and positions in the list. Invalid values are ignored, except in the search field, where a person
//! writes them.

use serde::Deserialize;

use crate::clock::now_ms;
use crate::query::{Query, QueryError};
use crate::store::{Column, Condition, Fact, Filter, Sort, State, StatusClass, StoreError, Viewer};

/// The parameters of the list, of its live updates, and of its HAR file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    /// The search field, in the filter language.
    pub(super) text: String,
    pub(super) host: String,
    pub(super) status: String,
    pub(super) agent: String,
    pub(super) session: String,
    pub(super) state: String,
    pub(super) llm: String,
    /// The column that the calls are sorted by, with `-` before it from the largest to the smallest. Empty: the newest first.
    sort: String,
    /// The page of a sorted list, from 0.
    page: String,
    /// The call that is shown beside the list: its row, or the id of a call in flight.
    pub(super) open: String,
    /// Only calls before this row.
    before: String,
    /// Only calls after this row.
    after: String,
    /// Rows that may have changed, separated by commas.
    moving: String,
    /// Send only the number of new rows.
    count: String,
}

/// The parameters of one call.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct CallQuery {
    /// The tab that is open. Empty: the first one.
    pub(super) tab: String,
    /// Only the call, without the page around it.
    part: String,
    /// The call is shown beside the list.
    beside: String,
}

impl CallQuery {
    pub(super) fn is_part(&self) -> bool {
        !self.part.is_empty()
    }

    pub(super) fn is_beside(&self) -> bool {
        !self.beside.is_empty()
    }
}

/// The columns that can be sorted by, as they are named in addresses.
const COLUMNS: [(&str, Column); 8] = [
    ("at", Column::Started),
    ("status", Column::Status),
    ("call", Column::Target),
    ("model", Column::Model),
    ("tokens", Column::Tokens),
    ("cached", Column::Cached),
    ("cost", Column::Cost),
    ("took", Column::Latency),
];

/// The name of a column in addresses.
pub(super) fn name_of(column: Column) -> &'static str {
    COLUMNS.into_iter().find(|(_, by)| *by == column).map_or("", |(name, _)| name)
}

impl ListQuery {
    /// The filter. `None` when nothing can match: there is no such session, or the search field cannot be read ([`Self::error`]).
    pub(super) fn filter(&self, viewer: &Viewer, limit: usize) -> Result<Option<Filter>, StoreError> {
        let Ok(Query { mut filter, session }) = self.parsed() else { return Ok(None) };
        for name in [Some(&self.session).filter(|name| !name.is_empty()), session.as_ref()].into_iter().flatten() {
            let found = viewer.session_named(name)?;
            if found.is_none() || filter.session.is_some_and(|other| Some(other) != found) {
                return Ok(None);
            }
            filter.session = found;
        }
        let wanted = state(&self.state);
        if wanted.is_some() && filter.state.is_some_and(|other| Some(other) != wanted) {
            return Ok(None);
        }
        filter.state = wanted.or(filter.state);
        let given = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        let facts = [
            given(&self.host).map(Fact::Host),
            self.status.parse::<StatusClass>().ok().map(Fact::Status),
            given(&self.agent).map(Fact::Agent),
            (!self.llm.is_empty()).then_some(Fact::Llm),
        ];
        filter.conditions.extend(facts.into_iter().flatten().map(Condition::Is));
        filter.limit = limit;
        Ok(Some(filter))
    }

    /// Whether bodies are looked through, which may take long.
    pub(super) fn is_in_bodies(&self) -> bool {
        let is_text = |condition: &Condition| matches!(condition, Condition::Is(fact) | Condition::Not(fact) if matches!(fact, Fact::Text(_) | Fact::Body(_)));
        self.parsed().is_ok_and(|query| query.filter.conditions.iter().any(is_text))
    }

    /// What is wrong with the search field.
    pub(super) fn error(&self) -> Option<QueryError> {
        self.parsed().err()
    }

    fn parsed(&self) -> Result<Query, QueryError> {
        Query::parse(&self.text, now_ms())
    }

    /// The order, if it is not that of time.
    pub(super) fn sort(&self) -> Option<Sort> {
        let name = self.sort.strip_prefix('-').unwrap_or(&self.sort);
        let (_, by) = COLUMNS.into_iter().find(|(known, _)| *known == name)?;
        let sort = Sort { by, descending: name.len() < self.sort.len() };
        // The newest first: that is how the list stands anyway.
        (sort != Sort { by: Column::Started, descending: true }).then_some(sort)
    }

    /// Calls of a sorted list before this page.
    pub(super) fn skip(&self, rows: usize) -> usize {
        self.page().saturating_mul(rows)
    }

    pub(super) fn page(&self) -> usize {
        self.page.parse().unwrap_or_default()
    }

    /// The address of the list in another order.
    pub(super) fn sorted_by(&self, sort: &str) -> String {
        let asked = Self { sort: sort.to_owned(), page: String::new(), open: String::new(), ..self.clone() };
        format!("/{}", asked.query(None))
    }

    /// The address of the list with this text in the search field.
    pub(super) fn searching(&self, text: &str) -> String {
        let asked = Self { text: text.to_owned(), page: String::new(), open: String::new(), ..self.clone() };
        format!("/{}", asked.query(None))
    }

    /// Whether nothing is filtered.
    pub(super) fn is_everything(&self) -> bool {
        self.filters().iter().all(|(_, value)| value.is_empty())
    }

    /// The filters by name.
    pub(super) fn filters(&self) -> [(&'static str, &str); 7] {
        [
            ("text", &self.text),
            ("host", &self.host),
            ("status", &self.status),
            ("agent", &self.agent),
            ("session", &self.session),
            ("state", &self.state),
            ("llm", &self.llm),
        ]
    }

    pub(super) fn before(&self) -> Option<i64> {
        self.before.parse().ok()
    }

    pub(super) fn after(&self) -> i64 {
        self.after.parse().unwrap_or(i64::MAX)
    }

    pub(super) fn counts(&self) -> bool {
        !self.count.is_empty()
    }

    /// An upper bound; the script asks for no more.
    pub(super) fn moving(&self) -> Vec<i64> {
        self.moving.split(',').filter_map(|id| id.parse().ok()).take(200).collect()
    }

    /// The filters and the order as a query that starts with `?`, with the pairs `more` added.
    pub(super) fn query<'a>(&self, more: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.filters().into_iter().chain([("sort", self.sort.as_str())]) {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.extend_pairs(more);
        match query.finish() {
            query if query.is_empty() => String::new(),
            query => format!("?{query}"),
        }
    }
}

fn state(name: &str) -> Option<State> {
    [State::Pending, State::Delivered, State::Dead, State::Kept].into_iter().find(|state| state.to_string() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_written_and_invalid_values_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::Store::open(&folder.path().join("events.db")).unwrap();
        let viewer = store.viewer();
        let asked = ListQuery {
            text: " a&b cost>1".into(),
            status: "7xx".into(),
            state: "dead".into(),
            before: "x".into(),
            moving: "1,x,3".into(),
            ..ListQuery::default()
        };
        let filter = asked.filter(&viewer, 9).unwrap().unwrap();
        let expected = [
            Condition::Is(Fact::Text("a&b".into())),
            Condition::Bound(crate::store::Figure::Cost, crate::store::Relation::Above, 1.0),
        ];
        assert_eq!((filter.conditions, filter.state, filter.limit), (expected.to_vec(), Some(State::Dead), 9));
        assert_eq!(asked.error(), None);
        assert_eq!((asked.before(), asked.after(), asked.moving()), (None, i64::MAX, vec![1, 3]));
        assert_eq!(asked.query(Some(("before", "7"))), "?text=+a%26b+cost%3E1&status=7xx&state=dead&before=7");
        assert_eq!(ListQuery::default().query(None), "");
        let sorted = ListQuery { sort: "-cost".into(), page: "2".into(), ..asked };
        assert_eq!(sorted.sort(), Some(Sort { by: Column::Cost, descending: true }));
        assert_eq!((sorted.skip(200), sorted.searching("")), (400, "/?status=7xx&state=dead&sort=-cost".to_owned()));
        assert_eq!(sorted.sorted_by("took"), "/?text=+a%26b+cost%3E1&status=7xx&state=dead&sort=took");
        for sort in ["", "-at", "odd", "-", "--cost"] {
            assert_eq!(ListQuery { sort: sort.into(), ..ListQuery::default() }.sort(), None, "{sort}");
        }
        let unknown = ListQuery { session: "nobody".into(), ..ListQuery::default() };
        assert_eq!(unknown.filter(&viewer, 9).unwrap(), None);
        for text in ["hst:a", "session:nobody", "state:pending"] {
            let asked = ListQuery { text: text.into(), state: "dead".into(), ..ListQuery::default() };
            assert_eq!(asked.filter(&viewer, 9).unwrap(), None, "{text}");
            assert_eq!(asked.error().is_some(), text == "hst:a", "{text}");
        }
    }
}
