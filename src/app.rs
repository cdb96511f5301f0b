//! The only file that knows every part: binds, wires, and drains in order.

pub(crate) mod agents;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::admin;
use crate::callers::{Callers, RunSession, Tokens};
use crate::capture::{Budget, Limits, Recording};
use crate::collector::{Collector, CollectorOptions, embedded_agent};
use crate::config::{self, CaptureLevel, Config, Durability, OnFull, Otas, Scope};
use crate::deliver::{Deliveries, Status, Watch};
use crate::hosts::HostRules;
use crate::peer::Peers;
use crate::proxy::{
    self, Admission, AgentLimits, Destinations, Egress, Forwarding, Interception, Lifecycle, Origins, Pool, Quotas,
    Refusals, Resolver, Shared, UpstreamTasks,
};
use crate::redact::{FINGERPRINT_KEY_FILE, Fingerprint, Redactor, slow_patterns};
use crate::report::{Facts, Guarantees, Handoff, Reporter};
use crate::sinks::{self, Sinks};
use crate::store::{self, Bounds, SessionRow, Store, StoreError};
use crate::tls::{
    AuthorityError, CertAuthority, Leaves, OriginTls, RootsError, keep_up, open_authority, write_bundle,
};

/// How often idle upstream connections are looked through.
const SWEEP: Duration = Duration::from_secs(2);

/// How often the CA's folder is looked at.
const AUTHORITY_WATCH: Duration = Duration::from_secs(2);

/// How often whoever waits for delivery is told how it goes.
const TELL_PROGRESS: Duration = Duration::from_millis(100);

/// How long what was cut off may take to end.
const HANDED_OFF_WITHIN: Duration = Duration::from_secs(5);

/// A running proxy with all its parts.
pub struct App {
    /// Where agents connect.
    pub proxy_addr: SocketAddr,
    /// Where health is told.
    pub admin_addr: SocketAddr,
    /// Where people look at calls: an address for a browser, which works once and for ten minutes.
    pub page_url: String,
    /// Our CA's certificate.
    pub ca_file: PathBuf,
    /// The system's roots and our CA.
    pub bundle_file: PathBuf,
    /// This process's own name for itself; in every event's `metadata.proxy.run_id`.
    pub run_id: String,
    /// Where events wait.
    pub store: Store,
    /// The embedded collector, if there is no agent key.
    pub collector: Option<Collector>,
    /// Gone as soon as no agent is let in any more.
    listener: Weak<TcpListener>,
    shared: Arc<Shared>,
    handoff: Handoff,
    reporter: Reporter,
    /// That of this start.
    session: SessionRow,
    deliveries: Deliveries,
    sinks: Sinks,
    grace: Duration,
    gate: Arc<admin::Gate>,
    admin_stop: CancellationToken,
}

/// Why the proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The CA cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The origins' roots cannot be used.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another step failed.
    #[error("cannot {act}: {source}")]
    Step {
        /// What was tried.
        act: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What became of a run's calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Calls that were seen.
    pub calls: u64,
    /// Those of them that ended with an error.
    pub errors: u64,
    /// Events that OTAS has.
    pub delivered: u64,
    /// Events that wait in the store.
    pub waiting: u64,
    /// Events that OTAS will never take, that found no room, that the store refused, or that are gone with it.
    pub failed: u64,
    /// What is wrong with delivery at the end, if anything.
    pub trouble: Option<String>,
    /// Events that are not for OTAS (`otas.deliver = false`).
    pub kept: u64,
    /// How each sink stands.
    pub sinks: Vec<sinks::Status>,
}

/// How delivery and the sinks go while the proxy waits for them to be done.
pub struct Progress {
    /// Delivery to OTAS.
    pub delivery: Status,
    /// The sinks.
    pub sinks: Vec<sinks::Status>,
}

impl Progress {
    /// What is waited for, in words. `None`: nothing any more. `destination`: where OTAS's events go.
    pub fn what_waits(&self, destination: &str) -> Option<String> {
        let events = |many: u64| if many == 1 { "1 event".to_owned() } else { format!("{many} events") };
        let otas = (self.delivery.counts.pending, destination);
        let sinks = self.sinks.iter().map(|sink| (sink.waiting, sink.name.as_str()));
        let waits = std::iter::once(otas).chain(sinks).filter(|(many, _)| *many > 0);
        let words: Vec<String> = waits.map(|(many, to)| format!("{} to reach {to}", events(many))).collect();
        (!words.is_empty()).then(|| words.join(" and "))
    }

