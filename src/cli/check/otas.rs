//! OTAS: the agent key, a session, and whether Brain takes both.

use serde_json::json;

use super::line::Line;
use crate::config::{Config, Otas};
use crate::deliver::{Finding, examine};

const STEPS: [&str; 3] = ["agent key", "session", "Brain"];

/// The steps of delivery, without an event, for each agent key of the settings.
pub(super) async fn lines(config: &Config, tls: &rustls::ClientConfig) -> Vec<Line> {
    if !config.otas.deliver {
        return vec![Line::skipped("agent key", "`otas.deliver` is false: events are not for OTAS")];
    }
    if config.queue.is_used() {
        return vec![queue(config).await];
    }
    let mut lines = Vec::new();
    for (whose, otas) in keys(config) {
        lines.extend(of_key(&whose, &otas, config, tls).await);
    }
    if lines.is_empty() {
        lines.push(Line::skipped("agent key", "none is set, so events go to the embedded collector"));
    }
    lines
}

/// With a queue, OTAS is the relays' to reach.
#[cfg(feature = "nats")]
async fn queue(config: &Config) -> Line {
    match Box::pin(crate::nats::Queue::connect(&config.queue, "otas-proxy check")).await {
        Ok(_) => Line::ok("queue", "NATS takes the connection; relays deliver to OTAS"),
        Err(error) => Line::fail("queue", error.to_string(), "events stay stored until NATS is reached"),
    }
}

#[cfg(not(feature = "nats"))]
async fn queue(_config: &Config) -> Line {
    Line::skipped("queue", "this program was built without NATS")
}

/// The settings of each agent key, with what distinguishes it from others.
fn keys(config: &Config) -> Vec<(String, Otas)> {
    let own = config.otas.agent_key.is_some().then(|| (String::new(), config.otas.clone()));
    let agents = config.agents.iter().filter_map(|agent| {
        let (key, file) = agent.agent_key.clone()?;
        let otas = Otas {
            agent_key: Some(key),
            agent_key_file: Some(file),
            project_id: agent.project_id.clone(),
            session_token: None,
            ..config.otas.clone()
        };
        Some((format!(" ({})", agent.name), otas))
    });
    own.into_iter().chain(agents).collect()
}

async fn of_key(whose: &str, otas: &Otas, config: &Config, tls: &rustls::ClientConfig) -> Vec<Line> {
    let meta = json!({ "command": "otas-proxy check" });
    let patience = config.delivery.attempt_timeout.min(super::PATIENCE);
    match examine(otas, tls.clone(), patience, &meta).await {
        Ok(found) => {
            let found = found.map(|found| [found.key, found.session, found.brain]).into_iter().flatten();
            STEPS.iter().zip(found).map(|(what, finding)| line(&format!("{what}{whose}"), finding)).collect()
        }
        Err(error) => vec![super::configuration::unusable(&super::super::chain(&error))],
    }
}

fn line(what: &str, finding: Finding) -> Line {
    match finding {
        Finding::Good(detail) => Line::ok(what, detail),
        Finding::Bad { problem, cure } => Line::fail(what, problem, cure),
        Finding::NotTried(why) => Line::skipped(what, why),
    }
}
