//! Which events to list. The page and the command line share this one definition.

use rusqlite::types::Value;

use super::sql::as_limit;
use super::{Searched, SessionRow, State};
use crate::llm::names;
use crate::search::NEEDLE_MAX_BYTES;

/// Which events to list. An empty filter matches all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Only events in this state.
    pub state: Option<State>,
    /// Only events of this session.
    pub session: Option<SessionRow>,
    /// Further conditions. Facts of one kind are alternatives, except texts, which must all occur. Everything else must hold.
    pub conditions: Vec<Condition>,
    /// The maximum number of events.
    pub limit: usize,
    /// What the last query with this filter has not looked through.
    pub searched: Searched,
}

/// A condition on an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The event has this.
    Is(Fact),
    /// The event does not have this.
    Not(Fact),
    /// A figure of the event is within a bound. An event without the figure does not match.
    Bound(Figure, Relation, f64),
}

/// What an event may have. Case is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// This text in its method, host, path, error, model facts, bodies or note.
    Text(String),
    /// This text in its bodies.
    Body(String),
    /// This text in its model facts.
    LlmText(String),
    /// This method.
    Method(String),
    /// A host that contains this.
    Host(String),
    /// A path that contains this.
    Path(String),
    /// Such a response.
    Status(StatusClass),
    /// A requested or answering model whose name contains this.
    Model(String),
    /// A call of this tool: by the model in its answer, or over MCP.
    Tool(String),
    /// A session of this agent: OTAS's agent id, the short name of its key, or a part of its command, name or label.
    Agent(String),
    /// A note on it that contains this.
    Note(String),
    /// There is a note on it.
    Noted,
    /// It is a call to a model or a tool.
    Llm,
}

/// A figure of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// When the request arrived, in Unix milliseconds.
    StartedMs,
    /// The latency in milliseconds.
    LatencyMs,
    /// The status code; 0 without a response.
    Status,
    /// The cost, in the currency of the price table.
    Cost,
    /// Input and output tokens together.
    Tokens,
}

/// How a figure relates to a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `=`
    Equal,
    /// `>=`
    AtLeast,
    /// `>`
    Above,
}

/// How a call was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// A status in this hundred: 1 to 5.
    Hundred(u8),
    /// This status.
    Code(u16),
    /// No response.
    None,
    /// The event has an error, whatever the status.
    Error,
}

impl std::str::FromStr for StatusClass {
    type Err = String;

    /// `429`, `2xx` (also `2`), `none` or `error`.
    fn from_str(text: &str) -> Result<Self, String> {
        let class = match text {
            "none" => Some(Self::None),
            "error" => Some(Self::Error),
            _ => match (text.strip_suffix("xx"), text.parse()) {
                (None, Ok(code @ 100..=999)) => Some(Self::Code(code)),
                (Some(hundred), _) => {
                    hundred.parse().ok().filter(|hundred| (1..=5).contains(hundred)).map(Self::Hundred)
                }
                (None, Ok(hundred @ 1..=5)) => u8::try_from(hundred).ok().map(Self::Hundred),
                _ => None,
            },
        };
        class.ok_or_else(|| "expected a status such as 429, 1xx to 5xx, none or error".to_owned())
    }
}

impl std::fmt::Display for StatusClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hundred(hundred) => write!(f, "{hundred}xx"),
            Self::Code(code) => write!(f, "{code}"),
            Self::None => f.write_str("none"),
            Self::Error => f.write_str("error"),
        }
    }
}

/// A filter as SQL: conditions on `events`, each with a leading `AND`, and the values of their placeholders.
#[derive(Default)]
pub(super) struct Clauses {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
    /// Texts that the function `in_bodies` looks for, by their numbers.
    pub(super) texts: Vec<String>,
    /// A text is too long to be looked for in bodies.
    pub(super) has_long_text: bool,
}

