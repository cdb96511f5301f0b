//! `otas-proxy demo`: the whole of it on one machine, without network or credentials. The embedded collector, a small
//! HTTPS origin, the proxy, and a scripted agent whose calls show what an event holds.

mod agent;
mod origin;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Done, meta, say, table};
use crate::app::App;
use crate::config::Config;
use crate::store::{EventRow, Filter};

/// Shows what the proxy does: a scripted agent makes some telling calls through it, and the events are printed.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Keep the events, the CA and the collector's database in this folder (otherwise a temporary one is used)
    #[arg(long, value_name = "DIR")]
    keep: Option<std::path::PathBuf>,
}

pub(super) fn run(args: Args) -> Done {
    let folder = args
        .keep
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("otas-proxy-demo-{}", std::process::id())));
    std::fs::create_dir_all(&folder).map_err(|e| format!("cannot create `{}`: {e}", folder.display()))?;
    let done = super::runtime()?.block_on(demo(&folder));
    if args.keep.is_none() {
        let _ = std::fs::remove_dir_all(&folder);
    }
    done?;
    say::out("")?;
    match args.keep {
        Some(_) => say::out(&format!(
            "Everything is kept in {}: `sqlite3 otas-proxy.db 'select json from events'` shows the events whole.",
            folder.display()
        ))?,
        None => say::out("`otas-proxy demo --keep DIR` keeps the events, the CA and the databases to look at.")?,
    }
    say::out(
        "Next: `otas-proxy run -- CMD` for a command of yours, `otas-proxy serve` for a proxy that stays; see README.md.",
    )?;
    Ok(ExitCode::SUCCESS)
}

async fn demo(folder: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
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
        &["#", "method", "host", "path", "status", "ms", "sent", "got", "event", "error"],
        &rows(&events),
    ))?;
    say::out("")?;
    say::out(&summary.to_string())?;
    if summary.calls == 0 || summary.delivered != summary.calls {
        return Err("not every call became a delivered event".into());
    }
    Ok(())
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
        vec![
            e.seq.to_string(),
            table::cell(&e.method),
            table::cell(&e.host),
            table::cell(&e.path),
            e.status_code.to_string(),
            format!("{:.1}", e.latency_ms),
            e.request_bytes.to_string(),
            e.response_bytes.to_string(),
            e.state.to_string(),
            e.error.split(':').next().unwrap_or_default().to_owned(),
        ]
    };
    events.iter().map(row).collect()
}
