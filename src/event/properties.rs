//! `custom_properties`: flat properties that people filter by. OTAS's page does not show them, its API returns them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::Version;
use http::header::USER_AGENT;

use super::context::Context;
use super::writer::EventWriter;
use super::{agent, cost, fit, grpc, headers, llm};
use crate::capture::{Exchange, Outcome};
use crate::llm::names;

/// Our own names in `custom_properties`.
const OURS: [&str; 14] = [
    names::COST,
    names::COST_CURRENCY,
    names::COST_PRICES,
    "server.address",
    "server.port",
    "url.scheme",
    "http.response.status_code",
    "error.type",
    "network.protocol.version",
    "network.peer.address",
    "user_agent.original",
    "rpc.system.name",
    "rpc.method",
    "rpc.response.status_code",
];

/// The prefix of request header fields that become properties.
const PROPERTY_PREFIX: &str = "x-otas-property-";

/// Writes `custom_properties`, and notes whether one was truncated or left out.
pub(super) fn write(out: &mut EventWriter<'_>, exchange: &Exchange, context: &Context<'_>, error_type: &str) {
    let from = out.json.len();
    out.json.open("custom_properties");
    out.bounded_line("server.address", &exchange.origin.host);
    let json = &mut out.json;
    json.number("server.port", u64::from(exchange.origin.port));
    json.string("url.scheme", exchange.origin.scheme);
    match origin_status(exchange) {
        Some(status) => json.number("http.response.status_code", u64::from(status)),
        None => json.null("http.response.status_code"),
    }
    if !error_type.is_empty() {
        out.bounded("error.type", error_type);
    }
    let json = &mut out.json;
    json.string("network.protocol.version", protocol_version(exchange.version));
    if let Some(peer) = exchange.peer {
        json.ip("network.peer.address", peer.ip());
    }
    if grpc::is_grpc(exchange) {
        json.string("rpc.system.name", "grpc");
        let path = out.uncounted_path(&exchange.request.path);
        out.bounded("rpc.method", path.trim_start_matches('/'));
        if let Some(status) = grpc::status(exchange) {
            out.json.string("rpc.response.status_code", &status.name());
        }
    }
    if let Some(agent) = exchange.request.headers.get(USER_AGENT.as_str()) {
        out.bounded_line("user_agent.original", &headers::text(agent));
    }
    agent::properties(out);
    if let Some(facts) = &exchange.llm {
        llm::properties(out, facts);
    }
    if let Some(prices) = context.prices {
        let usage_raw = exchange.llm.as_ref().and_then(|facts| facts.usage_raw.as_deref());
        let billed = cost::Billed { usage_raw, started_at: exchange.started_at };
        cost::write(&mut out.json, from, prices, &billed);
    }
    out.cuts.properties = further_properties(out, exchange, context);
    out.json.close();
}

/// Writes the operator's properties and those that the agent sent with the call. If names collide, the operator's wins. True
/// if one was truncated or left out.
fn further_properties(out: &mut EventWriter<'_>, exchange: &Exchange, context: &Context<'_>) -> bool {
    let EventWriter { json, masking, agent, .. } = out;
    let mut cut = false;
    let limit = json.len() + fit::PROPERTIES_FILL_BYTES;
    let mut given: BTreeMap<String, Cow<'_, str>> = BTreeMap::new();
    for (name, value) in exchange.request.headers.iter() {
        if let Some(name) = name.strip_prefix(PROPERTY_PREFIX).filter(|name| !name.is_empty()) {
            let value = headers::text(value);
            let masked = masking.uncounted(|masking| masking.field(name, &value).or_else(|| masking.line(&value)));
            given.insert(name.to_owned(), masked.map_or(value, Cow::Owned));
        }
    }
    let is_fact = |name: &str| exchange.llm.as_ref().is_some_and(|facts| facts.get(name).is_some());
    let is_of_agent = |name: &str| agent.as_ref().is_some_and(|identity| agent::is_property(identity, name));
    let ours = |name: &str| OURS.contains(&name) || is_fact(name) || is_of_agent(name);
    given.retain(|name, _| !context.properties.contains_key(name));
    let operators = context.properties.iter().map(|(name, value)| (name, value.as_str()));
    for (name, value) in operators.chain(given.iter().map(|(name, value)| (name, &**value))) {
        if ours(name) {
            continue;
        }
        if json.len() > limit {
            return true;
        }
        json.foreign_key(name, fit::NAME_MAX_BYTES);
        cut |= json.text(value, fit::VALUE_MAX_BYTES, fit::CUT);
    }
    cut
}

/// The status from the origin. A failure before the response head means that the response was ours.
fn origin_status(exchange: &Exchange) -> Option<u16> {
    let ours = matches!(exchange.outcome, Outcome::Failed(_)) && exchange.timings.wait.is_none();
    exchange.response.as_ref().filter(|_| !ours).map(|response| response.status.as_u16())
}

fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}