impl Clauses {
    /// The values, and the limit as the last one.
    pub(super) fn values_and_limit(self, limit: usize) -> impl Iterator<Item = Value> {
        self.values.into_iter().chain([as_limit(limit).into()])
    }
}

impl Filter {
    pub(super) fn clauses(&self) -> Clauses {
        let mut clauses = Clauses::default();
        // The state is written out: a partial index is used only if the query text shows that it applies.
        if let Some(state) = self.state {
            clauses.sql += &format!(" AND state = {}", state.code());
        }
        if let Some(session) = self.session {
            clauses.and(" AND session = ?", vec![session.0.into()]);
        }
        // Bodies are looked through last, if everything else holds.
        let (others, in_bodies): (Vec<_>, Vec<_>) = self.conditions.iter().partition(|other| !is_in_bodies(other));
        for (at, condition) in others.iter().enumerate() {
            match condition {
                Condition::Is(fact) if is_alternative(fact) => {
                    let same = |other: &&&Condition| is_same_kind(other, fact);
                    if !others.iter().take(at).any(|earlier| same(&earlier)) {
                        clauses.any_of(others.iter().skip(at).filter(same).copied());
                    }
                }
                condition => clauses.one(condition),
            }
        }
        in_bodies.into_iter().for_each(|condition| clauses.one(condition));
        clauses
    }
}

/// Whether the bodies of the event decide.
fn is_in_bodies(condition: &Condition) -> bool {
    matches!(condition, Condition::Is(fact) | Condition::Not(fact) if matches!(fact, Fact::Text(_) | Fact::Body(_)))
}

/// Whether several such facts are alternatives: an event has one host, but may contain several texts.
fn is_alternative(fact: &Fact) -> bool {
    !matches!(fact, Fact::Text(_) | Fact::Body(_) | Fact::LlmText(_) | Fact::Note(_) | Fact::Noted | Fact::Llm)
}

fn is_same_kind(condition: &Condition, fact: &Fact) -> bool {
    matches!(condition, Condition::Is(other) if std::mem::discriminant(other) == std::mem::discriminant(fact))
}

impl Clauses {
    fn and(&mut self, sql: &str, values: Vec<Value>) {
        self.sql += sql;
        self.values.extend(values);
    }

    /// A condition by itself.
    fn one(&mut self, condition: &Condition) {
        match condition {
            Condition::Is(fact) => {
                let (sql, values) = self.holds(fact);
                self.and(&format!(" AND {sql}"), values);
            }
            Condition::Not(fact) => {
                let (sql, values) = self.holds(fact);
                self.and(&format!(" AND NOT {sql}"), values);
            }
            Condition::Bound(figure, relation, value) => {
                self.and(&format!(" AND {} {} ?", figure.sql(), relation.sql()), vec![(*value).into()]);
            }
        }
    }

    /// The condition that the bodies have a text. NULL: that is not known.
    fn in_bodies(&mut self, text: &str) -> String {
        if text.is_empty() || text.len() > NEEDLE_MAX_BYTES {
            self.has_long_text |= !text.is_empty();
            return "0".to_owned();
        }
        self.texts.push(text.to_owned());
        format!("in_bodies({}, id)", self.texts.len() - 1)
    }

