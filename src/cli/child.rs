//! The command that `run` starts: its signals and its exit code.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, getpgrp, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// As shells have it: the command was not found.
const NOT_FOUND: u8 = 127;
/// As shells have it: the command cannot be executed.
const NOT_EXECUTABLE: u8 = 126;

/// The command could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start `{program}`: {source}")]
pub(super) struct NotStarted {
    program: String,
    source: io::Error,
}

impl NotStarted {
    /// The exit code that a shell would give.
    pub(super) fn code(&self) -> u8 {
        if self.source.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
    }
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

/// Waits for the child, passing on the signals that we get meanwhile.
pub(super) async fn wait(child: &mut Child) -> io::Result<u8> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut hup = signal(SignalKind::hangup())?;
    let mut usr1 = signal(SignalKind::user_defined1())?;
    let mut usr2 = signal(SignalKind::user_defined2())?;
    loop {
        let received = tokio::select! {
            status = child.wait() => return status.map(code),
            _ = term.recv() => Signal::TERM,
            _ = int.recv() => Signal::INT,
            _ = quit.recv() => Signal::QUIT,
            _ = hup.recv() => Signal::HUP,
            _ = usr1.recv() => Signal::USR1,
            _ = usr2.recv() => Signal::USR2,
        };
        // A terminal has sent it to the child as well: once is enough.
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
    std::fs::File::open("/dev/tty").is_ok_and(|tty| rustix::termios::tcgetpgrp(&tty).is_ok_and(|group| group == getpgrp()))
}

/// The child's own code, or 128 and the signal that ended it, as shells have it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}
