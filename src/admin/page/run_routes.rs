//! The routes of runs, of their list, and of files that are shared.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, Extras, PageError, Part};
use super::run::{self, Place, Reading, compare, find, list};
use super::share as file;
use super::{Answer, PageContext, number};
use crate::clock::now_ms;
use crate::run_view::RunId;
use crate::store::StoreError;

/// The parameters of a page about one run.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RunQuery {
    id: String,
}

/// The parameters of the list and of a comparison. `with` may be there more than once.
type Pairs = Query<Vec<(String, String)>>;

/// The sessions.
pub(super) async fn list_page(State(shown): State<Arc<PageContext>>, Query(asked): Pairs) -> Answer {
    let text = asked.iter().find(|(key, _)| key == "text").map(|(_, text)| text.clone()).unwrap_or_default();
    let chosen = chosen(&asked);
    let main = shown.look(move |shown| {
        let seen = list::read(&shown.viewer, &text)?;
        Ok(list::render(&seen, &chosen, now_ms()))
    });
    Ok(layout::page(Part::Sessions, "Sessions", &main.await?))
}

/// The runs that a query names.
fn chosen(asked: &[(String, String)]) -> Vec<RunId> {
    asked.iter().filter(|(key, _)| key == "with").filter_map(|(_, id)| id.parse().ok()).collect()
}

/// One run.
pub(super) async fn page(State(shown): State<Arc<PageContext>>, Query(asked): Query<RunQuery>) -> Answer {
    let Seen { title, id, main, is_unread } = seen(&shown, asked.id, Reading::Quick).await?;
    let main = html! { div #run data-part={ "/run/part?" (run::query(&id)) } { (main) } };
    Ok(layout::page_with(Part::Sessions, &title, &main, Extras { refreshes: is_unread, ..Extras::default() }))
}

/// What the script puts in its place while the run goes on.
pub(super) async fn part(State(shown): State<Arc<PageContext>>, Query(asked): Query<RunQuery>) -> Answer {
    Ok(layout::part(seen(&shown, asked.id, Reading::Whole).await?.main))
}

/// One run as a file of its own.
pub(super) async fn share(State(shown): State<Arc<PageContext>>, Query(asked): Query<RunQuery>) -> Answer {
    let wanted = asked.id.clone();
    let made = shown.look(move |shown| match find(&shown.viewer, &shown.runs, &wanted, Reading::Whole)? {
        Some((run, name)) => Ok(Some(file::run_document(&shown.viewer, &run, &name)?)),
        None => Ok(None),
    });
    let made = made.await?.ok_or_else(|| not_found(&asked.id))?;
    Ok(file::download(run::FILE, made))
}

/// One call as a file of its own.
pub(super) async fn call_file(State(shown): State<Arc<PageContext>>, Path(id): Path<String>) -> Answer {
    let row = number(&id);
    let made = shown.look(move |shown| file::call_file(&shown.viewer, row)).await?;
    let made = made.ok_or_else(|| PageError::NotFound(format!("There is no event {row}.")))?;
    Ok(file::download(&format!("otas-proxy-{row}.html"), made))
}

/// Two runs side by side.
pub(super) async fn compare_page(State(shown): State<Arc<PageContext>>, Query(asked): Pairs) -> Answer {
    let chosen = chosen(&asked);
    let [one, other] = &chosen[..] else {
        let main = html! {
            h1 { "Two sessions" }
            p.note { "Choose exactly two sessions in the list." }
            p { a.button href="/sessions" { "Sessions" } }
        };
        return Ok(layout::page(Part::Sessions, "Compare", &main));
    };
    let wanted = [one.to_string(), other.to_string()];
    let part =
        form_urlencoded::Serializer::new(String::new()).extend_pairs(wanted.iter().map(|id| ("with", id))).finish();
    let (main, is_unread) = side_by_side(shown, wanted, Reading::Quick).await?;
    let main = html! { div #run data-part={ "/compare/part?" (part) } data-once { (main) } };
    Ok(layout::page_with(Part::Sessions, "Compare", &main, Extras { refreshes: is_unread, ..Extras::default() }))
}

/// What the script puts in its place once both runs are read.
pub(super) async fn compare_part(State(shown): State<Arc<PageContext>>, Query(asked): Pairs) -> Answer {
    let [one, other] = &chosen(&asked)[..] else { return Err(not_found("")) };
    let wanted = [one.to_string(), other.to_string()];
    Ok(layout::part(side_by_side(shown, wanted, Reading::Whole).await?.0))
}

/// The comparison, and whether calls are not read yet.
async fn side_by_side(
    shown: Arc<PageContext>,
    wanted: [String; 2],
    reading: Reading,
) -> Result<(Markup, bool), PageError> {
    shown.look(move |shown| compared(shown, &wanted, reading)).await?.map_err(|missing| not_found(&missing))
}

/// The comparison, or the id of the run that was not found.
fn compared(
    shown: &PageContext,
    wanted: &[String; 2],
    reading: Reading,
) -> Result<Result<(Markup, bool), String>, StoreError> {
    let named = |id: &String| {
        let found = find(&shown.viewer, &shown.runs, id, reading)?;
        Ok(found.map(|(run, name)| compare::Named { run, name }).ok_or_else(|| id.clone()))
    };
    let [one, other] = match [named(&wanted[0])?, named(&wanted[1])?] {
        [Ok(one), Ok(other)] => [one, other],
        [Err(missing), _] | [_, Err(missing)] => return Ok(Err(missing)),
    };
    let viewer = &shown.viewer;
    let (first, second) = (compare::conversation(viewer, &one.run)?, compare::conversation(viewer, &other.run)?);
    let is_unread = one.run.left_out.unread + other.run.left_out.unread > 0;
    Ok(Ok((compare::render([&one, &other], [first.as_ref(), second.as_ref()]), is_unread)))
}

/// What a run's page shows.
struct Seen {
    title: String,
    id: RunId,
    main: Markup,
    /// Older calls are not read yet.
    is_unread: bool,
}

async fn seen(shown: &Arc<PageContext>, wanted: String, reading: Reading) -> Result<Seen, PageError> {
    let id = wanted.clone();
    let made = shown.clone().look(move |shown| {
        let found = find(&shown.viewer, &shown.runs, &id, reading)?;
        Ok(found.map(|(run, title)| {
            let main = run::render(&run, &title, Place::Page);
            Seen { title, id: run.id, main, is_unread: run.left_out.unread > 0 }
        }))
    });
    made.await?.ok_or_else(|| not_found(&wanted))
}

fn not_found(id: &str) -> PageError {
    PageError::NotFound(format!("There is no session {id}, or none of its calls is stored any more."))
}