    /// Why it takes long, if that is known.
    pub fn trouble(&self) -> Option<String> {
        let of_sinks = self.sinks.iter().filter(|sink| sink.waiting > 0).find_map(|sink| sink.trouble.clone());
        self.delivery.trouble.clone().or(of_sinks)
    }
}

impl Summary {
    /// For programs; `run_id` is as in every event's `metadata.proxy.run_id`.
    pub fn json(&self, run_id: &str) -> Value {
        let Self { calls, errors, delivered, waiting, failed, trouble, kept, sinks } = self;
        let sinks: Vec<Value> = sinks.iter().map(sinks::Status::json).collect();
        serde_json::json!({
            "run_id": run_id, "calls": calls, "errors": errors, "delivered": delivered, "waiting": waiting, "failed": failed, "trouble": trouble,
            "kept": kept, "sinks": sinks,
        })
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { calls, errors, delivered, waiting, failed, trouble, kept, sinks } = self;
        let word = if *calls == 1 { "call" } else { "calls" };
        write!(f, "otas-proxy: {calls} {word}, {errors} failed, {delivered} delivered, {waiting} waiting")?;
        if *failed > 0 {
            write!(f, ", {failed} given up")?;
        }
        if *kept > 0 {
            write!(f, ", {kept} not for OTAS")?;
        }
        if *waiting > 0 {
            write!(f, " (what waits stays stored)")?;
        }
        match trouble {
            Some(trouble) if *waiting > 0 => write!(f, ": {trouble}")?,
            _ => {}
        }
        sinks.iter().try_for_each(|sink| write!(f, "\notas-proxy: {sink}"))
    }
}

