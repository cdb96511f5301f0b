//! The filter language of the page and the command line (pure): words such as `host:api status:5xx cost>0.1 "any text"` become a
//! [`Filter`].
//!
//! - `key:value` compares a fact. Several words with one key are alternatives.
//! - `key>value` (also `<`, `>=`, `<=`, `=`) compares a figure.
//! - Any other word is text to look for in method, host, path, error, model, bodies and notes. All such words must occur; `body:`
//!   looks in bodies alone, `note:` in notes.
//! - Quotes keep spaces, colons and so on; `\"` and `\\` are themselves inside them. `-` before a word negates it.

mod error;
mod keys;
mod moment;
mod word;
mod words;

pub use self::error::QueryError;
pub use self::moment::moment;

use self::word::Word;
use crate::store::{Condition, Fact, Figure, Filter, Relation, State, StatusClass};

/// The longest text.
const MAX_BYTES: usize = 10_000;
/// The most words. SQLite takes fewer than a thousand conditions.
const MAX_WORDS: usize = 100;

/// What a text in the language asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    /// All but the session. Its limit is 0.
    pub filter: Filter,
    /// The session, as it was written: its number, run id or id in OTAS.
    pub session: Option<String>,
}

impl Query {
    /// Reads `text`. Relative times count from `now_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// When a word is not in the language. The error names the word and what is expected. Also when the text is too long.
    pub fn parse(text: &str, now_ms: i64) -> Result<Self, QueryError> {
        if text.len() > MAX_BYTES {
            return Err(QueryError::too_long("bytes", text.len(), MAX_BYTES));
        }
        let (mut query, words) = (Self::default(), words::split(text)?);
        if words.len() > MAX_WORDS {
            return Err(QueryError::too_long("words", words.len(), MAX_WORDS));
        }
        for word in words {
            query.add(&word, now_ms)?;
        }
        Ok(query)
    }

    fn add(&mut self, word: &Word, now_ms: i64) -> Result<(), QueryError> {
        let condition = match (&*word.key, word.relation) {
            ("", _) => Condition::Is(Fact::Text(word.value.clone())),
            (key, Some(relation)) => Condition::Bound(figure(key, word)?, relation, amount(key, word)?),
            ("state", None) => return set(&mut self.filter.state, state(word)?, word),
            ("session", None) => return set(&mut self.session, word.value.clone(), word),
            ("since", None) => Condition::Bound(Figure::StartedMs, Relation::AtLeast, at(word, now_ms)?),
            ("until", None) => Condition::Bound(Figure::StartedMs, Relation::Below, at(word, now_ms)?),
            (_, None) => Condition::Is(fact(word)?),
        };
        self.filter.conditions.push(match (condition, word.negated) {
            (condition, false) => condition,
            (Condition::Is(fact), true) => Condition::Not(fact),
            _ => return Err(QueryError::not_negatable(word)),
        });
        Ok(())
    }
}

/// Whether a word behind a `-` has a key or is in quotes. Such a word is no flag of a command.
pub fn is_negatable(word: &str) -> bool {
    word.starts_with('"') || words::key(word).is_some()
}

/// Sets what an event has only one of.
fn set<T: PartialEq>(slot: &mut Option<T>, value: T, word: &Word) -> Result<(), QueryError> {
    if word.negated {
        return Err(QueryError::not_negatable(word));
    }
    if slot.as_ref().is_some_and(|earlier| *earlier != value) {
        return Err(QueryError::twice(word));
    }
    *slot = Some(value);
    Ok(())
}

fn fact(word: &Word) -> Result<Fact, QueryError> {
    let value = word.value.clone();
    Ok(match &*word.key {
        "host" => Fact::Host(value),
        "path" => Fact::Path(value),
        "method" => Fact::Method(value),
        "model" => Fact::Model(value),
        "tool" => Fact::Tool(value),
        "agent" => Fact::Agent(value),
        "body" => Fact::Body(value),
        "note" => Fact::Note(value),
        "status" => Fact::Status(value.parse::<StatusClass>().map_err(|why| QueryError::bad_value(word, &why))?),
        "is" if value == "model" => Fact::Llm,
        "is" if value == "noted" => Fact::Noted,
        "is" => return Err(QueryError::bad_value(word, "expected model or noted")),
        key if keys::is_figure(key) => {
            return Err(QueryError::bad_value(word, &format!("`{key}` is compared with >, >=, <, <= or =")));
        }
        _ => return Err(QueryError::unknown_key(word)),
    })
}

fn state(word: &Word) -> Result<State, QueryError> {
    let all = [State::Pending, State::Delivered, State::Dead, State::Kept];
    let found = all.into_iter().find(|state| state.to_string() == word.value);
    found.ok_or_else(|| QueryError::bad_value(word, "expected pending, delivered, dead or kept"))
}

fn at(word: &Word, now_ms: i64) -> Result<f64, QueryError> {
    moment(&word.value, now_ms).map(|at_ms| at_ms as f64).map_err(|why| QueryError::bad_value(word, why))
}

fn figure(key: &str, word: &Word) -> Result<Figure, QueryError> {
    match key {
        "cost" => Ok(Figure::Cost),
        "tokens" => Ok(Figure::Tokens),
        "latency" => Ok(Figure::LatencyMs),
        "status" => Ok(Figure::Status),
        key if keys::is_fact(key) => Err(QueryError::bad_value(word, &format!("write {key}:VALUE"))),
        _ => Err(QueryError::unknown_key(word)),
    }
}

