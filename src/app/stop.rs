//! The stop, in order: no new calls, calls in flight end, every event is stored and then delivered.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{App, Progress, Summary};
use crate::capture::Recording;
use crate::deliver::Deliveries;
use crate::proxy::Shared;
use crate::report::Reporter;
use crate::sinks::{self, Sinks};
use crate::store::Store;

/// How often the progress of delivery is reported.
const TELL_PROGRESS: Duration = Duration::from_millis(100);

/// How long calls that were cut may take to end.
const HANDED_OFF_WITHIN: Duration = Duration::from_secs(5);

impl App {
    /// Stops in order: no new calls; calls in flight end within the grace period, or are cut and say so; every event is stored, then
    /// delivered and given to the sinks as far as `drain` allows. `progress` gets the state meanwhile. `hurry` ends all waits at once.
    /// Without time to `drain`, posts in flight are not waited for either.
    pub async fn stop(self, drain: Duration, hurry: CancellationToken, progress: impl FnMut(&Progress)) -> Summary {
        let Self { shared, reporting, delivery, store, collector, admin_stop, settings, .. } = self;
        let grace = settings.in_force().proxy.shutdown_grace;
        let (deliveries, sinks) = (delivery.deliveries, delivery.sinks);
        end_calls(&shared, grace, &hurry).await;
        all_handed_off(&shared.recording).await;
        let tally = reporting.reporter.tally().clone();
        let is_not_for_otas = deliveries.is_empty();
        finish(reporting.reporter, hurry.clone()).await;
        (deliveries.waker())();

        let watch = deliveries.watch();
        let newest = newest_event(&store).await;
        let sinks_status = drained(&deliveries, &sinks, newest, drain, &hurry, progress).await;
        if drain.is_zero() {
            hurry.cancel();
        }
        tokio::join!(deliveries.stop(&hurry), sinks.stop(&hurry));
        // After the stop, because earlier counts may be older than the last events.
        let status = watch.now();
        let health = store.clone();
        // Its waiting events are delivered nevertheless, by the next process.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || store.close_session(delivery.session)).await {
            tracing::warn!(%error, "cannot record the end of the session; its row stays in the store");
        }
        if let Some(collector) = collector {
            collector.stop().await;
        }
        admin_stop.cancel();

        let dropped = reporting.handoff.dropped();
        let lost = tally.lost() + health.health().events_lost().saturating_sub(dropped);
        Summary {
            calls: tally.stored() + dropped + tally.lost(),
            errors: tally.with_error(),
            delivered: status.counts.delivered,
            waiting: status.counts.pending,
            failed: status.counts.dead + dropped + lost,
            trouble: status.trouble,
            kept: if is_not_for_otas { tally.stored() } else { 0 },
            sinks: sinks_status,
        }
    }
}

/// Takes no new calls, and waits for those in flight until the grace period is over or somebody hurries. Then cuts them.
async fn end_calls(shared: &Shared, grace: Duration, hurry: &CancellationToken) {
    let lifecycle = &shared.lifecycle;
    lifecycle.stop.cancel();
    lifecycle.tasks.close();
    tokio::select! {
        () = lifecycle.tasks.wait() => {}
        () = tokio::time::sleep(grace) => {}
        () = hurry.cancelled() => {}
    }
    shared.recording.shutting_down();
    lifecycle.cut.cancel();
    lifecycle.tasks.wait().await;
    shared.pool.clear();
    // Upstream connections may still hold request bodies, and with them their exchanges.
    shared.rules().origins.tasks.end_all();
}

async fn all_handed_off(recording: &Recording) {
    if timeout(HANDED_OFF_WITHIN, recording.all_handed_off()).await.is_err() {
        tracing::error!("some calls do not end; they will have no event");
    }
}

/// Stores what was handed off. Off the runtime's threads, because it waits for the disk.
async fn finish(reporter: Reporter, hurry: CancellationToken) {
    if tokio::task::spawn_blocking(move || reporter.finish(hurry)).await.is_err() {
        tracing::error!("the reporting thread could not be joined");
    }
}

/// The newest stored event. The sinks are waited for up to this one; if it is not known, for all of `drain`.
async fn newest_event(store: &Store) -> i64 {
    let viewer = store.viewer();
    let newest = tokio::task::spawn_blocking(move || viewer.newest()).await;
    newest.ok().and_then(Result::ok).unwrap_or(i64::MAX)
}

/// Waits until everything is delivered and the sinks have everything, at most for `drain`. Returns the state of the sinks.
async fn drained(
    deliveries: &Deliveries,
    sinks: &Sinks,
    newest: i64,
    drain: Duration,
    hurry: &CancellationToken,
    mut progress: impl FnMut(&Progress),
) -> Vec<sinks::Status> {
    let (watch, sinks_watch) = (deliveries.watch(), sinks.watch());
    let drained =
        async { tokio::join!(deliveries.drained(drain, hurry, |_| {}), sinks.drained(newest, drain, hurry)).1 };
    tokio::pin!(drained);
    let mut tell = tokio::time::interval(TELL_PROGRESS);
    loop {
        tokio::select! {
            biased;
            status = &mut drained => return status,
            _ = tell.tick() => progress(&Progress { delivery: watch.now(), sinks: sinks_watch.now() }),
        }
    }
}
