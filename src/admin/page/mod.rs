//! The page: live calls, one call, sessions, health. It is rendered here and escaped by `maud`; the script only moves what was
//! rendered. All reads run on blocking threads, on read-only connections.

mod assets;
mod bodies;
mod call;
mod calls;
mod changes;
mod columns;
mod conversation;
mod delete;
mod files;
pub(crate) mod format;
mod forms;
mod health;
mod layout;
mod list;
mod note;
mod parts;
mod phases;
mod query;
mod quotas;
mod rates;
mod related;
mod row;
mod run;
mod run_routes;
mod session;
pub(crate) mod share;
mod shown;
mod sums;
mod tabs;
mod views;
mod writes;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::forms::Writes;
use self::layout::{PageError, Part, page};
use self::rates::Rates;
use super::{AdminSources, AskBeside};
use crate::run_view::Memory;
use crate::store::{EventRow, StoreError, Viewer};

/// Reads of the store that run at once. More wait.
const LOOKS: usize = 4;
/// Sessions that are listed.
const SESSIONS: usize = 500;

/// What the page is made from.
struct PageContext {
    viewer: Viewer,
    /// The proxy in this process. `None`: the page shows a store alone.
    proxy: Option<ProxyHealth>,
    /// What a process without a proxy says of itself.
    beside: Option<AskBeside>,
    /// What may be changed here. `None`: nothing.
    writes: Option<Writes>,
    looks: Semaphore,
    /// What was read of runs before.
    runs: Memory,
}

/// What the page says about the proxy in this process.
struct ProxyHealth {
    sources: Arc<AdminSources>,
    rates: Rates,
}

/// The page's routes in a proxy. Background work ends with `stop`.
pub(super) fn routes(sources: Arc<AdminSources>, stop: CancellationToken) -> Router {
    let (viewer, delivery) = (sources.store.viewer(), sources.delivery.clone());
    let writes = Writes::of(sources.store.clone(), sources.facts.clone());
    let proxy = Some(ProxyHealth { sources, rates: Rates::default() });
    let shown = Arc::new(PageContext {
        viewer,
        proxy,
        beside: None,
        writes,
        looks: Semaphore::new(LOOKS),
        runs: Memory::default(),
    });
    let watching = shown.clone();
    tokio::spawn(async move {
        if let Some(proxy) = &watching.proxy {
            proxy.rates.watch(delivery, stop).await;
        }
    });
    router(shown)
}

/// The page's routes over a store, without a proxy.
pub(super) fn routes_of_store(viewer: Viewer, beside: Option<AskBeside>) -> Router {
    let (looks, runs) = (Semaphore::new(LOOKS), Memory::default());
    router(Arc::new(PageContext { viewer, proxy: None, beside, writes: None, looks, runs }))
}

fn router(shown: Arc<PageContext>) -> Router {
    Router::new()
        .route("/", get(calls::list))
        .route("/live", get(calls::live))
        .route("/sums", get(calls::sums))
        .route("/open/{id}", get(calls::open))
        .route("/event/{id}", get(calls::event))
        .route("/event/{id}/note", get(writes::note_form).post(writes::note))
        .route("/event/{id}/delete", get(writes::delete_form).post(writes::delete))
        .route("/event/{id}/har", get(files::har))
        .route("/event/{id}/json", get(files::json))
        .route("/event/{id}/share", get(run_routes::call_file))
        .route("/sessions", get(run_routes::list_page))
        .route("/sessions/delivery", get(sessions))
        .route("/run", get(run_routes::page))
        .route("/run/part", get(run_routes::part))
        .route("/run/share", get(run_routes::share))
        .route("/compare", get(run_routes::compare_page))
        .route("/compare/part", get(run_routes::compare_part))
        .route("/session/{id}", get(session))
        .route("/health", get(health))
        .route("/har", get(files::all_har))
        .route("/assets/{name}", get(assets::asset))
        .with_state(shown)
}

type Answer = Result<Response, PageError>;

impl PageContext {
    /// Reads the store off the async threads.
    async fn look<T: Send + 'static>(
        self: Arc<Self>,
        look: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, PageError> {
        let shown = self.clone();
        let _turn = self.looks.acquire().await.map_err(|error| PageError::Store(error.to_string()))?;
        match tokio::task::spawn_blocking(move || look(&shown)).await {
            Ok(Ok(seen)) => Ok(seen),
            Ok(Err(error)) => Err(PageError::Store(error.in_words())),
            Err(error) => Err(PageError::Store(error.to_string())),
        }
    }
}

fn session_name(viewer: &Viewer, id: i64) -> Result<String, StoreError> {
    let session = viewer.session_named(&id.to_string())?;
    let info = session.map(|session| viewer.session(session)).transpose()?.flatten();
    Ok(info.map_or_else(|| id.to_string(), |info| list::name(&info)))
}

/// One event, or "not found".
async fn found<T: Send + 'static>(
    shown: &Arc<PageContext>,
    id: &str,
    make: impl FnOnce(&PageContext, EventRow) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, PageError> {
    let id = number(id);
    let made = shown.clone().look(move |shown| {
        let row = shown.viewer.event(id)?;
        row.map(|row| make(shown, row)).transpose()
    });
    made.await?.ok_or_else(|| PageError::no_event(id))
}

/// A row number. Anything else matches no row.
fn number(id: &str) -> i64 {
    id.parse().unwrap_or_default()
}

async fn sessions(State(shown): State<Arc<PageContext>>) -> Answer {
    let main = shown.look(|shown| Ok(session::render_list(&shown.viewer.sessions(SESSIONS)?))).await?;
    Ok(page(Part::Sessions, "Sessions", &main))
}

async fn session(State(shown): State<Arc<PageContext>>, Path(id): Path<String>) -> Answer {
    let named = id.clone();
    let main = shown.look(move |shown| {
        let row = shown.viewer.session_named(&named)?;
        let session = row.map(|row| session::read(&shown.viewer, row)).transpose()?.flatten();
        Ok(session.map(|session| session::render(&session)))
    });
    let main = main.await?.ok_or_else(|| PageError::NotFound(format!("There is no session {id}.")))?;
    Ok(page(Part::Sessions, "Session", &main))
}

async fn health(State(shown): State<Arc<PageContext>>) -> Answer {
    let beside = match &shown.beside {
        Some(ask) => Some(ask().await),
        None => None,
    };
    let main = shown
        .look(move |shown| {
            let seen = health::read(&shown.viewer, shown.proxy.is_none())?;
            Ok(health::render(&seen, shown.proxy.as_ref(), beside))
        })
        .await?;
    Ok(page(Part::Health, "Health", &main))
}
