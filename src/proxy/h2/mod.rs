//! Paths over HTTP/2 that the library refuses or changes (over HTTP/1.x: [`super::strict::Verbatim`]). Below the library, a stand-in
//! replaces the path in what the agent sends, and the path replaces the stand-in in what the origin gets.

mod agent;
mod frames;
mod hpack;
mod origin;

pub(super) use agent::AgentH2;
pub(super) use origin::{OriginH2, PendingStandIns};
