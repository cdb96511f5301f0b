//! New settings in a running proxy. What can fail is done first. Then each part gets its new settings; until a part has them, it
//! works with the old ones. Nothing is stopped, and calls in flight keep the rules that they began with.

use std::sync::Arc;

use parking_lot::Mutex;

use super::agents;
use super::delivery::destinations;
use super::error::{AppError, step};
use super::fleet::{self, QueueLink};
use super::indexing::Indexing;
use super::proxying;
use super::reporting::{self, redactor};
use crate::admin::LiveSettings;
use crate::callers::{Callers, Tokens};
use crate::capture::Budget;
use crate::config::{Config, Otas, Sink, Takeover};
use crate::deliver::Deliveries;
use crate::proxy::{Egress, Origins, Shared, Websockets};
use crate::redact::Redactor;
use crate::report::{Handoff, LiveFacts};
use crate::sinks::Sinks;
use crate::store::{SessionRow, Store};
use crate::tls::{OriginTls, system_roots};

/// Takes new settings over while the proxy runs.
pub struct Reloader {
    pub(super) settings: Arc<LiveSettings>,
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    pub(super) facts: LiveFacts,
    pub(super) handoff: Handoff,
    pub(super) budget: Arc<Budget>,
    /// The OTAS in use.
    pub(super) otas: Otas,
    /// The session whose state is shown, and the session of this start.
    pub(super) session: (Option<SessionRow>, SessionRow),
    pub(super) deliveries: Arc<Deliveries>,
    pub(super) queue: QueueLink,
    pub(super) sinks: Arc<Sinks>,
    pub(super) callers: Arc<Callers>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) indexing: Arc<Mutex<Indexing>>,
}

/// What new settings need, made before anything is changed.
struct Prepared {
    takeover: Takeover,
    /// TLS towards origins.
    tls: Arc<OriginTls>,
    /// `None`: the rules are as before.
    redactor: Option<Arc<Redactor>>,
}

/// What became of new settings.
pub struct Reloaded {
    /// The names of the settings that were taken over.
    pub changed: Vec<&'static str>,
    /// The names of the settings that need a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Reloader {
    /// The settings in force.
    pub fn in_force(&self) -> Arc<Config> {
        self.settings.in_force()
    }

    /// Takes valid settings over, as far as a running proxy can. Blocks for some milliseconds. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// When a part cannot use them. Then nothing has changed.
    pub fn take_over(&self, mut new: Config) -> Result<Reloaded, AppError> {
        let in_force = self.settings.in_force();
        if !in_force.otas.deliver {
            agents::without_keys(&mut new);
        }
        fleet::without_keys(&mut new);
        let Prepared { takeover, tls, redactor } = self.prepare(&in_force, &new)?;
        self.apply(&takeover, tls, redactor)?;
        let (changed, needs_restart) = (takeover.changed.clone(), takeover.needs_restart.clone());
        self.settings.taken_over(takeover);
        Ok(Reloaded { changed, needs_restart })
    }

    /// Notes that new settings are invalid. `why` has no secrets.
    pub fn refuse(&self, why: String) {
        self.settings.refused(why);
    }

    fn prepare(&self, in_force: &Config, new: &Config) -> Result<Prepared, AppError> {
        let takeover = Takeover::of(in_force, new);
        let config = &takeover.config;
        let tls = match changes_tls(&takeover) {
            true => {
                let (ca_file, ours) = (config.tls.origin_ca_file.as_deref(), &config.tls.client_certificates);
                let trusted = self.shared.interception.leaves.authority().trusted();
                Arc::new(OriginTls::load(system_roots(), ca_file, ours, &config.tls.pinned, &trusted)?)
            }
            false => self.shared.rules().origins.tls.clone(),
        };
        let redactor = match touches(&takeover, &["redact.", "capture.rules"]) {
            true => Some(redactor(&config.redact, &config.capture.rules, self.store.path())?),
            false => None,
        };
        Ok(Prepared { takeover, tls, redactor })
    }

