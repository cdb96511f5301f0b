//! The validated settings: plain typed fields that the rest of the program reads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::next_proxy::NextProxy;
use super::sinks::Sink;
use crate::hosts::HostRules;
use crate::prices::Prices;
use crate::redact::{CaptureLevel, Redact};
use crate::secret::Secret;

/// The validated settings that the rest of the program reads.
#[derive(Clone)]
pub struct Config {
    /// Where we listen.
    pub listen: Listen,
    /// The service that events go to.
    pub otas: Otas,
    /// Which calls share a session.
    pub session: Session,
    /// The agents that identify themselves by credentials.
    pub agents: Vec<Agent>,
    /// Certificates, ours and the origins'.
    pub tls: Tls,
    /// How calls are forwarded.
    pub proxy: Proxy,
    /// How origins are reached.
    pub upstream: Upstream,
    /// Which origins agents may call.
    pub egress: Egress,
    /// How much of each body is kept.
    pub capture: Capture,
    /// How an event is made of an exchange.
    pub event: Event,
    /// What is masked in it.
    pub redact: Redact,
    /// Where events wait.
    pub store: Store,
    /// How events are sent.
    pub delivery: Delivery,
    /// Where else events go.
    pub sinks: Vec<Sink>,
    /// The queue of a fleet.
    pub queue: Box<Queue>,
}

/// `[listen]`
#[derive(Clone)]
pub struct Listen {
    /// The proxy port. Port 0: any free one, printed.
    pub proxy: SocketAddr,
    /// The admin port (health).
    pub admin: SocketAddr,
    /// On loopback, only our own user and root may call.
    pub same_user: bool,
    /// Look up the processes of agents on this machine.
    pub processes: bool,
    /// Where the system redirects connections of agents to.
    pub transparent: Vec<SocketAddr>,
    /// Networks that agents may call from. Empty: any.
    pub allow_clients: Vec<IpNet>,
    /// Allow a port beyond loopback that everybody may call.
    pub insecure_open_proxy: bool,
}

/// `[otas]`
#[derive(Clone)]
pub struct Otas {
    /// Events are for OTAS. If not, they are kept here, and go to the sinks alone.
    pub deliver: bool,
    /// Brain: where events are posted.
    pub brain_url: Url,
    /// UASAM: where sessions are opened and keys checked.
    pub uasam_url: Url,
    /// The agent key, given directly or read from `agent_key_file`. `None`: the embedded collector is used.
    pub agent_key: Option<Secret>,
    /// The file that the key was read from.
    pub agent_key_file: Option<PathBuf>,
    /// A session token to use instead of opening a session.
    pub session_token: Option<Secret>,
    /// The project's UUID. `None`: learnt from the key.
    pub project_id: Option<String>,
    /// The base URL of the project's own servers.
    pub project_domain: Option<Url>,
    /// Whether all names below those of project domains belong to them.
    pub project_subdomains: bool,
    /// Whether calls into the project's domain are logged here as well.
    pub log_in_domain: bool,
}

/// `[session]`
#[derive(Clone)]
pub struct Session {
    /// What has a session of its own.
    pub scope: Scope,
    /// Globs for the names of agents' programs and scripts. Of a calling process and its ancestors, the topmost that matches is
    /// the agent. If none matches, it is the leader of the Unix session.
    pub agent_processes: Vec<String>,
    /// A session without calls for this time is closed. The next call opens another.
    pub idle_timeout: Duration,
    /// A secret that only the command of a `run` has. Not a setting: `run` makes it where it is needed.
    pub run_secret: Option<Secret>,
}

/// What has a session of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Each start of the proxy.
    Proxy,
    /// Each agent and label that gives credentials; nobody else is served.
    Credential,
    /// Each agent process of this machine.
    Process,
}

