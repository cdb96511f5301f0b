//! The network namespace of a run's command (`run --netns`): the command sees no network but the proxy.
//!
//! ```text
//! run            starts a process of ours, and waits for it (waiting)
//!   | enter        that process makes a user and a network namespace for itself, and sets it up by rules (pure)
//!   | handover     it passes the namespace's sockets to the proxy, and waits for its word
//!   |              it gives up every capability, and becomes the command
//! proxy          accepts on these sockets, and calls origins from outside
//!   | dns          answers the command's questions for names
//!   | refused      how many packets the namespace has refused
//! ```
//!
//! Whatever cannot be set up stops the command before it begins. If the proxy ends, nothing listens in the namespace any more, and there
//! is no other way out of it.

mod dns;
mod enter;
mod handover;
mod refused;
mod rules;
mod waiting;

pub use dns::serve as serve_dns;
pub use enter::{COMMAND, enter};
pub use handover::{Inside, Names};
pub use refused::{Refused, RefusedCounter};
pub use rules::{PROXY, tool};
pub use waiting::{NotEntered, Start, Waiting};
