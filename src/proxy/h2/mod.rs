//! Paths over HTTP/2 that the library refuses or changes, as [`super::strict::Verbatim`] has it for HTTP/1.x: beneath the library,
//! a stand-in takes the path's place in what the agent sends, and the path that of the stand-in in what the origin gets.

mod agent;
mod frames;
mod hpack;
mod origin;

pub(super) use agent::AgentH2;
pub(super) use origin::{OriginH2, PendingStandIns};
