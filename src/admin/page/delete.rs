//! Deleting a call: a question, then the deed.

use maud::{Markup, html};

use super::forms::Writes;
use super::shown;
use super::tabs::Place;
use crate::store::{EventRow, Selection, State, Store, StoreError};

/// The question.
pub(super) fn form(row: &EventRow, writes: &Writes, place: Place<'_>) -> Markup {
    let is_waiting = matches!(row.state, State::Pending | State::Dead);
    html! {
        h1 { "Delete this call?" }
        p.mono { (shown::line(&format!("{} {}{}", row.method, row.host, row.path))) }
        p { "Its event is removed from the store of this machine, and cannot be brought back." }
        @if is_waiting { p.note { "OTAS does not have this event: its state is " (row.state) ". It will never get it." } }
        form.bar method="post" action=(place.form(row.id, "delete")) {
            (writes.field())
            button.danger type="submit" { "Delete" }
            a.button href=(place.call(row.id)) { "Keep" }
        }
    }
}

/// Deletes the event of this row, if it is still there.
pub(super) fn delete(store: &Store, id: i64) -> Result<(), StoreError> {
    let selection = Selection { only: Some(id), undelivered: true, ..Selection::default() };
    let counted = store.clearable(&selection)?;
    store.clear(&selection, &counted).map(drop)
}
