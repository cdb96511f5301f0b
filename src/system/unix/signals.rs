//! Signals to this process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT.
pub(crate) struct Stop {
    term: Signal,
    int: Signal,
}

impl Stop {
    /// Listens for them from now on.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub(crate) async fn recv(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// SIGHUP.
pub(crate) struct Hangup(Signal);

impl Hangup {
    /// Listens for it from now on. It no longer ends the process.
    pub(crate) fn listen() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next one.
    pub(crate) async fn recv(&mut self) {
        self.0.recv().await;
    }
}

/// From now on a write beyond the file-size limit (`ulimit -f`) fails like one to a full disk, instead of ending the process. The
/// command that `run` starts gets the default action for the signal back.
pub(crate) fn file_size_limit_is_an_error() -> io::Result<()> {
    // The handler stays for the life of the process, although nobody reads the signals.
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}
