//! SIGTERM and SIGINT: the first asks to stop, the second to hurry. SIGHUP: look at the settings.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two stages of being asked to stop.
pub(super) struct Termination {
    first: CancellationToken,
    second: CancellationToken,
}

/// Listens for SIGTERM and SIGINT from now on.
pub(super) fn termination() -> io::Result<Termination> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stages = Termination { first: CancellationToken::new(), second: CancellationToken::new() };
    let (first, second) = (stages.first.clone(), stages.second.clone());
    tokio::spawn(async move {
        for stage in [first, second] {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            stage.cancel();
        }
    });
    Ok(stages)
}

/// From now on a write beyond the file-size limit (`ulimit -f`) fails like one to a full disk, instead of ending the process. The
/// command that `run` starts gets the default action for the signal back.
pub(super) fn file_size_limit_is_an_error() -> io::Result<()> {
    // The handler stays for the life of the process, although nobody reads the signals.
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

/// Listens for SIGHUP from now on. It no longer ends the process.
pub(super) fn hangup() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

impl Termination {
    /// Resolves at the first signal.
    pub(super) async fn first(&self) {
        self.first.cancelled().await;
    }

    /// Cancelled at the second.
    pub(super) fn hurry(&self) -> CancellationToken {
        self.second.clone()
    }
}