impl App {
    /// Starts everything. `meta` tells this session apart in OTAS.
    ///
    /// # Errors
    /// [`AppError`] when a part cannot be started; nothing is left running then.
    pub async fn start(mut config: Config, meta: Value) -> Result<Self, AppError> {
        if !config.otas.deliver {
            agents::without_keys(&mut config);
        }
        let authority = Arc::new(open_authority(&config.tls.ca_dir)?);
        let bundle_file = write_bundle(&authority)
            .map_err(|e| step(format!("write the CA bundle in `{}`", config.tls.ca_dir.display()), e))?;
        let ca_file = authority.dir().join(crate::tls::CA_CERT_FILE);
        let trusted = authority.trusted();
        let trust_hint = proxy::trust_hint(&ca_file, &config.tls.usual_ca_dir);
        let tls = &config.tls;
        let (roots, ours, pinned) = (tls.origin_ca_file.as_deref(), &tls.client_certificates, &tls.pinned);
        let origin_tls = OriginTls::load(roots, ours, pinned, &trusted)?;
        let listener = bind("listen.proxy", config.listen.proxy).await?;
        let admin_listener = bind("listen.admin", config.listen.admin).await?;
        let (proxy_addr, admin_addr) = (local(&listener)?, local(&admin_listener)?);

        let store = Store::open(&config.store.path)?;
        let mut otas = config.otas.clone();
        agents::own_key(&mut otas, &config.agents);
        let (otas, collector) = match otas.deliver {
            true => destination(otas, store.path()).await?,
            false => (otas, None),
        };
        let key_id = otas.agent_key.as_ref().map(store::key_id).unwrap_or_default();
        let run_id = Uuid::now_v7().to_string();
        let gate = Arc::new(gate(admin_addr, store.path())?);
        let page_url = gate.link().map_err(|error| step("make the page's address".to_owned(), error))?;
        let session = store.begin_session(&run_id, &key_id, &meta.to_string())?;
        let own_listeners = vec![proxy_addr, admin_addr];
        // Where each caller has a session of its own, that of the proxy is not what is shown.
        let own = (config.session.scope == Scope::Proxy).then_some(session);
        let to_otas = origin_tls.for_ourselves();
        let deliveries = Deliveries::start(agents::deliveries(&config, &otas, &store, (own, Some(session)), to_otas))
            .map_err(|e| step("set up delivery".to_owned(), e))?;
        let wake = deliveries.waker();
        let sinks = Sinks::start(&store, &config.sinks, &config.delivery, origin_tls.for_ourselves())
            .map_err(|e| step("set up a sink".to_owned(), e))?;
        let appended = {
            let (deliveries, sinks) = (wake.clone(), sinks.waker());
            move || {
                deliveries();
                sinks();
            }
        };
        let callers = Callers::new(
            store.clone(),
            RunSession { row: session, run_id: run_id.clone(), key: agents::agent_key(&otas) },
            meta,
            agents::keys(&config.agents),
            config.session.idle_timeout,
        );
        let (own_domain, domains) = agents::domains(&otas, &config.agents);
        let destinations = Destinations::new(
            [&otas.uasam_url, &otas.brain_url],
            own_domain,
            domains,
            otas.log_in_domain,
            Arc::new(Tokens::new(callers.clone(), wake.clone())),
        );
        let credentials = agents::credentials(&config.session, &config.agents);

        for slow in slow_patterns(&config.redact.patterns) {
            tracing::warn!("{slow}");
        }
        let redactor = redactor(&config.redact, &config.capture.rules, store.path())?;
        let handoff = Handoff::new(Guarantees {
            audit: config.store.on_full == OnFull::Refuse,
            strict: config.store.durability == Durability::Strict,
        });
        let facts = Facts {
            callers,
            run_id: run_id.clone(),
            error_from_status: config.event.error_from_status,
            properties: config.event.properties,
            prices: config.event.prices,
            redactor: redactor.clone(),
            bounds: bounds(&config.store),
        };
        let budget = Budget::new(config.capture.memory_bytes);
        let limits =
            Limits { head_bytes: config.capture.body_head_bytes, tail_bytes: config.capture.body_tail_bytes };
        let recording = Recording::new(handoff.clone(), limits, budget.clone());
        let reporter = Reporter::start(recording.clone(), handoff.clone(), &store, facts, appended)
            .map_err(|e| step("start reporting".to_owned(), e))?;

        let listen = config.listen;
        let peers = Peers::new(proxy_addr.ip(), listen.same_user, listen.processes, listen.allow_clients)
            .map_err(|e| step("start looking up agents".to_owned(), e))?;
        let peers = Arc::new(peers);
        let shared = Arc::new(Shared {
            recording,
            admission: Admission::new(
                config.proxy.max_connections,
                peers.clone(),
                agents::processes(&config.session),
                credentials,
                Quotas::new(config.proxy.agent_connections, config.proxy.agent_requests_per_second),
            ),
            agent_limits: AgentLimits {
                header_bytes: config.proxy.max_header_bytes,
                header: config.proxy.header_timeout,
                handshake: config.proxy.handshake_timeout,
                idle: config.proxy.idle_timeout,
                stall: config.proxy.stall_timeout,
                streams: config.proxy.max_streams,
            },
            interception: Interception {
                leaves: Leaves::new(authority).map_err(|e| step("make the leaves' key".to_owned(), e))?,
                trust_hint,
                passthrough: config.tls.passthrough,
                refusals: Refusals::new(config.tls.learn_passthrough),
            },
            forwarding: Forwarding {
                strict_host: config.proxy.strict_host,
                via: config.proxy.via,
                response_timeout: config.proxy.response_timeout,
                destinations,
            },
            origins: Origins {
                tls: origin_tls,
                resolver: Resolver::default(),
                own_listeners,
                next_proxies: config.upstream,
                egress: Egress::new(&config.egress),
                connect_timeout: config.proxy.connect_timeout,
                tasks: UpstreamTasks::default(),
            },
            pool: Pool::default(),
            lifecycle: Lifecycle::default(),
        });
        let listener = Arc::new(listener);
        let weak_listener = Arc::downgrade(&listener);
        tokio::spawn(proxy::listen(shared.clone(), listener));
        tokio::spawn(sweep(shared.clone()));
        let admin_stop = CancellationToken::new();
        let told = admin::AdminSources {
            run_id: run_id.clone(),
            delivery: deliveries.watch(),
            sinks: sinks.watch(),
            tally: reporter.tally().clone(),
            handoff: handoff.clone(),
            budget,
            peers,
            redact_allow: config.redact.allow.iter().map(ToString::to_string).collect(),
            store: store.clone(),
            proxy: shared.clone(),
            stopping: shared.lifecycle.stop.clone(),
        };
        tokio::spawn(admin::serve(admin_listener, told, gate.clone(), admin_stop.clone()));
        Ok(Self {
            proxy_addr,
            admin_addr,
            page_url,
            ca_file,
            bundle_file,
            run_id,
            store,
            collector,
            listener: weak_listener,
            shared,
            handoff,
            reporter,
            session,
            deliveries,
            sinks,
            grace: config.proxy.shutdown_grace,
            gate,
            admin_stop,
        })
    }

