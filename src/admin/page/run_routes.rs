//! The routes of runs, of their list, and of files that are shared.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, PageError, Part};
use super::run::{self, Place, compare, find, list};
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
    let (title, id, main) = seen(&shown, asked.id).await?;
    let main = html! { div #run data-part={ "/run/part?" (run::query(&id)) } { (main) } };
    Ok(layout::page(Part::Sessions, &title, &main))
}

/// What the script puts in its place while the run goes on.
pub(super) async fn part(State(shown): State<Arc<PageContext>>, Query(asked): Query<RunQuery>) -> Answer {
    let (_, _, main) = seen(&shown, asked.id).await?;
    Ok(layout::part(main))
}

/// One run as a file of its own.
pub(super) async fn share(State(shown): State<Arc<PageContext>>, Query(asked): Query<RunQuery>) -> Answer {
    let wanted = asked.id.clone();
    let made = shown.look(move |shown| match find(&shown.viewer, &shown.runs, &wanted)? {
        Some((run, name)) => Ok(Some(file::run_document(&shown.viewer, &run, &name)?)),
        None => Ok(None),
    });
    let made = made.await?.ok_or_else(|| not_found(&asked.id))?;
    Ok(file::download("otas-proxy-run.html", made))
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
    let main = shown.look(move |shown| compared(shown, &wanted));
    let main = main.await?.map_err(|missing| not_found(&missing))?;
    Ok(layout::page(Part::Sessions, "Compare", &main))
}

/// The comparison, or the id of the run that was not found.
fn compared(shown: &PageContext, wanted: &[String; 2]) -> Result<Result<Markup, String>, StoreError> {
    let mut found = Vec::with_capacity(2);
    for id in wanted {
        match find(&shown.viewer, &shown.runs, id)? {
            Some((run, name)) => found.push(compare::Named { run, name }),
            None => return Ok(Err(id.clone())),
        }
    }
    let [one, other] = &found[..] else { return Ok(Err(String::new())) };
    let viewer = &shown.viewer;
    let (first, second) = (compare::conversation(viewer, &one.run)?, compare::conversation(viewer, &other.run)?);
    Ok(Ok(compare::render([one, other], [first.as_ref(), second.as_ref()])))
}

/// Title, id and content of a run's page.
async fn seen(shown: &Arc<PageContext>, wanted: String) -> Result<(String, RunId, Markup), PageError> {
    let id = wanted.clone();
    let made = shown.clone().look(move |shown| {
        let found = find(&shown.viewer, &shown.runs, &id)?;
        Ok(found.map(|(run, name)| {
            let main = run::render(&run, &name, Place::Page);
            (name, run.id, main)
        }))
    });
    made.await?.ok_or_else(|| not_found(&wanted))
}

fn not_found(id: &str) -> PageError {
    PageError::NotFound(format!("There is no session {id}, or none of its calls is stored any more."))
}
