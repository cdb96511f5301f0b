//! The agents whose keys this relay has: a file for each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::warn;

use super::Shared;
use crate::config::{Otas, is_subject_part, read_key_file};
use crate::deliver::{DeliverOptions, Fleet};
use crate::secret::Secret;
use crate::store::Fate;

/// What the file of an agent's key is called, behind its id.
const SUFFIX: &str = "key";

/// An agent with a key.
#[derive(Clone)]
pub(super) struct Agent {
    /// Its name in the queue.
    pub(super) id: String,
    pub(super) key: Secret,
    pub(super) file: PathBuf,
}

impl Agent {
    /// How its events are delivered. `settled` gets what became of them.
    pub(super) fn delivery(&self, shared: &Shared, settled: mpsc::UnboundedSender<Vec<Fate>>) -> DeliverOptions {
        let (agent_key, agent_key_file) = (Some(self.key.clone()), Some(self.file.clone()));
        let own = Otas {
            agent_key,
            agent_key_file,
            session_token: None,
            project_id: None,
            project_domain: None,
            ..shared.otas.clone()
        };
        DeliverOptions {
            store: shared.store.clone(),
            session_row: None,
            process: None,
            otas: own,
            delivery: shared.delivery.clone(),
            tls: shared.tls.clone(),
            fleet: Fleet { ceiling: Some(shared.ceiling.clone()), settled: Some(settled), ..Fleet::default() },
        }
    }
}

/// The agents in the folder of keys. A file that cannot be used is reported, once for each kind of fault.
pub(super) async fn look(shared: &Arc<Shared>) -> Vec<Agent> {
    let folder = shared.keys_dir.clone();
    let found = tokio::task::spawn_blocking(move || read(&folder)).await.unwrap_or_default();
    let mut agents = Vec::new();
    for one in found {
        match one {
            Ok(agent) => agents.push(agent),
            Err(why) if shared.is_news(&why) => warn!(why, "this key is not used"),
            Err(_) => {}
        }
    }
    agents
}

/// The agents in a folder of keys, and what is wrong with other files.
pub(super) fn read(folder: &Path) -> Vec<Result<Agent, String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let why = format!("cannot read the folder of keys {} (`relay.keys_dir`): {error}", folder.display());
            return vec![Err(why)];
        }
    };
    let files = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut keys: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == SUFFIX)).collect();
    keys.sort();
    keys.into_iter()
        .map(|file| {
            let id = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
            // It becomes a part of a subject: `*` would take the events of all agents.
            if !is_subject_part(&id) {
                return Err(format!(
                    "{}: expected `<agent_id>.key`, where the id has letters, digits, `-` and `_` alone",
                    file.display()
                ));
            }
            Ok(Agent { key: read_key_file(&file)?, id, file })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_used_for_the_agent_in_the_name_of_its_file_and_for_no_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, key: &str| std::fs::write(folder.path().join(name), key).unwrap();
        write("planner.key", "agent_a_b\n");
        write("two.key", "agent_a_b\nagent_c_d\n");
        for name in ["*.key", ">.key", "a.b.key", "a b.key", "\u{e9}.key", "README", ".key"] {
            write(name, "agent_c_d");
        }
        let (good, bad): (Vec<_>, Vec<_>) = read(folder.path()).into_iter().partition(Result::is_ok);
        let good: Vec<_> = good.into_iter().map(Result::unwrap).map(|agent| (agent.id, agent.key)).collect();
        assert_eq!(good.len(), 1);
        assert_eq!((good[0].0.as_str(), good[0].1.expose()), ("planner", "agent_a_b"));
        let said: Vec<String> = bad.into_iter().filter_map(Result::err).collect();
        assert_eq!(said.len(), 6, "{said:?}");
        assert!(said.iter().all(|why| !why.contains("agent_c_d")), "{said:?}");
    }
}
