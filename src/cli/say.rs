//! What commands write to people. Captured text cannot control their terminal, and a closed pipe ends a command quietly.

use std::io::{self, StdoutLock, Write as _};

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
    let mut out = stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Standard output. Its errors name it.
pub(super) fn stdout() -> impl io::Write {
    Stdout(io::stdout().lock())
}

struct Stdout(StdoutLock<'static>);

impl io::Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(of_stdout)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(of_stdout)
    }
}

/// `write_all` tries again after a signal, so that error stays as it is.
fn of_stdout(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Interrupted => error,
        kind => io::Error::new(kind, format!("cannot write to standard output: {error}")),
    }
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
