//! CONNECT tunnels: the origin is dialled first. Then the agent's first bytes decide what is done with the tunnel.

mod blind;
mod decide;
mod decision;
mod first_bytes;
mod intercept;
mod open;

pub(super) use blind::relay_blind;
pub(super) use decide::decide;
pub(super) use decision::{Decision, Decrypted, Serving};
pub(super) use first_bytes::first_bytes;
pub(super) use open::{Accepted, Opened, Tunnel, admit_and_reach, begin_bare, connect, dial_now};
