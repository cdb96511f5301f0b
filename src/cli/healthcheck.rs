//! `otas-proxy healthcheck`: whether the proxy of these settings is ready, for containers without a shell.

use std::process::ExitCode;

use serde_json::Value;

use super::admin_call::{self, Answer};
use super::{Done, Failure, agent_dir, say};
use crate::config::{Config, Flags};

/// Ask the proxy of these settings whether it is ready: exit code 0 if it is, else 1
///
/// It asks the admin port (`listen.admin`) for /readyz, and looks for the variables of agents if there is a folder for them
/// (`tls.agent_dir`). An OTAS that is down does not count, because agents do not notice it.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Ask only whether it answers, for a probe whose failure restarts the proxy
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let config = super::load(&args.flags)?.config;
    match args.live {
        true => asked(&config, "/healthz").map(drop)?,
        false => check(&config)?,
    }
    say::out(if args.live { "live" } else { "ready" })?;
    Ok(ExitCode::SUCCESS)
}

fn asked(config: &Config, path: &str) -> Result<Answer, Failure> {
    let admin = config.listen.admin;
    if admin.port() == 0 {
        return Err("`listen.admin` has port 0, so it is not known where to ask: name a port".into());
    }
    let no_answer =
        |error| format!("no proxy answers on {admin} (`listen.admin`): {error}. Is `otas-proxy serve` running?");
    Ok(admin_call::get(admin, path).map_err(no_answer)?)
}

fn check(config: &Config) -> Result<(), Failure> {
    let admin = config.listen.admin;
    let answer = asked(config, "/readyz")?;
    judged(&answer).map_err(|why| format!("not ready: {admin} (`listen.admin`): {why}"))?;
    match &config.tls.agent_dir {
        Some(dir) if !agent_dir::script(dir).exists() => {
            let script = agent_dir::script(dir);
            Err(format!("not ready: `{}` is not written yet (`tls.agent_dir`)", script.display()).into())
        }
        _ => Ok(()),
    }
}

/// Why the answer does not say that the proxy is ready.
fn judged(answer: &Answer) -> Result<(), String> {
    let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    if said["ready"].as_bool().is_none() {
        return Err("what answers there is not an otas-proxy".to_owned());
    }
    if answer.status == Some(200) {
        return Ok(());
    }
    let reasons = said["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Err(reasons.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proxy_that_says_so_is_ready() {
        let judge = |status, body: &str| judged(&Answer { status: Some(status), body: body.to_owned() });
        assert_eq!(judge(200, r#"{"ready":true,"reasons":[]}"#), Ok(()));
        let unready = judge(503, r#"{"ready":false,"reasons":["the proxy is stopping","events are in memory"]}"#);
        assert_eq!(unready.unwrap_err(), "the proxy is stopping; events are in memory");
        for other in ["ok\n", "", "{}"] {
            assert!(judge(200, other).unwrap_err().contains("not an otas-proxy"), "{other}");
        }
    }
}
