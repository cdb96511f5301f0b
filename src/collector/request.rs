//! The parts of a request that both services read.

use axum::body::Bytes;
use axum::http::HeaderMap;

use super::answer::Refusal;

/// A whole body within the size limit, or the refusal to send once the checks before it have passed.
pub(super) type ReadBody = Result<Bytes, Refusal>;

/// A header's value. An empty one counts as absent.
pub(super) fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    (!value.is_empty()).then(|| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
