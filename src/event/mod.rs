//! From an [`Exchange`](crate::capture::Exchange) to the [`Event`] that OTAS gets: pure functions, off the request's path.
//!
//! ```text
//!  Exchange
//!    |  build       the order of the fields
//!    |- body        captured pieces -> text or base64   (codings: content codings, text: charsets, form: fields)
//!    |- headers     fields -> JSON object
//!    |- properties  `custom_properties`
//!    |- agent       who sent the call, by what it says of itself (crate::agents)
//!    |- metadata    what OTAS's page does not show
//!    |- outline     what lists show (said: what a call to a model was about; ties: to which run it belongs)
//!    |- fit         OTAS's limits, and the room of each field
//!    v
//!  writer           JSON, masking (crate::redact) and what was truncated
//!    |- json        every byte passes here: escaped, without NUL, within its room
//! ```
//!
//! The bodies stay apart from the rest of the JSON. The event for OTAS is made when it is delivered ([`for_otas`]): bodies that do not
//! fit are cut there, and only there.
//!
//! Invariant: whatever the exchange, its event satisfies every measured limit of OTAS. What does not fit is truncated with a
//! visible mark, and its true size is kept in `metadata`. Test: `any_exchange_fits`.

mod agent;
mod apart;
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
mod said;
mod stored;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod text;
mod ties;
mod trace;
mod websocket;
mod writer;

pub use self::apart::{BodyText, for_otas, with_bodies};
pub use self::bodies::{with_damage, with_project_id, without_bodies};
pub use self::build::{build, searched_bytes, without_texts};
pub use self::clock::unix_ms;
pub use self::context::{Context, Event};
pub use self::fit::EVENT_MAX_BYTES as OTAS_MAX_BYTES;
pub use self::links::{Links, Retry, Turn};
pub use self::otas::{opened_session, posted_event};
pub use self::outline::{Outline, Phases};
pub use self::said::Said;
pub(crate) use self::stored::MARK;
pub use self::stored::{Content, Side, Stored};
pub use self::ties::Ties;
pub use crate::llm::Llm;
