//! The page: live calls, one exchange, sessions, health. It is rendered here and escaped by `maud`. The one script only updates
//! the table and copies text. All reads run on blocking threads, on read-only connections.

mod assets;
mod bodies;
mod exchange;
pub(crate) mod format;
mod health;
mod layout;
mod list;
mod phases;
mod query;
mod quotas;
mod rates;
mod run;
mod run_routes;
mod session;
pub(crate) mod share;
mod shown;

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::layout::{PageError, Part, page};
use self::query::ListQuery;
use self::rates::Rates;
use super::AdminSources;
use crate::export::har;
use crate::run_view::Memory;
use crate::store::{EventRow, Listed, StoreError, Viewer};
use crate::visible;

/// Reads of the store that run at once. More wait.
const LOOKS: usize = 4;
/// Sessions that are listed.
const SESSIONS: usize = 500;
/// Events in a HAR file of the list, and the size after which no more are added: it is built in memory.
const HAR_EVENTS: usize = 2_000;
const HAR_BYTES: usize = 16 << 20;

/// What the page is made from.
struct PageContext {
    viewer: Viewer,
    /// The proxy in this process. `None`: the page shows a store alone.
    proxy: Option<ProxyHealth>,
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
    let proxy = Some(ProxyHealth { sources, rates: Rates::default() });
    let shown = Arc::new(PageContext { viewer, proxy, looks: Semaphore::new(LOOKS), runs: Memory::default() });
    let watching = shown.clone();
    tokio::spawn(async move {
        if let Some(proxy) = &watching.proxy {
            proxy.rates.watch(delivery, stop).await;
        }
    });
    router(shown)
}

/// The page's routes over a store, without a proxy.
pub(super) fn routes_of_store(viewer: Viewer) -> Router {
    router(Arc::new(PageContext { viewer, proxy: None, looks: Semaphore::new(LOOKS), runs: Memory::default() }))
}

fn router(shown: Arc<PageContext>) -> Router {
    Router::new()
        .route("/", get(calls))
        .route("/live", get(live))
        .route("/open/{id}", get(open))
        .route("/event/{id}", get(event))
        .route("/event/{id}/har", get(event_har))
        .route("/event/{id}/json", get(event_json))
        .route("/event/{id}/share", get(run_routes::call_file))
        .route("/sessions", get(run_routes::list_page))
        .route("/sessions/delivery", get(sessions))
        .route("/run", get(run_routes::page))
        .route("/run/part", get(run_routes::part))
        .route("/run/share", get(run_routes::share))
        .route("/compare", get(run_routes::compare_page))
        .route("/session/{id}", get(session))
        .route("/health", get(health))
        .route("/har", get(all_har))
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

async fn calls(State(shown): State<Arc<PageContext>>, Query(asked): Query<ListQuery>) -> Answer {
    let main = shown.look(move |shown| Ok(list::render(&list::read(&shown.viewer, &asked)?, &asked))).await?;
    Ok(page(Part::Calls, "Calls", &main))
}

async fn live(State(shown): State<Arc<PageContext>>, Query(asked): Query<ListQuery>) -> Answer {
    let news = shown.look(move |shown| list::news(&shown.viewer, &asked)).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(news)).into_response())
}

/// A call in flight, refreshed every two seconds. Once it has ended, its event.
async fn open(State(shown): State<Arc<PageContext>>, Path(id): Path<String>) -> Answer {
    let event_id = id.parse::<Uuid>().unwrap_or_default();
    let seen = shown.look(move |shown| {
        if let Some(row) = shown.viewer.call_in_flight(event_id)? {
            let main = exchange::render(&row, &session_name(&shown.viewer, row.session)?, &[]);
            return Ok(Some(Ok((format!("{} {}{}", row.method, row.host, row.path), main))));
        }
        Ok(shown.viewer.row_of(event_id)?.map(Err))
    });
    match seen.await? {
        Some(Ok((title, main))) => {
            Ok(([(HeaderName::from_static("refresh"), "2")], page(Part::Calls, &title, &main)).into_response())
        }
        Some(Err(row)) => Ok(Redirect::to(&format!("/event/{row}")).into_response()),
        None => Err(PageError::NotFound("This call is not in flight, and not among the newest events.".to_owned())),
    }
}

