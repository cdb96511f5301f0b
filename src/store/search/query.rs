//! Texts of a filter in SQL: the function `in_bodies(n, id)` says whether the bodies of an event have the `n`th text.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Instant;

use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

use super::matcher::{Matcher, Source, Unknown};
use super::searched::{LONGEST, Searched};
use crate::search::Needle;
use crate::store::filter::Clauses;

const NAME: &str = "in_bodies";

/// As long as it lives, the connection has the function.
pub(in crate::store) struct Attached<'a>(Option<&'a Connection>);

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.0 {
            let removed = connection.remove_function(NAME, 2);
            removed.err().inspect(|error| tracing::warn!(%error, "a search in bodies could not be ended"));
        }
    }
}

struct Hunt {
    source: Source,
    matchers: Vec<Matcher>,
    /// The last event that is not looked through.
    missed: i64,
}

impl Hunt {
    fn begin(path: &Path, texts: &[String], until: Option<Instant>) -> rusqlite::Result<Self> {
        let source = Source::open(path, until)?;
        let needles = texts.iter().filter_map(|text| Needle::new(text));
        let matchers = needles.map(|needle| Matcher::new(path, &source, needle)).collect::<rusqlite::Result<_>>()?;
        Ok(Self { source, matchers, missed: 0 })
    }
}

/// Adds the function, if the conditions use it. It reads the store by a connection of its own.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::store) fn attach<'a>(
    connection: &'a Connection,
    path: &Path,
    clauses: &Clauses,
    searched: &Searched,
) -> rusqlite::Result<Attached<'a>> {
    attach_until(connection, path, clauses, searched, Some(Instant::now() + LONGEST))
}

/// As [`attach`], for what must be complete: it takes as long as it takes.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::store) fn attach_patiently<'a>(
    connection: &'a Connection,
    path: &Path,
    clauses: &Clauses,
    searched: &Searched,
) -> rusqlite::Result<Attached<'a>> {
    attach_until(connection, path, clauses, searched, None)
}

pub(super) fn attach_until<'a>(
    connection: &'a Connection,
    path: &Path,
    clauses: &Clauses,
    searched: &Searched,
    until: Option<Instant>,
) -> rusqlite::Result<Attached<'a>> {
    searched.begin(clauses.has_long_text);
    if clauses.texts.is_empty() {
        return Ok(Attached(None));
    }
    let (path, texts) = (path.to_owned(), clauses.texts.clone());
    // It begins with the first event that is asked for: other conditions may leave none. A panic inside leaves nothing half done:
    // the next query makes a new one.
    let hunt = AssertUnwindSafe(Mutex::new(None));
    let searched = AssertUnwindSafe(searched.clone());
    connection.create_scalar_function(NAME, 2, FunctionFlags::SQLITE_UTF8, move |given| {
        let (number, event): (i64, i64) = (given.get(0)?, given.get(1)?);
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let mut hunt = hunt.lock();
        let Hunt { source, matchers, missed } = match &mut *hunt {
            Some(hunt) => hunt,
            none => none.insert(Hunt::begin(&path, &texts, until)?),
        };
        let Some(matcher) = matchers.get_mut(number) else { return Ok(None) };
        match matcher.is_in(source, event) {
            Ok(found) => Ok(Some(found)),
            Err(Unknown::Failed(error)) => Err(error),
            Err(Unknown::Stopped) => {
                if std::mem::replace(missed, event) != event {
                    searched.0.miss();
                }
                Ok(None)
            }
        }
    })?;
    Ok(Attached(Some(connection)))
}
