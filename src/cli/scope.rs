//! Which calls of an agent go through the proxy, and how it is told.

use super::preload::Preload;
use crate::app::{AppError, step};
use crate::tls::CertAuthority;

// No documentation comment: clap would take it for the command's.
#[derive(clap::Args, Clone, Copy, Default)]
#[command(next_help_heading = "Agents")]
pub(super) struct Scope {
    /// Send calls to this machine (localhost, 127.0.0.1, ::1) through the proxy, too
    #[arg(long)]
    pub(super) include_localhost: bool,
    /// Do not set JAVA_TOOL_OPTIONS, which Java reports on stderr
    #[arg(long)]
    pub(super) no_java: bool,
    /// Also catch clients that read no proxy variable: Node before 22.21 and aiohttp
    ///
    /// They load a small file of ours first (NODE_OPTIONS, PYTHONPATH).
    #[arg(long)]
    pub(super) preload: bool,
}

impl Scope {
    /// The files to load first, if they were asked for.
    pub(super) fn preload(self, authority: &CertAuthority) -> Result<Option<Preload>, AppError> {
        let written = self.preload.then(|| Preload::write(authority.dir())).transpose();
        written.map_err(|error| step("write the files for --preload".to_owned(), error))
    }
}
