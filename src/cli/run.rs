//! `otas-proxy run -- CMD`: one process, one session.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::child::NotStarted;
use super::command_line::CommandLine;
use super::env::Scope;
use super::namespace::{self, Started};
use super::variables::{self, AgentSetup};
use super::waiting::{self, Waiting};
use super::{Done, child, chosen, inherited, meta, none_seen, outlived, own_settings, running, say};
use crate::app::{App, step};
use crate::config::{self, Flags, Sink};
use crate::peer;
use crate::proxy::RUN;
use crate::secret::Secret;
use crate::tls::write_agent_files;
use crate::{console, visible};

/// Run one command with a proxy around it: one process, one session
///
/// The command gets a proxy of its own on a free loopback port and a session of its own. Afterwards `run` waits until its events
/// are delivered (see --wait) and exits with the command's code. Ctrl-C ends the wait; events that are not delivered stay stored.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Add a pair to the meta of the session (may be repeated)
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = pair)]
    meta: Vec<(String, String)>,
    /// Wait this long for delivery, such as 90s or 5m [default: delivery.drain_timeout_ms]
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    wait: Option<Duration>,
    /// Do not wait for delivery: events stay stored for `serve`, `flush` or the next `run`
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Give the command a network namespace of its own, whose only way out is the proxy (Linux)
    ///
    /// Connections to any port are caught, whether the command knows of proxies or not. Names are answered inside. UDP is refused and
    /// counted. Needs the programs `ip` and `nft`, and no root where users may make namespaces. If it cannot be set up, the
    /// command does not start.
    #[arg(long, conflicts_with = "include_localhost")]
    netns: bool,
    /// The form of the last line, which sums up the calls
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    summary: SummaryForm,
    /// The command and its arguments; it needs `--` before it only if it begins with a dash
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    upstream: inherited::UpstreamArgs,
    #[command(flatten)]
    flags: Flags,
}

/// `--summary`.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SummaryForm {
    /// One sentence
    Text,
    /// One JSON object
    Json,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

