//! Flags and words that select events, with the same meaning as the page's search field.

use std::ffi::OsString;

use clap::ValueEnum;

use super::{Failure, Usage, say};
use crate::clock::now_ms;
use crate::query::{self, Query, moment};
use crate::store::{Condition, Fact, Figure, Filter, Relation, State, StatusClass, Store};

// No documentation comment: clap would take it for the command's.
#[derive(clap::Args)]
#[command(next_help_heading = "Filters")]
pub(super) struct FilterArgs {
    /// Only events that match, such as 'host:api status:5xx model:sonnet tool:Bash cost>0.1 "any text"'
    ///
    /// Keys with a value: host, path, method, status, model, tool, agent, body, note, session, state, is:model, is:noted, since,
    /// until. Keys that are compared: cost, tokens, latency, status (cost>0.1, latency>2s). A `-` before a word with a key negates
    /// it (-host:localhost); `--not` negates any word. Other words are text in method, host, path, error, model, bodies or notes.
    #[arg(value_name = "QUERY")]
    pub(super) query: Vec<String>,
    /// Only events that do not match this word of a query, such as host:localhost; may be repeated
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    not: Vec<String>,
    /// Only events in this state
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<Wanted>,
    /// Only events of this session: its number, its run id or its id in OTAS
    #[arg(long, value_name = "SESSION")]
    session: Option<String>,
    /// Only events with this text in their method, host, path, error, model or bodies
    #[arg(long, value_name = "TEXT")]
    text: Vec<String>,
    /// Only calls to hosts with this text in their name; may be repeated for alternatives
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// Only calls with this outcome: a status such as 429, 1xx to 5xx, none or error; may be repeated
    #[arg(long, value_name = "STATUS")]
    status: Vec<StatusClass>,
    /// Only calls to models with this text in their name; may be repeated
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// Only calls of this agent: a part of the name that it gives itself, or of the name or command of its session; its id in OTAS, or
    /// the short name of its key; may be repeated
    #[arg(long, value_name = "AGENT")]
    agent: Vec<String>,
    /// Only calls to models
    #[arg(long)]
    llm: bool,
    /// Only calls that began in this time, such as 10m, 2h or 3d, or at or after a time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = since_now)]
    since: Option<i64>,
    /// Only calls that began before this, such as 2h (ago) or a time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = since_now)]
    until: Option<i64>,
}

/// A time on the command line, in Unix milliseconds.
fn since_now(text: &str) -> Result<i64, &'static str> {
    moment(text, now_ms())
}

/// `--state`.
#[derive(Clone, Copy, ValueEnum)]
enum Wanted {
    Pending,
    Delivered,
    Dead,
    /// Not for OTAS (`otas.deliver = false`)
    Kept,
}

impl From<Wanted> for State {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Pending => Self::Pending,
            Wanted::Delivered => Self::Delivered,
            Wanted::Dead => Self::Dead,
            Wanted::Kept => Self::Kept,
        }
    }
}

/// What a flag or the query gives.
fn one<T: PartialEq>(name: &str, flag: Option<T>, query: Option<T>) -> Result<Option<T>, Usage> {
    match (flag, query) {
        (Some(flag), Some(query)) if flag != query => {
            Err(Usage(format!("`--{name}` and `{name}:` differ; give one")))
        }
        (flag, query) => Ok(flag.or(query)),
    }
}

