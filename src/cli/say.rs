//! What commands write to people. Captured text cannot control their terminal, and a closed pipe ends a command quietly.

use std::io::{self, Write as _};

use crate::visible;

/// The exit code after a closed pipe: a reader that has seen enough is not a failure.
pub(super) const READER_GONE: u8 = 0;

/// A line, or several, on standard output.
///
/// # Errors
/// When it cannot be written; [`is_reader_gone`] tells whether somebody closed the pipe.
pub(super) fn out(text: &str) -> io::Result<()> {
    raw(&format!("{}\n", visible::lines(text)))
}

/// Text that a program reads, such as a shell or a parser: as it is.
///
/// # Errors
/// As [`out`].
pub(super) fn raw(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// JSON in a line or several.
///
/// # Errors
/// As [`out`].
pub(super) fn json(text: &str) -> io::Result<()> {
    raw(&format!("{}\n", visible::json(text)))
}

/// A line, or several, on standard output, for a command that continues when nobody reads it.
pub(super) fn note(text: &str) {
    let _ = out(text);
}

/// A line, or several, on standard error. A failure to write is ignored.
pub(super) fn err(text: &str) {
    let _ = writeln!(io::stderr(), "{}", visible::lines(text));
}

/// Whether writing failed because the pipe was closed, as by `otas-proxy events | head`.
pub(super) fn is_reader_gone(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
