//! Programs that we start: the signals that pass to them, and how they end.

use std::fs::{self, File};
use std::future::poll_fn;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::task::{Context, Poll};

use nix::unistd::getpgrp;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};
use tokio_util::sync::CancellationToken;

use super::files;

/// Whether a file can be executed by anybody.
pub(crate) fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.is_file() && files::mode(&found).is_some_and(|mode| mode & 0o111 != 0))
}

/// Puts a program that is to be started, and what that starts, into a group of their own.
pub(crate) fn in_own_group(command: &mut Command) -> &mut Command {
    command.process_group(0)
}

/// Ends the group of a program that was started [`in_own_group`]. `id`: the program's.
pub(crate) fn end_group(id: Option<u32>) {
    let group = id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group
        && let Err(error) = kill_process_group(group, Signal::KILL)
    {
        tracing::debug!(%error, "the processes are gone already");
    }
}

/// The signals that are passed on to the child. They are caught before it starts, so that none of them ends us alone.
pub(crate) struct Signals([(unix::Signal, Signal); 6]);

impl Signals {
    /// Cancelled by the next signal that asks to end. For use after the child has ended; earlier signals were meant for the child.
    pub(crate) async fn hurry(mut self) -> CancellationToken {
        let hurry = CancellationToken::new();
        while poll_fn(|cx| Poll::Ready(self.poll(cx).is_ready())).await {}
        let cancel = hurry.clone();
        tokio::spawn(async move {
            while matches!(self.next().await, Signal::USR1 | Signal::USR2) {}
            cancel.cancel();
        });
        hurry
    }

    /// Catches them from now on.
    pub(crate) fn catch() -> io::Result<Self> {
        let caught = |kind: SignalKind, same: Signal| unix::signal(kind).map(|signal| (signal, same));
        Ok(Self([
            caught(SignalKind::terminate(), Signal::TERM)?,
            caught(SignalKind::interrupt(), Signal::INT)?,
            caught(SignalKind::quit(), Signal::QUIT)?,
            caught(SignalKind::hangup(), Signal::HUP)?,
            caught(SignalKind::user_defined1(), Signal::USR1)?,
            caught(SignalKind::user_defined2(), Signal::USR2)?,
        ]))
    }

    async fn next(&mut self) -> Signal {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Signal> {
        let arrived = self.0.iter_mut().find_map(|(signal, same)| signal.poll_recv(cx).is_ready().then_some(*same));
        arrived.map_or(Poll::Pending, Poll::Ready)
    }
}

/// Waits for the child, passing on the signals that we get meanwhile.
pub(crate) async fn wait(child: &mut Child, signals: &mut Signals) -> io::Result<u8> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    loop {
        let received = tokio::select! {
            biased;
            status = child.wait() => return status.map(code),
            received = signals.next() => received,
        };
        // The terminal has sent it to the child already.
        if matches!(received, Signal::INT | Signal::QUIT) && from_terminal() {
            continue;
        }
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, received)
        {
            tracing::debug!(%error, "the child is gone already");
        }
    }
}

/// Whether we are in a terminal's foreground, so that its keys reach the child too.
fn from_terminal() -> bool {
    File::open("/dev/tty")
        .is_ok_and(|tty| rustix::termios::tcgetpgrp(&tty).is_ok_and(|group| group.as_raw_pid() == getpgrp().as_raw()))
}

/// The child's own exit code; like shells, 128 plus the signal's number if a signal ended it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}
