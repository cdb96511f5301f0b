//! From an [`Exchange`](crate::capture::Exchange) to the [`Event`] that OTAS gets: pure functions, off the request's path.
//!
//! ```text
//!  Exchange
//!    |  build       the order of the fields
//!    |- body        captured pieces -> text or base64   (codings: content codings, text: charsets, form: fields)
//!    |- headers     fields -> JSON object
//!    |- properties  `custom_properties`
//!    |- metadata    what OTAS's page does not show
//!    |- fit         OTAS's limits, and the room of each field
//!    v
//!  writer           JSON, masking (crate::redact) and what was truncated
//!    |- json        every byte passes here: escaped, without NUL, within its room
//! ```
//!
//! Invariant: whatever the exchange, its event satisfies every measured limit of OTAS. What does not fit is truncated with a
//! visible mark, and its true size is kept in `metadata`. Test: `any_exchange_fits`.

mod arrivals;
mod bodies;
mod body;
mod build;
mod clock;
mod content_type;
mod context;
mod cost;
mod fit;
mod form;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod grpc;
mod headers;
mod json;
mod links;
mod llm;
mod metadata;
mod otas;
mod outline;
mod properties;
mod stored;
#[cfg(test)]
mod tests;
mod text;
mod trace;
mod websocket;
mod writer;

pub use self::bodies::without_bodies;
pub use self::build::{build, searched_bytes, without_texts};
pub use self::clock::unix_ms;
pub use self::context::{Context, Event};
pub use self::links::{Links, Retry, Turn};
pub use self::otas::{opened_session, posted_event};
pub use self::outline::{Outline, Phases};
pub use self::stored::{Content, Side, Stored};
pub use crate::llm::Llm;

/// The body to post: `json` with the project's id in front. At most 2,621,440 bytes for an id of up to 200.
pub fn with_project_id(json: &[u8], project_id: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + project_id.len() + 32);
    out.extend_from_slice(b"{\"project_id\":\"");
    json::escape(&mut out, project_id.as_bytes(), usize::MAX);
    out.extend_from_slice(b"\",");
    out.extend_from_slice(json.strip_prefix(b"{").unwrap_or(json));
    out
}
