//! All calls that match a filter, with what sums, orders and the list of runs need of each. Only the index of lists is read, and the
//! facts of a model call only once: they do not change, and reading them is most of what such a pass costs.

use rusqlite::{Row, params_from_iter};

use super::facts::Entry;
use super::link::FileId;
use super::{Filter, StoreError, Viewer, search};

/// So many calls are read at once.
const TOGETHER: usize = 8_192;

impl Viewer {
    /// Calls `see` with each call that matches `filter`, newest first, up to its limit. Reports of lost events are not among them.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn each_entry(&self, filter: &Filter, see: impl FnMut(Entry)) -> Result<(), StoreError> {
        self.entries(filter, false, see)
    }

    /// The same, with host and path if `targets` is set.
    pub(super) fn entries(
        &self,
        filter: &Filter,
        targets: bool,
        mut see: impl FnMut(Entry),
    ) -> Result<(), StoreError> {
        let clauses = filter.clauses();
        let target = if targets { "host || path" } else { "NULL" };
        let sql = format!(
            "SELECT id, session, started_at_ms, latency_ms, status_code, error <> '', {target} FROM events INDEXED BY events_listed
             WHERE NOT (method = 'GAP' AND host = 'otas-proxy'){} ORDER BY id DESC LIMIT ?",
            clauses.sql
        );
        self.look("look through its events", |connection| {
            let _function = search::attach(connection, self.path(), &clauses, &filter.searched)?;
            let values = clauses.values_and_limit(filter.limit);
            let mut query = connection.prepare(&sql)?;
            let mut rows = query.query(params_from_iter(values))?;
            let file = FileId::of(self.path());
            loop {
                let mut some = Vec::with_capacity(TOGETHER);
                while some.len() < TOGETHER
                    && let Some(row) = rows.next()?
                {
                    some.push(entry(row)?);
                }
                if some.is_empty() {
                    return Ok(());
                }
                // Held while facts are read, so that two readers who begin together read them once.
                self.ledger.lock().complete(connection, file, &mut some)?;
                some.into_iter().for_each(&mut see);
            }
        })
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: row.get(0)?,
        session: row.get(1)?,
        started_at_ms: row.get(2)?,
        latency_ms: row.get(3)?,
        status_code: row.get(4)?,
        failed: row.get(5)?,
        facts: None,
        target: row.get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::ledger::ONE_BY_ONE;
    use super::*;
    use crate::store::{NewEvent, Selection, testing};

    fn newest(limit: usize) -> Filter {
        Filter { limit, ..Filter::default() }
    }

    fn column(model: usize) -> String {
        format!(r#"{{"gen_ai.request.model":"m-{model}"}}"#)
    }

    fn models(viewer: &Viewer, filter: &Filter) -> Vec<String> {
        let mut models = Vec::new();
        let model = |entry: Entry| Some(entry.facts?.model.as_deref()?.to_owned());
        viewer.each_entry(filter, |entry| models.push(model(entry).unwrap_or("-".into()))).unwrap();
        models
    }

    #[test]
    fn facts_are_remembered_and_a_row_that_is_another_calls_is_read_again() {
        let (_folder, store) = testing::store();
        let session = store.begin_session("run", "key", "{}").unwrap();
        let mut writer = store.writer().unwrap();
        let columns: Vec<String> = (0..ONE_BY_ONE + 100).map(column).collect();
        let events: Vec<_> = columns.iter().map(|llm| NewEvent { llm, ..NewEvent::plain(b"{}") }).collect();
        writer.append(session, &events).unwrap();
        let viewer = store.viewer();
        let first = models(&viewer, &newest(usize::MAX));
        assert_eq!((first.len(), &*first[0], &*first[599]), (600, "m-599", "m-0"));
        let plain = NewEvent::plain(b"{}");
        writer.append(session, &[plain, NewEvent { method: "GAP", host: "otas-proxy", ..plain }]).unwrap();
        assert_eq!(models(&viewer, &newest(usize::MAX))[..2], ["-", "m-599"]);
        // The newest rows go, and their numbers are taken by others.
        for id in [602, 601, 600] {
            let selection = Selection { only: Some(id), undelivered: true, ..Selection::default() };
            store.clear(&selection, &store.clearable(&selection).unwrap()).unwrap();
        }
        let llm = column(7);
        writer.append(session, &[NewEvent { llm: &llm, started_at_ms: plain.started_at_ms + 1, ..plain }]).unwrap();
        assert_eq!(models(&viewer, &newest(usize::MAX))[..2], ["m-7", "m-598"]);
        assert_eq!(models(&viewer, &newest(3)), ["m-7", "m-598", "m-597"]);
        let mut known = viewer.ledger.lock();
        known.forget_to(100);
        assert!(
            (1..=301).contains(&known.facts.len()) && known.facts.contains_key(&600),
            "the newest are remembered"
        );
        drop(known);
        assert_eq!(models(&viewer, &newest(usize::MAX)).last().unwrap(), "m-0");
    }
}
