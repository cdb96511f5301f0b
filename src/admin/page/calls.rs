//! The answers about calls: the list, one call, and its deletion.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Json, http::Uri};
use maud::Markup;
use uuid::Uuid;

use super::layout::{Extras, PageError, Part, page_with, part};
use super::query::{CallQuery, ListQuery};
use super::tabs::Place;
use super::{Answer, PageContext, call, delete, found, list, number, session_name, sums as sums_of};
use crate::store::StoreError;

/// A call that was asked for by its id in an address.
enum Found {
    /// With its title.
    Call(String, Markup, IsFlying),
    /// It was in flight, and is now the event of this row.
    Ended(i64),
}

/// Whether a call is still in flight.
type IsFlying = bool;

/// How long the list waits for its sums.
const SUMS_WAIT: Duration = Duration::from_millis(50);

/// The list, and beside it the call that is open.
pub(super) async fn list(
    State(shown): State<Arc<PageContext>>,
    Query(asked): Query<ListQuery>,
    Query(of_call): Query<CallQuery>,
) -> Answer {
    let (for_list, for_sums) = (asked.clone(), asked.clone());
    // The script asks for sums over what is found in bodies when the list is there.
    let is_summed = asked.sort().is_some() || asked.is_in_bodies();
    let read = shown.clone().look(move |shown| list::read(&shown.viewer, &for_list));
    let sums = async {
        // A sorted list is read in one pass with its sums.
        if is_summed {
            return Ok(None);
        }
        let sums = shown.clone().look(move |shown| list::sums(&shown.viewer, &for_sums));
        // The list does not wait for them: the script asks again.
        match tokio::time::timeout(SUMS_WAIT, sums).await {
            Ok(sums) => sums.map(Some),
            Err(_late) => Ok(None),
        }
    };
    let (mut read, sums) = tokio::try_join!(read, sums)?;
    if let Some(sums) = sums {
        read = read.with_sums(sums);
    }
    let beside = if asked.open.is_empty() { None } else { beside(&shown, &asked, &of_call).await? };
    let main = list::render(&read, &asked, beside.as_ref());
    Ok(page_with(Part::Calls, "Calls", &main, Extras { fills: true, ..Extras::default() }))
}

/// The call that is open beside the list. `None`: it is gone.
async fn beside(
    shown: &Arc<PageContext>,
    asked: &ListQuery,
    of_call: &CallQuery,
) -> Result<Option<Markup>, PageError> {
    let (asked, of_call) = (asked.clone(), of_call.clone());
    shown
        .clone()
        .look(move |shown| {
            let found = match asked.open.parse::<Uuid>() {
                Ok(id) => flying(shown, id, &asked, &of_call, true)?,
                Err(_) => stored(shown, number(&asked.open), &asked, &of_call, true)?,
            };
            match found {
                Some(Found::Call(_, call, _)) => Ok(Some(call)),
                Some(Found::Ended(row)) => match stored(shown, row, &asked, &of_call, true)? {
                    Some(Found::Call(_, call, _)) => Ok(Some(call)),
                    _ => Ok(None),
                },
                None => Ok(None),
            }
        })
        .await
}

/// What has changed in the list.
pub(super) async fn live(State(shown): State<Arc<PageContext>>, Query(asked): Query<ListQuery>) -> Answer {
    let news = shown.look(move |shown| list::news(&shown.viewer, &asked)).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(news)).into_response())
}

/// The sums below the list.
pub(super) async fn sums(State(shown): State<Arc<PageContext>>, Query(asked): Query<ListQuery>) -> Answer {
    let sums = shown.look(move |shown| list::sums(&shown.viewer, &asked)).await?;
    Ok(part(sums_of::render(&sums)))
}

