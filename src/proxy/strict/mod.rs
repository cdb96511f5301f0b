//! Strict reading of what an agent sends over HTTP/1.x: where each message begins and ends, and that no other parser could read
//! it differently (RFC 9112 2.2, 3.2, 5, 6, 7.1). hyper reads the same bytes afterwards, and only those that passed here.
//!
//! Pure: bytes in, a count or a violation out.

mod bypass;
mod framing;
mod head;
mod request_line;
mod target;
mod verbatim;
mod violation;

pub(super) use bypass::Bypass;
pub(super) use framing::{Checked, Framing, Position};
pub(super) use request_line::{RequestLine, request_line};
pub(super) use target::must_bypass;
pub(super) use verbatim::Verbatim;
pub(super) use violation::Violation;
