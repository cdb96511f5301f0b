//! Runs and conversations as JSON, for programs. An unknown figure is null.

use serde_json::{Map, Value, json};

use super::compare::{Compared, ModelEvent};
use super::list::Listed;
use super::tree::{LeftOut, Miss, ModelCall, Run, Step, Thread, ToolCall, Turn};
use crate::conversation::{Block, Changes, Message};
use crate::runs::Excerpt;
use crate::store::Call;

impl Listed {
    /// As JSON.
    pub fn json(&self) -> Value {
        json!({
            "run": self.id.to_string(),
            "agent": self.agent,
            "sessions": self.sessions,
            "models": self.models,
            "totals": self.totals.json(),
            "other_calls": self.other.calls,
            "other_errors": self.other.errors,
            "unattributed": self.is_unattributed,
            "last_call_at_ms": self.last_ms,
        })
    }
}

impl Run {
    /// As JSON.
    pub fn json(&self) -> Value {
        let LeftOut { model_calls, other_calls, unattributed, reasons, .. } = self.left_out;
        json!({
            "run": self.id.to_string(),
            "agent": self.agent,
            "models": self.models,
            "totals": self.totals.json(),
            "threads": self.threads.iter().map(thread).collect::<Value>(),
            "other_calls": self.other.iter().map(other).collect::<Value>(),
            "left_out": {
                "model_calls": model_calls, "other_calls": other_calls, "cache_miss_reasons": reasons,
                "unattributed_calls_of_a_shared_session": unattributed,
            },
        })
    }
}

fn thread(of: &Thread) -> Value {
    json!({
        "id": of.id,
        "name": of.name,
        "parent_thread": of.parent.as_ref().map(|parent| parent.thread),
        "started_by": of.parent.as_ref().and_then(|parent| parent.tool.as_ref()).map(|(event, tool)| json!({ "event": event, "tool_call": tool })),
        "totals": of.totals.json(),
        "totals_with_sub_agents": of.with_sub_agents.json(),
        "turns": of.turns.iter().map(turn).collect::<Value>(),
        "beside_the_conversation": of.side.iter().map(model_call).collect::<Value>(),
    })
}

fn turn(of: &Turn) -> Value {
    let step = |step: &Step| match step {
        Step::Model(call) => model_call(call),
        Step::Tool(call) => tool_call(call),
        Step::Other(call) => other(call),
    };
    json!({
        "id": of.id,
        "said": excerpt(&of.said),
        "complete": of.is_complete,
        "totals": of.totals.json(),
        "totals_with_sub_agents": of.with_sub_agents.json(),
        "steps": of.steps.iter().map(step).collect::<Value>(),
    })
}

fn model_call(of: &ModelCall) -> Value {
    let (call, llm) = (&of.call, &of.llm);
    json!({
        "kind": "model_call",
        "event": call.id,
        "at_ms": call.started_at_ms,
        "took_ms": call.latency_ms,
        "status": call.status_code,
        "error": Some(&call.error).filter(|error| !error.is_empty()),
        "model": llm.model(),
        "input_tokens": llm.input_tokens(),
        "cache_read_tokens": llm.cache_read_tokens(),
        "cache_write_tokens": llm.cache_write_tokens(),
        "output_tokens": llm.output_tokens(),
        "cost": llm.cost(),
        "cost_currency": llm.currency(),
        "stop_reason": llm.finish(),
        "tool_calls": llm.tool_calls(),
        "retry_of": of.retry_of,
        "cache_miss": of.miss.as_ref().map(miss),
    })
}

fn miss(of: &Miss) -> Value {
    json!({
        "previous_event": of.previous, "expected_tokens": of.expected, "read_tokens": of.read, "reason": of.reason,
    })
}