pub(super) fn run(args: Args) -> Done {
    if let Err(error) = child::is_there(&args.command) {
        say::err(&format!("otas-proxy: {error}"));
        return Ok(ExitCode::from(error.code()));
    }
    let mut loaded = super::load(&args.flags)?;
    if loaded.config.sinks.iter().any(Sink::is_stdout) {
        return Err(loaded
            .refuse(
                "sinks",
                "`path = \"-\"` is standard output, which belongs to the command here: name a file, or use `serve`",
            )
            .into());
    }
    // Also with one agent, although its name and secret could be given to the command: the session would be the agent's, without the
    // facts of the command; clients that send no credentials to a proxy, and connections out of a namespace, would be refused.
    if loaded.config.session.scope == config::Scope::Credential {
        return Err(loaded
            .refuse(
                "session.scope",
                "with \"credential\" each agent gives a name and a secret, which `run` does not have: use `serve` and put `NAME:SECRET@` of \
                 one of `[[agents]]` before the proxy's address; or use `run` with settings whose scope is \"proxy\" (--config)",
            )
            .into());
    }
    let others: Vec<SocketAddr> = running::all().into_iter().map(|running| running.proxy).collect();
    inherited::apply(&mut loaded, args.upstream, &others);
    let new_ca = chosen::new_ca(&loaded.config.tls);
    let mut config = loaded.config;
    // Ports of its own, because many runs may go on at once.
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    (config.listen.proxy, config.listen.admin) = (any, any);
    // If the system does not report the owner of a connection, callers must show a secret that only the command has.
    if config.listen.same_user && !peer::tells_users() {
        config.session.run_secret = Some(Secret::random()?);
    }
    let run_secret = config.session.run_secret.clone();
    let drain = if args.no_wait { Duration::ZERO } else { args.wait.unwrap_or(config.delivery.drain_timeout) };
    let brain = config.otas.brain_url.clone();
    let otas_hosts = super::otas_hosts(&config.otas, args.scope.include_localhost);
    super::runtime()?.block_on(async {
        let app = App::start(config, |redactor| meta::of_run(&args.command, &args.meta, redactor)).await?;
        let shown = CommandLine::masked(&args.command, &app.redactor());
        new_ca.iter().for_each(|note| say::err(&format!("otas-proxy: {note}")));
        if let Some(collector) = &app.collector {
            say::err(&format!(
                "otas-proxy: no agent key is configured, so events go to the embedded collector on {}",
                collector.url
            ));
        }
        if std::io::stderr().is_terminal() {
            say::err(&format!("otas-proxy: calls are shown on {}", app.page_url));
        }
        let parent = |name: &str| std::env::var(name).ok();
        let authority = app.authority();
        let files = write_agent_files(&authority, &variables::parent_bundles(&parent))
            .map_err(|error| step("write the CA files for agents".to_owned(), error))?;
        let preload = args.scope.preload(&authority)?;
        let setup = AgentSetup {
            proxy: address(if args.netns { namespace::PROXY } else { app.proxy_addr }, run_secret.as_ref())
                .parse()?,
            files: &files,
            run_id: Some(&app.run_id),
            otas_hosts,
            include_localhost: args.scope.include_localhost,
            java: !args.scope.no_java,
            preload: preload.as_ref(),
        };
        let set = variables::for_agent(&setup, &parent);
        variables::warnings(&parent).iter().for_each(|warning| say::err(&format!("otas-proxy: {warning}")));
        let mut signals = child::Signals::catch()?;
        // The terminal belongs to the command until it ends, and may show a full-screen program.
        let hold = std::io::stderr().is_terminal().then(console::Hold::begin);
        let started = match args.netns {
            true => namespace::start(&app, &args.command, &set).await,
            false => child::start(&args.command, &set).map(Started::outside).map_err(Into::into),
        };
        let (ended, refused) = match started {
            Ok(mut started) => (Ok(child::wait(&mut started.child, &mut signals).await?), started.refused()),
            Err(error) => (Err(error), None),
        };
        drop(hold);
        let code = ended.as_ref().copied().unwrap_or_else(|error| {
            say::err(&format!("otas-proxy: {error}"));
            error.downcast_ref::<NotStarted>().map_or(1, NotStarted::code)
        });
        let hurry = signals.hurry().await;
        let run_id = app.run_id.clone();
        if ended.is_ok() {
            outlived::see_to(&app, &shown).await;
        }
        let destination = match &app.collector {
            Some(_) => "the embedded collector".to_owned(),
            None => format!("OTAS ({brain})"),
        };
        let mut waiting = Waiting::new(destination, drain);
        let summary = app.stop(drain, hurry, |progress| waiting.tell(progress)).await;
        waiting::erase();
        // Without another network, nothing bypasses us.
        let own = match args.netns {
            true => Vec::new(),
            false => own_settings::in_files(std::env::home_dir().as_deref(), Path::new(".")),
        };
        match args.summary {
            SummaryForm::Text if ended.is_ok() => {
                say::err(&summary.to_string());
                let parent = |name: &str| std::env::var(name).ok();
                let lines = match summary.calls {
                    0 if args.netns => Vec::new(),
                    0 => none_seen::reasons(&shown, args.scope, &parent, &own),
                    _ => none_seen::may_be_missing(&own).into_iter().collect(),
                };
                lines.iter().for_each(|line| say::err(line));
            }
            // Nothing ran, and the error says why.
            SummaryForm::Text => {}
            SummaryForm::Json => {
                let mut summary = summary.json(&run_id);
                refused.iter().for_each(|refused| summary["udp_refused"] = refused.json());
                summary["bypassing_clients"] = own.iter().map(|own| own.client).collect();
                say::err(&visible::json(&summary.to_string()));
            }
        }
        if args.summary == SummaryForm::Text {
            refused.filter(|refused| refused.any()).iter().for_each(|refused| say::err(&refused.to_string()));
        }
        Ok(ExitCode::from(code))
    })
}

/// The proxy's URL for the command, with its secret if it needs one.
fn address(proxy: SocketAddr, secret: Option<&Secret>) -> String {
    match secret {
        Some(secret) => format!("http://{RUN}:{}@{proxy}", secret.expose()),
        None => format!("http://{proxy}"),
    }
}
