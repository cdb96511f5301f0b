//! The command that `run` starts.

use std::env::consts::EXE_SUFFIX;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

pub(super) use crate::system::child::{Signals, wait};

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
        let is_path = is_path(&self.program);
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
        _ if is_path(program) => is_at(program),
        Some(path) => std::env::split_paths(&path).any(|folder| is_at(folder.join(program))),
        // The system's own search path.
        None => true,
    };
    if found { Ok(()) } else { Err(missing()) }
}

fn is_path(program: &str) -> bool {
    program.contains(std::path::is_separator)
}

/// Whether there is such a program. On Windows, `.exe` may be left out.
fn is_at(path: impl Into<PathBuf>) -> bool {
    let mut path = path.into();
    if path.exists() {
        return true;
    }
    path.as_mut_os_string().push(EXE_SUFFIX);
    path.exists()
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
