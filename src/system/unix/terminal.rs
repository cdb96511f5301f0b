//! The terminal.

use std::io::Stdout;

/// Characters in a line of the terminal that is standard output. `None`: it does not say.
pub(crate) fn columns(stdout: &Stdout) -> Option<u16> {
    rustix::termios::tcgetwinsize(stdout).ok().map(|size| size.ws_col).filter(|columns| *columns > 0)
}

/// Leaves the terminal: what ends its processes does not end this one.
pub(crate) fn leave() {
    // A Unix session of its own. It fails only if it has one already.
    let _ = rustix::process::setsid();
}
