//! Users of Windows have no numeric ids.

use std::io;

pub(crate) const HOME: &str = "USERPROFILE";
pub(crate) const NAME: &str = "USERNAME";

pub(crate) fn effective() -> Option<u32> {
    None
}

pub(crate) fn real() -> Option<u32> {
    None
}

pub(crate) fn id_of(_: &str) -> io::Result<Option<u32>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "users of Windows have no numeric ids"))
}
