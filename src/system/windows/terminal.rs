//! The console.

use std::io::Stdout;

pub(crate) fn columns(stdout: &Stdout) -> Option<u16> {
    terminal_size::terminal_size_of(stdout).map(|(width, _)| width.0)
}

/// Not needed: no process of ours outlives a run.
pub(crate) fn leave() {}
