//! Ports do not pass from one process to another: standard input cannot be one.

use std::io;
use std::net;
use std::os::windows::io::AsSocket as _;
use std::process::Stdio;

use tokio::net::TcpListener;

/// A port that listens keeps its queue.
#[expect(clippy::unnecessary_wraps, reason = "it may fail on Unix")]
pub(crate) fn let_wait(_: &TcpListener) -> io::Result<()> {
    Ok(())
}

pub(crate) fn share(listener: &TcpListener) -> io::Result<net::TcpListener> {
    Ok(listener.as_socket().try_clone_to_owned()?.into())
}

pub(crate) fn to_stdin(_: net::TcpListener) -> io::Result<Stdio> {
    Err(unavailable())
}

pub(crate) fn from_stdin() -> io::Result<net::TcpListener> {
    Err(unavailable())
}

fn unavailable() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "on Windows a port cannot pass to another process")
}
