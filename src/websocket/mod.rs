//! Reads a copy of a WebSocket's bytes: pure, in pieces of any size, in bounded memory. Whatever the bytes are, nothing
//! here fails or panics; violations are noted.
//!
//! ```text
//!  bytes of one side
//!    |- frame      headers, lengths, masks                    -> head, payload, end of each frame
//!    |- channel    control frames, fragments, deflate, utf8   -> messages, in clear, piece by piece
//!    |- conversation   both sides: counts, who closed, why
//!    |- turns      which message asks, which one ends the answer (label: the `type` of a JSON text, found as it passes)
//! ```
//!
//! Messages are not assembled: they pass in pieces, and each reader keeps as much as it has room for.

mod channel;
mod conversation;
mod deflate;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod label;
#[cfg(test)]
mod oracle;
mod peer;
#[cfg(test)]
pub(crate) mod testing;
mod turns;
mod utf8;

pub use channel::{Form, Part, Tally};
pub use conversation::{Conversation, Summary};
pub use deflate::Extensions;
pub use peer::{Close, Peer};
pub use turns::{Step, Turns};
