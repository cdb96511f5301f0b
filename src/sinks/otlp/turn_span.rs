//! The spans of what no single event is: a turn of an agent (`invoke_agent`), and a call to a tool (`execute_tool`). Pure.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use serde_json::{Value, json};

use super::attribute::{integer, pair, text};
use super::{content, names};
use crate::conversation::Block;
use crate::llm::names as llm;
use crate::runs::ToolUse;

/// A turn: its ids, and what its span says.
pub(super) struct Turn {
    pub(super) trace: Vec<u8>,
    pub(super) span: Vec<u8>,
    /// Empty: it is the root of its trace.
    pub(super) parent: Vec<u8>,
    /// Who the agent is, and its session.
    pub(super) identity: Vec<KeyValue>,
    /// The agent's name.
    pub(super) agent: String,
    /// What the user said.
    pub(super) said: String,
    /// The last answer.
    pub(super) answer: Vec<Block>,
    /// When its first call began, in nanoseconds since 1970.
    pub(super) started: u64,
    /// When its last call ended so far.
    pub(super) ended: u64,
    /// Its model calls so far.
    pub(super) calls: u64,
    /// Why its last call failed. Empty: it did not.
    pub(super) error: String,
    /// Its span was made.
    pub(super) is_over: bool,
    /// Its thread has a later turn.
    pub(super) is_superseded: bool,
}

/// Why a turn is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The last answer calls no tool.
    Answered,
    /// Another turn of the same thread began.
    Superseded,
    /// Nothing came for long, or too many turns are open.
    GivenUp,
    /// The proxy stops.
    Stopped,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Superseded => "superseded",
            Self::GivenUp => "given_up",
            Self::Stopped => "stopped",
        }
    }
}

/// The span of a turn. `max`: the most bytes of an attribute with content.
pub(super) fn turn(turn: &Turn, end: End, max: Option<usize>) -> Span {
    let mut attributes = vec![pair(llm::OPERATION, Any::StringValue("invoke_agent".to_owned()))];
    attributes.extend(turn.identity.iter().cloned());
    let mut add = |name: &str, value: Option<Any>| attributes.extend(value.map(|value| pair(name, value)));
    add(names::TURN_CALLS, integer(turn.calls));
    add(names::TURN_END, text(end.name()));
    if let Some(max) = max {
        let said = (!turn.said.is_empty()).then(|| Block::Text(turn.said.clone()));
        let (input, input_cut) = content::message("user", said.as_slice(), max);
        let (output, output_cut) = content::message("assistant", &turn.answer, max);
        add(names::INPUT_MESSAGES, input.map(Any::StringValue));
        add(names::OUTPUT_MESSAGES, output.map(Any::StringValue));
        add(names::CONTENT_CUT, (input_cut || output_cut).then_some(Any::BoolValue(true)));
    }
    Span {
        trace_id: turn.trace.clone(),
        span_id: turn.span.clone(),
        parent_span_id: turn.parent.clone(),
        name: named("invoke_agent", &turn.agent),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: turn.started,
        end_time_unix_nano: turn.ended.max(turn.started),
        attributes,
        status: Some(status(turn.error.clone())),
        ..Span::default()
    }
}

/// A call to a tool, as its span says it.
pub(super) struct ToolCall<'a> {
    pub(super) turn: &'a Turn,
    pub(super) span: Vec<u8>,
    pub(super) tool: &'a ToolUse,
    pub(super) arguments: &'a str,
    /// `None`: no call brought it, or only its beginning is held.
    pub(super) result: Option<&'a [Block]>,
    /// When the answer that called it ended, in nanoseconds since 1970.
    pub(super) from: u64,
    /// When the model call with its result began. `None`: no call brought it.
    pub(super) to: Option<u64>,
}

/// The span of a call to a tool. Its duration is an upper bound, and it says so.
pub(super) fn tool(call: &ToolCall<'_>, max: Option<usize>) -> Span {
    let (turn, tool) = (call.turn, call.tool);
    let is_error = tool.result.as_ref().and_then(|result| result.is_error) == Some(true);
    let mut attributes = vec![pair(llm::OPERATION, Any::StringValue("execute_tool".to_owned()))];
    attributes.extend(turn.identity.iter().cloned());
    let mut add = |name: &str, value: Option<Any>| attributes.extend(value.map(|value| pair(name, value)));
    add(llm::TOOL, text(&tool.name));
    add(names::TOOL_CALL_ID, if tool.id.is_empty() { None } else { text(&tool.id) });
    add(names::TOOL_TYPE, text("function"));
    add(names::ERROR_TYPE, if is_error { text("tool_error") } else { None });
    match call.to {
        Some(_) => add(names::UPPER_BOUND, Some(Any::BoolValue(true))),
        None => add(names::NO_RESULT, Some(Any::BoolValue(true))),
    }
    if let Some(max) = max {
        let arguments = if call.arguments.is_empty() { Value::Null } else { json!(call.arguments) };
        let beginning = || tool.result.as_ref().map(|result| &result.content);
        let result = match (call.result, beginning()) {
            (Some(blocks), _) => content::result(blocks),
            (None, Some(beginning)) => json!(beginning.text),
            (None, None) => Value::Null,
        };
        let mut content = content::tool(&arguments, &result, max);
        content.is_cut |= call.result.is_none() && beginning().is_some_and(|beginning| beginning.is_cut);
        add(names::TOOL_ARGUMENTS, content.arguments.map(Any::StringValue));
        add(names::TOOL_RESULT, content.result.map(Any::StringValue));
        add(names::CONTENT_CUT, content.is_cut.then_some(Any::BoolValue(true)));
    }
    Span {
        trace_id: turn.trace.clone(),
        span_id: call.span.clone(),
        parent_span_id: turn.span.clone(),
        name: named("execute_tool", &tool.name),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: call.from,
        end_time_unix_nano: call.to.unwrap_or(turn.ended).max(call.from),
        attributes,
        status: Some(status(if is_error { "tool_error".to_owned() } else { String::new() })),
        ..Span::default()
    }
}

/// The name of a span: the operation and its target, if there is one.
pub(super) fn named(operation: &str, what: &str) -> String {
    if what.is_empty() { operation.to_owned() } else { format!("{operation} {what}") }
}

fn status(error: String) -> Status {
    match error.is_empty() {
        true => Status::default(),
        false => Status { message: error, code: StatusCode::Error.into() },
    }
}