/// The number of a bound. A latency is a duration such as `2s`; a bare number is milliseconds.
fn amount(key: &str, word: &Word) -> Result<f64, QueryError> {
    let number = word.value.parse::<f64>().ok().filter(|number| number.is_finite());
    let duration = || humantime::parse_duration(&word.value).ok().map(|time| time.as_secs_f64() * 1_000.0);
    let (found, expected) = match key {
        "latency" => (number.or_else(duration), "expected a duration such as 500ms or 2s"),
        _ => (number, "expected a number"),
    };
    found.ok_or_else(|| QueryError::bad_value(word, expected))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn conditions(text: &str) -> Vec<Condition> {
        Query::parse(text, NOW).unwrap_or_else(|error| panic!("{text}: {error}")).filter.conditions
    }

    fn refused(text: &str) -> String {
        Query::parse(text, NOW).expect_err(text).to_string()
    }

    #[test]
    fn words_become_conditions() {
        use Condition::{Bound, Is, Not};
        for (text, expected) in [
            ("", vec![]),
            ("host:api.test", vec![Is(Fact::Host("api.test".into()))]),
            (r#"body:"any text" -body:x"#, vec![Is(Fact::Body("any text".into())), Not(Fact::Body("x".into()))]),
            ("note:odd -is:noted", vec![Is(Fact::Note("odd".into())), Not(Fact::Noted)]),
            ("HOST:Api", vec![Is(Fact::Host("Api".into()))]),
            (
                "status:5xx status:429",
                vec![Is(Fact::Status(StatusClass::Hundred(5))), Is(Fact::Status(StatusClass::Code(429)))],
            ),
            ("model:\"odd name\" tool:Bash", vec![Is(Fact::Model("odd name".into())), Is(Fact::Tool("Bash".into()))]),
            (
                "agent:claude -path:/health is:model",
                vec![Is(Fact::Agent("claude".into())), Not(Fact::Path("/health".into())), Is(Fact::Llm)],
            ),
            (
                "cost>0.1 tokens>=10 latency<=2s latency<5",
                vec![
                    Bound(Figure::Cost, Relation::Above, 0.1),
                    Bound(Figure::Tokens, Relation::AtLeast, 10.0),
                    Bound(Figure::LatencyMs, Relation::AtMost, 2_000.0),
                    Bound(Figure::LatencyMs, Relation::Below, 5.0),
                ],
            ),
            (
                "status>=400 cost=0",
                vec![Bound(Figure::Status, Relation::AtLeast, 400.0), Bound(Figure::Cost, Relation::Equal, 0.0)],
            ),
            (
                "since:10m until:2023-11-14T22:13:20Z",
                vec![
                    Bound(Figure::StartedMs, Relation::AtLeast, (NOW - 600_000) as f64),
                    Bound(Figure::StartedMs, Relation::Below, NOW as f64),
                ],
            ),
            // Text: what only resembles a condition is one word.
            (
                r#"rate "limit: \"now\"" -gone"#,
                vec![
                    Is(Fact::Text("rate".into())),
                    Is(Fact::Text("limit: \"now\"".into())),
                    Not(Fact::Text("gone".into())),
                ],
            ),
            (
                "127.0.0.1:80 /v1/a=b <script> call/24 - 5xx:",
                vec![
                    Is(Fact::Text("127.0.0.1:80".into())),
                    Is(Fact::Text("/v1/a=b".into())),
                    Is(Fact::Text("<script>".into())),
                    Is(Fact::Text("call/24".into())),
                    Is(Fact::Text("-".into())),
                    Is(Fact::Text("5xx:".into())),
                ],
            ),
        ] {
            assert_eq!(conditions(text), expected, "{text}");
        }
        let query = Query::parse("state:dead session:run-1 state:dead", NOW).unwrap();
        assert_eq!((query.filter.state, query.session.as_deref()), (Some(State::Dead), Some("run-1")));
    }

    #[test]
    fn errors_name_the_word_and_what_is_expected() {
        for (text, words) in [
            ("hst:a", &["unknown key `hst` in `hst:a`", "did you mean `host`?", "host, path, method", "cost"][..]),
            ("zebra:1", &["unknown key `zebra`", "put it in quotes"]),
            ("foo>3", &["unknown key `foo` in `foo>3`"]),
            ("status:9xx", &["`status:9xx`", "429, 1xx to 5xx, none or error"]),
            ("state:gone", &["`state:gone`", "pending, delivered, dead or kept"]),
            ("cost:1", &["`cost:1`", ">, >=, <, <= or ="]),
            ("cost>much", &["`cost>much`", "a number"]),
            ("latency>x", &["`latency>x`", "500ms or 2s"]),
            ("host>3", &["`host>3`", "host:VALUE"]),
            ("since:yesterday", &["`since:yesterday`", "10m, 2h, 3d"]),
            ("is:odd", &["`is:odd`", "model or noted"]),
            ("host:", &["`host:`", "a value"]),
            ("cost>", &["`cost>`", "a value"]),
            ("a \"b c", &["`\"b c`", "quote is not closed"]),
            ("state:dead state:pending", &["`state:pending`", "given before"]),
            ("-state:dead", &["`-state:dead`", "cannot be negated"]),
            ("-cost>1", &["`-cost>1`", "cannot be negated"]),
        ] {
            let error = refused(text);
            for part in words {
                assert!(error.contains(part), "{text}: {part}: {error}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_in_quotes_is_that_text(text in any::<String>()) {
            let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let expected = if text.is_empty() { vec![] } else { vec![Condition::Is(Fact::Text(text))] };
            prop_assert_eq!(conditions(&quoted), expected);
        }

        #[test]
        fn any_input_is_read_or_refused(text in any::<String>()) {
            let _ = Query::parse(&text, NOW);
        }
    }
}