    /// One of these conditions must hold.
    fn any_of<'a>(&mut self, conditions: impl Iterator<Item = &'a Condition>) {
        let mut alternatives = Vec::new();
        for condition in conditions {
            if let Condition::Is(fact) = condition {
                let (sql, values) = self.holds(fact);
                alternatives.push(sql);
                self.values.extend(values);
            }
        }
        self.sql += &format!(" AND ({})", alternatives.join(" OR "));
    }

    /// The condition that an event has a fact, in brackets. Only what is looked for in bodies may be NULL: unknown, negated or
    /// not.
    fn holds(&mut self, fact: &Fact) -> (String, Vec<Value>) {
        const LIKE: &str = "LIKE ? ESCAPE '\\'";
        const NOTED: &str = "id IN (SELECT id FROM notes WHERE text LIKE ? ESCAPE '\\')";
        match fact {
            Fact::Text(text) => (
                format!(
                    "(method || ' ' || host || path || ' ' || error {LIKE} OR llm {LIKE} OR {NOTED} OR {})",
                    self.in_bodies(text)
                ),
                vec![containing(text), containing(text), containing(text)],
            ),
            Fact::Note(text) => (format!("({NOTED})"), vec![containing(text)]),
            Fact::Noted => ("(id IN (SELECT id FROM notes))".to_owned(), Vec::new()),
            Fact::Body(text) => (format!("({})", self.in_bodies(text)), Vec::new()),
            Fact::LlmText(text) => (format!("(llm {LIKE})"), vec![quick(text)]),
            Fact::Method(method) => ("(method = ? COLLATE NOCASE)".to_owned(), vec![Value::Text(method.clone())]),
            Fact::Host(host) => (format!("(host {LIKE})"), vec![containing(host)]),
            Fact::Path(path) => (format!("(path {LIKE})"), vec![containing(path)]),
            Fact::Status(StatusClass::None) => ("(status_code = 0)".to_owned(), Vec::new()),
            Fact::Status(StatusClass::Error) => ("(error <> '')".to_owned(), Vec::new()),
            Fact::Status(StatusClass::Code(code)) => ("(status_code = ?)".to_owned(), vec![i64::from(*code).into()]),
            Fact::Status(StatusClass::Hundred(hundred)) => {
                let from = i64::from(*hundred) * 100;
                ("(status_code BETWEEN ? AND ?)".to_owned(), vec![from.into(), (from + 99).into()])
            }
            Fact::Model(model) => {
                let both = joined(&[names::RESPONSE_MODEL, names::REQUEST_MODEL], "char(10)");
                (in_llm(&format!("{both} {LIKE}")), vec![quick(model), containing(model)])
            }
            Fact::Tool(tool) => {
                let all = joined(&[names::TOOL_CALLS, names::TOOL], "','");
                let named = containing(&format!(",{tool},"));
                (in_llm(&format!("',' || {all} || ',' {LIKE}")), vec![quick(tool), named])
            }
            Fact::Agent(agent) => {
                let name = Value::Text(agent.clone());
                let meta = ["command", "agent", "caller.agent", "caller.label"]
                    .map(|of| format!("json_extract(meta, '$.{of}')"));
                let own = in_llm(&format!("{} {LIKE}", joined(&[names::AGENT_NAME], "")));
                let sql = format!(
                    "({own} OR session IN (SELECT id FROM sessions WHERE coalesce(agent_id, '') = ? OR key_id = ?
                                  OR (json_valid(meta) AND concat_ws(char(10), {}) {LIKE})))",
                    meta.join(", ")
                );
                (sql, vec![quick(agent), containing(agent), name.clone(), name, containing(agent)])
            }
            // Calls over MCP are to tools. The column is JSON without white space.
            Fact::Llm => (format!("(llm <> '' AND llm NOT LIKE '%\"{}\":\"mcp\"%')", names::API), Vec::new()),
        }
    }
}

/// A condition on the model facts. Its first placeholder is a pattern that their JSON matches: only such JSON is parsed.
fn in_llm(sql: &str) -> String {
    format!("(CASE WHEN llm <> '' AND llm LIKE ? ESCAPE '\\' AND json_valid(llm) THEN {sql} ELSE 0 END)")
}

/// A pattern that the JSON of a text containing `text` matches. For a text that JSON escapes, it matches everything.
fn quick(text: &str) -> Value {
    let is_escaped = |c: char| c.is_control() || matches!(c, '"' | '\\');
    containing(if text.contains(is_escaped) { "" } else { text })
}

