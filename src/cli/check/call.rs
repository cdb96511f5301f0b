//! The clients on the PATH, called side by side.

use std::collections::HashMap;
use std::env::consts::EXE_SUFFIX;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::preload::Preload;
use super::super::variables::{self, AgentSetup};
use super::clients::{Client, FILES, Place};
use super::environment::Named;
use super::judge::{self, Circumstances, Ended, Sight};
use super::line::Line;
use super::stage::{Stage, host_of};
use crate::config::Config;
use crate::system::child;
use crate::tls::write_agent_files;

/// The limit for one call, including the start of its program.
const PATIENCE: Duration = Duration::from_secs(10);

const WHAT: &str = "clients";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A finding for each of `clients` that is installed. `asked_for`: by name, so that one that is not installed is a failure.
pub(super) async fn lines(
    clients: &[&'static Client],
    asked_for: bool,
    config: &Config,
    as_is: bool,
    preload: bool,
) -> Vec<Line> {
    let around = std::env::var("OTAS_PROXY_URL").ok();
    let named = Named::of(around.as_deref(), config.listen.proxy).filter(|_| as_is);
    if as_is && named.is_none() {
        let cure = "Name the port that `serve` listens on: in `listen.proxy`, or by --listen-proxy";
        return vec![Line::fail(
            WHAT,
            "`listen.proxy` has port 0, so the right address for the environment is unknown",
            cure,
        )];
    }
    match called(clients, asked_for, config, named.as_ref(), preload).await {
        Ok(lines) => lines,
        Err(error) => {
            let cure =
                "Fix the problems above; the check's proxy needs the CA, a loopback port and a temporary folder";
            vec![Line::fail(
                WHAT,
                format!("cannot start a proxy for their calls: {}", super::super::chain(error.as_ref())),
                cure,
            )]
        }
    }
}

async fn called(
    clients: &[&'static Client],
    asked_for: bool,
    config: &Config,
    as_is: Option<&Named>,
    preload: bool,
) -> Result<Vec<Line>, Failure> {
    let (found, missing): (Vec<_>, Vec<_>) = clients.iter().copied().partition(|client| on_path(client.program));
    let names: Vec<&str> = found.iter().map(|client| client.name).collect();
    let mut ends = HashMap::new();
    let stage = Stage::start(config, as_is.is_some(), &names).await?;
    let set = environment(&stage, as_is, preload)?;
    for (name, content) in FILES {
        std::fs::write(stage.folder().join(name), content)?;
    }
    let mut calls = JoinSet::new();
    let (folder, set) = (Arc::new(stage.folder().to_owned()), Arc::new(set));
    // Not more at once than there are cores, so that none runs into its time limit.
    let turns = Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from).max(2)));
    for client in &found {
        let (client, folder, set, turns) = (*client, folder.clone(), set.clone(), turns.clone());
        calls.spawn(async move {
            let _turn = turns.acquire().await;
            (client.name, call(client, &folder, &set).await)
        });
    }
    while let Some(ended) = calls.join_next().await {
        let (name, ended) = ended?;
        ends.insert(name, ended);
    }
    let (bundle, trusted) = (stage.app.bundle_file.clone(), stage.app.authority().trusted());
    let seen = stage.stop().await;

    let under = Circumstances {
        as_is,
        preload,
        variable: &|name| std::env::var(name).ok(),
        holds_ca: &|file| Some(certificates(file)?.iter().any(|der| trusted.contains(der))),
        bundle: &bundle,
    };
    let mut lines = Vec::new();
    let mut missing: Vec<&str> = missing.iter().map(|client| client.name).collect();
    for client in found {
        let Some(ended) = ends.get(client.name) else { continue };
        let sight = Sight {
            connected: seen.connected.contains(client.name),
            asked: seen.asked.contains(client.name),
            error: seen.errors.get(client.name).map(String::as_str),
        };
        match judge::line(client, ended, &sight, &under) {
            Some(line) => lines.push(line),
            None => missing.push(client.name),
        }
    }
    if asked_for {
        lines.extend(
            missing.iter().map(|name| Line::fail(name, "it is not installed", "Install it, or put it on the PATH")),
        );
    } else if !missing.is_empty() {
        lines.push(Line::skipped(WHAT, format!("not installed: {}", missing.join(", "))));
    }
    Ok(lines)
}

/// The variables that are set over our own environment.
fn environment(stage: &Stage, as_is: Option<&Named>, preload: bool) -> Result<Vec<(String, String)>, Failure> {
    if let Some(named) = as_is {
        let present = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        return Ok(named.with(present, stage.app.proxy_addr));
    }
    let parent = |name: &str| std::env::var(name).ok();
    let authority = stage.app.authority();
    let files = write_agent_files(&authority, &variables::parent_bundles(&parent))?;
    let preload = preload.then(|| Preload::write(authority.dir())).transpose()?;
    let setup = AgentSetup {
        proxy: format!("http://{}", stage.app.proxy_addr).parse()?,
        files: &files,
        run_id: Some(&stage.app.run_id),
        otas_hosts: Vec::new(),
        include_localhost: false,
        java: true,
        preload: preload.as_ref(),
    };
    Ok(variables::for_agent(&setup, &parent).into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Calls it once, in a folder of the check: files in the user's own folder may make the client do more than call.
async fn call(client: &Client, folder: &Path, set: &[(String, String)]) -> Ended {
    let host = host_of(client.name);
    let place = Place { host: &host, folder };
    let mut command = Command::new(client.program);
    command
        .args((client.arguments)(&place))
        .envs(set.iter().map(|(name, value)| (name, value)))
        .envs((client.set)(&place))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = match child::in_own_group(&mut command).spawn() {
        Ok(child) => child,
        Err(error) => return Ended::NotStarted(error.to_string()),
    };
    let id = child.id();
    match timeout(PATIENCE, child.wait_with_output()).await {
        Ok(Ok(done)) => Ended::Exited {
            code: done.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        },
        Ok(Err(error)) => Ended::NotStarted(error.to_string()),
        Err(_) => {
            // Dropping it ends the program itself; what it has started is its group.
            child::end_group(id);
            Ended::TooLate
        }
    }
}

fn on_path(program: &str) -> bool {
    let program = format!("{program}{EXE_SUFFIX}");
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| child::is_executable(&dir.join(&program))))
}

/// The certificates in a file. `None`: it cannot be read.
fn certificates(file: &Path) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(file).ok()?.collect::<Result<_, _>>().ok()
}
