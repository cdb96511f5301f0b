//! Notes that people write on calls. A trigger removes them with their event, so a row that takes its number has none.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::Store;
use super::commands::CommandError;
use crate::redact::Redactor;

/// The size of a note as it is stored, in bytes. Longer ones are refused.
pub const NOTE_MAX_BYTES: usize = 4 << 10;

impl Store {
    /// Writes a note on an event, in place of the one before. An empty note removes that. The secrets that `redactor` finds are
    /// masked; white space at the ends is left out, and lines end with `\n`.
    ///
    /// # Errors
    /// [`CommandError::NoteTooLong`], [`CommandError::NoEvent`], or when the store cannot be written.
    pub fn note(&self, id: i64, text: &str, redactor: &Redactor) -> Result<(), CommandError> {
        let text = text.trim().replace("\r\n", "\n");
        let text = redactor.masking("", 0, "").message(&text).unwrap_or(text);
        if text.len() > NOTE_MAX_BYTES {
            return Err(CommandError::NoteTooLong { bytes: text.len(), max_bytes: NOTE_MAX_BYTES });
        }
        let written = write(&mut self.connection(), id, &text).map_err(self.failed("write a note"))?;
        if written { Ok(()) } else { Err(CommandError::NoEvent(id)) }
    }
}

/// False: there is no such event.
fn write(connection: &mut Connection, id: i64, text: &str) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let there = transaction.query_row("SELECT 1 FROM events WHERE id = ?1", [id], |_| Ok(())).optional()?;
    if there.is_none() {
        return Ok(false);
    }
    match text {
        "" => transaction.execute("DELETE FROM notes WHERE id = ?1", [id])?,
        text => put_one(&transaction, id, text)?,
    };
    transaction.commit()?;
    Ok(true)
}

fn put_one(connection: &Connection, id: i64, text: &str) -> rusqlite::Result<usize> {
    connection.prepare_cached("INSERT OR REPLACE INTO notes (id, text) VALUES (?1, ?2)")?.execute(params![id, text])
}

/// The notes on these events.
pub(super) fn of(connection: &Connection, events: impl Iterator<Item = i64>) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut query = connection.prepare_cached("SELECT id, text FROM notes WHERE id = ?1")?;
    let notes = events.map(|id| query.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional());
    notes.filter_map(Result::transpose).collect()
}

/// Writes notes on events that were removed and inserted again. Belongs in the same transaction.
pub(super) fn put(connection: &Connection, notes: &[(i64, String)]) -> rusqlite::Result<()> {
    notes.iter().try_for_each(|(id, text)| put_one(connection, *id, text).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::testing::redactor;
    use crate::store::{Filter, NewEvent, Selection, testing};

    #[test]
    fn a_note_is_kept_replaced_and_removed_with_its_event() {
        let (_folder, store) = testing::store();
        let session = store.begin_session("run", "key", "{}").unwrap();
        let mut writer = store.writer().unwrap();
        writer.append(session, &[NewEvent::plain(b"{}"), NewEvent::plain(b"{}")]).unwrap();
        let note = |id: i64, text: &str| store.note(id, text, redactor());
        let noted = |id: i64| store.event(id).unwrap().note;
        note(2, " the slow one\n").unwrap();
        assert_eq!((noted(1), noted(2).as_deref()), (None, Some("the slow one")));
        let listed = store.viewer().calls(&Filter { limit: 9, ..Filter::default() }, None).unwrap();
        assert_eq!(listed.iter().map(|of| of.note.as_deref()).collect::<Vec<_>>(), [Some("the slow one"), None]);
        note(2, "another,\r\nwith password=hunter2hunter2").unwrap();
        let masked = noted(2).unwrap();
        assert!(masked.starts_with("another,\nwith password=***") && !masked.contains("hunter"), "{masked}");
        note(2, "  ").unwrap();
        assert_eq!(noted(2), None);
        assert!(matches!(note(9, "x"), Err(CommandError::NoEvent(9))));
        let long = "word ".repeat(NOTE_MAX_BYTES / 5) + "at its end";
        assert!(matches!(note(2, &long), Err(CommandError::NoteTooLong { bytes: 4105, .. })));
        note(2, &long[9..]).unwrap();
        let selection = Selection { only: Some(2), undelivered: true, ..Selection::default() };
        store.clear(&selection, &store.clearable(&selection).unwrap()).unwrap();
        writer.append(session, &[NewEvent::plain(b"{}")]).unwrap();
        let left: i64 = store.connection().query_row("SELECT count(*) FROM notes", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
    }
}
