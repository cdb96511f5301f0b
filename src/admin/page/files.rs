//! What can be downloaded: HAR files and an event's JSON.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::query::ListQuery;
use super::{Answer, PageContext, found, number};
use crate::export::har as entries;
use crate::store::{Listed, StoreError, Viewer};
use crate::visible;

/// Events in a HAR file of the list, and the size after which no more are added: it is built in memory.
const HAR_EVENTS: usize = 2_000;
const HAR_BYTES: usize = 16 << 20;

/// One call as HAR.
pub(super) async fn har(State(shown): State<Arc<PageContext>>, Path(id): Path<String>) -> Answer {
    let entry = found(&shown, &id, |_, row| Ok(entries::entry(&row))).await?;
    Ok(file(
        &format!("otas-proxy-{}.har", number(&id)),
        visible::json(&entries::log(vec![entry]).to_string()).into_owned().into_bytes(),
    ))
}

/// The event as it is stored.
pub(super) async fn json(State(shown): State<Arc<PageContext>>, Path(id): Path<String>) -> Answer {
    let json =
        found(&shown, &id, |_, row| Ok(visible::json(&String::from_utf8_lossy(&row.json)).into_owned())).await?;
    // Browsers show it as text, whatever it contains.
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], json).into_response())
}

/// The list as a file, newest first.
pub(super) async fn all_har(State(shown): State<Arc<PageContext>>, Query(asked): Query<ListQuery>) -> Answer {
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
    let Ok(mut file) = entries::File::begin(&mut out) else { return Ok(out) };
    for (at, listed) in calls.iter().enumerate() {
        if at == HAR_EVENTS || bytes > HAR_BYTES {
            cut = CUT;
            break;
        }
        if let Some(row) = viewer.event(listed.call.id)? {
            bytes += row.json.len();
            let _ = file.add(&entries::entry(&row));
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
