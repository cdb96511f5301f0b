//! The answers of what the page can change: a call's note, and its deletion. Each is a form, then the deed.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect};
use maud::Markup;

use super::forms::{Writes, value};
use super::layout::{Extras, PageError, Part, page_with};
use super::query::{CallQuery, ListQuery};
use super::tabs::Place;
use super::{Answer, PageContext, delete, found, note as notes, number};
use crate::store::{CommandError, EventRow};

/// The call, and the list from which it was opened.
type Asked = (Path<String>, Query<ListQuery>, Query<CallQuery>);

/// The form for a call's note.
pub(super) async fn note_form(
    State(shown): State<Arc<PageContext>>,
    (Path(id), Query(asked), Query(of_call)): Asked,
) -> Answer {
    asking(&shown, &id, "Note", move |row, writes| notes::form(row, writes, Place::of(&asked, &of_call))).await
}

/// Whether a call is to be deleted.
pub(super) async fn delete_form(
    State(shown): State<Arc<PageContext>>,
    (Path(id), Query(asked), Query(of_call)): Asked,
) -> Answer {
    asking(&shown, &id, "Delete", move |row, writes| delete::form(row, writes, Place::of(&asked, &of_call))).await
}

/// The page with a form about a call.
async fn asking(
    shown: &Arc<PageContext>,
    id: &str,
    title: &str,
    form: impl FnOnce(&EventRow, &Writes) -> Markup + Send + 'static,
) -> Answer {
    let main = found(shown, id, |shown, row| Ok(shown.writes.as_ref().map(|writes| form(&row, writes))));
    let main = main.await?.ok_or_else(not_here)?;
    Ok(page_with(Part::Calls, title, &main, Extras { sends: true, ..Extras::default() }))
}

/// Writes a call's note, and shows the call again.
pub(super) async fn note(
    State(shown): State<Arc<PageContext>>,
    (Path(id), Query(asked), Query(of_call)): Asked,
    form: String,
) -> Answer {
    let row = number(&id);
    let back = Place::of(&asked, &of_call).call(row);
    let text = value(&form, "note").unwrap_or_default();
    done(shown, &form, move |writes| writes.store.note(row, &text, &writes.facts.load().redactor)).await?;
    Ok(Redirect::to(&back).into_response())
}

/// Deletes a call, and shows the list again.
pub(super) async fn delete(
    State(shown): State<Arc<PageContext>>,
    (Path(id), Query(asked), Query(of_call)): Asked,
    form: String,
) -> Answer {
    let (row, back) = (number(&id), Place::of(&asked, &of_call).closed());
    done(shown, &form, move |writes| Ok(delete::delete(&writes.store, row)?)).await?;
    Ok(Redirect::to(&back).into_response())
}

/// Changes the store, if the form is one of this page.
async fn done<T: Send + 'static>(
    shown: Arc<PageContext>,
    form: &str,
    deed: impl FnOnce(&Writes) -> Result<T, CommandError> + Send + 'static,
) -> Result<T, PageError> {
    if !shown.writes.as_ref().ok_or_else(not_here)?.is_ours(form) {
        return Err(PageError::Refused("The form is older than this process. Open the call again.".to_owned()));
    }
    let done = shown.look(move |shown| Ok(shown.writes.as_ref().map(deed))).await?;
    done.ok_or_else(not_here)?.map_err(|error| match error {
        CommandError::NoEvent(id) => PageError::no_event(id),
        CommandError::Store(error) => PageError::Store(error.in_words()),
        refused => PageError::Refused(refused.to_string()),
    })
}

fn not_here() -> PageError {
    PageError::Refused(
        "This page only reads the store. `otas-proxy note` and `otas-proxy store clear` change it.".to_owned(),
    )
}
