//! `otas-proxy demo`: everything on one machine, without network or credentials. The embedded collector, a small
//! HTTPS origin, the proxy, and a scripted agent whose calls show what an event holds.

mod agent;
mod origin;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Done, meta, say, table};
use crate::app::App;
use crate::config::{Config, state_folder};
use crate::event::Llm;
use crate::store::{EventRow, Filter};

/// Show what the proxy does, without network or credentials
///
/// A scripted agent makes some calls through a proxy, and the events are listed.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Keep the events, the CA and the collector's database in this folder [default: one that the next demo replaces]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Done {
    let place = Place::choose(args.keep)?;
    let shown = super::runtime()?.block_on(demo(&place.folder))?;
    say::out("")?;
    say::out(
        "The demo makes the calls with http_500 and connect_refused fail, to show how failed calls are logged.",
    )?;
    if let (true, Some(id)) = (place.stays, shown) {
        let program = program();
        let store = place.folder.join("otas-proxy.db");
        let store = store.display();
        say::out(&format!("See them again:    {program} events --store-path '{store}'"))?;
        say::out(&format!("One of them whole: {program} events show {id} --store-path '{store}'"))?;
    }
    say::out(
        "Next: `otas-proxy run -- CMD` for your own command, `otas-proxy serve` for a permanent proxy; see README.md.",
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Where the demo's files lie.
struct Place {
    folder: PathBuf,
    /// They stay after the demo.
    stays: bool,
    /// Held while the folder is in use.
    _lock: Option<File>,
}

impl Place {
    /// The folder that was named; else one of the user's own, emptied; else (none is known, or another demo is in it) a
    /// temporary one.
    fn choose(named: Option<PathBuf>) -> Result<Self, String> {
        let cannot = |folder: &Path, error: io::Error| {
            format!(
                "cannot use the folder `{}`: {error}. Name one that this user can write (--keep)",
                folder.display()
            )
        };
        if let Some(folder) = named {
            std::fs::create_dir_all(&folder).map_err(|error| cannot(&folder, error))?;
            return Ok(Self { folder, stays: true, _lock: None });
        }
        if let Some(place) = state_folder(&|name| std::env::var(name).ok()).and_then(|state| Self::kept(&state).ok())
        {
            return Ok(place);
        }
        let folder = std::env::temp_dir().join(format!("otas-proxy-demo-{}", uuid::Uuid::new_v4().simple()));
        DirBuilder::new().mode(0o700).create(&folder).map_err(|error| cannot(&folder, error))?;
        Ok(Self { folder, stays: false, _lock: None })
    }

    fn kept(state: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(state)?;
        let lock = File::create(state.join("demo.lock"))?;
        lock.try_lock().map_err(io::Error::from)?;
        let folder = state.join("demo");
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => DirBuilder::new().mode(0o700).create(&folder)?,
        }
        Ok(Self { folder, stays: true, _lock: Some(lock) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.stays {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// This program, as a person in the working folder types it.
fn program() -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("otas-proxy"));
    let below = std::env::current_dir().ok().and_then(|cwd| Some(program.strip_prefix(cwd).ok()?.to_owned()));
    below.map_or_else(|| program.display().to_string(), |below| format!("./{}", below.display()))
}

/// Returns the event that is worth a look: the streamed answer of a model.
async fn demo(folder: &Path) -> Result<Option<i64>, Box<dyn std::error::Error + Send + Sync>> {
    let origin = origin::start(folder).await?;
    let app = App::start(configuration(folder, &origin)?, meta::of_this_process(&["demo".to_owned()], &[])).await?;
    say::out(&format!("origin     https://localhost:{}", origin.port))?;
    say::out(&format!("proxy      http://{}", app.proxy_addr))?;
    if let Some(collector) = &app.collector {
        say::out(&format!("collector  {} (stands in for OTAS)", collector.url))?;
    }
    say::out("")?;
    agent::calls(&app, &origin).await?;
    let store = app.store.clone();
    let summary = app.stop(Duration::from_secs(20), CancellationToken::new(), |_| {}).await;
    let mut events = store.list(&Filter { limit: 100, ..Filter::default() })?;
    events.reverse();
    say::raw(&table::render(
        &["#", "method", "host", "path", "status", "ms", "sent", "got", "model", "tokens", "event", "error"],
        &rows(&events),
    ))?;
    say::out("")?;
    say::out(&summary.to_string())?;
    if summary.calls == 0 || summary.delivered != summary.calls {
        return Err("some calls have no delivered event".into());
    }
    Ok(events.iter().find(|event| event.path == "/v1/messages").map(|event| event.id))
}

fn configuration(folder: &Path, origin: &origin::DemoOrigin) -> Result<Config, url::ParseError> {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let mut config = Config::defaults(folder)?;
    (config.listen.proxy, config.listen.admin) = (any, any);
    config.tls.origin_ca_file = Some(origin.ca_file.clone());
    config.event.properties = BTreeMap::from([("demo".to_owned(), "true".to_owned())]);
    Ok(config)
}

fn rows(events: &[EventRow]) -> Vec<Vec<String>> {
    let row = |e: &EventRow| {
        let llm = llm(e);
        let tokens = llm.as_ref().and_then(|llm| Some(format!("{} → {}", llm.input_tokens()?, llm.output_tokens()?)));
        vec![
            e.seq.to_string(),
            table::cell(&e.method),
            table::cell(&e.host),
            table::cell(&e.path),
            e.status_code.to_string(),
            format!("{:.1}", e.latency_ms),
            e.request_bytes.to_string(),
            e.response_bytes.to_string(),
            llm.as_ref().and_then(|llm| Some(table::cell(llm.model()?))).unwrap_or_default(),
            tokens.unwrap_or_default(),
            e.state.to_string(),
            table::cell(e.error.split(':').next().unwrap_or_default()),
        ]
    };
    events.iter().map(row).collect()
}

/// The facts of a call to a model in an event.
fn llm(event: &EventRow) -> Option<Llm> {
    let event: serde_json::Value = serde_json::from_slice(&event.json).ok()?;
    Llm::of(event["custom_properties"].as_object()?)
}
