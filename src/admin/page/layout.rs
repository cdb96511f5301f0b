//! What all pages share: head, navigation, and error pages.

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::assets::{SCRIPT, STYLE};
use super::shown;

/// The entries of the navigation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Calls,
    Sessions,
    Health,
}

const PARTS: [(Part, &str, &str); 3] =
    [(Part::Calls, "/", "Calls"), (Part::Sessions, "/sessions", "Sessions"), (Part::Health, "/health", "Health")];

/// What a page has besides its content.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extras {
    /// It fills the window, and its parts scroll by themselves.
    pub(super) fills: bool,
    /// Without the script it is loaded again every two seconds.
    pub(super) refreshes: bool,
    /// It has a form that changes something. The form must say where it comes from, which other pages do not.
    pub(super) sends: bool,
}

/// A whole page.
pub(super) fn page(part: Part, title: &str, main: &Markup) -> Response {
    page_with(part, title, main, Extras::default())
}

/// A whole page with extras.
pub(super) fn page_with(part: Part, title: &str, main: &Markup, extras: Extras) -> Response {
    let text = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if extras.refreshes { noscript { meta http-equiv="refresh" content="2"; } }
                @if extras.sends { meta name="referrer" content="same-origin"; }
                title { (shown::plain(title)) " · otas-proxy" }
                link rel="stylesheet" href=(STYLE.href());
                // There is no icon: this avoids the request for one.
                link rel="icon" href="data:,";
            }
            body.fills[extras.fills] {
                a.skip href="#main" { "Skip to content" }
                header.top {
                    strong { "otas-proxy" }
                    nav aria-label="Parts" {
                        @for (this, href, name) in PARTS {
                            a href=(href) aria-current=[(this == part).then_some("page")] { (name) }
                        }
                    }
                    span.side { "times in UTC" }
                }
                main #main { (main) }
                script src=(SCRIPT.href()) defer {}
            }
        }
    };
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-store")], text.into_string()).into_response()
}

/// A part of a page, for the script.
pub(super) fn part(content: Markup) -> Response {
    let text = content.into_string();
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-store")], text).into_response()
}

/// Why a page cannot be shown.
pub(super) enum PageError {
    /// It does not exist, or no longer.
    NotFound(String),
    /// The store cannot be read.
    Store(String),
    /// It may not be done.
    Refused(String),
}

impl PageError {
    /// There is no event with this row.
    pub(super) fn no_event(row: i64) -> Self {
        Self::NotFound(format!("There is no event {row}. It may have been delivered and then removed by retention."))
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, title, words) = match self {
            Self::NotFound(words) => (StatusCode::NOT_FOUND, "Not found", words),
            Self::Refused(words) => (StatusCode::FORBIDDEN, "Refused", words),
            Self::Store(words) => (StatusCode::SERVICE_UNAVAILABLE, "The store cannot be read", words),
        };
        let main = html! {
            h1 { (title) }
            p.note { (shown::line(&words)) }
            p { a href="/" { "All calls" } }
        };
        (status, page(Part::Calls, title, &main)).into_response()
    }
}
