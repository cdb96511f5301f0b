//! Ports that pass from one process to another.

use std::io;
use std::net;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Stdio;

use tokio::net::TcpListener;

/// So many connections may wait until they are accepted. The system has a limit of its own (`net.core.somaxconn`, 4,096 by default).
const WAITING: i32 = 4_096;

/// Lets more connections wait for a port that listens. Of a burst of agents the system drops what has no room, and each tries
/// again after 1, 3, 7 and more seconds.
///
/// # Errors
/// When the system cannot do that.
pub(crate) fn let_wait(listener: &TcpListener) -> io::Result<()> {
    Ok(rustix::net::listen(listener, WAITING)?)
}

/// A second handle of a port.
///
/// # Errors
/// When there is no descriptor left.
pub(crate) fn share(listener: &TcpListener) -> io::Result<net::TcpListener> {
    Ok(listener.as_fd().try_clone_to_owned()?.into())
}

/// The port as the standard input of another process.
///
/// # Errors
/// When the system cannot do that.
pub(crate) fn to_stdin(port: net::TcpListener) -> io::Result<Stdio> {
    Ok(OwnedFd::from(port).into())
}

/// The port that this process was given as its standard input.
///
/// # Errors
/// When there is no descriptor left, or the system cannot do that.
pub(crate) fn from_stdin() -> io::Result<net::TcpListener> {
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}
