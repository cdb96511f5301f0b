//! The only part that knows every other: starts them, wires them, and stops them in order.

pub(crate) mod agents;
mod certificates;
mod delivery;
mod destination;
mod error;
pub(crate) mod fleet;
pub(crate) mod indexing;
#[cfg(target_os = "linux")]
mod inside;
mod ports;
mod proxying;
mod reload;
mod reporting;
mod stop;
mod summary;

use std::io;
use std::net::{self, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) use self::destination::destination;
pub use self::error::AppError;
pub(crate) use self::error::step;
pub use self::ports::Sockets;
pub(crate) use self::ports::with_advice;
pub use self::reload::{Reloaded, Reloader};
#[cfg(feature = "nats")]
pub(crate) use self::reporting::bounds;
pub(crate) use self::reporting::redactor;
pub use self::summary::{Progress, Summary};

use self::certificates::Certificates;
use self::delivery::{Delivery, destinations};
use self::indexing::Indexing;
use self::ports::Ports;
use self::reporting::Reporting;
use crate::admin::{self, LiveSettings};
use crate::collector::Collector;
use crate::config::{Config, Sink};
use crate::deliver::Watch;
use crate::peer::Peers;
use crate::proxy::{self, Door, Shared};
use crate::redact::Redactor;
use crate::store::Store;
use crate::system::ports::share;
use crate::tls::CertAuthority;

/// A running proxy with all its parts.
pub struct App {
    /// Where agents connect.
    pub proxy_addr: SocketAddr,
    /// Where the system redirects connections of agents to.
    pub transparent_addrs: Vec<SocketAddr>,
    /// Where health is served.
    pub admin_addr: SocketAddr,
    /// Where people look at calls: an address for a browser, which works once and for ten minutes.
    pub page_url: String,
    /// Our CA's certificate.
    pub ca_file: PathBuf,
    /// The system's roots and our CA.
    pub bundle_file: PathBuf,
    /// The id of this process, which every event has as `metadata.proxy.run_id`.
    pub run_id: String,
    /// Where events wait.
    pub store: Store,
    /// The embedded collector, if there is no agent key.
    pub collector: Option<Collector>,
    /// Dead as soon as the stop has begun and no agent is admitted any more.
    listener: Weak<TcpListener>,
    shared: Arc<Shared>,
    reporting: Reporting,
    delivery: Delivery,
    settings: Arc<LiveSettings>,
    gate: Arc<admin::Gate>,
    admin_stop: CancellationToken,
    indexing: Arc<Mutex<Indexing>>,
}

impl App {
    /// Starts everything. `meta` tells this session apart in OTAS; it gets the rules of redaction for what it shows.
    ///
    /// # Errors
    /// [`AppError`] when a part cannot be started; nothing is left running then.
    pub async fn start(config: Config, meta: impl FnOnce(&Redactor) -> Value) -> Result<Self, AppError> {
        Self::start_on(Sockets::default(), config, meta).await
    }

