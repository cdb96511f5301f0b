//! The default values.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use url::Url;

use super::types::{
    Capture, Config, Delivery, Durability, Egress, Event, ForHttp, Forget, Listen, OnFull, Order, Otas, Proxy, Queue,
    Scope, Session, Store, Tls, Upstream,
};
use crate::hosts::HostRules;
use crate::prices::Prices;
use crate::redact::Redact;

/// The defaults, with our own files under `data` (a folder of ours alone).
///
/// # Errors
/// Only if a default URL were malformed, which a test rules out.
pub(super) fn config(data: &Path) -> Result<Config, url::ParseError> {
    Ok(Config {
        listen: Listen {
            proxy: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            same_user: true,
            processes: true,
            transparent: Vec::new(),
            allow_clients: Vec::new(),
            insecure_open_proxy: false,
        },
        otas: Otas {
            deliver: true,
            brain_url: Url::parse("http://localhost:8002")?,
            uasam_url: Url::parse("http://localhost:8000")?,
            agent_key: None,
            agent_key_file: None,
            session_token: None,
            project_id: None,
            project_domain: None,
            project_subdomains: false,
            log_in_domain: false,
        },
        session: Session {
            scope: Scope::Proxy,
            agent_processes: Vec::new(),
            idle_timeout: Duration::from_millis(1_800_000),
            run_secret: None,
        },
        agents: Vec::new(),
        tls: Tls {
            ca_dir: data.join("ca"),
            usual_ca_dir: data.join("ca"),
            agent_dir: None,
            origin_ca_file: None,
            passthrough: HostRules::default(),
            learn_passthrough: None,
            client_certificates: Vec::new(),
            pinned: Vec::new(),
        },
        proxy: Proxy {
            via: false,
            connect_timeout: Duration::from_millis(10_000),
            handshake_timeout: Duration::from_millis(30_000),
            header_timeout: Duration::from_millis(30_000),
            idle_timeout: Duration::from_millis(900_000),
            stall_timeout: Duration::from_millis(300_000),
            response_timeout: Duration::from_millis(3_600_000),
            max_header_bytes: 262_144,
            max_connections: 10_000,
            max_streams: 256,
            shutdown_grace: Duration::from_millis(10_000),
            agent_connections: 0,
            agent_requests_per_second: 0,
            strict_host: false,
        },
        upstream: Upstream { proxy: None, for_http: ForHttp::Same, no_proxy: HostRules::loopback(), share: true },
        egress: Egress { deny: HostRules::default(), allow: HostRules::default(), allow_metadata: false },
        capture: Capture {
            body_head_bytes: 262_144,
            body_tail_bytes: 65_536,
            body_max_bytes: 16_777_216,
            memory_bytes: 100_663_296,
            rules: Vec::new(),
        },
        event: Event { error_from_status: 400, properties: BTreeMap::new(), prices: Prices::public() },
        redact: Redact {
            headers: Vec::new(),
            keys: Vec::new(),
            patterns: Vec::new(),
            allow: Vec::new(),
            budget: Duration::from_millis(200),
        },
        store: Store {
            path: data.join("otas-proxy.db"),
            max_bytes: 4 << 30,
            min_free_bytes: 512 << 20,
            on_full: OnFull::DropOldest,
            durability: Durability::Normal,
            keep: Duration::from_secs(7 * 86_400),
            keep_bytes: 1 << 30,
            search: true,
        },
        delivery: Delivery {
            max_in_flight: 16,
            order: Order::Adaptive,
            attempt_timeout: Duration::from_millis(30_000),
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_millis(60_000),
            drain_timeout: Duration::from_millis(30_000),
        },
        sinks: Vec::new(),
        queue: Box::new(Queue {
            nats_url: Vec::new(),
            credentials_file: None,
            ca_file: None,
            stream: "OTAS".to_owned(),
            subject_prefix: "otas".to_owned(),
            agent_id: None,
            forget: Forget::Delivered,
            keys_dir: None,
        }),
    })
}