async fn event(State(shown): State<Arc<PageContext>>, Path(id): Path<String>) -> Answer {
    let (title, main) = found(&shown, &id, |shown, row| {
        let (session, history) = (session_name(&shown.viewer, row.session)?, shown.viewer.history(row.id)?);
        Ok((format!("{} {}{}", row.method, row.host, row.path), exchange::render(row, &session, &history)))
    })
    .await?;
    Ok(page(Part::Calls, &title, &main))
}

fn session_name(viewer: &Viewer, id: i64) -> Result<String, StoreError> {
    let session = viewer.session_named(&id.to_string())?;
    let info = session.map(|session| viewer.session(session)).transpose()?.flatten();
    Ok(info.map_or_else(|| id.to_string(), |info| list::name(&info)))
}

async fn event_har(State(shown): State<Arc<PageContext>>, Path(id): Path<String>) -> Answer {
    let entry = found(&shown, &id, |_, row| Ok(har::entry(row))).await?;
    Ok(file(
        &format!("otas-proxy-{}.har", number(&id)),
        visible::json(&har::log(vec![entry]).to_string()).into_owned().into_bytes(),
    ))
}

async fn event_json(State(shown): State<Arc<PageContext>>, Path(id): Path<String>) -> Answer {
    let json =
        found(&shown, &id, |_, row| Ok(visible::json(&String::from_utf8_lossy(&row.json)).into_owned())).await?;
    // Browsers show it as text, whatever it contains.
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], json).into_response())
}

/// One event, or "not found".
async fn found<T: Send + 'static>(
    shown: &Arc<PageContext>,
    id: &str,
    make: impl FnOnce(&PageContext, &EventRow) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, PageError> {
    let id = number(id);
    let made = shown.clone().look(move |shown| {
        let row = shown.viewer.event(id)?;
        row.map(|row| make(shown, &row)).transpose()
    });
    made.await?.ok_or_else(|| {
        PageError::NotFound(format!(
            "There is no event {id}. It may have been delivered and then removed by retention."
        ))
    })
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
    let main = shown
        .look(|shown| Ok(health::render(&health::read(&shown.viewer, shown.proxy.is_none())?, shown.proxy.as_ref())))
        .await?;
    Ok(page(Part::Health, "Health", &main))
}

/// The list as a file, newest first.
async fn all_har(State(shown): State<Arc<PageContext>>, Query(asked): Query<ListQuery>) -> Answer {
    let made = shown.look(move |shown| {
        let filter = asked.filter(&shown.viewer, HAR_EVENTS + 1)?;
        let calls = filter.map(|filter| shown.viewer.calls(&filter, None)).transpose()?.unwrap_or_default();
        har_of(&shown.viewer, &calls)
    });
    Ok(file("otas-proxy.har", made.await?))
}

/// The file says so when events were left out.
fn har_of(viewer: &Viewer, calls: &[Listed]) -> Result<Vec<u8>, StoreError> {
    const CUT: &str = "cut: only the newest calls are in this file; `otas-proxy events --har` writes all";
    let (mut out, mut bytes, mut cut) = (Vec::new(), 0, "");
    // Writing into memory does not fail.
    let Ok(mut file) = har::File::begin(&mut out) else { return Ok(out) };
    for (at, listed) in calls.iter().enumerate() {
        if at == HAR_EVENTS || bytes > HAR_BYTES {
            cut = CUT;
            break;
        }
        if let Some(row) = viewer.event(listed.call.id)? {
            bytes += row.json.len();
            let _ = file.add(&har::entry(&row));
        }
    }
    let _ = file.end(cut);
    Ok(out)
}

fn file(name: &str, har: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers =
        [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store"), (CONTENT_DISPOSITION, &disposition)];
    (headers, har).into_response()
}