    /// The same, on ports that are open already.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_on(
        sockets: Sockets,
        mut config: Config,
        meta: impl FnOnce(&Redactor) -> Value,
    ) -> Result<Self, AppError> {
        if !config.otas.deliver {
            agents::without_keys(&mut config);
        }
        fleet::without_keys(&mut config);
        let certificates = Certificates::open(&config.tls)?;
        let Ports { proxy, proxy_addr, admin, admin_addr, transparent } =
            Ports::open(&config.listen, sockets).await?;
        let transparent_addrs = transparent.iter().map(ports::local).collect::<Result<Vec<_>, _>>()?;
        let store = Store::open(&config.store.path)?;
        let gate = Arc::new(gate(admin_addr, &store)?);
        let page_url = gate.link().map_err(|error| step("make the page's address".to_owned(), error))?;

        let redactor = redactor(&config.redact, &config.capture.rules, store.path())?;
        let mut delivery = Delivery::start(&config, &store, meta(&redactor), &certificates.origins).await?;
        let reporting = Reporting::start(&config, &store, &delivery, redactor)?;
        let indexing = Indexing::start(&store, &config.store)
            .map_err(|error| step("start the search index".to_owned(), error))?;
        let peers = Arc::new(peers(&config, proxy_addr)?);
        let (ca_file, bundle_file) = (certificates.ca_file.clone(), certificates.bundle_file.clone());
        let given = proxying::Given {
            recording: reporting.recording.clone(),
            peers: peers.clone(),
            destinations: destinations(&delivery.otas, &config.agents, delivery.tokens.clone()),
            own_listeners: [proxy_addr, admin_addr].into_iter().chain(transparent_addrs.clone()).collect(),
        };
        let shared = proxying::shared(&config, certificates, given)?;
        let settings = LiveSettings::new(config);

        let admin_stop = CancellationToken::new();
        let sources = admin::AdminSources {
            run_id: delivery.run_id.clone(),
            delivery: delivery.deliveries.watch(),
            sinks: delivery.sinks.watch(),
            tally: reporting.reporter.tally().clone(),
            quotas: reporting.quotas.clone(),
            handoff: reporting.handoff.clone(),
            budget: reporting.budget.clone(),
            peers,
            facts: reporting.facts.clone(),
            settings: settings.clone(),
            store: store.clone(),
            proxy: shared.clone(),
            stopping: shared.lifecycle.stop.clone(),
        };
        let listener = Arc::new(proxy);
        let weak_listener = Arc::downgrade(&listener);
        // A stop waits for it: a connection that it has accepted by then is served.
        shared.lifecycle.tasks.spawn(proxy::listen(shared.clone(), listener, Door::Proxy));
        for listener in transparent {
            let listening = proxy::listen(shared.clone(), Arc::new(listener), Door::Redirected);
            shared.lifecycle.tasks.spawn(listening);
        }
        tokio::spawn(proxying::sweep(shared.clone()));
        tokio::spawn(admin::serve(admin, sources, gate.clone(), admin_stop.clone()));
        Ok(Self {
            proxy_addr,
            transparent_addrs,
            admin_addr,
            page_url,
            ca_file,
            bundle_file,
            run_id: delivery.run_id.clone(),
            store,
            collector: delivery.collector.take(),
            listener: weak_listener,
            shared,
            reporting,
            delivery,
            settings,
            gate,
            admin_stop,
            indexing: Arc::new(Mutex::new(indexing)),
        })
    }

    /// A new address for a browser, as [`App::page_url`].
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn page_link(&self) -> io::Result<String> {
        self.gate.link()
    }

    /// A second handle of the agents' port, for a process that keeps the port when this proxy stops. `None`: it has stopped.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn share_listener(&self) -> io::Result<Option<net::TcpListener>> {
        self.listener.upgrade().map(|listener| share(&listener)).transpose()
    }

    /// The rules of redaction, as they are now.
    pub fn redactor(&self) -> Arc<Redactor> {
        self.reporting.facts.load().redactor.clone()
    }

    /// The CA that signs what agents are shown.
    pub fn authority(&self) -> Arc<CertAuthority> {
        self.shared.interception.leaves.authority()
    }

    /// Follows the CA folder from now on: a CA that takes over there signs here, too. This is for a proxy whose agents are started
    /// independently and learn about the next CA meanwhile. A proxy with a single agent keeps the CA that the agent knows.
    pub fn follow_authority(&self) {
        tokio::spawn(certificates::follow_authority(
            self.shared.clone(),
            self.settings.in_force().tls.agent_dir.clone(),
        ));
    }

    /// Takes new settings over while the proxy runs.
    pub fn reloader(&self) -> Reloader {
        let Self { settings, shared, store, reporting, delivery, indexing, .. } = self;
        Reloader {
            settings: settings.clone(),
            shared: shared.clone(),
            store: store.clone(),
            facts: reporting.facts.clone(),
            handoff: reporting.handoff.clone(),
            budget: reporting.budget.clone(),
            otas: delivery.otas.clone(),
            session: (delivery.shown, delivery.session),
            deliveries: delivery.deliveries.clone(),
            queue: delivery.queue.clone(),
            sinks: delivery.sinks.clone(),
            callers: delivery.callers.clone(),
            tokens: delivery.tokens.clone(),
            indexing: indexing.clone(),
        }
    }

    /// Whether events go to standard output, which then holds nothing else.
    pub fn has_stdout_sink(&self) -> bool {
        self.settings.in_force().sinks.iter().any(Sink::is_stdout)
    }

    /// How long a stop waits for events to reach OTAS and the sinks (`delivery.drain_timeout_ms`, as it is now).
    pub fn drain_timeout(&self) -> Duration {
        self.settings.in_force().delivery.drain_timeout
    }

    /// The state of delivery, now and from now on.
    pub fn watch(&self) -> Watch {
        self.delivery.deliveries.watch()
    }
}

/// Who may see the page: those who have the token beside the store.
fn gate(listening: SocketAddr, store: &Store) -> Result<admin::Gate, AppError> {
    let file = admin::token_file(store.path());
    admin::load_or_make_token(&file)
        .and_then(|token| admin::Gate::new(listening, token))
        .map_err(|error| step(format!("use the page's token in `{}`", file.display()), error))
}

/// Who calls: the users and processes of local connections, and the networks that may connect.
fn peers(config: &Config, proxy_addr: SocketAddr) -> Result<Peers, AppError> {
    let listen = &config.listen;
    Peers::new(proxy_addr.ip(), listen.same_user, listen.processes, listen.allow_clients.clone())
        .map_err(|error| step("start looking up agents".to_owned(), error))
}
