//! SIGTERM and SIGINT (on Windows: Ctrl-C and the like): the first asks to stop, the second to hurry.

use std::io;

use tokio_util::sync::CancellationToken;

use crate::system::signals::Stop;

/// The two stages of being asked to stop.
pub(super) struct Termination {
    first: CancellationToken,
    second: CancellationToken,
}

/// Listens for them from now on.
pub(super) fn termination() -> io::Result<Termination> {
    let mut stop = Stop::listen()?;
    let stages = Termination { first: CancellationToken::new(), second: CancellationToken::new() };
    let (first, second) = (stages.first.clone(), stages.second.clone());
    tokio::spawn(async move {
        for stage in [first, second] {
            stop.recv().await;
            stage.cancel();
        }
    });
    Ok(stages)
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