impl FilterArgs {
    /// The filter for `store`, with at most `limit` events. Flags mean the same as words of the query.
    ///
    /// # Errors
    /// When a word is not in the filter language, or there is no such session.
    pub(super) fn filter(&self, store: &Store, limit: usize) -> Result<Filter, Failure> {
        let negated = self.not.iter().map(|word| format!("-{word}"));
        let words: Vec<_> = self.query.iter().cloned().chain(negated).collect();
        let Query { mut filter, session } = Query::parse(&words.join(" "), now_ms())?;
        filter.limit = limit;
        filter.state = one("state", self.state.map(State::from), filter.state)?;
        let named = one("session", self.session.clone(), session)?;
        filter.session = named.map(|name| store.session_named(&name)).transpose()?;
        let facts = |texts: &[String], fact: fn(String) -> Fact| texts.iter().cloned().map(fact).collect::<Vec<_>>();
        let given = [
            facts(&self.text, Fact::Text),
            facts(&self.host, Fact::Host),
            self.status.iter().copied().map(Fact::Status).collect(),
            facts(&self.model, Fact::Model),
            facts(&self.agent, Fact::Agent),
            self.llm.then_some(Fact::Llm).into_iter().collect(),
        ];
        filter.conditions.extend(given.into_iter().flatten().map(Condition::Is));
        let times = [(Relation::AtLeast, self.since), (Relation::Below, self.until)];
        let bound = |(relation, at_ms): (Relation, Option<i64>)| {
            Some(Condition::Bound(Figure::StartedMs, relation, at_ms? as f64))
        };
        filter.conditions.extend(times.into_iter().filter_map(bound));
        Ok(filter)
    }
}

/// The command line with `--not=WORD` for each `-WORD` that has a key: clap would take it for flags.
pub(super) fn with_negated_words(cli: &clap::Command, arguments: &[OsString]) -> Vec<OsString> {
    let mut command = cli;
    let path = arguments.iter().skip(1).map_while(|name| {
        command = command.find_subcommand(name)?;
        Some(())
    });
    let words_from = path.count() + 1;
    if !command.get_arguments().any(|argument| argument.get_id() == "not") {
        return arguments.to_vec();
    }
    let (before, words) = arguments.split_at(words_from.min(arguments.len()));
    let mut are_all_words = false;
    let words = words.iter().map(|word| {
        are_all_words |= word == "--";
        let negated = word.to_str().and_then(|word| word.strip_prefix('-')).filter(|word| query::is_negatable(word));
        match negated.filter(|_| !are_all_words) {
            Some(negated) => format!("--not={negated}").into(),
            None => word.clone(),
        }
    });
    before.iter().cloned().chain(words).collect()
}

/// A number of things to list.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a number from 1 on".to_owned())
}

/// The number of an event, as an argument of a command.
pub(super) fn event_number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "expected the number of an event, as `otas-proxy events` lists it".to_owned())
}

/// Says on standard error if nothing was found, and if bodies were not all looked through.
pub(super) fn tell_what_is_missing(filter: &Filter, is_empty: bool) {
    let note = filter.searched.note();
    if is_empty && note.is_none() {
        say::err("otas-proxy: no stored call matches");
    }
    note.into_iter().for_each(|note| say::err(&format!("otas-proxy: {note}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negated_word_with_a_key_is_no_flag() {
        let cli = crate::cli::command().unwrap();
        let rewritten = |line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
            let all = with_negated_words(&cli, &arguments).into_iter().map(|word| word.into_string().unwrap());
            all.collect::<Vec<_>>().join(" ")
        };
        for (line, wanted) in [
            ("p events -host:localhost", "p events --not=host:localhost"),
            ("p events host:a -path:/x --json", "p events host:a --not=path:/x --json"),
            ("p stats -status:200", "p stats --not=status:200"),
            ("p runs -hst:a -\"any", "p runs --not=hst:a --not=\"any"),
            ("p search x -model:a", "p search x --not=model:a"),
            ("p store clear -tool:Bash -h", "p store clear --not=tool:Bash -h"),
            ("p events -- -host:a", "p events -- -host:a"),
            ("p run -- curl -host:a", "p run -- curl -host:a"),
            ("p events show -host:a", "p events show -host:a"),
            ("p events -h", "p events -h"),
            ("p", "p"),
        ] {
            assert_eq!(rewritten(line), wanted, "{line}");
        }
    }
}
