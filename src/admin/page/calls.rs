//! The answers about calls: the list, and one call.

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
use super::{Answer, PageContext, call, found, list, number, session_name, sums as sums_of};
use crate::store::{EventRow, StoreError, Viewer};

/// A call, read and rendered.
struct Rendered {
    title: String,
    main: Markup,
    is_flying: bool,
}

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
    read.sums = read.sums.or(sums);
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
    let read = shown.clone().look(move |shown| {
        let row = match asked.open.parse::<Uuid>() {
            Ok(id) => flying(&shown.viewer, id)?,
            Err(_) => shown.viewer.event(number(&asked.open))?,
        };
        row.map(|row| rendered(shown, row, &of_call, Place::Beside(&asked))).transpose()
    });
    Ok(read.await?.map(|call| call.main))
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
    let is_part = of_call.is_part();
    let read = shown.look(move |shown| {
        let Some(row) = flying(&shown.viewer, id)? else { return Ok(None) };
        let ended = (row.id != 0).then_some(row.id);
        Ok(Some((ended, rendered(shown, row, &of_call, Place::of(&asked, &of_call))?)))
    });
    match read.await? {
        Some((Some(row), _)) => {
            let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            Ok(Redirect::to(&format!("/event/{row}{query}")).into_response())
        }
        Some((None, call)) => Ok(answer(call, is_part)),
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
    let is_part = of_call.is_part();
    let read = found(&shown, &id, move |shown, row| rendered(shown, row, &of_call, Place::of(&asked, &of_call)));
    Ok(answer(read.await?, is_part))
}

fn answer(call: Rendered, is_part: bool) -> Response {
    if is_part {
        return part(call.main);
    }
    page_with(Part::Calls, &call.title, &call.main, Extras { refreshes: call.is_flying, ..Extras::default() })
}

/// A call in flight, or its event once it has ended.
fn flying(viewer: &Viewer, id: Uuid) -> Result<Option<EventRow>, StoreError> {
    if let Some(row) = viewer.call_in_flight(id)? {
        return Ok(Some(row));
    }
    viewer.row_of(id)?.map_or(Ok(None), |row| viewer.event(row))
}

fn rendered(
    shown: &PageContext,
    row: EventRow,
    of_call: &CallQuery,
    place: Place<'_>,
) -> Result<Rendered, StoreError> {
    let session = session_name(&shown.viewer, row.session)?;
    let call = call::read(&shown.viewer, row, session, of_call)?;
    let main = call::render(&call, place, shown.writes.is_some());
    Ok(Rendered { title: call::title(&call), main, is_flying: call.is_flying() })
}
