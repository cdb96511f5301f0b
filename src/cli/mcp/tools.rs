//! Which tools there are, and the schemas of their arguments.

use std::path::Path;

use rmcp::model::{Tool, ToolAnnotations};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::answers;
use super::arguments::{BODY_BYTES, MOST_ROWS, PIECE_BYTES, ROWS};
use super::pieces::MOST;
use crate::run_view::Memory;
use crate::stats::By;
use crate::store::Inspector;

/// What the filter language takes, for those who have never seen it.
const QUERY: &str = "Words that must all match: host:TEXT path:TEXT method:POST status:429|5xx|none|error model:TEXT tool:NAME \
     agent:TEXT body:TEXT note:TEXT session:ID is:model|noted since:2h until:TIME cost>0.1 tokens>1000 latency>2s. A - before a word negates it. Any other \
     word, or \"words in quotes\", is text in method, host, path, error, model facts, bodies or notes. Default: everything.";
const OFFSET: &str = "Byte to begin at, as the end of the last piece said. Default: 0.";

/// All tools.
pub(super) fn all() -> Vec<Tool> {
    let (query, offset) = (text(QUERY), number(OFFSET));
    let limit = number(&format!("The most bytes to return, up to {MOST}. Default: {PIECE_BYTES}."));
    let whole = json!({ "type": "boolean", "description": "Show long parts whole instead of their beginning. Default: false." });
    let id = number("The number of the call, as search_calls and read_run give it.");
    let rows = |of: &str| format!("The most {of} to return, 1 to {MOST_ROWS}. Default: {ROWS}.");
    let by: Vec<&str> = By::ALL.iter().map(|by| by.name()).collect();
    vec![
        tool(
            "search_calls",
            "Search the logged HTTP calls, newest first. Each line has tab-separated fields, named in the first line.",
            json!({
                "query": query,
                "limit": number(&rows("calls")),
                "before": number("Only calls with a smaller number, to go on where the last answer ended."),
            }),
            &[],
        ),
        tool(
            "read_call",
            "Read one call of any kind: request and response with headers, sizes, times, and the beginning of both bodies. With part, \
             one body from any byte on.",
            json!({
                "id": id,
                "part": { "type": "string", "enum": ["summary", "request_body", "response_body"], "description": "Default: summary." },
                "offset": number("With part: the byte to begin at. Default: 0."),
                "limit": number(&format!("The most bytes of a body, up to {MOST}. Default: {BODY_BYTES} in a summary, else {PIECE_BYTES}.")),
            }),
            &["id"],
        ),
        tool(
            "read_conversation",
            "Read a call to a model as text: system prompt, tools, messages, tool calls and results, and the answer. Long parts are \
             shown by their beginning. search_calls with is:model finds such calls.",
            json!({ "id": id, "whole": whole, "offset": offset, "limit": limit }),
            &["id"],
        ),
        tool(
            "diff_calls",
            "What the call `id` to a model changed against the previous call of its conversation, or against the call `before`: new messages, \
             changed system prompt, tools and parameters, and why the prompt cache was missed.",
            json!({
                "id": id, "before": number("The number of the earlier call. Default: the previous one of the conversation."),
                "whole": whole, "offset": offset, "limit": limit,
            }),
            &["id"],
        ),
        tool(
            "list_runs",
            "List what agents did, by session, newest first: agent, models, calls, errors, tokens, cost, time.",
            json!({ "query": query, "limit": number(&rows("runs")) }),
            &[],
        ),
        tool(
            "read_run",
            "Show one run as a tree: turns, calls to models (#number) and tools, sub-agents, retries, cache misses with their reason, \
             tokens, cost and time at each node.",
            json!({ "run": text("The run, as list_runs names it, or the agent's own id of its session."), "offset": offset, "limit": limit }),
            &["run"],
        ),
        tool(
            "statistics",
            "Totals of calls as JSON: number, errors, latencies, bytes, tokens, cost. By host and model, or by one fact.",
            json!({ "query": query, "by": { "type": "string", "enum": by, "description": "Totals by this fact." } }),
            &[],
        ),
    ]
}

fn tool(name: &'static str, description: &'static str, properties: Value, required: &[&str]) -> Tool {
    let schema = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    });
    let schema = schema.as_object().cloned().unwrap_or_default();
    let read_only = ToolAnnotations::from_raw(None, Some(true), Some(false), Some(true), Some(false));
    Tool::new(name, description, schema).annotate(read_only)
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn number(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

/// What a tool answers. `memory`: what was read of runs before.
///
/// # Errors
/// Why it cannot, and what to do next.
pub(super) fn call(store: &Path, memory: &Memory, name: &str, arguments: Value) -> Result<String, String> {
    // The store may come, or be replaced, while the server runs.
    let viewer = || Inspector::open(store).map(|store| store.viewer()).map_err(|error| error.to_string());
    let all = all();
    let Some(tool) = all.iter().find(|tool| tool.name == name) else {
        let names: Vec<&str> = all.iter().map(|tool| &*tool.name).collect();
        return Err(format!("unknown tool `{name}`; there are {}", names.join(", ")));
    };
    let arguments = checked(&tool.input_schema, arguments)?;
    match name {
        "search_calls" => answers::search(&viewer()?, &read(arguments)?),
        "read_call" => answers::call(&viewer()?, &read(arguments)?),
        "read_conversation" => answers::conversation(&viewer()?, &read(arguments)?),
        "diff_calls" => answers::diff(&viewer()?, &read(arguments)?),
        "list_runs" => answers::runs(&viewer()?, &read(arguments)?),
        "read_run" => answers::run(&viewer()?, memory, &read(arguments)?),
        _ => answers::statistics(&viewer()?, &read(arguments)?),
    }
}

/// The arguments without those that are null, which some models give for what they leave out.
///
/// # Errors
/// When they do not fit the schema: which one, and what is expected.
fn checked(schema: &Map<String, Value>, mut arguments: Value) -> Result<Value, String> {
    let Value::Object(given) = &mut arguments else { return Err("the arguments are not a JSON object".to_owned()) };
    given.retain(|_, value| !value.is_null());
    let known = schema.get("properties").and_then(Value::as_object);
    for (name, value) in given.iter() {
        let Some(property) = known.and_then(|known| known.get(name)) else {
            let names: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            return Err(format!("unknown argument `{name}`; expected one of {}", names.join(", ")));
        };
        if let Some(expected) = misfit(property, value) {
            return Err(format!("`{name}`: expected {expected}, not {value}"));
        }
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    match required.into_iter().find(|name| !given.contains_key(*name)) {
        Some(name) => {
            let what = known.and_then(|known| known.get(name)?["description"].as_str()).unwrap_or_default();
            Err(format!("`{name}` is missing: {what}"))
        }
        None => Ok(arguments),
    }
}

/// What is expected in place of a value that does not fit.
fn misfit(property: &Value, value: &Value) -> Option<String> {
    let (fits, expected) = match property["type"].as_str() {
        Some("integer") => (value.as_i64().is_some_and(|number| number >= 0), "a whole number from 0 on"),
        Some("boolean") => (value.is_boolean(), "true or false"),
        _ => (value.is_string(), "a text"),
    };
    if !fits {
        return Some(expected.to_owned());
    }
    let values = property["enum"].as_array()?;
    let names = || values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    (!values.contains(value)).then(|| format!("one of {}", names()))
}

fn read<T: DeserializeOwned>(arguments: Value) -> Result<T, String> {
    serde_json::from_value(arguments).map_err(|error| format!("wrong arguments: {error}; tools/list has the schema"))
}