impl Scope {
    /// The names in the settings.
    pub(super) const NAMES: [(&'static str, Self); 3] =
        [("proxy", Self::Proxy), ("credential", Self::Credential), ("process", Self::Process)];
}

/// An entry of `[[agents]]`.
#[derive(Clone, PartialEq)]
pub struct Agent {
    /// The user name in the proxy's URL.
    pub name: String,
    /// The password beside it.
    pub secret: Secret,
    /// The file that it was read from.
    pub secret_file: PathBuf,
    /// Its agent key, and the file that it was read from. `None`: that of `[otas]`.
    pub agent_key: Option<(Secret, PathBuf)>,
    /// The name that relays have its key under. `None`: that of `[queue]`.
    pub agent_id: Option<String>,
    /// Its project's UUID. `None`: learnt from the key.
    pub project_id: Option<String>,
    /// The base URL of its project's servers. `None`: that of `[otas]`.
    pub project_domain: Option<Url>,
}

/// `[tls]`
#[derive(Clone)]
pub struct Tls {
    /// Where our CA lives (0700).
    pub ca_dir: PathBuf,
    /// The default folder, where the user may have another CA of ours. Not a setting.
    pub usual_ca_dir: PathBuf,
    /// Where agents of other users and containers find certificates and variables.
    pub agent_dir: Option<PathBuf>,
    /// Extra roots (PEM) that origins are verified against, beside the system's.
    pub origin_ca_file: Option<PathBuf>,
    /// Hosts that are relayed blind.
    pub passthrough: HostRules,
    /// How long a host is relayed blind after agents have refused our certificate for it. `None`: it is not.
    pub learn_passthrough: Option<Duration>,
    /// Our certificates for origins that ask for one.
    pub client_certificates: Vec<ClientCertificate>,
    /// Certificates that are accepted as they are: exceptions from the check, each for its hosts alone.
    pub pinned: Vec<PinnedCertificate>,
}

/// An entry of `tls.pinned`.
#[derive(Debug, Clone, PartialEq)]
pub struct PinnedCertificate {
    /// The origins that must show it. Its issuer, name and dates are not checked.
    pub hosts: HostRules,
    /// The SHA-256 of its DER form.
    pub sha256: [u8; 32],
}

/// An entry of `tls.client_certificates`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientCertificate {
    /// The origins that it is shown to, if they ask for one.
    pub hosts: HostRules,
    /// The certificate and its chain (PEM).
    pub cert_file: PathBuf,
    /// Its key (PEM).
    pub key_file: PathBuf,
}

/// `[upstream]`
#[derive(Clone)]
pub struct Upstream {
    /// The proxy that origins are reached through. `None`: directly.
    pub proxy: Option<NextProxy>,
    /// The same for `http` URLs. Not a setting: environments name a proxy for each scheme.
    pub for_http: ForHttp,
    /// Origins that are reached directly nevertheless.
    pub no_proxy: HostRules,
    /// Whether a caller's connections to origins are kept for its next ones.
    pub share: bool,
}

/// How `http` URLs are reached.
#[derive(Clone, PartialEq)]
pub enum ForHttp {
    /// As everything else.
    Same,
    /// Without a next proxy.
    Directly,
    /// Through this one.
    Through(NextProxy),
}

impl Upstream {
    /// The next proxy on the way to an origin. `None`: it is called directly.
    pub fn proxy_for(&self, scheme: &str, host: &str, port: u16) -> Option<&NextProxy> {
        let proxy = match &self.for_http {
            ForHttp::Directly if scheme == "http" => None,
            ForHttp::Through(proxy) if scheme == "http" => Some(proxy),
            _ => self.proxy.as_ref(),
        };
        proxy.filter(|_| !self.no_proxy.matches(host, port))
    }
}

/// `[egress]`
#[derive(Clone)]
pub struct Egress {
    /// Hosts, addresses and ports that no agent may call.
    pub deny: HostRules,
    /// If there are any: what agents may call, and nothing else.
    pub allow: HostRules,
    /// Whether agents may call the services that give cloud machines their credentials.
    pub allow_metadata: bool,
}

/// `[proxy]`
#[derive(Clone)]
pub struct Proxy {
    /// Add `Via` (RFC 9110 7.6.3). Off: it changes what origins answer.
    pub via: bool,
    /// Limit for resolving, connecting and the TLS handshake together.
    pub connect_timeout: Duration,
    /// Limit for an agent's own handshakes: TLS with us, and SOCKS.
    pub handshake_timeout: Duration,
    /// Limit for a request's head, from its first byte to its last.
    pub header_timeout: Duration,
    /// How long a kept connection may stay without a request.
    pub idle_timeout: Duration,
    /// How long an agent may send nothing in the middle of a request's content (HTTP/1.1).
    pub stall_timeout: Duration,
    /// How long an origin may take to begin its response.
    pub response_timeout: Duration,
    /// The largest head of a request.
    pub max_header_bytes: usize,
    /// The most agent connections at once.
    pub max_connections: usize,
    /// The most requests in flight on one HTTP/2 connection of an agent.
    pub max_streams: u32,
    /// How long calls in flight may go on after SIGTERM.
    pub shutdown_grace: Duration,
    /// The most connections of one agent at once. 0: no limit.
    pub agent_connections: usize,
    /// The most requests of one agent in a second. 0: no limit.
    pub agent_requests_per_second: u32,
    /// Refuse requests whose tunnel, SNI and `Host` name different hosts.
    pub strict_host: bool,
}

/// `[capture]`
#[derive(Clone)]
pub struct Capture {
    /// First bytes kept of each body.
    pub body_head_bytes: usize,
    /// Last bytes kept of each body.
    pub body_tail_bytes: usize,
    /// Text bodies up to this size are kept whole.
    pub body_max_bytes: usize,
    /// The most bytes of bodies that all calls in flight keep in memory. Beyond it bodies are cut, and their events say so.
    pub memory_bytes: usize,
    /// How much of calls to some hosts is recorded. The first entry that has the host applies.
    pub rules: Vec<(HostRules, CaptureLevel)>,
}

/// `[event]`
#[derive(Clone)]
pub struct Event {
    /// The lowest status code that sets `error` to `http_<code>`. 0: none does.
    pub error_from_status: u16,
    /// Added to every event's `custom_properties`.
    pub properties: BTreeMap<String, String>,
    /// What models cost: the user's table, if there is one, and the public prices.
    pub prices: Prices,
}

/// `[store]`
#[derive(Clone)]
pub struct Store {
    /// The SQLite file.
    pub path: PathBuf,
    /// The most that the file may hold in bytes; its log may take some 32 MiB more.
    pub max_bytes: u64,
    /// The free disk space in bytes below which the file does not grow.
    pub min_free_bytes: u64,
    /// What happens when there is no room.
    pub on_full: OnFull,
    /// What is guaranteed for a call that has ended.
    pub durability: Durability,
    /// How long delivered events are kept.
    pub keep: Duration,
    /// How many bytes of delivered events are kept.
    pub keep_bytes: u64,
    /// Bodies get a search index.
    pub search: bool,
}

/// `store.on_full`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// Removes the oldest, bodies first; the loss is counted and reported.
    DropOldest,
    /// Refuses calls that cannot be recorded.
    Refuse,
}

