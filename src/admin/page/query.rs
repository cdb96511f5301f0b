//! The query of a page: filters and positions in the list. Invalid values are ignored.

use serde::Deserialize;

use crate::store::{Filter, State, StatusClass, StoreError, Viewer};

/// The parameters of the list, of its live updates, and of its HAR file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
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
    /// The filter. `None` when there is no such session: then nothing matches.
    pub(super) fn filter(&self, viewer: &Viewer, limit: usize) -> Result<Option<Filter>, StoreError> {
        let session = match &*self.session {
            "" => None,
            name => match viewer.session_named(name)? {
                None => return Ok(None),
                found => found,
            },
        };
        let given = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        Ok(Some(Filter {
            state: state(&self.state),
            session,
            text: given(&self.text),
            host: given(&self.host),
            status: self.status.parse::<StatusClass>().ok(),
            agent: given(&self.agent),
            llm_only: !self.llm.is_empty(),
            limit,
        }))
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
            text: " a&b ".into(),
            status: "7xx".into(),
            state: "dead".into(),
            before: "x".into(),
            moving: "1,x,3".into(),
            ..ListQuery::default()
        };
        let filter = asked.filter(&viewer, 9).unwrap().unwrap();
        assert_eq!((filter.text.as_deref(), filter.status, filter.state), (Some("a&b"), None, Some(State::Dead)));
        assert_eq!((asked.before(), asked.after(), asked.moving()), (None, i64::MAX, vec![1, 3]));
        assert_eq!(asked.query(Some(("before", "7"))), "?text=+a%26b+&status=7xx&state=dead&before=7");
        assert_eq!(ListQuery::default().query(None), "");
        let unknown = ListQuery { session: "nobody".into(), ..ListQuery::default() };
        assert_eq!(unknown.filter(&viewer, 9).unwrap(), None);
    }
}