/// Model facts as one text. An absent one is empty.
fn joined(facts: &[&str], separator: &str) -> String {
    let texts: Vec<String> = facts.iter().map(|name| format!("coalesce(llm ->> '$.\"{name}\"', '')")).collect();
    format!("({})", texts.join(&format!(" || {separator} || ")))
}

impl Figure {
    /// The figure as SQL; NULL if the event does not have it.
    fn sql(self) -> String {
        let of_llm = |sql: &str| format!("(CASE WHEN llm <> '' AND json_valid(llm) THEN {sql} END)");
        let fact = |name: &str| format!("llm ->> '$.\"{name}\"'");
        match self {
            Self::StartedMs => "started_at_ms".to_owned(),
            Self::LatencyMs => "latency_ms".to_owned(),
            Self::Status => "status_code".to_owned(),
            Self::Cost => of_llm(&fact(names::COST)),
            Self::Tokens => {
                let (input, output) = (fact(names::INPUT_TOKENS), fact(names::OUTPUT_TOKENS));
                of_llm(&format!(
                    "CASE WHEN coalesce({input}, {output}) IS NOT NULL THEN coalesce({input}, 0) + coalesce({output}, 0) END"
                ))
            }
        }
    }
}

impl Relation {
    const fn sql(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Equal => "=",
            Self::AtLeast => ">=",
            Self::Above => ">",
        }
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
            .begin_session(
                "one",
                "key-1",
                r#"{"command":"python agent.py","agent":"claude","caller":{"agent":"miner","label":null}}"#,
            )
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
            .append(
                two,
                &[NewEvent {
                    llm: r#"{"gen_ai.request.model":"gpt-x","gen_ai.agent.name":"codex"}"#,
                    status_code: 404,
                    ..plain
                }],
            )
            .unwrap();
        let ids = |filter: Filter| store.ids(&Filter { limit: 10, ..filter }).unwrap();
        let all = Filter::default;
        let of = |conditions: &[Condition]| ids(Filter { conditions: conditions.to_vec(), ..all() });
        let is = |fact: Fact| of(&[Condition::Is(fact)]);
        let text = |text: &str| is(Fact::Text(text.into()));
        assert_eq!(ids(all()), [1, 2, 3, 4]);
        assert_eq!(text("API.test/v1"), [1]);
        assert_eq!(text("100%_s"), [1]);
        assert_eq!(text("1%_s"), [0; 0], "wildcards are taken literally");
        assert_eq!(text("agent_left"), [3]);
        assert_eq!(text("GPT-X"), [4]);
        assert_eq!(is(Fact::Host("api".into())), [1]);
        assert_eq!(is(Fact::Path("_SURE".into())), [1]);
        assert_eq!(is(Fact::Method("connect".into())), [3]);
        assert_eq!(is(Fact::Status(StatusClass::Hundred(5))), [2]);
        assert_eq!(is(Fact::Status(StatusClass::Code(404))), [4]);
        assert_eq!(is(Fact::Status(StatusClass::None)), [3]);
        assert_eq!(is(Fact::Status(StatusClass::Error)), [2, 3]);
        assert_eq!(is(Fact::Llm), [4]);
        assert_eq!(is(Fact::Agent("key-2".into())), [4]);
        assert_eq!(is(Fact::Agent("CODEX".into())), [4], "the name that it gives itself");
        assert_eq!(of(&[Condition::Not(Fact::Agent("codex".into()))]), [1, 2, 3]);
        for agent in ["AGENT.py", "miner", "Claude"] {
            assert_eq!(is(Fact::Agent(agent.into())), [1, 2, 3], "{agent}");
        }
        let both = [
            Condition::Is(Fact::Status(StatusClass::Code(404))),
            Condition::Is(Fact::Status(StatusClass::Code(503))),
        ];
        assert_eq!(of(&both), [2, 4], "alternatives");
        let texts = ["a.test", "unavailable"].map(|text| Condition::Is(Fact::Text(text.into())));
        assert_eq!(of(&texts), [2], "all texts");
        assert_eq!(of(&[both[0].clone(), Condition::Is(Fact::Host("api".into()))]), [0; 0]);
        let not = ["api.test", "b.test"].map(|host| Condition::Not(Fact::Host(host.into())));
        assert_eq!(of(&not), [2, 3, 4]);
        let session = Filter { session: Some(one), conditions: vec![both[0].clone()], ..all() };
        assert_eq!(ids(session), [0; 0]);
    }

    #[test]
    fn model_facts_are_compared_and_unknown_ones_do_not_match() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let session = store.begin_session("one", "key-1", "{}").unwrap();
        let facts = [
            r#"{"gen_ai.request.model":"claude-x","gen_ai.response.model":"claude-x-2025","otas_proxy.llm.tool_calls":"Bash,Read","otas_proxy.llm.cost":0.25,"gen_ai.usage.input_tokens":900,"gen_ai.usage.output_tokens":100}"#,
            r#"{"gen_ai.request.model":"odd\"name","otas_proxy.llm.tool_calls":"BashOutput","gen_ai.usage.output_tokens":7}"#,
            r#"{"otas_proxy.llm.api":"mcp","gen_ai.tool.name":"Read","mcp.method.name":"tools/call"}"#,
            "",
            "not JSON with Bash and claude-x",
        ];
        let plain = NewEvent::plain(b"{}");
        let events: Vec<_> = facts.iter().map(|llm| NewEvent { llm, ..plain }).collect();
        store.writer().unwrap().append(session, &events).unwrap();
        let of = |conditions: &[Condition]| {
            store.ids(&Filter { conditions: conditions.to_vec(), limit: 10, ..Filter::default() }).unwrap()
        };
        let (model, tool) = (|text: &str| Fact::Model(text.into()), |text: &str| Fact::Tool(text.into()));
        assert_eq!(of(&[Condition::Is(model("X-2025"))]), [1]);
        assert_eq!(of(&[Condition::Is(model("odd\"n"))]), [2]);
        assert_eq!(of(&[Condition::Not(model("claude"))]), [2, 3, 4, 5], "also what has no model");
        assert_eq!(of(&[Condition::Is(tool("bash"))]), [1], "the whole name");
        assert_eq!(of(&[Condition::Is(tool("Read"))]), [1, 3]);
        assert_eq!(of(&[Condition::Is(Fact::Llm)]), [1, 2, 5], "a call over MCP is to a tool");
        let bound = |figure, relation, value| of(&[Condition::Bound(figure, relation, value)]);
        assert_eq!(bound(Figure::Cost, Relation::Above, 0.1), [1]);
        assert_eq!(bound(Figure::Cost, Relation::AtMost, 0.1), [0; 0], "unknown is not 0");
        assert_eq!(bound(Figure::Tokens, Relation::AtLeast, 1_000.0), [1]);
        assert_eq!(bound(Figure::Tokens, Relation::Below, 1_000.0), [2]);
        assert_eq!(bound(Figure::LatencyMs, Relation::Equal, 1.0), [1, 2, 3, 4, 5]);
        assert_eq!(bound(Figure::StartedMs, Relation::Below, 1_700_000_000_000.0), [0; 0]);
        assert_eq!(bound(Figure::Status, Relation::AtLeast, 200.0).len(), 5);
    }

    #[test]
    fn status_classes_survive_a_round_trip() {
        for text in ["1xx", "5xx", "429", "none", "error"] {
            assert_eq!(text.parse::<StatusClass>().unwrap().to_string(), text);
        }
        assert_eq!("4".parse(), Ok(StatusClass::Hundred(4)));
        for text in ["6xx", "", "xx", "99", "6", "0", "4xxx", "1000", "x"] {
            assert!(text.parse::<StatusClass>().is_err(), "{text}");
        }
    }
}
