//! The query of a page: filters and positions in the list. Invalid values are ignored, except in the search field, where a person
//! writes them.

use serde::Deserialize;

use crate::clock::now_ms;
use crate::query::{Query, QueryError};
use crate::store::{Condition, Fact, Filter, State, StatusClass, StoreError, Viewer};

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
    /// Only calls before this row.
    before: String,
    /// Only calls after this row.
    after: String,
    /// Rows that may have changed, separated by commas.
    moving: String,
    /// Send only the number of new rows.
    count: String,
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

    /// What is wrong with the search field.
    pub(super) fn error(&self) -> Option<QueryError> {
        self.parsed().err()
    }

    fn parsed(&self) -> Result<Query, QueryError> {
        Query::parse(&self.text, now_ms())
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

    /// The filters as a query that starts with `?`, with the pair `more` added.
    pub(super) fn query(&self, more: Option<(&str, &str)>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("text", &self.text),
            ("host", &self.host),
            ("status", &self.status),
            ("agent", &self.agent),
            ("session", &self.session),
            ("state", &self.state),
            ("llm", &self.llm),
        ] {
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
        let unknown = ListQuery { session: "nobody".into(), ..ListQuery::default() };
        assert_eq!(unknown.filter(&viewer, 9).unwrap(), None);
        for text in ["hst:a", "session:nobody", "state:pending"] {
            let asked = ListQuery { text: text.into(), state: "dead".into(), ..ListQuery::default() };
            assert_eq!(asked.filter(&viewer, 9).unwrap(), None, "{text}");
            assert_eq!(asked.error().is_some(), text == "hst:a", "{text}");
        }
    }
}
