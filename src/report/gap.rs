//! The event that reports lost events.

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::event::{Context, Event, unix_ms};
use crate::store::Gap;

/// Its method.
const METHOD: &str = "GAP";
/// Its host.
const HOST: &str = "otas-proxy";

/// The event of one gap.
pub(super) fn event(gap: &Gap, context: &Context<'_>) -> Event {
    let id = Uuid::now_v7();
    let now = std::time::SystemTime::now();
    let (from, to) = (when(gap.from_ms), when(gap.to_ms));
    let Gap { events, bodies, .. } = gap;
    let error = format!(
        "events_missing: {events} events are missing and {bodies} have lost their bodies; the calls began from {from} to {to}: {}",
        gap.reason.text()
    );
    let json = json!({
        "path": "/",
        "method": METHOD,
        "status_code": 0,
        "latency_ms": 0,
        "request_size_bytes": 0,
        "response_size_bytes": 0,
        "request_headers": "",
        "request_body": "",
        "response_headers": "",
        "response_body": "",
        "error": error,
        "custom_properties": {
            "error.type": "events_missing",
            "otas_proxy.gap.events": events,
            "otas_proxy.gap.bodies": bodies,
            "otas_proxy.gap.from": from,
            "otas_proxy.gap.to": to,
        },
        "metadata": {
            "schema": 1,
            "proxy": { "version": env!("CARGO_PKG_VERSION"), "run_id": context.run_id },
            "event": { "id": id.to_string(), "seq": context.seq },
            "started_at": when(unix_ms(now)),
            "kind": "gap",
        },
    });
    Event {
        id,
        json: json.to_string().into_bytes(),
        bodies: Vec::new(),
        started_at_ms: unix_ms(now),
        method: METHOD.to_owned(),
        host: HOST.to_owned(),
        path: "/".to_owned(),
        status_code: 0,
        latency_ms: 0.0,
        request_bytes: 0,
        response_bytes: 0,
        error,
        outline: String::new(),
        llm: String::new(),
    }
}

fn when(unix_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::event::testing::context;
    use crate::store::LossReason;

    #[test]
    fn a_gap_says_how_many_from_when_to_when_and_why() {
        let gap = Gap {
            reason: LossReason::Full,
            events: 7,
            bodies: 2,
            from_ms: 1_700_000_000_000,
            to_ms: 1_700_000_060_500,
        };
        let context = Context { seq: 9, ..context() };
        let event = event(&gap, &context);
        assert_eq!(
            event.error,
            "events_missing: 7 events are missing and 2 have lost their bodies; the calls began from 2023-11-14T22:13:20Z to \
             2023-11-14T22:14:20.5Z: the event store was full"
        );
        let json: Value = serde_json::from_slice(&event.json).unwrap();
        assert_eq!(json["custom_properties"]["otas_proxy.gap.events"], 7);
        assert_eq!(json["metadata"]["event"], json!({ "id": event.id.to_string(), "seq": 9 }));
    }
}