impl OnFull {
    /// The names in the settings.
    pub(super) const NAMES: [(&'static str, Self); 2] = [("drop_oldest", Self::DropOldest), ("refuse", Self::Refuse)];
}

/// `store.durability`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The event follows within milliseconds.
    Normal,
    /// The response ends only when its event is on the disk.
    Strict,
}

impl Durability {
    /// The names in the settings.
    pub(super) const NAMES: [(&'static str, Self); 2] = [("normal", Self::Normal), ("strict", Self::Strict)];
}

/// `delivery.order`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A session's events are sent one by one while few of them wait, or where more at once would be no faster; else as with
    /// `Window`.
    Adaptive,
    /// Events are sent in their order, several at once, so that neighbours may arrive swapped.
    Window,
    /// A session's events are sent one by one.
    Strict,
}

impl Order {
    /// The names in the settings.
    pub(super) const NAMES: [(&'static str, Self); 3] =
        [("adaptive", Self::Adaptive), ("window", Self::Window), ("strict", Self::Strict)];
}

/// `[delivery]`
#[derive(Clone)]
pub struct Delivery {
    /// The most posts in flight.
    pub max_in_flight: usize,
    /// How closely the order of a session's events is kept.
    pub order: Order,
    /// Limit for one post.
    pub attempt_timeout: Duration,
    /// First back-off after a failure.
    pub backoff_min: Duration,
    /// Longest back-off.
    pub backoff_max: Duration,
    /// How long `run` and a stopping `serve` wait for what is stored to be delivered.
    pub drain_timeout: Duration,
}

/// `[queue]` and `[relay]`
#[derive(Clone)]
pub struct Queue {
    /// The servers of NATS. Empty: there is no queue, and events go to OTAS directly.
    pub nats_url: Vec<String>,
    /// What we identify ourselves with.
    pub credentials_file: Option<PathBuf>,
    /// The roots (PEM) that the servers are verified against, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The stream that holds events.
    pub stream: String,
    /// What all subjects begin with.
    pub subject_prefix: String,
    /// The agent whose events these are.
    pub agent_id: Option<String>,
    /// When an event in the stream counts as delivered.
    pub forget: Forget,
    /// For a relay: a folder with a file for each agent, which holds its key.
    pub keys_dir: Option<PathBuf>,
}

impl Queue {
    /// Whether events go to a queue, and not to OTAS.
    pub fn is_used(&self) -> bool {
        !self.nats_url.is_empty()
    }
}

/// `queue.forget`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forget {
    /// Once OTAS has accepted it or refused it for good.
    Delivered,
    /// Once the stream has it.
    Acknowledged,
}

impl Forget {
    /// The names in the settings.
    pub(super) const NAMES: [(&'static str, Self); 2] =
        [("delivered", Self::Delivered), ("acknowledged", Self::Acknowledged)];
}
