//! The console's events, in place of signals.

use std::future::{pending, poll_fn};
use std::io;
use std::task::{Context, Poll};

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};

/// Ctrl-C, Ctrl-Break, a console that closes, and the end of Windows.
pub(crate) struct Stop {
    c: CtrlC,
    break_: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl Stop {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { c: ctrl_c()?, break_: ctrl_break()?, close: ctrl_close()?, shutdown: ctrl_shutdown()? })
    }

    pub(crate) async fn recv(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { c, break_, close, shutdown } = self;
        let arrived = c.poll_recv(cx).is_ready()
            || break_.poll_recv(cx).is_ready()
            || close.poll_recv(cx).is_ready()
            || shutdown.poll_recv(cx).is_ready();
        if arrived { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Windows has no SIGHUP.
pub(crate) struct Hangup;

impl Hangup {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn recv(&mut self) {
        pending().await
    }
}

/// Windows has no limit of this kind.
pub(crate) fn file_size_limit_is_an_error() -> io::Result<()> {
    Ok(())
}
