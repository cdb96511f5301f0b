//! `otas-proxy check`: what is wrong with this set-up, and how to fix it. One file a concern.

mod authority;
mod call;
mod clients;
mod clock;
mod configuration;
mod environment;
mod holder;
mod judge;
mod line;
mod otas;
mod ports;
mod stage;
mod store;

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;

use super::Done;
use super::chosen::{self, About};
use crate::config::Flags;
use crate::tls::{CertAuthority, OriginTls, system_roots};
use line::{Line, Report, State};

/// Find what is wrong with this set-up, and say how to fix it
///
/// It checks settings, ports, store, OTAS and its credentials, clock and CA, and calls each client on the PATH through a proxy of
/// these settings. Exit code 1: a check failed.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Call clients with the environment as it is, in place of the variables that `run` and `env` would set
    ///
    /// Only the proxy of the settings is replaced by the check's own.
    #[arg(long)]
    as_is: bool,
    /// Call clients as with `run --preload`
    #[arg(long, conflicts_with = "as_is")]
    preload: bool,
    /// Check only these: parts of the set-up, or clients by name
    #[arg(value_name = "WHAT", value_parser = PossibleValuesParser::new(PARTS.into_iter().chain(clients::names())))]
    what: Vec<String>,
    #[command(flatten)]
    flags: Flags,
}

const PARTS: [&str; 7] = ["configuration", "ports", "store", "otas", "clock", "ca", "clients"];

/// The longest wait for an answer of OTAS.
const PATIENCE: Duration = Duration::from_secs(10);

impl Args {
    fn wants(&self, part: &str) -> bool {
        self.what.is_empty() || self.what.iter().any(|what| what == part)
    }

    /// The clients to be called: all that there are, or those that were asked for by name.
    fn clients(&self) -> Vec<&'static clients::Client> {
        let all = self.wants("clients");
        clients::ALL.iter().filter(|client| all || self.what.iter().any(|what| what == client.name)).collect()
    }
}

pub(super) fn run(args: &Args) -> Done {
    let mut report = Report::new(args.json);
    match configuration::load(&args.flags) {
        Ok((loaded, line)) => {
            if args.wants("configuration") {
                report.add(line)?;
                for line in configuration::slow_patterns(&loaded) {
                    report.add(line)?;
                }
            }
            let led = chosen::lead(loaded);
            if let Some(line) =
                running_line(&led).filter(|_| ["ports", "store", "ca"].iter().any(|part| args.wants(part)))
            {
                report.add(line)?;
            }
            super::runtime()?.block_on(look(args, &led, &mut report))?;
        }
        // All other checks depend on it.
        Err(lines) => lines.into_iter().try_for_each(|line| report.add(line))?,
    }
    report.end()?;
    Ok(ExitCode::from(u8::from(report.has(State::Fail))))
}

/// The proxy that runs: whether its CA and its store are those of the settings. Where several run, whether it is clear which one
/// is meant.
fn running_line(led: &chosen::Led) -> Option<Line> {
    const WHAT: &str = "running proxy";
    if let Err(error) = led.is_clear(About::Agents) {
        return Some(Line::warn(
            WHAT,
            error.to_string(),
            "Name one with --listen-proxy, here and for `env`, `page` and `events`; or stop those that are not needed",
        ));
    }
    let running = led.running.as_ref()?;
    let (ca, store) = (running.ca_dir.display(), running.store.display());
    let notes = [&led.choice_note, &led.ca_note, &led.store_note]
        .into_iter()
        .flatten()
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    Some(match (notes.is_empty(), &led.other_ca) {
        (true, _) => Line::ok(WHAT, format!("on {}, with the CA in {ca} and the store {store}", running.proxy)),
        (_, None) => Line::warn(
            WHAT,
            notes,
            "If you mean that proxy, do nothing: `env`, `events` and `ca` use its CA and its store. Otherwise stop it",
        ),
        (_, Some(_)) => {
            Line::fail(WHAT, notes, "Start `serve` with these settings, or leave the CA folder out of them")
        }
    })
}

async fn look(args: &Args, led: &chosen::Led, report: &mut Report) -> std::io::Result<()> {
    let config = &led.loaded.config;
    if args.wants("ports") {
        report.add(ports::proxy(config.listen.proxy, config.listen.admin).await)?;
        report.add(ports::admin(config.listen.admin).await)?;
    }
    if args.wants("store") {
        report.add(store::line(&config.store))?;
    }
    if let Err(error) = chosen::no_second_ca(led) {
        return report.add(Line::fail(
            "ca",
            error.to_string(),
            "Start `serve` with these settings, or name the CA folder that you mean",
        ));
    }
    let authority = CertAuthority::load_or_create(&config.tls.ca_dir);
    let trusted = authority.as_ref().map(CertAuthority::trusted).unwrap_or_default();
    match OriginTls::load(
        system_roots(),
        config.tls.origin_ca_file.as_deref(),
        &config.tls.client_certificates,
        &config.tls.pinned,
        &trusted,
    ) {
        Ok(tls) => {
            if args.wants("otas") {
                for line in otas::lines(config, tls.for_ourselves()).await {
                    report.add(line)?;
                }
            }
            if args.wants("clock") {
                report.add(clock::line(config, tls.for_ourselves()).await)?;
            }
        }
        Err(error) => report.add(configuration::unusable(&error.to_string()))?,
    }
    if args.wants("ca") || authority.is_err() {
        report.add(authority::line(&config.tls.ca_dir, authority.as_ref()))?;
    }
    let clients = args.clients();
    if !clients.is_empty() && authority.is_ok() {
        let asked_for = !args.wants("clients");
        for line in call::lines(&clients, asked_for, config, args.as_is, args.preload).await {
            report.add(line)?;
        }
    }
    Ok(())
}
