//! `otas-proxy env`: the variables for agents of a running `serve`, in the syntax of a shell.

use std::process::ExitCode;

use clap::ValueEnum;

use super::preload::Preload;
use super::variables::{self, AgentSetup};
use super::{About, Done, chosen, otas_hosts, say};
use crate::app::{AppError, step};
use crate::config::Flags;
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

// No documentation comment: clap would take it for the command's.
#[derive(clap::Args, Clone, Copy)]
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

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    /// `export NAME='value'`, for every shell like it
    #[value(aliases = ["sh", "zsh", "dash", "ksh", "ash", "posix"])]
    Bash,
    /// `set -gx NAME 'value'`
    Fish,
    /// `$env:NAME = 'value'`
    #[value(alias = "powershell")]
    Pwsh,
    /// `setenv NAME 'value'`
    #[value(alias = "tcsh")]
    Csh,
    /// `$env.NAME = 'value'`
    #[value(alias = "nushell")]
    Nu,
    /// `NAME="value"`
    Dotenv,
    /// `NAME=value`, for `docker run --env-file`
    Docker,
    /// `- name: …` and `value: …`, for a container's `env`
    K8s,
}

pub(super) fn run(args: &Args) -> Done {
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

fn line(shell: Shell, name: &str, value: &str) -> String {
    match shell {
        Shell::Bash => format!("export {name}='{}'", value.replace('\'', r"'\''")),
        Shell::Fish => format!("set -gx {name} '{}'", value.replace('\\', r"\\").replace('\'', r"\'")),
        Shell::Pwsh => format!("$env:{name} = '{}'", value.replace('\'', "''")),
        // csh expands `!` inside quotes, too.
        Shell::Csh => format!("setenv {name} '{}'", value.replace('\'', r"'\''").replace('!', r"\!")),
        Shell::Nu => format!("$env.{name} = {}", serde_json::Value::from(value)),
        Shell::Dotenv => {
            format!("{name}=\"{}\"", value.replace('\\', r"\\").replace('"', "\\\"").replace('$', "\\$"))
        }
        Shell::Docker => format!("{name}={value}"),
        Shell::K8s => format!("- name: {name}\n  value: {}", serde_json::Value::from(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_known_by_each_of_its_names() {
        for name in ["bash", "sh", "zsh", "dash", "ksh", "fish", "pwsh", "powershell", "csh", "tcsh", "nu", "nushell"]
        {
            assert!(Shell::from_str(name, false).is_ok(), "{name}");
        }
    }

    #[test]
    fn values_are_quoted_as_each_shell_reads_them() {
        let said = |shell| line(shell, "A", "it's \"5\\$\"");
        assert_eq!(said(Shell::Bash), r#"export A='it'\''s "5\$"'"#);
        assert_eq!(said(Shell::Fish), r#"set -gx A 'it\'s "5\\$"'"#);
        assert_eq!(said(Shell::Pwsh), r#"$env:A = 'it''s "5\$"'"#);
        assert_eq!(said(Shell::Csh), r#"setenv A 'it'\''s "5\$"'"#);
        assert_eq!(said(Shell::Nu), r#"$env.A = "it's \"5\\$\"""#);
        assert_eq!(said(Shell::Dotenv), r#"A="it's \"5\\\$\"""#);
        assert_eq!(said(Shell::Docker), r#"A=it's "5\$""#);
        assert_eq!(said(Shell::K8s), "- name: A\n  value: \"it's \\\"5\\\\$\\\"\"");
    }
}