/// A call in flight. Once it has ended, its event.
pub(super) async fn open(
    State(shown): State<Arc<PageContext>>,
    Path(id): Path<String>,
    uri: Uri,
    Query(asked): Query<ListQuery>,
    Query(of_call): Query<CallQuery>,
) -> Answer {
    let id = id.parse::<Uuid>().unwrap_or_default();
    let (is_part, is_beside) = (of_call.is_part(), of_call.is_beside());
    let seen = shown.look(move |shown| flying(shown, id, &asked, &of_call, is_beside)).await?;
    match seen {
        Some(Found::Ended(row)) => {
            let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            Ok(Redirect::to(&format!("/event/{row}{query}")).into_response())
        }
        Some(found) => Ok(answer(found, is_part)),
        None => Err(PageError::NotFound("This call is not in flight, and not among the newest events.".to_owned())),
    }
}

/// One call.
pub(super) async fn event(
    State(shown): State<Arc<PageContext>>,
    Path(id): Path<String>,
    Query(asked): Query<ListQuery>,
    Query(of_call): Query<CallQuery>,
) -> Answer {
    let (is_part, is_beside) = (of_call.is_part(), of_call.is_beside());
    let found = found(&shown, &id, move |shown, row| {
        let session = session_name(&shown.viewer, row.session)?;
        let call = call::read(&shown.viewer, row, session, &of_call)?;
        Ok(rendered(shown, &call, &asked, is_beside))
    });
    Ok(answer(found.await?, is_part))
}

fn answer(found: Found, is_part: bool) -> Response {
    match found {
        Found::Call(_, call, _) if is_part => part(call),
        Found::Call(title, call, refreshes) => {
            page_with(Part::Calls, &title, &call, Extras { refreshes, ..Extras::default() })
        }
        Found::Ended(row) => Redirect::to(&format!("/event/{row}")).into_response(),
    }
}

/// A call of the store.
fn stored(
    shown: &PageContext,
    id: i64,
    asked: &ListQuery,
    of_call: &CallQuery,
    is_beside: bool,
) -> Result<Option<Found>, StoreError> {
    let Some(row) = shown.viewer.event(id)? else { return Ok(None) };
    let session = session_name(&shown.viewer, row.session)?;
    let call = call::read(&shown.viewer, row, session, of_call)?;
    Ok(Some(rendered(shown, &call, asked, is_beside)))
}

/// A call in flight, or the row of its event.
fn flying(
    shown: &PageContext,
    id: Uuid,
    asked: &ListQuery,
    of_call: &CallQuery,
    is_beside: bool,
) -> Result<Option<Found>, StoreError> {
    if let Some(row) = shown.viewer.call_in_flight(id)? {
        let session = session_name(&shown.viewer, row.session)?;
        let call = call::read(&shown.viewer, row, session, of_call)?;
        return Ok(Some(rendered(shown, &call, asked, is_beside)));
    }
    Ok(shown.viewer.row_of(id)?.map(Found::Ended))
}

fn rendered(shown: &PageContext, call: &call::Shown, asked: &ListQuery, is_beside: bool) -> Found {
    let place = if is_beside { Place::Beside(asked) } else { Place::Alone };
    Found::Call(call::title(call), call::render(call, place, shown.writes.is_some()), call.is_flying())
}

/// Whether a call is to be deleted.
pub(super) async fn question(State(shown): State<Arc<PageContext>>, Path(id): Path<String>) -> Answer {
    let main = found(&shown, &id, |shown, row| {
        Ok(shown.writes.as_ref().map(|writes| delete::question(&row, &writes.token)))
    });
    let main = main.await?.ok_or(NOT_HERE)?;
    Ok(page_with(Part::Calls, "Delete", &main, Extras { sends: true, ..Extras::default() }))
}

/// Deletes a call.
pub(super) async fn delete(State(shown): State<Arc<PageContext>>, Path(id): Path<String>, form: String) -> Answer {
    let writes = shown.writes.as_ref().ok_or(NOT_HERE)?;
    if !delete::is_ours(&form, &writes.token) {
        return Err(PageError::Refused("The form is older than this process. Open the call again."));
    }
    let id = number(&id);
    shown
        .look(move |shown| shown.writes.as_ref().map_or(Ok(false), |writes| delete::delete(&writes.store, id)))
        .await?;
    Ok(Redirect::to("/").into_response())
}

const NOT_HERE: PageError =
    PageError::Refused("This page only reads the store. `otas-proxy store clear` deletes calls.");
