//! `otas-proxy env`: the variables for agents of a running `serve`, in the syntax of a shell.

use std::process::ExitCode;

pub(super) use super::scope::Scope;
use super::shell::{Shell, line};
use super::variables::{self, AgentSetup};
use super::{About, Done, agent_dir, chosen, otas_hosts, say};
use crate::app::step;
use crate::config::{self, Flags};
use crate::tls::{CertAuthority, write_agent_files};

/// Print the variables that make an agent use a running proxy and trust its CA
///
/// They are for the running proxy, or for these settings if no proxy runs.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The form to print them in
    #[arg(long, value_enum, default_value_t = Shell::Bash)]
    shell: Shell,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    flags: Flags,
}

/// The volume in `deploy/k8s` that hands certificates to the agent.
const POD_VOLUME: &str = "otas-proxy-agent";

pub(super) fn run(args: &Args) -> Done {
    if matches!(args.shell, Shell::K8s) {
        return of_a_pod(args);
    }
    let led = super::led(&args.flags, About::Agents)?;
    if let (Some(running), Some(other)) = (&led.running, &led.other_ca) {
        return Err(format!(
            "agents that trust the CA in {} would refuse the proxy on {}, which signs with the one in {}: do not name the CA folder, or start \
             `serve` with these settings",
            other.display(),
            running.proxy,
            running.ca_dir.display()
        )
        .into());
    }
    chosen::no_second_ca(&led)?;
    let config = led.loaded.config;
    if config.listen.proxy.port() == 0 {
        return Err("`listen.proxy` has port 0 and no `serve` runs: start it first, or name a port".into());
    }
    tell_of_credentials(config.session.scope);
    let authority = CertAuthority::load_or_create(&config.tls.ca_dir)?;
    let parent = |name: &str| std::env::var(name).ok();
    let files = write_agent_files(&authority, &variables::parent_bundles(&parent))
        .map_err(|error| step("write the CA files for agents".to_owned(), error))?;
    let preload = args.scope.preload(&authority)?;
    let setup = AgentSetup {
        proxy: format!("http://{}", config.listen.proxy).parse()?,
        files: &files,
        run_id: None,
        otas_hosts: otas_hosts(&config.otas, args.scope.include_localhost),
        include_localhost: args.scope.include_localhost,
        java: !args.scope.no_java,
        preload: preload.as_ref(),
    };
    variables::warnings(&parent).iter().for_each(|warning| say::err(&format!("otas-proxy: {warning}")));
    for (name, value) in variables::for_agent(&setup, &parent) {
        say::raw(&format!("{}\n", line(args.shell, name, &value)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The variables have no credentials.
fn tell_of_credentials(scope: config::Scope) {
    if scope == config::Scope::Credential {
        say::err(
            "otas-proxy: `session.scope` is \"credential\", so the proxy answers 407 until you put the name and secret of one of \
             `[[agents]]` into the proxy's address in these variables: http://NAME:SECRET@HOST:PORT",
        );
    }
}

/// What a pod's agent needs. In the pod the settings of its sidecar apply, so neither our environment nor a proxy that runs here counts.
fn of_a_pod(args: &Args) -> Done {
    let config = super::load(&args.flags)?.config;
    if config.listen.proxy.port() == 0 {
        return Err("`listen.proxy` has port 0: name a port".into());
    }
    tell_of_credentials(config.session.scope);
    let dir = config.tls.agent_dir.clone().unwrap_or_else(|| agent_dir::IN_THE_IMAGE.into());
    say::raw("env:\n")?;
    for (name, value) in agent_dir::variables(&config, config.listen.proxy, &dir, args.scope)? {
        say::raw(&format!("{}\n", line(args.shell, name, &value)))?;
    }
    let path = serde_json::Value::from(dir.display().to_string());
    say::raw(&format!("volumeMounts:\n- name: {POD_VOLUME}\n  mountPath: {path}\n  readOnly: true\n"))?;
    Ok(ExitCode::SUCCESS)
}
