//! `otas-proxy relay`: the relay until SIGTERM or SIGINT.

use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::super::{Done, runtime, say, signals};
use crate::admin;
use crate::app::indexing::Indexing;
use crate::app::with_advice;
use crate::config::Flags;
use crate::relay::{self, Relay};
use crate::store::Store;
use crate::tls::{OriginTls, system_roots};

pub(super) fn run(flags: &Flags) -> Done {
    let config = super::settings(flags, true)?;
    let store = Store::open(&config.store.path)?;
    let _indexing = Indexing::start(&store, &config.store)?;
    runtime()?.block_on(async {
        let ended = signals::termination()?;
        let roots = OriginTls::load(system_roots(), config.tls.origin_ca_file.as_deref(), &[], &[], &[])?;
        let admin = config.listen.admin;
        let listener = TcpListener::bind(admin)
            .await
            .map_err(|error| format!("cannot listen on {admin} (`listen.admin`): {}", with_advice(error)))?;
        let address = listener.local_addr()?;
        let file = admin::token_file(store.path());
        let gate = admin::load_or_make_token(&file)
            .and_then(|token| admin::Gate::new(address, token))
            .map_err(|error| format!("cannot use the page's token in `{}`: {error}", file.display()))?;
        let page = gate.link()?;
        let relay = Relay::start(&config, store, roots.for_ourselves().clone()).await?;
        say::note(&format!("otas-proxy: this relay takes events from NATS at {}", config.queue.nats_url.join(",")));
        say::note(&format!("otas-proxy: status on http://{address}/status, metrics on http://{address}/metrics"));
        say::note(&format!("otas-proxy: calls of the fleet are shown on {page}"));
        let stop = CancellationToken::new();
        {
            let serving = relay::serve(&relay, listener, Arc::new(gate), stop.clone());
            tokio::pin!(serving);
            tokio::select! {
                () = &mut serving => {}
                () = ended.first() => {}
            }
        }
        say::err("otas-proxy: stopping");
        stop.cancel();
        relay.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}
