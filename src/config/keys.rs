//! The one table of everything that can be set.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use super::flags::Flags;
use super::given::{Given, Refused, Value};
use super::shown::{
    agents, capture_rules, client_certificates, ms, name_of, networks, next_proxy, path, patterns, pinned,
    redact_allow, url,
};
use super::sinks;
use super::types::{Config, Durability, OnFull, Order, Scope};
use crate::secret::Secret;

/// One setting.
pub(super) struct Key {
    /// Section and name, joined by a dot, as in the settings file.
    pub(super) name: &'static str,
    /// The environment variable that sets it, if one does.
    pub(super) variable: Option<&'static str>,
    /// The flag that sets it, if one does.
    pub(super) flag: Option<Flag>,
    /// Checks a given value and puts it into the settings.
    pub(super) set: fn(&mut Config, &Given<'_>) -> Result<(), Refused>,
    /// The value in force as text, secrets masked. `None`: not set.
    pub(super) show: fn(&Config) -> Option<String>,
}

/// A command-line flag.
pub(super) struct Flag {
    /// With its dashes.
    pub(super) name: &'static str,
    /// What it was given, if it was.
    pub(super) value: fn(&Flags) -> Option<Value<'_>>,
}

pub(super) const BRAIN_URL: &str = "otas.brain_url";
pub(super) const UASAM_URL: &str = "otas.uasam_url";
pub(super) const AGENT_KEY: &str = "otas.agent_key";
pub(super) const AGENT_KEY_FILE: &str = "otas.agent_key_file";
pub(super) const SESSION_TOKEN: &str = "otas.session_token";
pub(super) const OTAS_DELIVER: &str = "otas.deliver";
pub(super) const PRICES_FILE: &str = "event.prices_file";
pub(super) const SINKS: &str = "sinks";
pub(super) const LISTEN_PROXY: &str = "listen.proxy";
pub(super) const LISTEN_ADMIN: &str = "listen.admin";
pub(super) const BACKOFF_MIN: &str = "delivery.backoff_min_ms";
pub(super) const BACKOFF_MAX: &str = "delivery.backoff_max_ms";
pub(super) const SESSION_SCOPE: &str = "session.scope";
pub(super) const AGENTS: &str = "agents";
pub(super) const CA_DIR: &str = "tls.ca_dir";
pub(super) const REDACT_ALLOW: &str = "redact.allow";
pub(super) const STORE_PATH: &str = "store.path";

/// The longest any wait can be set to: a day.
const LONGEST_MS: i64 = 86_400_000;
/// Calls under way keep their session open, and are looked at once a minute.
const LEAST_IDLE_MS: i64 = 120_000;
/// The most that can be kept of one end of a body: 1 GiB.
const BODY_BYTES: i64 = 1 << 30;
/// The most memory that bodies can be given: 1 TiB.
const MEMORY_BYTES: i64 = 1 << 40;

/// What clients take for granted: 8 KiB.
const LEAST_HEADER_BYTES: i64 = 8 << 10;
/// hyper reads heads of some 400 KiB at most: 384 KiB.
const HEADER_BYTES: i64 = 384 << 10;
/// More than one address has ports for.
const CONNECTIONS: i64 = 1_000_000;
/// More than any client opens.
const STREAMS: i64 = 65_536;
/// More than one proxy serves.
const REQUESTS_PER_SECOND: i64 = 1_000_000;

/// The least that a store can do with: 8 MiB.
const LEAST_STORE_BYTES: i64 = 8 << 20;
/// The most that a store can be given: 1 PiB.
const STORE_BYTES: i64 = 1 << 50;
const DAY_S: u64 = 86_400;

/// Every setting, in the order of `proxy.toml`.
pub(super) static KEYS: &[Key] = &[
    Key::new(LISTEN_PROXY, |c, g| put(&mut c.listen.proxy, g.address()), |c| Some(c.listen.proxy.to_string()))
        .flag("--listen-proxy", |f| text(&f.listen_proxy)),
    Key::new(LISTEN_ADMIN, |c, g| put(&mut c.listen.admin, g.address()), |c| Some(c.listen.admin.to_string()))
        .flag("--listen-admin", |f| text(&f.listen_admin)),
    Key::new(
        "listen.same_user",
        |c, g| put(&mut c.listen.same_user, g.switch()),
        |c| Some(c.listen.same_user.to_string()),
    ),
    Key::new(
        "listen.processes",
        |c, g| put(&mut c.listen.processes, g.switch()),
        |c| Some(c.listen.processes.to_string()),
    ),
    Key::new(
        "listen.allow_clients",
        |c, g| put(&mut c.listen.allow_clients, g.networks()),
        |c| Some(networks(&c.listen.allow_clients)),
    ),
    Key::new(
        "listen.insecure_open_proxy",
        |c, g| put(&mut c.listen.insecure_open_proxy, g.switch()),
        |c| Some(c.listen.insecure_open_proxy.to_string()),
    ),
    Key::new(OTAS_DELIVER, |c, g| put(&mut c.otas.deliver, g.switch()), |c| Some(c.otas.deliver.to_string())),
    Key::new(BRAIN_URL, |c, g| put(&mut c.otas.brain_url, g.url()), |c| Some(url(&c.otas.brain_url)))
        .variable("OTAS_BRAIN_URL")
        .flag("--brain-url", |f| text(&f.brain_url)),
    Key::new(UASAM_URL, |c, g| put(&mut c.otas.uasam_url, g.url()), |c| Some(url(&c.otas.uasam_url)))
        .variable("OTAS_UASAM_URL")
        .flag("--uasam-url", |f| text(&f.uasam_url)),
    // A key and a key file mean the same thing: the one set in a higher layer replaces the other below.
    Key::new(
        AGENT_KEY,
        |c, g| {
            c.otas.agent_key = Some(g.secret()?);
            c.otas.agent_key_file = None;
            Ok(())
        },
        |c| c.otas.agent_key.as_ref().map(Secret::masked),
    )
    .variable("OTAS_AGENT_KEY"),
    Key::new(
        AGENT_KEY_FILE,
        |c, g| {
            c.otas.agent_key_file = Some(g.path()?);
            c.otas.agent_key = None;
            Ok(())
        },
        |c| c.otas.agent_key_file.as_deref().map(path),
    )
    .flag("--agent-key-file", |f| file(&f.agent_key_file)),
    Key::new(
        SESSION_TOKEN,
        |c, g| put(&mut c.otas.session_token, g.secret().map(Some)),
        |c| c.otas.session_token.as_ref().map(Secret::masked),
    )
    .variable("OTAS_SESSION_TOKEN"),
    Key::new(
        "otas.project_id",
        |c, g| put(&mut c.otas.project_id, g.uuid().map(Some)),
        |c| c.otas.project_id.clone(),
    )
    .variable("OTAS_PROJECT_ID")
    .flag("--project-id", |f| text(&f.project_id)),
    Key::new(
        "otas.project_domain",
        |c, g| put(&mut c.otas.project_domain, g.url().map(Some)),
        |c| c.otas.project_domain.as_ref().map(url),
    )
    .variable("OTAS_PROJECT_DOMAIN")
    .flag("--project-domain", |f| text(&f.project_domain)),
    Key::new(
        "otas.project_subdomains",
        |c, g| put(&mut c.otas.project_subdomains, g.switch()),
        |c| Some(c.otas.project_subdomains.to_string()),
    ),
    Key::new(
        "otas.log_in_domain",
        |c, g| put(&mut c.otas.log_in_domain, g.switch()),
        |c| Some(c.otas.log_in_domain.to_string()),
    ),
    Key::new(
        SESSION_SCOPE,
        |c, g| put(&mut c.session.scope, g.one_of(&Scope::NAMES)),
        |c| name_of(&Scope::NAMES, c.session.scope),
    ),
    Key::new(
        "session.agent_processes",
        |c, g| put(&mut c.session.agent_processes, g.programs()),
        |c| Some(format!("{:?}", c.session.agent_processes)),
    ),
    Key::new(
        "session.idle_timeout_ms",
        |c, g| put(&mut c.session.idle_timeout, g.duration(LEAST_IDLE_MS..=LONGEST_MS)),
        |c| Some(ms(c.session.idle_timeout)),
    ),
    Key::new(CA_DIR, |c, g| put(&mut c.tls.ca_dir, g.path()), |c| Some(path(&c.tls.ca_dir)))
        .flag("--ca-dir", |f| file(&f.ca_dir)),
    Key::new(
        "tls.origin_ca_file",
        |c, g| put(&mut c.tls.origin_ca_file, g.path().map(Some)),
        |c| c.tls.origin_ca_file.as_deref().map(path),
    )
    .flag("--origin-ca-file", |f| file(&f.origin_ca_file)),
    Key::new(
        "tls.passthrough",
        |c, g| put(&mut c.tls.passthrough, g.hosts()),
        |c| Some(c.tls.passthrough.to_string()),
    )
    .flag("--passthrough", |f| (!f.passthrough.is_empty()).then_some(Value::List(&f.passthrough))),
    Key::new(
        "tls.learn_passthrough",
        |c, g| put(&mut c.tls.learn_passthrough, g.span().map(Some)),
        |c| c.tls.learn_passthrough.map(|d| format!("{:?}", humantime::format_duration(d).to_string())),
    ),
    Key::new(
        "tls.client_certificates",
        |c, g| put(&mut c.tls.client_certificates, g.client_certificates()),
        |c| Some(client_certificates(&c.tls.client_certificates)),
    ),
    Key::new("tls.pinned", |c, g| put(&mut c.tls.pinned, g.pinned()), |c| Some(pinned(&c.tls.pinned))),
    Key::new("proxy.via", |c, g| put(&mut c.proxy.via, g.switch()), |c| Some(c.proxy.via.to_string())),
    Key::new(
        "proxy.connect_timeout_ms",
        |c, g| put(&mut c.proxy.connect_timeout, g.duration(1..=LONGEST_MS)),
        |c| Some(ms(c.proxy.connect_timeout)),
    ),
    Key::new(
        "proxy.handshake_timeout_ms",
        |c, g| put(&mut c.proxy.handshake_timeout, g.duration(1..=LONGEST_MS)),
        |c| Some(ms(c.proxy.handshake_timeout)),
    ),
    Key::new(
        "proxy.header_timeout_ms",
        |c, g| put(&mut c.proxy.header_timeout, g.duration(1..=LONGEST_MS)),
        |c| Some(ms(c.proxy.header_timeout)),
    ),
    Key::new(
        "proxy.idle_timeout_ms",
        |c, g| put(&mut c.proxy.idle_timeout, g.duration(1..=LONGEST_MS)),
        |c| Some(ms(c.proxy.idle_timeout)),
    ),
    Key::new(
        "proxy.stall_timeout_ms",
        |c, g| put(&mut c.proxy.stall_timeout, g.duration(1..=LONGEST_MS)),
        |c| Some(ms(c.proxy.stall_timeout)),
    ),
    Key::new(
        "proxy.response_timeout_ms",
        |c, g| put(&mut c.proxy.response_timeout, g.duration(1..=LONGEST_MS)),
        |c| Some(ms(c.proxy.response_timeout)),
    ),
    Key::new(
        "proxy.max_header_bytes",
        |c, g| put(&mut c.proxy.max_header_bytes, g.number(LEAST_HEADER_BYTES..=HEADER_BYTES)),
        |c| Some(c.proxy.max_header_bytes.to_string()),
    ),
    Key::new(
        "proxy.max_connections",
        |c, g| put(&mut c.proxy.max_connections, g.number(1..=CONNECTIONS)),
        |c| Some(c.proxy.max_connections.to_string()),
    ),
    Key::new(
        "proxy.max_streams",
        |c, g| put(&mut c.proxy.max_streams, g.number(1..=STREAMS)),
        |c| Some(c.proxy.max_streams.to_string()),
    ),
    Key::new(
        "proxy.shutdown_grace_ms",
        |c, g| put(&mut c.proxy.shutdown_grace, g.duration(0..=LONGEST_MS)),
        |c| Some(ms(c.proxy.shutdown_grace)),
    ),
    Key::new(
        "proxy.agent_connections",
        |c, g| put(&mut c.proxy.agent_connections, g.number(0..=CONNECTIONS)),
        |c| Some(c.proxy.agent_connections.to_string()),
    ),
    Key::new(
        "proxy.agent_requests_per_second",
        |c, g| put(&mut c.proxy.agent_requests_per_second, g.number(0..=REQUESTS_PER_SECOND)),
        |c| Some(c.proxy.agent_requests_per_second.to_string()),
    ),
    Key::new(
        "proxy.strict_host",
        |c, g| put(&mut c.proxy.strict_host, g.switch()),
        |c| Some(c.proxy.strict_host.to_string()),
    ),
    Key::new(
        "upstream.proxy",
        |c, g| put(&mut c.upstream.proxy, g.next_proxy().map(Some)),
        |c| c.upstream.proxy.as_ref().map(next_proxy),
    )
    .variable("OTAS_UPSTREAM_PROXY"),
    Key::new(
        "upstream.no_proxy",
        |c, g| put(&mut c.upstream.no_proxy, g.hosts()),
        |c| Some(c.upstream.no_proxy.to_string()),
    ),
    Key::new("egress.deny", |c, g| put(&mut c.egress.deny, g.hosts()), |c| Some(c.egress.deny.to_string())),
    Key::new("egress.allow", |c, g| put(&mut c.egress.allow, g.hosts()), |c| Some(c.egress.allow.to_string())),
    Key::new(
        "egress.allow_metadata",
        |c, g| put(&mut c.egress.allow_metadata, g.switch()),
        |c| Some(c.egress.allow_metadata.to_string()),
    ),
    Key::new(
        "capture.body_head_bytes",
        |c, g| put(&mut c.capture.body_head_bytes, g.number(0..=BODY_BYTES)),
        |c| Some(c.capture.body_head_bytes.to_string()),
    ),
    Key::new(
        "capture.body_tail_bytes",
        |c, g| put(&mut c.capture.body_tail_bytes, g.number(0..=BODY_BYTES)),
        |c| Some(c.capture.body_tail_bytes.to_string()),
    ),
    Key::new(
        "capture.memory_bytes",
        |c, g| put(&mut c.capture.memory_bytes, g.number(0..=MEMORY_BYTES)),
        |c| Some(c.capture.memory_bytes.to_string()),
    ),
    Key::new(
        "capture.rules",
        |c, g| put(&mut c.capture.rules, g.capture_rules()),
        |c| Some(capture_rules(&c.capture.rules)),
    ),
    Key::new(
        "event.error_from_status",
        |c, g| put(&mut c.event.error_from_status, g.number(0..=999)),
        |c| Some(c.event.error_from_status.to_string()),
    ),
    Key::new(
        PRICES_FILE,
        |c, g| put(&mut c.event.prices, g.prices().map(Some)),
        |c| c.event.prices.as_ref().map(|prices| path(prices.file())),
    ),
    Key::new(
        "event.properties",
        |c, g| put(&mut c.event.properties, g.texts()),
        |c| Some(format!("{:?}", c.event.properties)),
    ),
    Key::new(
        "redact.headers",
        |c, g| put(&mut c.redact.headers, g.header_names()),
        |c| Some(format!("{:?}", c.redact.headers)),
    ),
    Key::new(
        "redact.keys",
        |c, g| put(&mut c.redact.keys, g.redacted_keys()),
        |c| Some(format!("{:?}", c.redact.keys)),
    ),
    Key::new("redact.patterns", |c, g| put(&mut c.redact.patterns, g.patterns()), |c| Some(patterns(&c.redact))),
    Key::new(REDACT_ALLOW, |c, g| put(&mut c.redact.allow, g.redact_allow()), |c| Some(redact_allow(&c.redact))),
    Key::new(
        "redact.budget_ms",
        |c, g| put(&mut c.redact.budget, g.duration(1..=10_000)),
        |c| Some(ms(c.redact.budget)),
    ),
    Key::new(STORE_PATH, |c, g| put(&mut c.store.path, g.path()), |c| Some(path(&c.store.path)))
        .flag("--store-path", |f| file(&f.store_path)),
    Key::new(
        "store.max_bytes",
        |c, g| put(&mut c.store.max_bytes, g.number(LEAST_STORE_BYTES..=STORE_BYTES)),
        |c| Some(c.store.max_bytes.to_string()),
    ),
    Key::new(
        "store.min_free_bytes",
        |c, g| put(&mut c.store.min_free_bytes, g.number(0..=STORE_BYTES)),
        |c| Some(c.store.min_free_bytes.to_string()),
    ),
    Key::new(
        "store.on_full",
        |c, g| put(&mut c.store.on_full, g.one_of(&OnFull::NAMES)),
        |c| name_of(&OnFull::NAMES, c.store.on_full),
    ),
    Key::new(
        "store.durability",
        |c, g| put(&mut c.store.durability, g.one_of(&Durability::NAMES)),
        |c| name_of(&Durability::NAMES, c.store.durability),
    ),
    Key::new(
        "store.keep_days",
        |c, g| put(&mut c.store.keep, g.number(0..=36_500).map(|days: u64| Duration::from_secs(days * DAY_S))),
        |c| Some((c.store.keep.as_secs() / DAY_S).to_string()),
    ),
    Key::new(
        "store.keep_bytes",
        |c, g| put(&mut c.store.keep_bytes, g.number(0..=STORE_BYTES)),
        |c| Some(c.store.keep_bytes.to_string()),
    ),
    Key::new(
        "delivery.max_in_flight",
        |c, g| put(&mut c.delivery.max_in_flight, g.number(1..=64)),
        |c| Some(c.delivery.max_in_flight.to_string()),
    ),
    Key::new(
        "delivery.order",
        |c, g| put(&mut c.delivery.order, g.one_of(&Order::NAMES)),
        |c| name_of(&Order::NAMES, c.delivery.order),
    ),
    Key::new(
        "delivery.attempt_timeout_ms",
        |c, g| put(&mut c.delivery.attempt_timeout, g.duration(1..=LONGEST_MS)),
        |c| Some(ms(c.delivery.attempt_timeout)),
    ),
    Key::new(
        BACKOFF_MIN,
        |c, g| put(&mut c.delivery.backoff_min, g.duration(1..=LONGEST_MS)),
        |c| Some(ms(c.delivery.backoff_min)),
    ),
    Key::new(
        BACKOFF_MAX,
        |c, g| put(&mut c.delivery.backoff_max, g.duration(1..=LONGEST_MS)),
        |c| Some(ms(c.delivery.backoff_max)),
    ),
    Key::new(
        "delivery.drain_timeout_ms",
        |c, g| put(&mut c.delivery.drain_timeout, g.duration(0..=LONGEST_MS)),
        |c| Some(ms(c.delivery.drain_timeout)),
    ),
    Key::new(AGENTS, |c, g| put(&mut c.agents, g.agents()), |c| (!c.agents.is_empty()).then(|| agents(&c.agents))),
    Key::new(SINKS, |c, g| put(&mut c.sinks, g.sinks()), |c| (!c.sinks.is_empty()).then(|| sinks::show(&c.sinks))),
];

/// The setting of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// All dotted names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name)
}

/// The sections that settings stand in, each once for each of its settings.
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    names().filter_map(|name| name.split_once('.')).map(|(section, _)| section)
}

impl Key {
    const fn new(
        name: &'static str,
        set: fn(&mut Config, &Given<'_>) -> Result<(), Refused>,
        show: fn(&Config) -> Option<String>,
    ) -> Self {
        Self { name, variable: None, flag: None, set, show }
    }

    const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    const fn flag(mut self, name: &'static str, value: fn(&Flags) -> Option<Value<'_>>) -> Self {
        self.flag = Some(Flag { name, value });
        self
    }
}

fn put<T>(field: &mut T, value: Result<T, Refused>) -> Result<(), Refused> {
    *field = value?;
    Ok(())
}

fn text(flag: &Option<String>) -> Option<Value<'_>> {
    flag.as_deref().map(|text| Value::Text(OsStr::new(text)))
}

fn file(flag: &Option<PathBuf>) -> Option<Value<'_>> {
    flag.as_deref().map(|path| Value::Text(path.as_os_str()))
}