    /// A new address for a browser, as [`App::page_url`].
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn page_link(&self) -> io::Result<String> {
        self.gate.link()
    }

    /// The listening socket of agents once more, for whoever is to keep the port when this proxy stops. `None`: it has stopped.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn share_listener(&self) -> io::Result<Option<OwnedFd>> {
        self.listener.upgrade().map(|listener| listener.as_fd().try_clone_to_owned()).transpose()
    }

    /// The CA that signs what agents are shown.
    pub fn authority(&self) -> Arc<CertAuthority> {
        self.shared.interception.leaves.authority()
    }

    /// Follows the CA's folder from now on: a CA that takes over there signs here, too. For a proxy whose agents are started on
    /// their own, and learn the next CA meanwhile; one with a single agent stays with the CA that this agent was told of.
    pub fn follow_authority(&self) {
        tokio::spawn(follow_authority(self.shared.clone()));
    }

    /// How delivery goes, now and from now on.
    pub fn watch(&self) -> Watch {
        self.deliveries.watch()
    }

    /// Stops in order: no new request, what is under way ends within the grace period (or is cut and says so), every
    /// event is stored, then delivered and handed to the sinks as far as `drain` allows. `progress` is told how that goes
    /// meanwhile. `hurry` ends all waits at once; without time to `drain`, posts under way are not waited for either.
    pub async fn stop(
        self,
        drain: Duration,
        hurry: CancellationToken,
        mut progress: impl FnMut(&Progress),
    ) -> Summary {
        let Self {
            shared, handoff, reporter, session, deliveries, sinks, store, collector, admin_stop, grace, ..
        } = self;
        shared.lifecycle.stop.cancel();
        shared.lifecycle.tasks.close();
        tokio::select! {
            () = shared.lifecycle.tasks.wait() => {}
            () = tokio::time::sleep(grace) => {}
            () = hurry.cancelled() => {}
        }
        shared.recording.shutting_down();
        shared.lifecycle.cut.cancel();
        shared.lifecycle.tasks.wait().await;
        shared.pool.clear();
        // Upstream connections may still hold the bodies of requests, and with them their exchanges.
        shared.origins.tasks.end_all();
        if timeout(HANDED_OFF_WITHIN, shared.recording.all_handed_off()).await.is_err() {
            tracing::error!("some calls do not end; they will have no event");
        }
        let (tally, keeps) = (reporter.tally().clone(), deliveries.is_empty());
        // Joining waits for the disk.
        let hurried = hurry.clone();
        if tokio::task::spawn_blocking(move || reporter.finish(hurried)).await.is_err() {
            tracing::error!("the reporting thread could not be joined");
        }
        (deliveries.waker())();
        let (viewer, health) = (store.viewer(), store.clone());
        let newest = tokio::task::spawn_blocking(move || viewer.newest()).await;
        // Without an answer nothing is known to be had, so the time is waited for.
        let newest = newest.ok().and_then(Result::ok).unwrap_or(i64::MAX);
        let (watch, sinks_watch) = (deliveries.watch(), sinks.watch());
        let fed = {
            let drained = async {
                tokio::join!(deliveries.drained(drain, &hurry, |_| {}), sinks.drained(newest, drain, &hurry)).1
            };
            tokio::pin!(drained);
            let mut tell = tokio::time::interval(TELL_PROGRESS);
            loop {
                tokio::select! {
                    biased;
                    fed = &mut drained => break fed,
                    _ = tell.tick() => progress(&Progress { delivery: watch.now(), sinks: sinks_watch.now() }),
                }
            }
        };
        if drain.is_zero() {
            hurry.cancel();
        }
        tokio::join!(deliveries.stop(&hurry), sinks.stop(&hurry));
        // What they had counted before may be older than the last events.
        let status = watch.now();
        // What waits of it is delivered all the same, by whoever comes next.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || store.close_session(session)).await {
            tracing::warn!(%error, "the session's end could not be noted, so its row stays in the store");
        }
        if let Some(collector) = collector {
            collector.stop().await;
        }
        admin_stop.cancel();
        let dropped = handoff.dropped();
        let shed = health.health().events_lost().saturating_sub(dropped);
        let lost = tally.lost() + shed;
        Summary {
            calls: tally.stored() + dropped + tally.lost(),
            errors: tally.with_error(),
            delivered: status.counts.delivered,
            waiting: status.counts.pending,
            failed: status.counts.dead + dropped + lost,
            trouble: status.trouble,
            kept: if keeps { tally.stored() } else { 0 },
            sinks: fed,
        }
    }
}

