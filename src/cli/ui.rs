//! `otas-proxy ui`: the page over a store, without a proxy.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::signals::Termination;
use super::{About, Done, Failure, Usage, say, signals};
use crate::admin;
use crate::app::indexing::Indexing;
use crate::app::with_advice;
use crate::config::Flags;
use crate::store::Store;

/// Show the page over a store, without a proxy
///
/// For the calls of a `run` that has ended, or a copy of a store. The page only reads the store, so a proxy may use it meanwhile.
/// If no proxy does, it keeps the search index beside it.
/// It is on this machine alone, and its link works once, within ten minutes. SIGINT (Ctrl-C) or SIGTERM ends it.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The address of the page: a loopback address; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    listen: SocketAddr,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    if !args.listen.ip().is_loopback() {
        return Err(Usage(format!("{} is not a loopback address; use 127.0.0.1 or [::1]", args.listen)).into());
    }
    let settings = super::led(&args.flags, About::Store)?.loaded.config.store;
    let store = Store::open_existing(&settings.path)?;
    let _indexing = Indexing::start(&store, &settings)?;
    super::runtime()?.block_on(serve(args.listen, &store))
}

async fn serve(listen: SocketAddr, store: &Store) -> Done {
    let page = OpenPage::over(store, listen).await?;
    say::err(&format!("otas-proxy: the calls in {} are shown on this page until Ctrl-C:", store.path().display()));
    say::out(&page.link()?)?;
    page.serve(store).await;
    Ok(ExitCode::SUCCESS)
}

/// The page over a store, on a port that is open.
pub(super) struct OpenPage {
    listener: TcpListener,
    gate: Arc<admin::Gate>,
    ended: Termination,
}

impl OpenPage {
    /// Opens the port. SIGINT and SIGTERM no longer end the process.
    pub(super) async fn over(store: &Store, listen: SocketAddr) -> Result<Self, Failure> {
        let ended = signals::termination()?;
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|error| format!("cannot listen on {listen} (--listen): {}", with_advice(error)))?;
        let file = admin::token_file(store.path());
        let gate = admin::load_or_make_token(&file)
            .and_then(|token| admin::Gate::new(listener.local_addr()?, token))
            .map_err(|error| format!("cannot use the page's token in `{}`: {error}", file.display()))?
            .with_new_link_by("otas-proxy ui");
        Ok(Self { listener, gate: Arc::new(gate), ended })
    }

    /// Its address. It works once.
    pub(super) fn link(&self) -> std::io::Result<String> {
        self.gate.link()
    }

    /// Serves it until SIGINT or SIGTERM.
    pub(super) async fn serve(self, store: &Store) {
        let Self { listener, gate, ended } = self;
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        tokio::spawn(async move {
            ended.first().await;
            stopping.cancel();
        });
        admin::serve_page(listener, store, None, gate, axum::Router::new(), stop).await;
    }
}
