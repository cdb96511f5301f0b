//! The command line: one file a command.

mod admin_call;
mod agent_dir;
mod ca;
mod check;
mod child;
mod chosen;
mod collect;
mod color;
mod command_line;
mod completions;
mod config;
mod conversation;
mod demo;
mod diff;
mod env;
mod events;
mod filter;
mod flush;
mod healthcheck;
mod help;
mod hints;
mod inherited;
mod log;
mod man;
mod mcp;
mod meta;
mod namespace;
mod none_seen;
mod note;
mod outlived;
mod output;
mod own_settings;
mod page;
mod preload;
mod redact;
mod redirect;
#[cfg(feature = "nats")]
mod relay;
mod reload;
mod retry;
mod run;
mod running;
mod runs;
mod say;
mod scope;
mod search;
mod serve;
mod session_name;
mod share;
mod shell;
mod show;
mod signals;
mod sockets;
mod stats;
mod store;
mod table;
mod tree;
mod ui;
mod variables;
mod waiting;

use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::chosen::About;
use crate::app::AppError;
use crate::config::{ConfigError, Flags, Loaded};
use crate::query::QueryError;
use crate::store::CommandError;
use crate::tls::RootsError;

/// A transparent logging HTTP(S) proxy for AI agents: each call passes untouched and becomes one event
///
/// `otas-proxy COMMAND --help` explains a command. `-h` is its summary.
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Run(run::Args),
    Env(env::Args),
    Events(Box<events::Args>),
    Show(show::Args),
    Diff(diff::Args),
    Page(page::Args),
    Ui(ui::Args),
    Search(search::Args),
    Mcp(mcp::Args),
    Stats(stats::Args),
    Runs(runs::Args),
    Share(share::Args),
    Note(note::Args),
    Flush(flush::Args),
    Retry(retry::Args),
    Store(store::Args),
    Collect(collect::Args),
    Demo(demo::Args),
    Check(check::Args),
    Healthcheck(healthcheck::Args),
    Ca(ca::Args),
    Redact(redact::Args),
    Redirect(redirect::Args),
    #[cfg(feature = "nats")]
    Relay(relay::Args),
    Config(config::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// The whole command line, with its help.
fn command() -> Result<clap::Command, url::ParseError> {
    Ok(help::completed(crate::config::with_flag_help(Cli::command())?))
}

/// What the command line asks for.
fn parsed(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = command().map_err(|error| Cli::command().error(ErrorKind::Io, error))?;
    let words = filter::with_negated_words(&command, arguments);
    let matches = command.try_get_matches_from_mut(words).map_err(|error| hints::with_hint(error, arguments))?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The exit code for a wrong usage or configuration.
const USAGE: u8 = 2;

/// Parses the command line and runs the command. Exit codes: 0 fine, 2 usage or configuration, else the child's or 1.
pub fn main() -> ExitCode {
    crate::redact::panics_are_masked();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if outlived::is_asked_for(&arguments) {
        // The process that started this one has said what is wrong with the variable.
        let _ = log::begin("warn");
        return ended(outlived::run());
    }
    if namespace::is_asked_for(&arguments) {
        let _ = log::begin("warn");
        return ended(namespace::enter(&arguments));
    }
    let cli = parsed(&arguments).unwrap_or_else(|error| error.exit());
    // The findings of `check` replace the log.
    let warning = log::begin(if matches!(cli.command, Command::Check(_)) { "off" } else { "warn" });
    warning.iter().for_each(|warning| say::err(&format!("otas-proxy: {warning}")));
    let done = match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Run(args) => run::run(args),
        Command::Env(args) => env::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Page(args) => page::run(&args),
        Command::Ui(args) => ui::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Mcp(args) => mcp::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Runs(args) => runs::run(&args),
        Command::Share(args) => share::run(&args),
        Command::Note(args) => note::run(&args),
        Command::Flush(args) => flush::run(&args),
        Command::Retry(args) => retry::run(args),
        Command::Store(args) => store::run(&args),
        Command::Collect(args) => collect::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Check(args) => check::run(&args),
        Command::Healthcheck(args) => healthcheck::run(&args),
        Command::Ca(args) => ca::run(args),
        Command::Redact(args) => redact::run(&args),
        Command::Redirect(args) => redirect::run(&args),
        #[cfg(feature = "nats")]
        Command::Relay(args) => relay::run(&args),
        Command::Config(args) => config::run(args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    };
    ended(done)
}

/// The exit code of what was done. Says why it failed, if it did.
fn ended(done: Done) -> ExitCode {
    done.unwrap_or_else(|error| {
        if say::is_reader_gone(error.as_ref()) {
            return ExitCode::from(say::READER_GONE);
        }
        say::err(&format!("otas-proxy: {}", crate::redact::masked(&chain(error.as_ref()))));
        ExitCode::from(if is_usage(error.as_ref()) { USAGE } else { 1 })
    })
}

/// Whether a setting is at fault, or a file that one names.
fn is_usage(error: &(dyn Error + 'static)) -> bool {
    let of_roots = |error: &RootsError| !matches!(error, RootsError::Tls(_));
    error.is::<ConfigError>()
        || error.is::<Usage>()
        || error.is::<QueryError>()
        || error.is::<chosen::Ambiguous>()
        || matches!(error.downcast_ref::<CommandError>(), Some(CommandError::NoteTooLong { .. }))
        || error.downcast_ref::<RootsError>().is_some_and(of_roots)
        || matches!(error.downcast_ref::<AppError>(), Some(AppError::Roots(error)) if of_roots(error))
}

/// Why a command failed.
type Failure = Box<dyn Error + Send + Sync>;

/// The result of a command.
type Done = Result<ExitCode, Failure>;

/// A wrong usage that only the command itself can find.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// The configuration for a command, from its flags, the environment and the file.
fn load(flags: &Flags) -> Result<Loaded, Box<dyn Error + Send + Sync>> {
    let cwd = std::env::current_dir()?;
    Ok(crate::config::load(flags, &|name| std::env::var(name).ok(), Path::new(&cwd))?)
}

/// The same for a command about a running proxy: with the CA and store of that proxy. Says so if they differ from the settings.
fn led(flags: &Flags, about: About) -> Result<chosen::Led, Box<dyn Error + Send + Sync>> {
    let led = chosen::lead(load(flags)?);
    led.is_clear(about)?;
    let note = match about {
        About::Agents | About::Ca => led.ca_note.as_ref(),
        About::Page | About::Store => led.store_note.as_ref(),
    };
    led.choice_note.iter().chain(note).for_each(|note| say::err(&format!("otas-proxy: {note}")));
    Ok(led)
}

/// The hosts of OTAS, which agents call directly. Without those on this machine if calls to this machine are to be logged.
fn otas_hosts(otas: &crate::config::Otas, include_localhost: bool) -> Vec<String> {
    let local = |host: &str| host == "localhost" || host.starts_with("127.") || host == "[::1]";
    [&otas.brain_url, &otas.uasam_url]
        .into_iter()
        .filter(|_| otas.agent_key.is_some())
        .filter_map(|url| url.host_str())
        .filter(|host| !(include_localhost && local(host)))
        .map(str::to_owned)
        .collect()
}

/// A duration on the command line.
fn duration(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "expected a duration such as 90s, 5m or 2h")
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    {
        let _inside = runtime.enter();
        crate::system::signals::file_size_limit_is_an_error()?;
    }
    Ok(runtime)
}

/// An error with its causes, without repetition.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // SQLite repeats the message behind an error code.
        let words =
            words.split_once(": ").filter(|(code, _)| code.starts_with("Error code ")).map_or(&*words, |it| it.1);
        if !text.contains(words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
