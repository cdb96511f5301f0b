//! The strict reading of what an agent sends over HTTP/1.x: where each message begins and ends, and that nothing in it could
//! be read differently by another parser (RFC 9112 2.2, 3.2, 5, 6, 7.1). hyper reads the same bytes afterwards; it gets only
//! what passed here.
//!
//! Pure: bytes in, a count or a violation out.

mod framing;
mod head;
mod kept;
mod target;

pub(super) use framing::{Framing, Place, Sound};
pub(super) use head::{Asked, asked};
pub(super) use kept::Kept;
pub(super) use target::{Written, is_kept};

use std::borrow::Cow;

/// Why a request is refused before any byte of it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Violation {
    /// It can be read in two ways, or in none.
    Malformed(Cow<'static, str>),
    /// Its head is longer than `proxy.max_header_bytes`, or has too many fields.
    TooLarge(Cow<'static, str>),
}

impl Violation {
    fn malformed(reason: &'static str) -> Self {
        Self::Malformed(Cow::Borrowed(reason))
    }
}
