//! `otas-proxy demo`: everything on one machine, without network or credentials. Two scripted coding agents call two scripted models
//! through the proxy, and the embedded collector gets the events.
//!
//! ```text
//!  claude, codex, mcp    what the agents do (their words: claude/script, codex/script)
//!     | caller           an HTTP client behind the proxy
//!  origin                the models, the MCP server and the page that they call
//! ```

mod caller;
mod claude;
mod codex;
mod mcp;
mod origin;
mod place;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::caller::Caller;
use self::place::Place;
use super::color::ColorArgs;
use super::ui::OpenPage;
use super::{Done, events, meta, say};
use crate::app::App;
use crate::config::Config;
use crate::prices::Prices;
use crate::store::{Filter, Store};

/// Why the demo failed.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The width of the table where there is no terminal, in columns.
const USUAL_WIDTH: usize = 100;
/// The prices of the demo's models.
const PRICES: &str = include_str!("prices.toml");

/// Show what the proxy does, without network or credentials
///
/// Two scripted coding agents make some calls through a proxy. Their events are listed, and shown on a page until Ctrl-C.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Keep the events, the CA and the collector's database in this folder [default: one that the next demo replaces]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// End after the table, without the page (as when standard output is no terminal)
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    color: ColorArgs,
}

pub(super) fn run(args: Args) -> Done {
    let place = Place::choose(args.keep)?;
    let runtime = super::runtime()?;
    let store = runtime.block_on(demo(&place.folder, args.color.is_wanted()))?;
    if place.stays {
        let (program, path) = (program(), store.path().display());
        say::out(&format!("All of it again:   {program} events --store-path '{path}'"))?;
        say::out(&format!("The agents' work:  {program} runs --store-path '{path}'"))?;
        say::out(&format!("On a page:         {program} ui --store-path '{path}'"))?;
    }
    say::out(
        "For your own agent: `otas-proxy run -- CMD`; for a permanent proxy: `otas-proxy serve`. See README.md.",
    )?;
    if args.no_wait || !std::io::stdout().is_terminal() {
        return Ok(ExitCode::SUCCESS);
    }
    runtime.block_on(async {
        let page = OpenPage::over(&store, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        say::out(&format!("\nThe page with all of it, until Ctrl-C:\n{}", page.link()?))?;
        page.serve(&store).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// This program, as a person in the working folder types it.
fn program() -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("otas-proxy"));
    let below = std::env::current_dir().ok().and_then(|cwd| Some(program.strip_prefix(cwd).ok()?.to_owned()));
    below.map_or_else(|| program.display().to_string(), |below| format!("./{}", below.display()))
}

/// Makes the calls and lists them.
async fn demo(folder: &Path, colours: bool) -> Result<Store, Failed> {
    let origin = origin::start(folder).await?;
    let app = App::start(configuration(folder, &origin)?, |_| meta::of_this_process("demo")).await?;
    say::out(&format!("proxy      http://{}", app.proxy_addr))?;
    if let Some(collector) = &app.collector {
        say::out(&format!("collector  {} (stands in for OTAS)", collector.url))?;
    }
    let caller = Caller::new(app.proxy_addr, &app.ca_file, &origin)?;
    say::out("claude     fixes a test: tools, a sub-agent, a rate limit (429) and the retry, an MCP call")?;
    claude::works(&caller).await?;
    say::out("codex      reviews the change, on a WebSocket")?;
    codex::works(&caller).await?;
    say::out("curl       reads a page over HTTP, and calls a service that is not there\n")?;
    others(&caller).await?;
    let store = app.store.clone();
    let summary = app.stop(Duration::from_secs(20), CancellationToken::new(), |_| {}).await;
    let stored = store.ids(&Filter { limit: usize::MAX, ..Filter::default() })?;
    say::raw(&events::table(&store, &stored, Some(events::terminal_width().unwrap_or(USUAL_WIDTH)), colours)?)?;
    say::out(&format!("\n{summary}\n"))?;
    if summary.calls == 0 || summary.delivered != summary.calls {
        return Err("some calls have no delivered event".into());
    }
    Ok(store)
}

/// Calls that are not to models.
async fn others(caller: &Caller) -> Result<(), Failed> {
    let fields = [("user-agent", "curl/8.14.1".to_owned())];
    caller.get(&format!("{}/docs/csv?lang=en", caller.plain), &fields).await?;
    let (_held, nobody) = caller::closed_port()?;
    match caller.get(&format!("https://localhost:{nobody}/notify"), &fields).await {
        Ok(status) => Err(format!("a port where nobody listens answered {status}").into()),
        Err(_) => Ok(()),
    }
}

fn configuration(folder: &Path, origin: &origin::DemoOrigin) -> Result<Config, Failed> {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let prices = folder.join("prices.toml");
    std::fs::write(&prices, PRICES)?;
    let mut config = Config::defaults(folder)?;
    (config.listen.proxy, config.listen.admin) = (any, any);
    config.tls.origin_ca_file = Some(origin.ca_file.clone());
    config.event.properties = BTreeMap::from([("demo".to_owned(), "true".to_owned())]);
    config.event.prices = Prices::read(&prices)?;
    Ok(config)
}