fn tool_call(of: &ToolCall) -> Value {
    let result = of.result.as_ref().map(|result| {
        json!({
            "event": result.to, "is_error": result.is_error, "took_at_most_ms": result.at_most_ms,
            "content": excerpt(&result.content),
        })
    });
    json!({
        "kind": "tool_call",
        "called_by_event": of.by,
        "id": of.id,
        "name": of.name,
        "arguments": excerpt(&of.arguments),
        "result": result,
        "started_threads": of.threads,
        "over_mcp": of.over_mcp.iter().map(other).collect::<Value>(),
        "calls": of.calls.iter().map(other).collect::<Value>(),
    })
}

fn other(of: &Call) -> Value {
    json!({
        "kind": "other_call",
        "event": of.id,
        "at_ms": of.started_at_ms,
        "took_ms": of.latency_ms,
        "method": of.method,
        "host": of.host,
        "path": of.path,
        "status": of.status_code,
        "error": Some(&of.error).filter(|error| !error.is_empty()),
    })
}

fn excerpt(of: &Excerpt) -> Value {
    json!({ "text": of.text, "cut": of.is_cut })
}

impl ModelEvent {
    /// The conversation as JSON.
    pub fn json(&self) -> Value {
        let (request, answer) = (&self.conversation.request, &self.conversation.answer);
        json!({
            "event": self.id,
            "model": self.llm.model(),
            "system": blocks(&request.system),
            "tools": request.tools.iter().map(|tool| tool.definition.clone()).collect::<Value>(),
            "parameters": request.parameters,
            "goes_on_from_stored": request.goes_on,
            "messages": request.messages.iter().map(message).collect::<Value>(),
            "request_cut": request.is_cut,
            "answer": {
                "blocks": blocks(&answer.blocks), "stop_reason": answer.stop_reason, "error": answer.error,
                "cut": answer.is_cut,
            },
        })
    }
}

fn message(of: &Message) -> Value {
    json!({ "role": of.role, "blocks": blocks(&of.blocks) })
}

fn blocks(of: &[Block]) -> Value {
    of.iter().map(block).collect()
}

fn block(of: &Block) -> Value {
    match of {
        Block::Text(text) => json!({ "type": "text", "text": text }),
        Block::Thinking(text) => json!({ "type": "thinking", "text": text }),
        Block::ToolCall { id, name, arguments } => {
            json!({ "type": "tool_call", "id": id, "name": name, "arguments": arguments })
        }
        Block::ToolResult { id, content, is_error } => {
            json!({ "type": "tool_result", "id": id, "content": blocks(content), "is_error": is_error })
        }
        Block::Media { what, .. } => json!({ "type": "media", "what": what }),
        Block::Other { kind, json } => json!({ "type": "other", "kind": kind, "json": json }),
    }
}

impl Compared {
    /// What changed, as JSON.
    pub fn json(&self) -> Value {
        let Changes { kept, removed, added, system_removed, tools_added, tools_removed, tools_changed, .. } =
            &self.changes;
        let request = &self.after.conversation.request;
        let new = request.messages.len().saturating_sub(*added);
        let system = self.changes.system.iter().filter_map(|at| Some((at + 1, request.system.get(*at)?)));
        let parameters: Map<String, Value> = self
            .changes
            .parameters
            .iter()
            .map(|of| (of.name.clone(), json!({ "before": of.before, "after": of.after })))
            .collect();
        json!({
            "before": self.before.id,
            "after": self.after.id,
            "messages": {
                "kept": kept, "removed": removed, "added": added,
                "new": request.messages.iter().skip(new).map(message).collect::<Value>(),
            },
            "system": {
                "changed_blocks": system.map(|(at, of)| json!({ "place": at, "block": block(of) })).collect::<Value>(),
                "removed_blocks": system_removed,
            },
            "tools": {
                "added": tools_added, "removed": tools_removed, "changed": tools_changed, "moved": self.changes.tools_moved,
            },
            "parameters": parameters,
            "cache_miss": self.miss.as_ref().map(miss),
        })
    }
}
