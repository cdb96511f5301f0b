//! Why a request is refused.

use std::borrow::Cow;

/// Why a request is refused before any byte of it is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::proxy) enum Violation {
    /// It can be read in two ways, or not at all.
    Malformed(Cow<'static, str>),
    /// Its head is longer than `proxy.max_header_bytes`, or has too many fields.
    TooLarge(Cow<'static, str>),
}

impl Violation {
    pub(super) fn malformed(reason: &'static str) -> Self {
        Self::Malformed(Cow::Borrowed(reason))
    }
}
