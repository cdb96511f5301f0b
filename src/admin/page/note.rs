//! A person's note on a call.

use maud::{Markup, html};

use super::forms::Writes;
use super::shown;
use super::tabs::Place;
use crate::store::{EventRow, NOTE_MAX_BYTES};
use crate::visible;

/// The note, where a call is shown.
pub(super) fn render(row: &EventRow) -> Markup {
    html! { @if let Some(note) = &row.note { div.noted { b { "Note" } p { (shown::lines(note)) } } } }
}

/// The form to write it.
pub(super) fn form(row: &EventRow, writes: &Writes, place: Place<'_>) -> Markup {
    html! {
        h1 { "Note" }
        p.mono { (shown::line(&format!("{} {}{}", row.method, row.host, row.path))) }
        form.write method="post" action=(place.form(row.id, "note")) {
            (writes.field())
            textarea name="note" rows="6" maxlength=(NOTE_MAX_BYTES) aria-label="Note" autofocus {
                (visible::lines(row.note.as_deref().unwrap_or_default()))
            }
            p.dim { "It stays beside the call in the store of this machine, and goes with it. Secrets that are found are masked. An empty note is removed." }
            div.bar {
                button type="submit" { "Save" }
                a.button href=(place.call(row.id)) { "Cancel" }
            }
        }
    }
}
