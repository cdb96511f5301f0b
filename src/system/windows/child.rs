//! Programs that we start. They share our console, which sends them its events itself.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::task::Poll;

use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::signals::Stop;

pub(crate) fn is_executable(file: &Path) -> bool {
    file.is_file()
}

/// Windows has no such groups.
pub(crate) fn in_own_group(command: &mut Command) -> &mut Command {
    command
}

/// Windows has no such groups, so what the program has started goes on.
pub(crate) fn end_group(_: Option<u32>) {}

/// The console's events. They are caught before the child starts, so that none of them ends us alone.
pub(crate) struct Signals(Stop);

impl Signals {
    pub(crate) async fn hurry(self) -> CancellationToken {
        let (Self(mut stop), hurry) = (self, CancellationToken::new());
        while poll_fn(|cx| Poll::Ready(stop.poll(cx).is_ready())).await {}
        let cancel = hurry.clone();
        tokio::spawn(async move {
            stop.recv().await;
            cancel.cancel();
        });
        hurry
    }

    pub(crate) fn catch() -> io::Result<Self> {
        Stop::listen().map(Self)
    }
}

/// Waits for the child. Windows has no signals to pass on to it.
pub(crate) async fn wait(child: &mut Child, _: &mut Signals) -> io::Result<u8> {
    child.wait().await.map(code)
}

/// The child's own exit code; 1 for one of more than 8 bits.
fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
