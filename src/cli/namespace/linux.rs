//! On Linux: see [`crate::netns`].

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

use tokio::time::timeout;

use super::{Refused, Started};
use crate::app::App;
use crate::cli::child::{self, NotStarted};
use crate::cli::{Done, Failure, say};
use crate::netns::{self, NotEntered, RefusedCounter, Waiting};

pub(in crate::cli) use crate::netns::PROXY;

/// How long the last message of a process that has ended is waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The namespace of a command.
pub(super) struct Namespace(RefusedCounter);

impl Namespace {
    pub(super) fn refused(&self) -> Option<Refused> {
        match self.0.read() {
            Ok(netns::Refused { quic, udp }) => Some(Refused { quic, other: udp }),
            Err(error) => {
                tracing::warn!(%error, "cannot count the packets that the command's namespace refused");
                None
            }
        }
    }
}

/// Whether `run` has started this process to make a namespace, and then to become the command.
pub(in crate::cli) fn is_asked_for(arguments: &[OsString]) -> bool {
    matches!(arguments, [_, command, _, _, ..] if command == netns::COMMAND)
}

/// Makes the namespace, and becomes the command. The arguments: the name of the proxy that waits, and the command.
pub(in crate::cli) fn enter(arguments: &[OsString]) -> Done {
    let [_, _, name, program, rest @ ..] = arguments else { return Ok(ExitCode::FAILURE) };
    if !netns::enter(&name.to_string_lossy())? {
        // The proxy says why.
        return Ok(ExitCode::FAILURE);
    }
    let error = NotStarted::new(&program.to_string_lossy(), Command::new(program).args(rest).exec());
    say::err(&format!("otas-proxy: {error}"));
    Ok(ExitCode::from(error.code()))
}

/// Starts the command in a namespace of its own, which `app` serves.
///
/// # Errors
/// When the namespace cannot be made or served. Then the command was not started.
pub(in crate::cli) async fn start(
    app: &App,
    command: &[String],
    variables: &[(&'static str, String)],
) -> Result<Started, Failure> {
    let waiting = Waiting::begin()?;
    let program = std::env::current_exe()?.to_string_lossy().into_owned();
    let mut words = vec![program, netns::COMMAND.to_owned(), waiting.name().to_owned()];
    words.extend(command.iter().cloned());
    let mut child = child::start(&words, variables)?;
    let pid = child.id().ok_or_else(|| io::Error::other("the process that makes the namespace is gone"))?;
    let mut ready = std::pin::pin!(waiting.ready(pid));
    let (inside, start) = tokio::select! {
        biased;
        ready = &mut ready => ready?,
        // What it said before may still be read.
        ended = child.wait() => timeout(LAST_WORDS, ready).await.unwrap_or_else(|_| Err(NotEntered::ended(&ended)))?,
    };
    let refused = app.serve_inside(inside)?;
    start.go()?;
    Ok(Started { child, namespace: Some(Namespace(refused)) })
}
