//! How commands name a session and its agent.

use std::collections::HashMap;

use serde_json::Value;

use crate::stats::By;
use crate::store::{SessionInfo, StoreError, Viewer};

/// The agent: the caller's name, the program, or the command; else the agent key.
pub(super) fn agent(info: &SessionInfo) -> String {
    let meta: Value = serde_json::from_str(&info.meta).unwrap_or_default();
    let known = [&meta["caller"]["agent"], &meta["agent"], &meta["command"]];
    let named = known.into_iter().filter_map(Value::as_str).find(|name| !name.is_empty());
    named.or(info.agent_id.as_deref()).filter(|name| !name.is_empty()).unwrap_or(&info.key_id).to_owned()
}

/// The session: its run id, and its agent.
pub(super) fn session(info: &SessionInfo) -> String {
    match agent(info) {
        agent if agent.is_empty() => info.run_id.clone(),
        agent => format!("{} {agent}", info.run_id),
    }
}

/// All sessions of the proxy, by row.
pub(super) fn by_row(viewer: &Viewer) -> Result<HashMap<i64, SessionInfo>, StoreError> {
    Ok(viewer.sessions(usize::MAX)?.into_iter().map(|info| (info.row.id(), info)).collect())
}

/// The names by which calls are grouped, by session. Empty for facts that are no names of sessions.
pub(super) fn all(viewer: &Viewer, by: By) -> Result<HashMap<i64, String>, StoreError> {
    let name = match by {
        By::Agent => agent,
        By::Session => session,
        _ => return Ok(HashMap::new()),
    };
    Ok(by_row(viewer)?.into_iter().map(|(row, info)| (row, name(&info))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn an_agent_is_named_by_what_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        for (run, meta, expected) in [
            ("a", r#"{"caller":{"agent":"miner"},"agent":"claude","command":"claude -p"}"#, "miner"),
            ("b", r#"{"caller":{"agent":null},"agent":"claude","command":"claude -p"}"#, "claude"),
            ("c", r#"{"command":"python agent.py"}"#, "python agent.py"),
            ("d", "{}", "key-1"),
        ] {
            let row = store.begin_session(run, "key-1", meta).unwrap();
            let info = store.viewer().session(row).unwrap().unwrap();
            assert_eq!((agent(&info), session(&info)), (expected.to_owned(), format!("{run} {expected}")));
        }
    }
}
