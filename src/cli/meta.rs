//! What tells this session apart from others, in OTAS's list of sessions.

use serde_json::{Map, Value, json};

use super::command_line;

/// The session's `meta`: command (secrets masked), host, user, time, version, and the user's own pairs.
pub(super) fn of_this_process(command: &[String], own: &[(String, String)]) -> Value {
    let mut meta = Map::new();
    meta.insert("command".into(), json!(command_line::masked(command)));
    meta.insert("host".into(), json!(rustix::system::uname().nodename().to_string_lossy()));
    meta.insert("user".into(), json!(std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned())));
    meta.insert("pid".into(), json!(std::process::id()));
    let now = time::OffsetDateTime::now_utc();
    let started = now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
    meta.insert("started_at".into(), json!(started));
    meta.insert("proxy".into(), json!(concat!("otas-proxy ", env!("CARGO_PKG_VERSION"))));
    for (key, value) in own {
        meta.insert(key.clone(), json!(value));
    }
    Value::Object(meta)
}