/// The service to deliver to: the configured one, or the embedded collector when there is no agent key.
pub(crate) async fn destination(mut otas: Otas, store: &Path) -> Result<(Otas, Option<Collector>), AppError> {
    if otas.agent_key.is_some() {
        return Ok((otas, None));
    }
    let listener = bind("the embedded collector", SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let key_file = store.with_file_name("collector.key");
    let agent = embedded_agent(&key_file)
        .map_err(|e| step(format!("use the embedded collector's key in `{}`", key_file.display()), e))?;
    let key = agent.key.clone();
    let db = Some(store.with_file_name("collector.db"));
    let collector = Collector::start(listener, CollectorOptions { db, agents: vec![agent] })
        .await
        .map_err(|e| step("start the embedded collector".to_owned(), e))?;
    let url =
        url::Url::parse(&collector.url).map_err(|e| step("use the embedded collector's address".to_owned(), e))?;
    otas.brain_url = url.clone();
    otas.uasam_url = url;
    otas.agent_key = Some(key);
    otas.agent_key_file = Some(key_file);
    (otas.project_id, otas.session_token) = (None, None);
    Ok((otas, Some(collector)))
}

fn gate(listening: SocketAddr, store: &Path) -> Result<admin::Gate, AppError> {
    let file = admin::token_file(store);
    admin::load_or_make_token(&file)
        .and_then(|token| admin::Gate::new(listening, token))
        .map_err(|e| step(format!("use the page's token in `{}`", file.display()), e))
}

/// The rules of redaction, with the key for tags beside the store.
fn redactor(
    settings: &config::Redact,
    capture: &[(HostRules, CaptureLevel)],
    store: &Path,
) -> Result<Arc<Redactor>, AppError> {
    let file = store.with_file_name(FINGERPRINT_KEY_FILE);
    let fingerprint = Fingerprint::load_or_create(&file)
        .map_err(|e| step(format!("use the key for tags of masked secrets in `{}`", file.display()), e))?;
    Redactor::new(settings, capture, fingerprint)
        .map(Arc::new)
        .map_err(|e| step("make the rules of redaction ready".to_owned(), e))
}

fn bounds(store: &config::Store) -> Bounds {
    Bounds {
        max_bytes: store.max_bytes,
        min_free_bytes: store::left_free_bytes(&store.path, store.min_free_bytes),
        keep: store.keep,
        keep_bytes: store.keep_bytes,
        may_drop: store.on_full == OnFull::DropOldest,
    }
}

async fn sweep(shared: Arc<Shared>) {
    let mut every = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            _ = every.tick() => shared.pool.sweep(),
            () = shared.lifecycle.cut.cancelled() => return,
        }
    }
}

async fn follow_authority(shared: Arc<Shared>) {
    let mut every = tokio::time::interval(AUTHORITY_WATCH);
    let mut told = String::new();
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = shared.lifecycle.cut.cancelled() => return,
        }
        let now = shared.interception.leaves.authority();
        let dir = now.dir().to_owned();
        let looked = tokio::task::spawn_blocking(move || {
            keep_up(&dir, time::OffsetDateTime::now_utc())?;
            CertAuthority::load(&dir)
        });
        match looked.await {
            Ok(Ok(found)) if found.der() != now.der() => {
                tracing::warn!("another CA signs from now on");
                shared.interception.leaves.sign_by(Arc::new(found));
            }
            // Said once: what is wrong with a folder stays wrong for long.
            Ok(Err(error)) if told != error.to_string() => {
                tracing::warn!(%error, "the CA's folder is not as it should be; the CA in use goes on");
                told = error.to_string();
            }
            _ => {}
        }
    }
}

async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, AppError> {
    let hint = |e: io::Error| match e.kind() {
        io::ErrorKind::AddrInUse => {
            io::Error::new(e.kind(), "the port is taken; choose another, or 0 for any free one")
        }
        _ => e,
    };
    TcpListener::bind(address).await.map_err(|e| step(format!("listen on {address} ({what})"), hint(e)))
}

fn local(listener: &TcpListener) -> Result<SocketAddr, AppError> {
    listener.local_addr().map_err(|e| step("learn the listening address".to_owned(), e))
}

pub(crate) fn step(act: String, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> AppError {
    AppError::Step { act, source: source.into() }
}
