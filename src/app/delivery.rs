//! What takes events out of the store: delivery to OTAS, the sinks, and the sessions that events belong to.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use super::agents;
use super::destination::destination;
use super::error::{AppError, step};
use super::fleet::QueueLink;
use crate::callers::{Callers, RunSession, Tokens};
use crate::collector::Collector;
use crate::config::{Agent, Config, Otas, Scope};
use crate::deliver::Deliveries;
use crate::proxy::Destinations;
use crate::sinks::Sinks;
use crate::store::{self, SessionRow, Store};
use crate::tls::OriginTls;

/// Delivery, running.
pub(super) struct Delivery {
    /// The id of this process.
    pub(super) run_id: String,
    /// The session of this start.
    pub(super) session: SessionRow,
    /// The OTAS in use: the embedded collector if there is no agent key.
    pub(super) otas: Otas,
    pub(super) collector: Option<Collector>,
    pub(super) deliveries: Arc<Deliveries>,
    /// The queue of a fleet, if events go there.
    pub(super) queue: QueueLink,
    pub(super) sinks: Arc<Sinks>,
    /// The session whose state is shown.
    pub(super) shown: Option<SessionRow>,
    pub(super) callers: Arc<Callers>,
    /// The tokens for calls into a project's domain.
    pub(super) tokens: Arc<Tokens>,
}

impl Delivery {
    /// Begins the session of this start, then delivery and the sinks. `meta` tells the session apart in OTAS.
    ///
    /// # Errors
    /// When the embedded collector, delivery or a sink cannot be started, or the store refuses the session.
    pub(super) async fn start(
        config: &Config,
        store: &Store,
        meta: Value,
        tls: &OriginTls,
    ) -> Result<Self, AppError> {
        let mut otas = config.otas.clone();
        agents::own_key(&mut otas, &config.agents);
        let (otas, collector) = match otas.deliver {
            true => destination(otas, store.path()).await?,
            false => (otas, None),
        };
        let key_id = otas.agent_key.as_ref().map(store::key_id).unwrap_or_default();
        let run_id = Uuid::now_v7().to_string();
        let session = store.begin_session(&run_id, &key_id, &meta.to_string())?;
        // If each caller has a session of its own, the proxy's session is not the one to show.
        let shown = (config.session.scope == Scope::Proxy).then_some(session);
        let queue = QueueLink::open(config).await?;
        let options = agents::deliveries(config, &otas, store, (shown, Some(session)), tls.for_ourselves(), &queue);
        let deliveries = Deliveries::start(options).map_err(|error| step("set up delivery".to_owned(), error))?;
        let deliveries = Arc::new(deliveries);
        let sinks = Sinks::start(store, &config.sinks, &config.delivery, tls.for_ourselves())
            .map_err(|error| step("set up a sink".to_owned(), error))?;
        let sinks = Arc::new(sinks);
        let callers = Callers::new(
            store.clone(),
            RunSession { row: session, run_id: run_id.clone(), key: agents::agent_key(&otas) },
            meta,
            agents::keys(&config.agents),
            config.session.idle_timeout,
        );
        let tokens = Arc::new(Tokens::new(callers.clone(), deliveries.waker()));
        Ok(Self { run_id, session, shown, otas, collector, deliveries, queue, sinks, callers, tokens })
    }

    /// Tells delivery and the sinks that events were stored.
    pub(super) fn waker(&self) -> impl Fn() + Send + Sync + 'static + use<> {
        let (deliveries, sinks) = (self.deliveries.waker(), self.sinks.waker());
        move || {
            deliveries();
            sinks();
        }
    }
}

/// Which calls are for OTAS, and which for the domain of a project. `otas`: the OTAS in use.
pub(super) fn destinations(otas: &Otas, agents: &[Agent], tokens: Arc<Tokens>) -> Destinations {
    let (own_domain, domains) = agents::domains(otas, agents);
    Destinations::new([&otas.uasam_url, &otas.brain_url], own_domain, domains, otas.log_in_domain, tokens)
}
