//! A proxy in a fleet: its events go into a queue, and relays have the keys of agents.

use super::error::AppError;
#[cfg(feature = "nats")]
use super::error::step;
use crate::config::{Agent, Config};
use crate::deliver::Fleet;
use crate::secret::Secret;

/// The connection to the queue, if events go there.
#[derive(Clone, Default)]
pub(crate) struct QueueLink {
    #[cfg(feature = "nats")]
    queue: Option<crate::nats::Queue>,
}

impl QueueLink {
    /// Connects as soon as a server is there.
    ///
    /// # Errors
    /// When the settings name no agent, or the credentials cannot be used.
    #[cfg(feature = "nats")]
    pub(crate) async fn open(config: &Config) -> Result<Self, AppError> {
        if !is_used(config) {
            return Ok(Self::default());
        }
        has_names(config)?;
        let queue = Box::pin(crate::nats::Queue::follow(&config.queue, "otas-proxy")).await;
        Ok(Self { queue: Some(queue.map_err(|error| step("use the queue".to_owned(), error))?) })
    }

    /// # Errors
    /// None: without NATS, settings with a queue are refused.
    #[cfg(not(feature = "nats"))]
    #[expect(clippy::unused_async, reason = "as with NATS")]
    pub(crate) async fn open(_config: &Config) -> Result<Self, AppError> {
        Ok(Self::default())
    }

    /// The part of a delivery in the fleet: its events are those of this agent, or of the proxy itself.
    #[cfg(feature = "nats")]
    pub(crate) fn part_of(&self, config: &Config, agent: Option<&Agent>) -> Fleet {
        let target = self.queue.as_ref().zip(names(config, agent)).map(|(queue, (project, agent))| {
            let subject = queue.names.event(project, agent);
            crate::deliver::publish::Target { queue: queue.clone(), subject, forget: config.queue.forget }
        });
        Fleet { target, ..Fleet::default() }
    }

    #[cfg(not(feature = "nats"))]
    pub(crate) fn part_of(&self, _config: &Config, _agent: Option<&Agent>) -> Fleet {
        Fleet::default()
    }
}

/// Whether events go into a queue.
pub(crate) fn is_used(config: &Config) -> bool {
    config.queue.is_used() && config.otas.deliver
}

/// The project and the agent of events.
fn names<'a>(config: &'a Config, agent: Option<&'a Agent>) -> Option<(&'a str, &'a str)> {
    let project = agent.and_then(|agent| agent.project_id.as_deref()).or(config.otas.project_id.as_deref())?;
    let name = agent.and_then(|agent| agent.agent_id.as_deref()).or(config.queue.agent_id.as_deref())?;
    Some((project, name))
}

#[cfg(feature = "nats")]
fn has_names(config: &Config) -> Result<(), AppError> {
    match names(config, None) {
        Some(_) => Ok(()),
        None => Err(step(
            "use the queue (`queue.nats_url`)".to_owned(),
            "events in a queue name their project and their agent; set `otas.project_id` and `queue.agent_id`",
        )),
    }
}

/// With a queue, a proxy has no keys. What stands for them in the store tells agents apart: their sessions and their events.
pub(crate) fn without_keys(config: &mut Config) {
    if !is_used(config) {
        return;
    }
    if config.otas.agent_key.is_some() || config.agents.iter().any(|agent| agent.agent_key.is_some()) {
        tracing::warn!(
            "agent keys are not used with `queue.nats_url`: relays have them; remove them from this proxy"
        );
    }
    let name = |agent: Option<&Agent>| {
        names(config, agent).map(|(project, agent)| Secret::new(&format!("queue {project} {agent}")))
    };
    let own = name(None);
    let theirs: Vec<_> = config.agents.iter().map(|agent| name(Some(agent))).collect();
    (config.otas.agent_key, config.otas.agent_key_file) = (own, None);
    for (agent, name) in config.agents.iter_mut().zip(theirs) {
        agent.agent_key = name.map(|name| (name, std::path::PathBuf::new()));
    }
}
