//! The names of streams and subjects (pure).

use aws_lc_rs::digest::{SHA256, digest};
use uuid::Uuid;

use crate::config;

/// The names of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// What all subjects begin with.
    pub(crate) prefix: String,
    /// The stream of events that wait. Each leaves it once it is delivered.
    pub(crate) events: String,
    /// The stream of events that OTAS refused for good.
    pub(crate) dead: String,
    /// The stream of verdicts: what became of each event.
    pub(crate) done: String,
    /// The stream of what relays share: the lease, and the tokens of sessions.
    pub(crate) relays: String,
}

impl Names {
    pub(super) fn of(settings: &config::Queue) -> Self {
        let beside = |what: &str| format!("{}_{what}", settings.stream);
        Self {
            prefix: settings.subject_prefix.clone(),
            events: settings.stream.clone(),
            dead: beside("DEAD"),
            done: beside("DONE"),
            relays: beside("RELAYS"),
        }
    }

    /// Where a proxy publishes the events of an agent.
    pub(crate) fn event(&self, project: &str, agent: &str) -> String {
        format!("{}.events.{project}.{agent}", self.prefix)
    }

    /// The subjects of all events.
    pub(crate) fn all_events(&self) -> String {
        format!("{}.events.*.*", self.prefix)
    }

    /// The agent of a subject of events or dead events.
    pub(crate) fn agent_of<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.rsplit_once('.').map(|(_, agent)| agent)
    }

    /// Where a dead event goes, by the subject that it had.
    pub(crate) fn dead_of(&self, subject: &str) -> String {
        let rest = subject.strip_prefix(&format!("{}.events.", self.prefix)).unwrap_or(subject);
        format!("{}.dead.{rest}", self.prefix)
    }

    pub(super) fn all_dead(&self) -> String {
        format!("{}.dead.>", self.prefix)
    }

    /// The verdict on an event.
    pub(crate) fn done_with(&self, event: Uuid) -> String {
        format!("{}.done.{event}", self.prefix)
    }

    pub(super) fn all_done(&self) -> String {
        format!("{}.done.*", self.prefix)
    }

    /// Which relay is at work.
    pub(crate) fn lease(&self) -> String {
        format!("{}.relay.lease", self.prefix)
    }

    /// The token of a session, sealed.
    pub(crate) fn session(&self, run_id: &str) -> String {
        // A run id comes from a proxy, so it may have characters that no subject has.
        let hash = digest(&SHA256, run_id.as_bytes());
        let hex: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("{}.relay.session.{hex}", self.prefix)
    }

    pub(super) fn all_of_relays(&self) -> String {
        format!("{}.relay.>", self.prefix)
    }

    /// Where a proxy hears of verdicts.
    pub(crate) fn verdicts_for(&self, proxy: &str) -> String {
        format!("{}.verdicts.{proxy}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_name_the_project_and_the_agent() {
        let settings = config::Config::defaults(std::path::Path::new("/x")).unwrap().queue;
        let names = Names::of(&settings);
        let subject = names.event("p-1", "planner");
        assert_eq!(subject, "otas.events.p-1.planner");
        assert_eq!(names.agent_of(&subject), Some("planner"));
        assert_eq!(names.dead_of(&subject), "otas.dead.p-1.planner");
        let session = names.session("a run with > and *");
        assert!(session.rsplit('.').next().unwrap().bytes().all(|byte| byte.is_ascii_hexdigit()), "{session}");
        assert_ne!(session, names.session("another run"));
    }
}
