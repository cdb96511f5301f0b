//! The metrics of a running proxy as OpenMetrics text. Values are read when a scrape asks for them; nothing is counted here,
//! and nothing runs in the path of a call.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeGaugeValue, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::deliver::Verdicts;
use crate::peer;
use crate::quotas::Quota;
use crate::sinks;
use crate::store::Counts;
use crate::visible;

/// The media type of [`text`] (OpenMetrics 1.0.0).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The values at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Calls of this process that are in the store.
    pub calls_stored: u64,
    /// Calls of this process that were dropped because the queue was full.
    pub calls_dropped: u64,
    /// Calls of this process that the store refused for good.
    pub calls_lost: u64,
    /// Calls of this process that get no event here: to OTAS itself, and into the project's domain.
    pub calls_unlogged: u64,
    /// Requests refused because they had no credentials.
    pub calls_unauthorized: u64,
    /// Calls in flight.
    pub calls_under_way: usize,
    /// Further agent connections that would be accepted now.
    pub connections_free: usize,
    /// Lost events: shed by a full store, overrun, or unreadable.
    pub events_shed: u64,
    /// Events whose bodies were removed by a full store.
    pub bodies_shed: u64,
    /// Damaged stores that were moved aside.
    pub stores_moved_aside: u64,
    /// All events in the store. `None` when it cannot be read.
    pub events: Option<Counts>,
    /// Age of the oldest pending event in seconds. 0 when none is pending, `None` when the store cannot be read.
    pub oldest_pending_age_seconds: Option<f64>,
    /// Size of the store's file. `None` when unknown.
    pub store_bytes: Option<u64>,
    /// Calls to OTAS in flight.
    pub posts_in_flight: usize,
    /// The limit of calls to OTAS in flight.
    pub posts_limit: usize,
    /// Posts whose answer was lost.
    pub lost_answers: u64,
    /// Verdicts of the posts.
    pub verdicts: Verdicts,
    /// Whether OTAS accepts no events at the moment.
    pub trouble: bool,
    /// Whether this process delivers.
    pub holds_delivery: bool,
    /// Memory held by captures.
    pub capture_memory_bytes: usize,
    /// Agents that were refused, or whose user is unknown.
    pub agents: peer::Counts,
    /// The sinks.
    pub sinks: Vec<sinks::Status>,
    /// The quotas and rate limits that providers state.
    pub quotas: Vec<Quota>,
}

