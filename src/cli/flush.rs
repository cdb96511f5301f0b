//! `otas-proxy flush`: delivers stored events now.

use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::{About, Done, say, signals};
use crate::app::fleet::{self, QueueLink};
use crate::app::{agents, destination, step};
use crate::config::Flags;
use crate::deliver::{Deliveries, Status};
use crate::store::{Counts, Store, key_id};
use crate::tls::{CertAuthority, OriginTls, system_roots};

/// Deliver stored events now
///
/// It delivers the events of the configured agent key, each in the session of its own run. Exit code 1: some are left and stay
/// stored.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Give up after this time, such as 90s, 10m or 2h [default: wait until SIGINT or SIGTERM]
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    flags: Flags,
}

/// No deadline: longer than any outage of OTAS.
const NO_DEADLINE: Duration = Duration::from_secs(10 * 365 * 86_400);

pub(super) fn run(args: &Args) -> Done {
    let mut config = super::led(&args.flags, About::Store)?.loaded.config;
    if !config.otas.deliver {
        return Err("`otas.deliver` is false: nothing is delivered to OTAS".into());
    }
    fleet::without_keys(&mut config);
    let store = Store::open_existing(&config.store.path)?;
    super::runtime()?.block_on(async {
        store.recover_interrupted()?;
        let authority = CertAuthority::load_or_create(&config.tls.ca_dir)?;
        let roots =
            OriginTls::load(system_roots(), config.tls.origin_ca_file.as_deref(), &[], &[], &authority.trusted())?;
        let mut otas = config.otas.clone();
        agents::own_key(&mut otas, &config.agents);
        let (otas, collector) = destination(otas, store.path()).await?;
        let queue = QueueLink::open(&config).await?;
        let all = agents::deliveries(&config, &otas, &store, (None, None), roots.for_ourselves(), &queue);
        let keys = all.iter().filter_map(|one| one.otas.agent_key.as_ref());
        let before = keys.map(|key| store.counts_of_key(&key_id(key))).collect::<Result<Vec<_>, _>>()?;
        let before = before.into_iter().reduce(Counts::and).unwrap_or_default();
        let deliveries = Deliveries::start(all).map_err(|error| step("set up delivery".to_owned(), error))?;
        let bar = bar(before.pending);
        let status = delivered(&deliveries, args.timeout.unwrap_or(NO_DEADLINE), &bar).await?;
        bar.finish_and_clear();
        deliveries.stop(&CancellationToken::new()).await;
        if let Some(collector) = collector {
            collector.stop().await;
        }
        let (done, left) = (status.counts.delivered.saturating_sub(before.delivered), status.counts.pending);
        let died = status.counts.dead.saturating_sub(before.dead);
        say::note(&format!("{done} delivered, {left} waiting, {died} given up"));
        let why = status.trouble.or_else(|| (!status.delivering).then(|| "another process delivers them".to_owned()));
        match why {
            Some(why) if left > 0 => say::err(&format!("otas-proxy: waiting events stay stored: {why}")),
            _ => {}
        }
        Ok(ExitCode::from(u8::from(left > 0 || died > 0)))
    })
}

/// Waits until nothing is pending, the time is over or a signal arrives. Shows the progress.
async fn delivered(deliveries: &Deliveries, within: Duration, bar: &ProgressBar) -> std::io::Result<Status> {
    let (signals, hurry) = (signals::termination()?, CancellationToken::new());
    let status = deliveries.drained(within, &hurry, |status| {
        let gone = bar.length().unwrap_or(0).saturating_sub(status.counts.pending);
        bar.set_position(gone);
        bar.set_message(crate::visible::line(status.trouble.as_deref().unwrap_or_default()).into_owned());
    });
    tokio::select! {
        status = status => Ok(status),
        () = signals.first() => Ok(deliveries.status()),
    }
}

/// Drawn on a terminal only.
fn bar(pending: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} events, {per_sec}, {eta} left {wide_msg}");
    let bar = ProgressBar::new(pending);
    bar.enable_steady_tick(Duration::from_millis(500));
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
