//! The admin port: whether the proxy is alive, and how delivery stands.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::capture::Budget;
use crate::deliver::Status;
use crate::report::{Handoff, Tally};

/// What the admin port tells of.
pub struct Told {
    /// How delivery goes.
    pub delivery: watch::Receiver<Status>,
    /// What the reporting thread did.
    pub tally: Arc<Tally>,
    /// Exchanges that found no room.
    pub handoff: Handoff,
    /// Memory that captures hold.
    pub budget: Arc<Budget>,
}

/// Serves `GET /healthz` (the process lives) and `GET /status` (calls, events, delivery) until `stop`.
pub async fn serve(listener: TcpListener, told: Told, stop: CancellationToken) {
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/status", get(status))
        .with_state(Arc::new(told));
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin port failed");
    }
}

async fn status(State(told): State<Arc<Told>>) -> Json<Value> {
    let delivery = told.delivery.borrow().clone();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "session": delivery.session.to_string(),
        "events": {
            "stored": told.tally.stored(),
            "delivered": delivery.counts.delivered,
            "pending": delivery.counts.pending,
            "dead": delivery.counts.dead,
            "dropped": told.handoff.dropped(),
            "lost": told.tally.lost(),
        },
        "delivery": {
            "in_flight": delivery.in_flight,
            "trouble": delivery.trouble,
            "lost_answers": delivery.lost_answers,
        },
        "capture": { "memory_bytes": told.budget.used_bytes() },
    }))
}