/// The metrics in OpenMetrics text format. Each name begins with `otas_proxy_`.
///
/// # Errors
/// Does not happen: writing to a string does not fail.
pub fn text(now: &Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("otas_proxy");
    registry.register("build", "Version of this program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    for (name, help, count) in [
        ("calls_stored", "Calls of this process whose event is in the store", now.calls_stored),
        ("calls_dropped", "Calls of this process that were dropped because the queue was full", now.calls_dropped),
        ("calls_lost", "Calls of this process that the store refused for good", now.calls_lost),
        (
            "calls_unlogged",
            "Calls of this process that get no event: to OTAS, and into the project",
            now.calls_unlogged,
        ),
        ("calls_unauthorized", "Requests refused because they had no credentials", now.calls_unauthorized),
        ("events_shed", "Lost events: the store was full or damaged, or calls came too fast", now.events_shed),
        ("bodies_shed", "Events whose bodies were removed because the store was full", now.bodies_shed),
        ("stores_moved_aside", "Damaged stores that were moved aside", now.stores_moved_aside),
        ("lost_answers", "Posts without an answer: OTAS may have the event twice", now.lost_answers),
        (
            "agents_refused_other_user",
            "Connections closed because they belong to another user",
            now.agents.other_user,
        ),
        (
            "agents_refused_other_network",
            "Connections closed because they came from outside of listen.allow_clients",
            now.agents.other_network,
        ),
        (
            "agents_refused_left",
            "Connections closed because their agents had left before their user was known",
            now.agents.left,
        ),
        ("agents_user_unknown", "Connections whose user the system does not tell", now.agents.unknown),
        (
            "agents_process_missed",
            "Connections whose process look-up was given up: too many at once, or too slow",
            now.agents.processes_missed,
        ),
    ] {
        registry.register(name, help, ConstCounter::new(count));
    }
    if let Some(events) = now.events {
        let states = Family::<StateLabel, Gauge>::default();
        for (state, count) in [
            ("pending", events.pending),
            ("delivered", events.delivered),
            ("dead", events.dead),
            ("kept", events.kept),
        ] {
            states.get_or_create(&StateLabel(state)).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        registry.register("events", "Events in the store, of all processes", states);
    }
    if let Some(age) = now.oldest_pending_age_seconds {
        let help = "Age of the oldest pending event, 0 when none is pending";
        registry.register_with_unit("oldest_pending_age", help, Unit::Seconds, ConstGauge::new(age));
    }
    gauge(&mut registry, "calls_under_way", "Calls in flight", now.calls_under_way);
    let help = "Further agent connections that would be accepted now";
    gauge(&mut registry, "connections_free", help, now.connections_free);
    gauge(&mut registry, "posts_in_flight", "Calls to OTAS in flight", now.posts_in_flight);
    gauge(&mut registry, "posts_in_flight_limit", "Limit of calls to OTAS in flight", now.posts_limit);
    let verdicts = Family::<VerdictLabel, Counter>::default();
    let Verdicts { delivered, retry, check_key, renew_session, pause, refused, dead } = now.verdicts;
    for (verdict, count) in [
        ("delivered", delivered),
        ("retry", retry),
        ("check_key", check_key),
        ("renew_session", renew_session),
        ("pause", pause),
        ("refused", refused),
        ("dead", dead),
    ] {
        verdicts.get_or_create(&VerdictLabel(verdict)).inc_by(count);
    }
    registry.register("verdicts", "Posts of this process by verdict", verdicts);
    gauge(
        &mut registry,
        "delivery_trouble",
        "1 when OTAS accepts no events, 0 when it does",
        usize::from(now.trouble),
    );
    let help = "1 when this process delivers its key's events, 0 otherwise";
    gauge(&mut registry, "delivery_held", help, usize::from(now.holds_delivery));
    if let Some(bytes) = now.store_bytes {
        registry.register_with_unit("store", "Size of the store's file", Unit::Bytes, ConstGauge::new(bytes));
    }
    let help = "Memory held by captured bodies";
    registry.register_with_unit("capture_memory", help, Unit::Bytes, ConstGauge::new(now.capture_memory_bytes));
    if !now.sinks.is_empty() {
        feed(&mut registry, &now.sinks);
    }
    quotas(&mut registry, &now.quotas);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn gauge<N: EncodeGaugeValue + fmt::Debug + Send + Sync + 'static>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    value: N,
) {
    registry.register(name, help, ConstGauge::new(value));
}

/// The sinks: events by result, and trouble.
fn feed(registry: &mut Registry, sinks: &[sinks::Status]) {
    let (events, waiting) = (Family::<SinkResultLabels, Counter>::default(), Family::<SinkLabel, Gauge>::default());
    let (missed, trouble) = (Family::<SinkLabel, Gauge>::default(), Family::<SinkLabel, Gauge>::default());
    let rejected = Family::<SinkLabel, Counter>::default();
    for of in sinks {
        let sink = SinkLabel(of.name.clone());
        for (became, count) in [("sent", of.fed.sent), ("refused", of.fed.refused), ("skipped", of.fed.skipped)] {
            events.get_or_create(&SinkResultLabels(sink.clone(), became)).inc_by(count);
        }
        rejected.get_or_create(&sink).inc_by(of.fed.rejected_spans);
        for (family, count) in
            [(&waiting, of.waiting), (&missed, of.missed), (&trouble, u64::from(of.trouble.is_some()))]
        {
            family.get_or_create(&sink).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
    registry.register("sink_events", "Events that this process has handled for a sink, by result", events);
    let help = "Spans that a collector rejected from batches that it accepted";
    registry.register("sink_rejected_spans", help, rejected);
    registry.register("sink_waiting", "Backlog of a sink", waiting);
    registry.register("sink_missed", "Events that were dropped from the store before a sink got them", missed);
    registry.register("sink_trouble", "1 when a sink accepts no events, 0 when it does", trouble);
}

/// Quotas and rate limits. Of several accounts, the one with the least left: ids of accounts are not for metrics.
fn quotas(registry: &mut Registry, all: &[Quota]) {
    type Gauges = Family<QuotaLabels, Gauge<f64, AtomicU64>>;
    let (used, remaining, limit) = (Gauges::default(), Gauges::default(), Gauges::default());
    let (reset, rejected) = (Gauges::default(), Gauges::default());
    let mut worst: BTreeMap<QuotaLabels, &Quota> = BTreeMap::new();
    let share = |quota: &Quota| quota.window.used.unwrap_or(-1.0);
    for quota in all {
        let shown = worst.entry(QuotaLabels::of(quota)).or_insert(quota);
        if share(quota) > share(shown) {
            *shown = quota;
        }
    }
    for (labels, Quota { window, .. }) in worst {
        let rejects = window.status.as_ref().map(|status| f64::from(u8::from(status == "rejected")));
        for (family, value) in [
            (&used, window.used),
            (&remaining, window.remaining),
            (&limit, window.limit),
            (&reset, window.resets_at_ms.map(|ms| ms as f64 / 1_000.0)),
            (&rejected, rejects),
        ] {
            if let Some(value) = value {
                family.get_or_create(&labels).set(value);
            }
        }
    }
    registry.register("quota_used_ratio", "Used share of a quota or rate limit, as the provider states it", used);
    registry.register("quota_remaining", "Requests or tokens that are left of a rate limit", remaining);
    registry.register("quota_limit", "Requests or tokens of a rate limit", limit);
    let help = "When a quota or rate limit is reset, in Unix seconds";
    registry.register("quota_reset_timestamp_seconds", help, reset);
    let help = "1 when the provider rejects calls because a quota is used up, 0 when it does not";
    registry.register("quota_rejected", help, rejected);
}

/// The labels of a quota.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct QuotaLabels {
    provider: String,
    window: String,
    model: String,
}

impl QuotaLabels {
    fn of(quota: &Quota) -> Self {
        let label = |text: &str| visible::line(text).into_owned();
        Self { provider: label(&quota.provider), window: label(&quota.window.name), model: label(&quota.model) }
    }
}

impl EncodeLabelSet for QuotaLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        [("provider", &*self.provider), ("window", &*self.window), ("model", &*self.model)].encode(encoder)
    }
}

