//! The user that this process runs as.

use std::io;

use nix::unistd::{Uid, User};

/// The variable with the user's folder.
pub(crate) const HOME: &str = "HOME";
/// The variable with the user's name.
pub(crate) const NAME: &str = "USER";

/// The effective user id. `None`: the system has no such ids.
pub(crate) fn effective() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

/// The real user id. `None`: the system has no such ids.
pub(crate) fn real() -> Option<u32> {
    Some(rustix::process::getuid().as_raw())
}

/// The id of the user with this name. `None`: there is none.
///
/// # Errors
/// When the list of users cannot be read.
pub(crate) fn id_of(name: &str) -> io::Result<Option<u32>> {
    Ok(User::from_name(name)?.map(|user| Uid::as_raw(user.uid)))
}
