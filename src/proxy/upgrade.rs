//! A connection that both sides agreed to upgrade (WebSocket): its bytes are relayed unchanged, and counted.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::Shared;
use super::agent::Agent;
use super::relay::relay;
use crate::capture::{Failure, Recorder};

/// Relays in the background once both sides have switched.
pub(super) fn relay_upgraded(
    shared: &Arc<Shared>,
    caller: &Arc<Agent>,
    agent: OnUpgrade,
    origin: OnUpgrade,
    recorder: Recorder,
) {
    let (cut, caller) = (shared.cut.clone(), caller.clone());
    shared.tasks.spawn(async move {
        // Its connection lasts as long as this does.
        let _caller = caller;
        match tokio::try_join!(agent, origin) {
            Ok((agent, origin)) => relay(TokioIo::new(agent), TokioIo::new(origin), &recorder, &cut).await,
            Err(error) => recorder.failed(Failure {
                id: "upgrade_failed",
                detail: format!("the connection could not be upgraded as both sides agreed: {error}"),
            }),
        }
    });
}
