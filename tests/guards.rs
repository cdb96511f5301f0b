//! What agents may reach, how much they may take, by which names they go, and whom of their origins is believed.

use serde_json::Value;

use crate::support::proxy::Running;

mod certificates;
mod clients;
mod egress;
mod names;
mod shares;

/// The one event there is.
async fn only_event(proxy: Running) -> Value {
    let mut events = proxy.events().await;
    assert_eq!(events.len(), 1, "{events:#?}");
    events.remove(0)
}

/// The identifier of an event's failure.
fn failure(event: &Value) -> &str {
    event["metadata"]["failure"].as_str().unwrap_or_default()
}
