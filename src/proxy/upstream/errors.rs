//! What an error of hyper means.

use std::error::Error as _;
use std::io;

use super::responses::BadHead;
use crate::cause;

/// Whether the bytes that came violate their framing. Otherwise the connection was cut off.
pub(in crate::proxy) fn is_malformed(error: &hyper::Error) -> bool {
    caused_by(error, |kind| matches!(kind, io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

/// Whether an I/O error of such a kind is behind `error`.
pub(in crate::proxy) fn caused_by(error: &hyper::Error, kind: impl Fn(io::ErrorKind) -> bool) -> bool {
    io_causes(error).any(|cause| kind(cause.kind()))
}

/// Why the response's head is ambiguous. `None`: the error has another cause.
pub(in crate::proxy) fn bad_head(error: &hyper::Error) -> Option<String> {
    io_causes(error).find_map(|cause| cause.get_ref()?.downcast_ref::<BadHead>()).map(ToString::to_string)
}

fn io_causes(error: &hyper::Error) -> impl Iterator<Item = &io::Error> {
    std::iter::successors(error.source(), |cause| (*cause).source()).filter_map(|cause| cause.downcast_ref())
}

/// The error with its causes, in one line.
pub(in crate::proxy) fn words(error: &hyper::Error) -> String {
    cause::chain(error)
}
