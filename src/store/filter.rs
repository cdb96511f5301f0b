//! Which events to list. The page and the command line share this one definition.

use rusqlite::types::Value;

use super::{SessionRow, State};

/// Which events to list. An empty filter matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only events in this state.
    pub state: Option<State>,
    /// Only events of this session.
    pub session: Option<SessionRow>,
    /// Only events with this text in their method, host, path, error or model facts. Case is ignored.
    pub text: Option<String>,
    /// Only events whose host contains this. Case is ignored.
    pub host: Option<String>,
    /// Only events with such a response.
    pub status: Option<StatusClass>,
    /// Only events of this agent's sessions: OTAS's agent id, the short name of its key, or a part of its command, name or
    /// label.
    pub agent: Option<String>,
    /// Only model calls.
    pub llm_only: bool,
    /// The maximum number of events.
    pub limit: usize,
}

/// How a call was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// A status in this hundred: 1 to 5.
    Hundred(u8),
    /// No response.
    None,
    /// The event has an error, whatever the status.
    Error,
}

impl std::str::FromStr for StatusClass {
    type Err = String;

    /// `2xx` (also `2`), `none` or `error`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "error" => Ok(Self::Error),
            _ => match text.strip_suffix("xx").unwrap_or(text).parse() {
                Ok(hundred @ 1..=5) => Ok(Self::Hundred(hundred)),
                _ => Err("expected 1xx to 5xx, none or error".to_owned()),
            },
        }
    }
}

impl std::fmt::Display for StatusClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hundred(hundred) => write!(f, "{hundred}xx"),
            Self::None => f.write_str("none"),
            Self::Error => f.write_str("error"),
        }
    }
}

/// A filter as SQL: conditions on `events`, each with a leading `AND`, and the values of their placeholders.
pub(super) struct Clauses {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl Filter {
    pub(super) fn clauses(&self) -> Clauses {
        let mut clauses = Clauses { sql: String::new(), values: Vec::new() };
        // The state is written out: a partial index is used only if the query text shows that it applies.
        if let Some(state) = self.state {
            clauses.sql += &format!(" AND state = {}", state.code());
        }
        if let Some(session) = self.session {
            clauses.and(" AND session = ?", [session.0.into()]);
        }
        match self.status {
            None => {}
            Some(StatusClass::None) => clauses.sql += " AND status_code = 0",
            Some(StatusClass::Error) => clauses.sql += " AND error <> ''",
            Some(StatusClass::Hundred(hundred)) => {
                let from = i64::from(hundred) * 100;
                clauses.and(" AND status_code BETWEEN ? AND ?", [from.into(), (from + 99).into()]);
            }
        }
        if self.llm_only {
            clauses.sql += " AND llm <> ''";
        }
        if let Some(host) = &self.host {
            clauses.and(" AND host LIKE ? ESCAPE '\\'", [containing(host)]);
        }
        if let Some(text) = &self.text {
            let (like, text) = ("LIKE ? ESCAPE '\\'", containing(text));
            clauses.and(
                &format!(" AND (method || ' ' || host || path || ' ' || error {like} OR llm {like})"),
                [text.clone(), text],
            );
        }
        if let Some(agent) = &self.agent {
            let name = Value::Text(agent.clone());
            clauses.and(
                " AND session IN (SELECT id FROM sessions WHERE agent_id = ? OR key_id = ?
                                  OR (json_valid(meta) AND concat_ws(' ', json_extract(meta, '$.command'),
                                      json_extract(meta, '$.caller.agent'), json_extract(meta, '$.caller.label'))
                                      LIKE ? ESCAPE '\\'))",
                [name.clone(), name, containing(agent)],
            );
        }
        clauses
    }
}

impl Clauses {
    fn and<const N: usize>(&mut self, sql: &str, values: [Value; N]) {
        self.sql += sql;
        self.values.extend(values);
    }
}

/// A `LIKE` pattern that matches texts containing `text`.
fn containing(text: &str) -> Value {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    Value::Text(format!("%{escaped}%"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NewEvent, Store};

    #[test]
    fn conditions_are_combined_with_and() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let one = store
            .begin_session("one", "key-1", r#"{"command":"python agent.py","caller":{"agent":"miner","label":null}}"#)
            .unwrap();
        let two = store.begin_session("two", "key-2", "{}").unwrap();
        let plain = NewEvent::plain(b"{}");
        let mut writer = store.writer().unwrap();
        writer
            .append(
                one,
                &[
                    NewEvent { host: "api.test", path: "/v1/100%_sure", ..plain },
                    NewEvent { status_code: 503, error: "http_503: Service Unavailable", ..plain },
                    NewEvent { status_code: 0, method: "CONNECT", error: "agent_left: gone", ..plain },
                ],
            )
            .unwrap();
        writer
            .append(two, &[NewEvent { llm: r#"{"gen_ai.request.model":"gpt-x"}"#, status_code: 404, ..plain }])
            .unwrap();
        let ids = |filter: Filter| store.ids(&Filter { limit: 10, ..filter }).unwrap();
        let all = Filter::default;
        let text = |text: &str| Filter { text: Some(text.into()), ..all() };
        assert_eq!(ids(all()), [1, 2, 3, 4]);
        assert_eq!(ids(text("API.test/v1")), [1]);
        assert_eq!(ids(text("100%_s")), [1]);
        assert_eq!(ids(text("1%_s")), [0; 0], "wildcards are taken literally");
        assert_eq!(ids(text("agent_left")), [3]);
        assert_eq!(ids(text("GPT-X")), [4]);
        assert_eq!(ids(Filter { host: Some("api".into()), ..all() }), [1]);
        assert_eq!(ids(Filter { status: Some(StatusClass::Hundred(5)), ..all() }), [2]);
        assert_eq!(ids(Filter { status: Some(StatusClass::None), ..all() }), [3]);
        assert_eq!(ids(Filter { status: Some(StatusClass::Error), ..all() }), [2, 3]);
        assert_eq!(ids(Filter { llm_only: true, ..all() }), [4]);
        assert_eq!(ids(Filter { agent: Some("key-2".into()), ..all() }), [4]);
        assert_eq!(ids(Filter { agent: Some("AGENT.py".into()), ..all() }), [1, 2, 3]);
        assert_eq!(ids(Filter { agent: Some("miner".into()), ..all() }), [1, 2, 3]);
        assert_eq!(ids(Filter { session: Some(one), status: Some(StatusClass::Hundred(4)), ..all() }), [0; 0]);
    }

    #[test]
    fn status_classes_survive_a_round_trip() {
        for text in ["1xx", "5xx", "none", "error"] {
            assert_eq!(text.parse::<StatusClass>().unwrap().to_string(), text);
        }
        assert_eq!("4".parse(), Ok(StatusClass::Hundred(4)));
        assert!("6xx".parse::<StatusClass>().is_err() && "".parse::<StatusClass>().is_err());
    }
}
