//! `otas-proxy serve`: the proxy until SIGTERM or SIGINT.

use std::process::ExitCode;

use super::{Done, meta, signals};
use crate::app::App;
use crate::config::Flags;
use crate::deliver::SessionState;

/// Runs the proxy until SIGTERM or SIGINT. It then takes no new calls, lets those under way end, and delivers or
/// stores every event; a second signal cuts what is still under way.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: Args) -> Done {
    let loaded = super::load(&args.flags)?;
    let drain = loaded.config.delivery.drain_timeout;
    super::runtime()?.block_on(async {
        let stop = signals::termination()?;
        let otas = loaded.config.otas.brain_url.clone();
        let app = App::start(loaded.config, meta::of_this_process(&["serve".to_owned()], &[])).await?;
        println!("otas-proxy: listening on http://{}", app.proxy_addr);
        println!("otas-proxy: health on http://{}/healthz", app.admin_addr);
        println!("otas-proxy: CA certificate {} (with the system's roots: {})", app.ca_file.display(), app.bundle_file.display());
        match &app.collector {
            Some(collector) => println!(
                "otas-proxy: no agent key is configured, so events go to the embedded collector on {} (loopback only)",
                collector.url
            ),
            None => println!("otas-proxy: events go to {otas}"),
        }
        println!("otas-proxy: events are stored in {}", app.store.path().display());
        let mut watch = app.watch();
        let mut told = false;
        loop {
            tokio::select! {
                () = stop.first() => break,
                Ok(()) = watch.changed(), if !told => {
                    if let SessionState::Open { otas_session_id } = &watch.borrow_and_update().session {
                        told = true;
                        println!("otas-proxy: session {}", otas_session_id.as_deref().unwrap_or("(as configured)"));
                    }
                }
            }
        }
        eprintln!("otas-proxy: stopping (a second signal cuts what is still under way)");
        let summary = app.stop(drain, stop.hurry(), |_| {}).await;
        eprintln!("{summary}");
        Ok(ExitCode::SUCCESS)
    })
}