/// The label `sink`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SinkLabel(String);

impl EncodeLabelSet for SinkLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        [("sink", &*self.0)].encode(encoder)
    }
}

/// The labels `sink` and `result`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SinkResultLabels(SinkLabel, &'static str);

impl EncodeLabelSet for SinkResultLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        [("sink", &*self.0.0), ("result", self.1)].encode(encoder)
    }
}

/// The label `verdict`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct VerdictLabel(&'static str);

impl EncodeLabelSet for VerdictLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        [("verdict", self.0)].encode(encoder)
    }
}

/// The label `state`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct StateLabel(&'static str);

impl EncodeLabelSet for StateLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        [("state", self.0)].encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::quotas::Window;

    /// All values known.
    fn full() -> Snapshot {
        Snapshot {
            calls_stored: 12,
            calls_dropped: 1,
            calls_lost: 2,
            calls_unlogged: 18,
            calls_unauthorized: 19,
            calls_under_way: 20,
            connections_free: 21,
            events_shed: 9,
            bodies_shed: 7,
            stores_moved_aside: 1,
            store_bytes: Some(65_536),
            verdicts: Verdicts { delivered: 6, retry: 2, ..Verdicts::default() },
            events: Some(Counts { total: 10, pending: 3, delivered: 6, dead: 1, kept: 0 }),
            oldest_pending_age_seconds: Some(1.5),
            posts_in_flight: 4,
            posts_limit: 8,
            lost_answers: 5,
            trouble: true,
            holds_delivery: true,
            capture_memory_bytes: 4096,
            agents: peer::Counts { other_user: 13, other_network: 17, left: 14, unknown: 15, processes_missed: 16 },
            sinks: vec![sinks::Status {
                name: "jsonl a \"b\"".into(),
                waiting: 3,
                fed: sinks::SinkCounts { sent: 17, refused: 2, skipped: 0, rejected_spans: 5 },
                missed: 4,
                trouble: Some("full".into()),
                ..sinks::Status::default()
            }],
            quotas: vec![quota(0, 0.25), quota(1, 0.75)],
        }
    }

    /// A window of this account.
    fn quota(account: usize, used: f64) -> Quota {
        let window = Window {
            name: "requests".into(),
            used: Some(used),
            limit: Some(400.0),
            remaining: Some(400.0 * (1.0 - used)),
            resets_at_ms: Some(1_790_000_000_500),
            status: Some(if used > 0.5 { "rejected".into() } else { "allowed".into() }),
            is_of_model: true,
        };
        Quota { provider: "anthropic".into(), model: "m\u{202e}".into(), window, account, stated_at_ms: 1 }
    }

    #[test]
    fn every_metric_has_its_line() {
        let text = text(&full()).unwrap();
        for line in [
            "otas_proxy_calls_stored_total 12",
            "otas_proxy_calls_dropped_total 1",
            "otas_proxy_calls_lost_total 2",
            "otas_proxy_lost_answers_total 5",
            "otas_proxy_calls_unlogged_total 18",
            "otas_proxy_calls_unauthorized_total 19",
            "otas_proxy_calls_under_way 20",
            "otas_proxy_connections_free 21",
            "otas_proxy_agents_refused_other_user_total 13",
            "otas_proxy_agents_refused_other_network_total 17",
            "otas_proxy_agents_refused_left_total 14",
            "otas_proxy_agents_user_unknown_total 15",
            "otas_proxy_agents_process_missed_total 16",
            "otas_proxy_events{state=\"pending\"} 3",
            "otas_proxy_events{state=\"delivered\"} 6",
            "otas_proxy_events{state=\"dead\"} 1",
            "otas_proxy_oldest_pending_age_seconds 1.5",
            "otas_proxy_posts_in_flight 4",
            "otas_proxy_posts_in_flight_limit 8",
            "otas_proxy_events_shed_total 9",
            "otas_proxy_bodies_shed_total 7",
            "otas_proxy_stores_moved_aside_total 1",
            "otas_proxy_verdicts_total{verdict=\"retry\"} 2",
            "otas_proxy_delivery_trouble 1",
            "otas_proxy_delivery_held 1",
            "otas_proxy_store_bytes 65536",
            "otas_proxy_sink_events_total{sink=\"jsonl a \\\"b\\\"\",result=\"sent\"} 17",
            "otas_proxy_sink_events_total{sink=\"jsonl a \\\"b\\\"\",result=\"refused\"} 2",
            "otas_proxy_sink_rejected_spans_total{sink=\"jsonl a \\\"b\\\"\"} 5",
            "otas_proxy_sink_waiting{sink=\"jsonl a \\\"b\\\"\"} 3",
            "otas_proxy_sink_missed{sink=\"jsonl a \\\"b\\\"\"} 4",
            "otas_proxy_sink_trouble{sink=\"jsonl a \\\"b\\\"\"} 1",
            "otas_proxy_capture_memory_bytes 4096",
            r#"otas_proxy_quota_used_ratio{provider="anthropic",window="requests",model="m\\u{202e}"} 0.75"#,
            r#"otas_proxy_quota_remaining{provider="anthropic",window="requests",model="m\\u{202e}"} 100.0"#,
            r#"otas_proxy_quota_limit{provider="anthropic",window="requests",model="m\\u{202e}"} 400.0"#,
            r#"otas_proxy_quota_reset_timestamp_seconds{provider="anthropic",window="requests",model="m\\u{202e}"} 1790000000.5"#,
            r#"otas_proxy_quota_rejected{provider="anthropic",window="requests",model="m\\u{202e}"} 1.0"#,
            concat!("otas_proxy_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_dashboard_uses_exactly_the_existing_metrics() {
        let text = text(&full()).unwrap();
        let told: BTreeSet<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split(['{', ' ']).next())
            .collect();
        let dashboard: Value = serde_json::from_str(include_str!("../deploy/grafana-dashboard.json")).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
        let queries: String = queries.map(|target| target["expr"].as_str().unwrap().to_owned() + " ").collect();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let asked: BTreeSet<&str> =
            queries.split(|c| !is_name(c)).filter(|word| word.starts_with("otas_proxy_")).collect();
        assert_eq!(asked, told);
    }

    #[test]
    fn unknown_values_are_left_out() {
        let text = text(&Snapshot::default()).unwrap();
        assert!(
            !text.contains("otas_proxy_events{")
                && !text.contains("otas_proxy_store_bytes")
                && !text.contains("oldest_pending"),
            "{text}"
        );
    }
}
