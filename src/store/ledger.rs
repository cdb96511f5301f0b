//! The facts of model calls that were read before: they do not change, and reading them is most of what a pass over all calls costs.
//! Bounded.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, OptionalExtension, params};

use super::facts::{Entry, Facts, Texts};
use super::link::FileId;

/// The facts of so many calls are remembered, some 200 bytes for each. Then the older half is forgotten.
const REMEMBERED_MAX: usize = 200_000;

/// Of so many calls or fewer, the facts are read one by one.
pub(super) const ONE_BY_ONE: usize = 500;

/// The facts that were read before, of one file.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Known>);

/// By row.
#[derive(Default)]
pub(super) struct Known {
    file: Option<FileId>,
    /// By row, with when the call began: after a deletion, a row may be another call's.
    pub(super) facts: HashMap<i64, (i64, Option<Arc<Facts>>)>,
    texts: Texts,
}

impl Ledger {
    pub(super) fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock()
    }
}

impl Known {
    /// Adds the facts to the entries, which are newest first.
    pub(super) fn complete(
        &mut self,
        connection: &Connection,
        file: Option<FileId>,
        entries: &mut [Entry],
    ) -> rusqlite::Result<()> {
        if self.file != file {
            *self = Self { file, ..Self::default() };
        }
        self.forget_to(REMEMBERED_MAX);
        let mut unknown: Vec<&mut Entry> = Vec::new();
        for entry in entries {
            match self.facts.get(&entry.id).filter(|(started_at_ms, _)| *started_at_ms == entry.started_at_ms) {
                Some((_, facts)) => entry.facts.clone_from(facts),
                None => unknown.push(entry),
            }
        }
        if unknown.len() <= ONE_BY_ONE {
            let mut query =
                connection.prepare_cached("SELECT llm FROM events INDEXED BY events_listed WHERE id = ?1")?;
            for entry in unknown {
                let found =
                    query.query_row([entry.id], |row| Ok(self.facts_of(row.get_ref(0)?.as_str()?))).optional()?;
                self.keep(entry, found.flatten());
            }
            return Ok(());
        }
        let (Some(newest), Some(oldest)) = (unknown.first().map(|of| of.id), unknown.last().map(|of| of.id)) else {
            return Ok(());
        };
        let mut query = connection.prepare_cached(
            "SELECT id, llm FROM events INDEXED BY events_listed WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC",
        )?;
        let mut rows = query.query(params![oldest, newest])?;
        let mut unknown = unknown.into_iter().peekable();
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            // Those that were removed meanwhile have no row.
            while unknown.next_if(|entry| entry.id > id).is_some() {}
            if let Some(entry) = unknown.next_if(|entry| entry.id == id) {
                let facts = self.facts_of(row.get_ref(1)?.as_str()?);
                self.keep(entry, facts);
            }
        }
        Ok(())
    }

    /// Forgets the older half if there are more than this.
    pub(super) fn forget_to(&mut self, most: usize) {
        if self.facts.len() <= most {
            return;
        }
        let mut rows: Vec<i64> = self.facts.keys().copied().collect();
        let half = rows.len() / 2;
        let (_, middle, _) = rows.select_nth_unstable(half);
        let middle = *middle;
        self.facts.retain(|row, _| *row >= middle);
        self.texts = Texts::default();
    }

    fn facts_of(&mut self, column: &str) -> Option<Arc<Facts>> {
        Facts::of(column, &mut self.texts).map(Arc::new)
    }

    fn keep(&mut self, entry: &mut Entry, facts: Option<Arc<Facts>>) {
        self.facts.insert(entry.id, (entry.started_at_ms, facts.clone()));
        entry.facts = facts;
    }
}
