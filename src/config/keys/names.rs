//! The names of settings that other parts of `config` ask for.

pub(in crate::config) const BRAIN_URL: &str = "otas.brain_url";
pub(in crate::config) const UASAM_URL: &str = "otas.uasam_url";
pub(in crate::config) const AGENT_KEY: &str = "otas.agent_key";
pub(in crate::config) const AGENT_KEY_FILE: &str = "otas.agent_key_file";
pub(in crate::config) const SESSION_TOKEN: &str = "otas.session_token";
pub(in crate::config) const OTAS_DELIVER: &str = "otas.deliver";
pub(in crate::config) const SINKS: &str = "sinks";
pub(in crate::config) const LISTEN_TRANSPARENT: &str = "listen.transparent";
pub(in crate::config) const LISTEN_PROXY: &str = "listen.proxy";
pub(in crate::config) const LISTEN_ADMIN: &str = "listen.admin";
pub(in crate::config) const BACKOFF_MIN: &str = "delivery.backoff_min_ms";
pub(in crate::config) const SESSION_SCOPE: &str = "session.scope";
pub(in crate::config) const CA_DIR: &str = "tls.ca_dir";
pub(in crate::config) const AGENT_DIR: &str = "tls.agent_dir";
pub(in crate::config) const REDACT_ALLOW: &str = "redact.allow";
pub(in crate::config) const NATS_URL: &str = "queue.nats_url";
pub(in crate::config) const QUEUE_AGENT_ID: &str = "queue.agent_id";
pub(in crate::config) const RELAY_KEYS_DIR: &str = "relay.keys_dir";
pub(in crate::config) const STORE_PATH: &str = "store.path";
