//! Reading a WebSocket's bytes on a copy of them: pure, in pieces of any size, in bounded memory. Whatever the bytes, nothing
//! here fails or panics; what is wrong with them is noted.
//!
//! ```text
//!  bytes of one side
//!    |- frame      headers, lengths, masks                    -> head, payload, end of each frame
//!    |- channel    control frames, fragments, deflate         -> messages, in clear, piece by piece
//!    |- conversation   both sides: counts, who closed, why
//!    |- turns      which message asks, which one ends the answer (label: the `type` of a JSON text, found as it passes)
//! ```
//!
//! Nothing is assembled: a message passes through in pieces, and whoever looks on keeps of it what it has room for.

mod channel;
mod conversation;
mod deflate;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod label;
mod peer;
#[cfg(test)]
pub(crate) mod testing;
mod turns;

pub use channel::{Form, Part, Tally};
pub use conversation::{Conversation, Summary};
pub use deflate::Extensions;
pub use peer::{Close, Peer};
pub use turns::{Step, Turns};
