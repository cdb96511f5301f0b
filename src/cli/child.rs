//! The command that `run` starts: its signals and its exit code.

use std::future::poll_fn;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::task::{Context, Poll};

use nix::unistd::getpgrp;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};
use tokio_util::sync::CancellationToken;

/// The exit code of shells for a command that was not found.
const NOT_FOUND: u8 = 127;
/// The exit code of shells for a command that cannot be executed.
const NOT_EXECUTABLE: u8 = 126;

/// The command could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start `{}`: {}", crate::visible::line(program), self.why())]
pub(super) struct NotStarted {
    program: String,
    source: io::Error,
}

impl NotStarted {
    /// `source`: what the system said.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only a namespace needs it"))]
    pub(super) fn new(program: &str, source: io::Error) -> Self {
        Self { program: program.to_owned(), source }
    }

    /// The exit code that a shell would give.
    pub(super) fn code(&self) -> u8 {
        if self.source.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
    }

    fn why(&self) -> String {
        let is_path = self.program.contains('/');
        match self.source.kind() {
            io::ErrorKind::NotFound if is_path && Path::new(&self.program).exists() => {
                "the program that its first line names (`#!`) does not exist".to_owned()
            }
            io::ErrorKind::NotFound if is_path => "there is no such file".to_owned(),
            io::ErrorKind::NotFound => "no folder in PATH has it; install it, or give its path".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "it is not executable for this user: `chmod +x` it, or name the program that runs it".to_owned()
            }
            _ => self.source.to_string(),
        }
    }
}

/// Checks that the command exists, before anything is begun for it. Whether it can be executed shows when it is started.
pub(super) fn is_there(command: &[String]) -> Result<(), NotStarted> {
    let program = command.first().map_or("", String::as_str);
    let missing = || NotStarted { program: program.to_owned(), source: io::Error::from(io::ErrorKind::NotFound) };
    let found = match std::env::var_os("PATH") {
        _ if program.is_empty() => false,
        _ if program.contains('/') => Path::new(program).exists(),
        Some(path) => std::env::split_paths(&path).any(|folder| folder.join(program).exists()),
        // The system's own search path.
        None => true,
    };
    if found { Ok(()) } else { Err(missing()) }
}

/// Starts `command` with our stdin, stdout and stderr.
pub(super) fn start(command: &[String], variables: &[(&'static str, String)]) -> Result<Child, NotStarted> {
    let (program, arguments) = command.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
    Command::new(program)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|source| NotStarted { program: program.to_owned(), source })
}

/// The signals that are passed on to the child. They are caught before it starts, so that none of them ends us alone.
pub(super) struct Signals([(unix::Signal, Signal); 6]);

impl Signals {
    /// Cancelled by the next signal that asks to end. For use after the child has ended; earlier signals were meant for the child.
    pub(super) async fn hurry(mut self) -> CancellationToken {
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
    pub(super) fn catch() -> io::Result<Self> {
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
pub(super) async fn wait(child: &mut Child, signals: &mut Signals) -> io::Result<u8> {
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
    std::fs::File::open("/dev/tty")
        .is_ok_and(|tty| rustix::termios::tcgetpgrp(&tty).is_ok_and(|group| group.as_raw_pid() == getpgrp().as_raw()))
}

/// The child's own exit code; like shells, 128 plus the signal's number if a signal ended it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}
