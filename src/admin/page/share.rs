//! One HTML file of a call or of a run, to be shared: the style is in it, there is no script, and nothing is loaded from elsewhere.
//! It holds what the store holds, so secrets are masked.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets::STYLES;
use super::format::{bytes, count, date, duration};
use super::parts::{self, fact};
use super::run::{self, Place, Reading, whole};
use super::{bodies, conversation, note, phases, session_name, shown};
use crate::conversation::Conversation;
use crate::event::{Side, Stored};
use crate::happened;
use crate::run_view::{Memory, Run};
use crate::store::{EventRow, StoreError, Viewer};

/// When the conversations of a run's file take so many bytes, no more are added.
const SAID_MAX_BYTES: usize = 8 << 20;

/// The policy of the file: nothing but this style sheet, and images that are in the file.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest(&SHA256, STYLES.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; img-src data:; form-action 'none'; base-uri 'none'")
});

/// The file of a call. `None`: there is no such event.
///
/// # Errors
/// When the store cannot be read.
pub(crate) fn call_file(viewer: &Viewer, id: i64) -> Result<Option<String>, StoreError> {
    let Some(row) = viewer.event(id)? else { return Ok(None) };
    let session = session_name(viewer, row.session)?;
    let title = format!("{} {}{}", row.method, row.host, row.path);
    Ok(Some(document(&title, &call(&row, &session))))
}

/// The file of a run that is named like this. `None`: there is none, or there are several.
///
/// # Errors
/// When the store cannot be read in time.
pub(crate) fn run_file(viewer: &Viewer, named: &str) -> Result<Option<String>, StoreError> {
    let found = run::find(viewer, &Memory::default(), named, Reading::Whole)?;
    found.map(|(run, name)| run_document(viewer, &run, &name)).transpose()
}

/// The file of a run: its tree, and the conversation of each thread.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn run_document(viewer: &Viewer, run: &Run, name: &str) -> Result<String, StoreError> {
    let (mut said, mut left_out, mut bytes) = (Vec::new(), 0, 0);
    for thread in run.threads.iter().filter(|thread| !thread.turns.is_empty()) {
        if bytes > SAID_MAX_BYTES {
            left_out += 1;
            continue;
        }
        if let Some(whole) = whole::of_thread(viewer, thread)? {
            let said_here = conversation::tab(&whole.said, false);
            bytes += said_here.0.len();
            said.push((run::thread_name(run, thread), said_here));
        }
    }
    let main = html! {
        (run::render(run, name, Place::File))
        @if !said.is_empty() {
            h2 { "Conversations" }
            @for (at, (name, said)) in said.iter().enumerate() {
                details.said-in-full open[at == 0] { summary { (shown::line(name)) } (said) }
            }
        }
        @if left_out > 0 { p.note { (count(left_out)) " further conversations are left out: the file would be too large." } }
    };
    Ok(document(name, &main))
}

/// A file as a download.
pub(super) fn download(name: &str, text: String) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_DISPOSITION, &disposition),
    ];
    (headers, text).into_response()
}

/// A whole file.
fn document(title: &str, main: &Markup) -> String {
    let text = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(*POLICY);
                meta name="referrer" content="no-referrer";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (shown::plain(title)) " · otas-proxy" }
                style { (PreEscaped(STYLES)) }
            }
            body.shared {
                main #main { (main) }
                footer { p.dim { "Recorded and shared with otas-proxy " (env!("CARGO_PKG_VERSION")) ". Secrets that were found are masked. Times are in UTC." } }
            }
        }
    };
    text.into_string()
}

fn call(row: &EventRow, session: &str) -> Markup {
    let event = Stored::parse(&row.json);
    html! {
        h1 { (shown::line(&row.method)) " " (shown::line(&event.url())) }
        @if !row.error.is_empty() { p.note.bad { b { (shown::line(&row.error)) } } }
        (facts(row, &event, session))
        (note::render(row))
        @if let Some(said) = Conversation::of(&event) {
            h2 { "Conversation" }
            (conversation::tab(&said, !row.error.is_empty()))
        }
        h2 { "Time" }
        div.scroll { (phases::waterfall(&event.phases())) }
        (side(&event, Side::Request, "Request"))
        (side(&event, Side::Response, "Response"))
    }
}

fn facts(row: &EventRow, event: &Stored, session: &str) -> Markup {
    let redactions = event.redactions();
    html! {
        dl.strip {
            (fact("status", Some(if row.status_code == 0 { "none".to_owned() } else { row.status_code.to_string() })))
            (fact("began", Some(date(row.started_at_ms))))
            (fact("took", Some(duration(row.latency_ms))))
            (fact("session", Some(session.to_owned())))
            (fact("size", Some(format!("{} up, {} down", bytes(row.request_bytes), bytes(row.response_bytes)))))
            @if let Some(llm) = event.llm() {
                (fact("model", llm.model().map(str::to_owned)))
                (fact("agent", llm.agent().map(str::to_owned)))
                (fact("tokens in", llm.input_tokens().map(count)))
                (fact("tokens out", llm.output_tokens().map(count)))
                (fact("read from the cache", llm.cache_read_tokens().map(count)))
                (fact("cost", happened::cost(&llm)))
                (fact("stop reason", llm.finish().map(str::to_owned)))
            }
            @if redactions > 0 { (fact("secrets masked", Some(count(redactions)))) }
        }
    }
}

fn side(event: &Stored, side: Side, name: &str) -> Markup {
    let fields = event.headers(side);
    html! {
        h2 { (name) }
        (bodies::body(event, side))
        @if !fields.is_empty() {
            (parts::fields(&fields, false))
        }
    }
}
