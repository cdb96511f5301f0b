//! The agents whose keys this relay has: a file for each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::warn;

use super::Shared;
use crate::config::{Otas, read_key_file};
use crate::deliver::{DeliverOptions, Fleet};
use crate::secret::Secret;

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
    /// How its events are delivered. `settled` gets the rows that have a verdict.
    pub(super) fn delivery(&self, shared: &Shared, settled: mpsc::UnboundedSender<Vec<i64>>) -> DeliverOptions {
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
            Ok(Agent { key: read_key_file(&file)?, id, file })
        })
        .collect()
}
