//! The agents of `[[agents]]`, in the form that each part needs.

use std::collections::HashMap;

use super::fleet::QueueLink;
use crate::callers::AgentKey;
use crate::config::{Agent, Config, Otas, Scope, Session};
use crate::deliver::DeliverOptions;
use crate::peer::AgentRules;
use crate::proxy::{Credentials, ProjectDomain};
use crate::store::{SessionRow, Store, key_id};

/// If the proxy has no key of its own, its own events (such as `GAP`) are sent with the key of the first agent.
pub(crate) fn own_key(otas: &mut Otas, agents: &[Agent]) {
    if otas.agent_key.is_none()
        && let Some((key, file)) = agents.iter().find_map(|agent| agent.agent_key.clone())
    {
        (otas.agent_key, otas.agent_key_file) = (Some(key), Some(file));
    }
}

/// Removes all keys: events without a key are not for OTAS.
pub(crate) fn without_keys(config: &mut Config) {
    let otas = &mut config.otas;
    (otas.agent_key, otas.agent_key_file, otas.session_token) = (None, None, None);
    config.agents.iter_mut().for_each(|agent| agent.agent_key = None);
}

/// The key of the proxy itself.
pub(crate) fn agent_key(otas: &Otas) -> Option<AgentKey> {
    otas.agent_key.clone().map(|key| AgentKey { key, file: otas.agent_key_file.clone() })
}

/// The keys of agents that have one, by name.
pub(crate) fn keys(agents: &[Agent]) -> HashMap<String, AgentKey> {
    let own = |agent: &Agent| {
        let (key, file) = agent.agent_key.clone()?;
        Some((agent.name.clone(), AgentKey { key, file: Some(file) }))
    };
    agents.iter().filter_map(own).collect()
}

/// Who may use the proxy.
pub(crate) fn credentials(session: &Session, agents: &[Agent]) -> Option<Credentials> {
    if let Some(secret) = &session.run_secret {
        return Some(Credentials::of_run(secret));
    }
    let known = agents.iter().map(|agent| (agent.name.as_str(), &agent.secret));
    (session.scope == Scope::Credential).then(|| Credentials::new(known))
}

/// The rules that find agent processes, if each is a caller of its own.
pub(crate) fn processes(session: &Session) -> Option<AgentRules> {
    let rules = || AgentRules::new(session.agent_processes.iter().map(String::as_str));
    (session.scope == Scope::Process).then(rules)
}

/// The project domain of the proxy itself, and those of agents by name.
pub(crate) fn domains(otas: &Otas, agents: &[Agent]) -> (Option<ProjectDomain>, HashMap<String, ProjectDomain>) {
    let domain = |url: &url::Url| ProjectDomain::new(url, otas.project_subdomains);
    let of = |agent: &Agent| Some((agent.name.clone(), domain(agent.project_domain.as_ref()?)?));
    (otas.project_domain.as_ref().and_then(domain), agents.iter().filter_map(of).collect())
}

/// One delivery for each key: the proxy's own, then those of the agents. `own`: the session of this start, if its state is to be
/// shown. `process`: the same session, if this process makes events. `queue`: where events go in a fleet.
pub(crate) fn deliveries(
    config: &Config,
    otas: &Otas,
    store: &Store,
    (own, process): (Option<SessionRow>, Option<SessionRow>),
    tls: &rustls::ClientConfig,
    queue: &QueueLink,
) -> Vec<DeliverOptions> {
    let options = |otas: Otas, session_row, agent: Option<&Agent>| DeliverOptions {
        store: store.clone(),
        session_row,
        process,
        otas,
        delivery: config.delivery.clone(),
        tls: tls.clone(),
        fleet: queue.part_of(config, agent),
    };
    if !otas.deliver {
        return Vec::new();
    }
    let mut seen: Vec<String> = otas.agent_key.iter().map(key_id).collect();
    let mut all = vec![options(otas.clone(), own, None)];
    for agent in &config.agents {
        let Some((key, file)) = agent.agent_key.clone() else { continue };
        let id = key_id(&key);
        if seen.contains(&id) {
            continue;
        }
        seen.push(id);
        let project_id = agent.project_id.clone();
        let (agent_key, agent_key_file) = (Some(key), Some(file));
        let otas = Otas { agent_key, agent_key_file, project_id, session_token: None, ..otas.clone() };
        all.push(options(otas, None, Some(agent)));
    }
    all
}