    /// Gives each part its settings.
    fn apply(
        &self,
        takeover: &Takeover,
        tls: Arc<OriginTls>,
        redactor: Option<Arc<Redactor>>,
    ) -> Result<(), AppError> {
        let config = &takeover.config;
        self.deliver(takeover, &tls)?;
        if touches(takeover, &["store.search", "store.max_bytes", "store.min_free_bytes"]) {
            let restarted = self.indexing.lock().restart(&self.store, &config.store);
            restarted.map_err(|error| step("start the search index".to_owned(), error))?;
        }
        if touches(takeover, &["redact.patterns"]) {
            reporting::warn_of_slow_patterns(config);
        }
        let before = self.facts.load_full();
        let redactor = redactor.unwrap_or_else(|| before.redactor.clone());
        self.facts.store(Arc::new(reporting::facts(config, &before, redactor)));
        self.handoff.guarantee(reporting::guarantees(&config.store));
        self.shared.recording.limit_to(reporting::limits(&config.capture));
        self.budget.limit_to(config.capture.memory_bytes);
        self.callers.close_after(config.session.idle_timeout);
        let admission = &self.shared.admission;
        admission.peers.allow(config.listen.allow_clients.clone());
        admission.allow_connections(config.proxy.max_connections);
        let otas = Otas {
            project_domain: config.otas.project_domain.clone(),
            project_subdomains: config.otas.project_subdomains,
            log_in_domain: config.otas.log_in_domain,
            ..self.otas.clone()
        };
        let destinations = destinations(&otas, &config.agents, self.tokens.clone());
        let origins = self.origins(takeover, tls);
        self.shared.follow(proxying::rules(config, Arc::new(origins), destinations));
        Ok(())
    }

    /// Gives delivery and the sinks their settings. What a sink needs is made before the ones that run are stopped.
    fn deliver(&self, takeover: &Takeover, tls: &OriginTls) -> Result<(), AppError> {
        let (config, tls) = (&takeover.config, tls.for_ourselves());
        let roots = config.tls.origin_ca_file.is_some() || touches(takeover, &["tls.origin_ca_file"]);
        let waits = touches(takeover, &["delivery.backoff"]);
        let stays = |sink: &Sink| match sink {
            Sink::JsonLines(_) => !waits,
            // Its certificate may be another one now.
            Sink::Otlp(otlp) => !waits && !roots && otlp.certificate.is_none(),
        };
        let sinks = self.sinks.follow(&self.store, &config.sinks, &config.delivery, tls, stays);
        sinks.map_err(|error| step("set up a sink".to_owned(), error))?;
        if roots || touches(takeover, &["delivery.", "agents"]) {
            let (shown, session) = self.session;
            let options =
                agents::deliveries(config, &self.otas, &self.store, (shown, Some(session)), tls, &self.queue);
            self.deliveries.follow(options).map_err(|error| step("set up delivery".to_owned(), error))?;
            self.callers.know(agents::keys(&config.agents));
        }
        Ok(())
    }

    /// How origins are reached. If that changes, connections that are open are not used for further calls.
    fn origins(&self, takeover: &Takeover, tls: Arc<OriginTls>) -> Origins {
        let (config, before) = (&takeover.config, self.shared.rules());
        let changes = changes_tls(takeover) || touches(takeover, &["upstream.", "egress."]);
        let tls_sessions = if changes { Arc::default() } else { before.origins.tls_sessions.clone() };
        Origins {
            generation: before.origins.generation.wrapping_add(u32::from(changes)),
            tls,
            tls_sessions,
            websockets: Websockets::default(),
            resolver: before.origins.resolver.clone(),
            own_listeners: before.origins.own_listeners.clone(),
            next_proxies: config.upstream.clone(),
            egress: Egress::new(&config.egress),
            connect_timeout: config.proxy.connect_timeout,
            tasks: before.origins.tasks.clone(),
        }
    }
}

/// Whether TLS towards origins is another one now. Files that it is made of may have changed although no setting has.
fn changes_tls(takeover: &Takeover) -> bool {
    let tls = &takeover.config.tls;
    let has_files = tls.origin_ca_file.is_some() || !tls.client_certificates.is_empty();
    has_files || touches(takeover, &["tls.origin_ca_file", "tls.client_certificates", "tls.pinned"])
}

/// Whether a setting is taken over whose name begins like this.
fn touches(takeover: &Takeover, names: &[&str]) -> bool {
    takeover.changed.iter().any(|changed| names.iter().any(|name| changed.starts_with(name)))
}
