//! OTAS: the agent key, a session, and whether Brain takes both.

use serde_json::json;

use super::line::Line;
use crate::config::Config;
use crate::deliver::{Finding, examine};

const STEPS: [&str; 3] = ["agent key", "session", "Brain"];

/// As delivery goes, without an event.
pub(super) async fn lines(config: &Config, tls: &rustls::ClientConfig) -> Vec<Line> {
    let meta = json!({ "command": "otas-proxy check" });
    let patience = config.delivery.attempt_timeout.min(super::PATIENCE);
    let found = match examine(&config.otas, tls.clone(), patience, &meta).await {
        Ok(Some(found)) => [found.key, found.session, found.brain],
        Ok(None) => {
            return vec![Line::skipped(
                "agent key",
                "there is none, so events go to the embedded collector in the proxy",
            )];
        }
        Err(error) => return vec![super::configuration::unusable(&super::super::chain(&error))],
    };
    STEPS.into_iter().zip(found).map(|(what, finding)| line(what, finding)).collect()
}

fn line(what: &str, finding: Finding) -> Line {
    match finding {
        Finding::Good(detail) => Line::ok(what, detail),
        Finding::Bad { problem, cure } => Line::fail(what, problem, cure),
        Finding::NotTried(why) => Line::skipped(what, why),
    }
}
