//! Deleting a call: a question, then the deed. Only a form of this page may do it: its token is new with each process, and the gate
//! refuses requests of other sites.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use maud::{Markup, html};

use super::shown;
use crate::secret::Secret;
use crate::store::{EventRow, Selection, State, Store, StoreError};

/// Whether a form is one of this page: it has the token.
pub(super) fn is_ours(form: &str, token: &Secret) -> bool {
    let given = form_urlencoded::parse(form.as_bytes()).find(|(name, _)| name == "token");
    given.is_some_and(|(_, given)| verify_slices_are_equal(given.as_bytes(), token.expose().as_bytes()).is_ok())
}

/// The question.
pub(super) fn question(row: &EventRow, token: &Secret) -> Markup {
    let is_waiting = matches!(row.state, State::Pending | State::Dead);
    html! {
        h1 { "Delete this call?" }
        p.mono { (shown::line(&format!("{} {}{}", row.method, row.host, row.path))) }
        p { "Its event is removed from the store of this machine, and cannot be brought back." }
        @if is_waiting { p.note { "OTAS does not have this event: its state is " (row.state) ". It will never get it." } }
        form.bar method="post" action={ "/event/" (row.id) "/delete" } {
            input type="hidden" name="token" value=(token.expose());
            button.danger type="submit" { "Delete" }
            a.button href={ "/event/" (row.id) } { "Keep" }
        }
    }
}

/// Deletes the event of this row. False: it is gone already.
pub(super) fn delete(store: &Store, id: i64) -> Result<bool, StoreError> {
    let selection = Selection { only: Some(id), undelivered: true, ..Selection::default() };
    let counted = store.clearable(&selection)?;
    Ok(store.clear(&selection, &counted)? > 0)
}
