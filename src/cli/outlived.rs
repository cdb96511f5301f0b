//! Processes that outlive the `run` that they belong to. Their proxy is gone, and another program may get its port. So a small
//! process of ours keeps the port while they live, and answers each of their calls with an explanation.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use http::header::{CONNECTION, EXPECT, HOST};
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::command_line::CommandLine;
use super::{Done, say};
use crate::app::App;
use crate::peer::{self, Ends, Peers};
use crate::system::{ports, terminal};
use crate::{proxy, serving, visible};

/// The command by which `run` starts it. Help and completions do not list it, because it is for `run` only.
const COMMAND: &str = "ended-run";
/// The variable that describes the run. Unlike arguments, other users cannot read it.
const VARIABLE: &str = "OTAS_PROXY_ENDED_RUN";
/// The longest text of the run's command, in characters.
const COMMAND_CHARS: usize = 200;
/// How often remaining processes of the run are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// During an exec a process has no environment for a moment.
const LOOKS_WITHOUT_ANY: u32 = 2;
/// The longest time for which the port is kept.
const LASTS: Duration = Duration::from_secs(600);
/// The most connections at once. A process has few, and each gets one short answer.
const LIMITS: serving::Limits =
    serving::Limits { connections: 64, head: Duration::from_secs(5), content: Duration::from_secs(5) };

/// A run that has ended.
#[derive(Serialize, Deserialize)]
struct Ended {
    run_id: String,
    /// What it ran, without secrets.
    command: String,
    /// When that ended.
    ended_at: String,
}

impl Ended {
    fn now(run_id: &str, command: &CommandLine) -> Self {
        let second = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Self {
            run_id: run_id.to_owned(),
            command: visible::line(&command.line()).chars().take(COMMAND_CHARS).collect(),
            ended_at: second.format(&Rfc3339).unwrap_or_default(),
        }
    }

    /// The variable that its processes were started with.
    fn variable(&self) -> String {
        format!("OTAS_PROXY_RUN_ID={}", self.run_id)
    }

    fn detail(&self) -> String {
        let Self { run_id, command, ended_at } = self;
        format!("the run that this process belongs to has ended: run {run_id} (`{command}`) ended at {ended_at}")
    }
}

/// Whether `run` has started this process to refuse the calls of processes that outlive it.
pub(super) fn is_asked_for(arguments: &[OsString]) -> bool {
    matches!(arguments, [_, command] if command == COMMAND)
}

/// Starts to refuse the calls of processes that outlive the run, with a clear answer. Call it when the run's command has ended.
pub(super) async fn see_to(app: &App, command: &CommandLine) {
    let ended = Ended::now(&app.run_id, command);
    let looked = tokio::task::spawn_blocking(move || (peer::processes_with(&ended.variable()), ended)).await;
    let Some((left, ended)) = looked.ok().filter(|(left, _)| !left.is_empty()) else { return };
    let kept = app.share_listener().and_then(|listener| listener.map(|port| keep(port, &ended)).transpose());
    let (which, calls) = match left.as_slice() {
        [one] => (format!("process {one} of this run is"), "its calls"),
        several => (format!("{} processes of this run are", several.len()), "their calls"),
    };
    say::err(&format!("otas-proxy: {which} still running; {calls} are no longer proxied and will fail"));
    if let Err(error) = kept {
        say::err(&format!("otas-proxy: cannot start the process that tells them why: {error}"));
    }
}

/// Starts the process that keeps the port.
fn keep(port: TcpListener, ended: &Ended) -> std::io::Result<()> {
    // Nothing of our environment is needed; with the id of an outer run it would count as a process of that one.
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.arg(COMMAND).env_clear().env(VARIABLE, serde_json::to_string(ended)?).current_dir("/");
    command.stdin(ports::to_stdin(port)?).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    Ok(())
}

/// Keeps the port, which is standard input.
pub(super) fn run() -> Done {
    let text = std::env::var(VARIABLE).map_err(|_| format!("`{COMMAND}` is started by `otas-proxy run` only"))?;
    let ended: Ended = serde_json::from_str(&text)?;
    terminal::leave();
    let listener = ports::from_stdin()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(refuse_all(listener, ended))?;
    Ok(ExitCode::SUCCESS)
}

/// What answers calls.
struct Refusal {
    detail: String,
    /// Only the run's own user gets the explanation.
    peers: Peers,
    local: SocketAddr,
}

async fn refuse_all(listener: TcpListener, ended: Ended) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let local = listener.local_addr()?;
    let peers = Peers::new(local.ip(), true, false, Vec::new())?;
    let refusal = Refusal { detail: ended.detail(), peers, local };
    let router = Router::new().fallback(refuse).with_state(Arc::new(refusal));
    let stop = CancellationToken::new();
    tokio::join!(serving::serve(listener, router, LIMITS, stop.clone()), async {
        until_over(any_left(ended.variable())).await;
        stop.cancel();
    });
    Ok(())
}

/// Whether a process with this variable is left. Searches all processes only when those found last are gone.
fn any_left(variable: String) -> impl FnMut() -> bool {
    let mut found = Vec::new();
    move || {
        found.retain(|pid| peer::process_has(*pid, &variable));
        if found.is_empty() {
            found = peer::processes_with(&variable);
        }
        !found.is_empty()
    }
}

/// Returns when no process is left, or after the longest time.
async fn until_over(mut any_left: impl FnMut() -> bool) {
    let until = Instant::now() + LASTS;
    let mut looks_without_any = 0;
    while looks_without_any < LOOKS_WITHOUT_ANY && Instant::now() < until {
        sleep(LOOK_EVERY).await;
        looks_without_any = if any_left() { 0 } else { looks_without_any + 1 };
    }
}

async fn refuse(
    State(refusal): State<Arc<Refusal>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (head, mut content) = request.into_parts();
    if refusal.peers.meet(Ends::new(peer, refusal.local)).await.is_none() {
        return for_others();
    }
    // A connection that is closed with content unread is reset, and its answer may be lost. Its length and time are limited.
    while !head.headers.contains_key(EXPECT) && matches!(content.frame().await, Some(Ok(_))) {}
    let host = head.uri.host().or_else(|| head.headers.get(HOST)?.to_str().ok()).unwrap_or_default();
    proxy::run_ended(&refusal.detail, host).map(Body::from)
}

/// The answer to another user of this machine, without any details.
fn for_others() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FORBIDDEN;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::testing::redactor;

    #[tokio::test(start_paused = true)]
    async fn the_port_is_kept_while_processes_are_left_and_not_for_ever() {
        let begun = Instant::now();
        until_over(|| true).await;
        assert_eq!(begun.elapsed(), LASTS);
        let begun = Instant::now();
        let mut looks = [true, false, true, false, false].into_iter();
        until_over(|| looks.next().unwrap()).await;
        assert_eq!(begun.elapsed(), LOOK_EVERY * 5);
    }

    #[test]
    fn the_description_of_a_run_is_short_and_holds_no_secret() {
        let command = ["agent".to_owned(), "--api-key".to_owned(), "s3cret".to_owned(), "x".repeat(999)];
        let detail = Ended::now("r-1", &CommandLine::masked(&command, redactor())).detail();
        assert!(detail.contains("run r-1 (`agent --api-key ****#"), "{detail}");
        assert!(detail.contains(" xxx"), "{detail}");
        assert!(!detail.contains("s3cret") && detail.len() < 400, "{detail}");
    }
}
