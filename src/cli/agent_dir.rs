//! The folder for agents of other users and containers (`tls.agent_dir`): the variables that `env.sh` sets there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::preload::Preload;
use super::scope::Scope;
use super::variables::{self, AgentSetup};
use super::{admin_call, otas_hosts, shell};
use crate::app::{AppError, step};
use crate::config::Config;
use crate::tls::{AgentFiles, hand_out_file};

/// The folder in the container image, which the sidecar and the agent mount at the same place.
pub(super) const IN_THE_IMAGE: &str = "/run/otas-proxy";
/// The script that sets the variables, for a POSIX shell. It is written last.
const SCRIPT: &str = "env.sh";

/// Where the script is.
pub(super) fn script(dir: &Path) -> PathBuf {
    dir.join(SCRIPT)
}

/// Writes the script and the files for `--preload` if there is such a folder. `proxy`: where the proxy listens.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn write(config: &Config, proxy: SocketAddr) -> Result<Option<PathBuf>, AppError> {
    let Some(dir) = &config.tls.agent_dir else { return Ok(None) };
    let what = || format!("write the variables for agents in `{}` (`tls.agent_dir`)", dir.display());
    let failed = |error| step(what(), error);
    Preload::write(dir).map_err(failed)?;
    let script = script(dir);
    let all = variables(config, proxy, dir, Scope::default()).map_err(|error| step(what(), error))?;
    let lines: String = all.iter().map(|(name, value)| shell::line(shell::Shell::Bash, name, value) + "\n").collect();
    let text = format!("# Written by otas-proxy: `. {}` lets a program use the proxy.\n{lines}", script.display());
    hand_out_file(&script, text.as_bytes()).map_err(failed)?;
    Ok(Some(script))
}

/// The variables of an agent that sees this folder. Nothing is taken from our own environment, which is not the agent's.
pub(super) fn variables(
    config: &Config,
    proxy: SocketAddr,
    dir: &Path,
    scope: Scope,
) -> Result<Vec<(&'static str, String)>, url::ParseError> {
    let files = AgentFiles::handed_out(dir);
    let preload = scope.preload.then(|| Preload::below(dir));
    let setup = AgentSetup {
        proxy: format!("http://{}", admin_call::reachable(proxy)).parse()?,
        files: &files,
        run_id: None,
        otas_hosts: otas_hosts(&config.otas, scope.include_localhost),
        include_localhost: scope.include_localhost,
        java: !scope.no_java,
        preload: preload.as_ref(),
    };
    Ok(variables::for_agent(&setup, &|_| None))
}
