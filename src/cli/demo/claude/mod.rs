//! The first agent. It calls as Claude Code does: Anthropic's interface with streamed answers, tools, a sub-agent whose call is
//! refused once, a call to a tool of an MCP server, and a call for a title.

pub(super) mod script;

use std::time::Duration;

use serde_json::{Value, json};

use super::caller::Caller;
use super::{Failed, mcp};

const SESSION: &str = "5d0c1a52-6a53-4b5e-9a87-3f1f0c6f7a10";
/// The time between two calls: tools run, the user reads, or a retry waits.
const PAUSE: Duration = Duration::from_millis(80);
const SUB_AGENT: &str = "a7c4e19b2d";

/// Does what the user asks, in two turns.
pub(super) async fn works(caller: &Caller) -> Result<(), Failed> {
    title(caller).await?;
    let mut talk = Talk::main();
    for asked in script::ASKED {
        talk.says(&[json!({ "type": "text", "text": asked })]);
        loop {
            let uses = talk.call(caller).await?;
            if uses.is_empty() {
                break;
            }
            let mut results = Vec::new();
            for tool in uses {
                results.push(used(caller, &tool).await?);
            }
            talk.says(&results);
        }
    }
    Ok(())
}

/// Uses a tool: its result.
async fn used(caller: &Caller, tool: &Value) -> Result<Value, Failed> {
    let id = tool["id"].as_str().unwrap_or_default();
    let (text, is_error) = match tool["name"].as_str().unwrap_or_default() {
        "Agent" => (sub_agent(caller).await?, false),
        "mcp__tracker__get_issue" => (mcp::get_issue(caller).await?, false),
        _ => {
            let (text, is_error) = script::result(id);
            (text.to_owned(), is_error)
        }
    };
    Ok(json!({ "type": "tool_result", "tool_use_id": id, "content": text, "is_error": is_error }))
}

/// The sub-agent: what it found.
async fn sub_agent(caller: &Caller) -> Result<String, Failed> {
    let mut talk = Talk::of_sub_agent();
    talk.says(&[json!({ "type": "text", "text": script::TASK })]);
    loop {
        let uses = talk.call(caller).await?;
        let results: Vec<Value> = uses
            .iter()
            .map(|tool| {
                let (text, is_error) = script::result(tool["id"].as_str().unwrap_or_default());
                json!({ "type": "tool_result", "tool_use_id": tool["id"], "content": text, "is_error": is_error })
            })
            .collect();
        if results.is_empty() {
            return Ok(talk.last_words());
        }
        talk.says(&results);
    }
}

/// Asks the small model for a title of the conversation.
async fn title(caller: &Caller) -> Result<(), Failed> {
    let body = json!({
        "model": script::SMALL_MODEL, "max_tokens": 64, "stream": true, "metadata": metadata(),
        "system": [mark(0, false), { "type": "text", "text": script::SYSTEM_OF_TITLES }],
        "messages": [{ "role": "user", "content": script::ASKED[0] }],
    });
    caller.post(&url(caller), &fields(None, 0), &body).await?;
    Ok(())
}

/// A conversation of the agent or its sub-agent.
struct Talk {
    is_of_sub_agent: bool,
    messages: Vec<Value>,
    /// The calls so far.
    calls: usize,
}

impl Talk {
    fn main() -> Self {
        Self { is_of_sub_agent: false, messages: Vec::new(), calls: 0 }
    }

    fn of_sub_agent() -> Self {
        Self { is_of_sub_agent: true, ..Self::main() }
    }

    /// Adds a message of the user.
    fn says(&mut self, content: &[Value]) {
        self.messages.push(json!({ "role": "user", "content": content }));
    }

    /// Calls the model until it answers. Returns the tools that the answer calls.
    async fn call(&mut self, caller: &Caller) -> Result<Vec<Value>, Failed> {
        let answer = match self.is_of_sub_agent {
            true => script::answer_to_sub_agent(self.calls),
            false => script::answer(self.calls),
        };
        let agent = self.is_of_sub_agent.then_some(SUB_AGENT);
        let body = self.body();
        if self.calls > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        for attempt in 0.. {
            if caller.post(&url(caller), &fields(agent, attempt), &body).await?.is_success() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.calls += 1;
        let uses = answer.content.iter().filter(|block| block["type"] == "tool_use").cloned().collect();
        self.messages.push(json!({ "role": "assistant", "content": answer.content }));
        Ok(uses)
    }

    /// The text of the last answer.
    fn last_words(&self) -> String {
        let last = self.messages.last().map(|message| &message["content"][0]["text"]);
        last.and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn body(&self) -> Value {
        let (system, tools) = match self.is_of_sub_agent {
            true => (script::SYSTEM_OF_SUB_AGENT, script::tools_of_sub_agent()),
            false => (script::SYSTEM, script::tools(self.calls)),
        };
        let mut messages = self.messages.clone();
        // The mark for the cache moves to the newest message.
        if let Some(last) = messages.last_mut().and_then(|message| message["content"].as_array_mut()?.last_mut()) {
            last["cache_control"] = json!({ "type": "ephemeral" });
        }
        json!({
            "model": script::MODEL, "max_tokens": 32_000, "stream": true, "metadata": metadata(),
            "system": [mark(self.calls, self.is_of_sub_agent), { "type": "text", "text": system, "cache_control": { "type": "ephemeral" } }],
            "tools": tools,
            "messages": messages,
        })
    }
}

fn url(caller: &Caller) -> String {
    format!("{}/v1/messages?beta=true", caller.models)
}

/// The first block of the system prompt, which differs in each call.
fn mark(nth: usize, is_of_sub_agent: bool) -> Value {
    let sub_agent = if is_of_sub_agent { " cc_is_subagent=true;" } else { "" };
    let text = format!(
        "x-anthropic-billing-header: cc_version=2.1.197; cc_entrypoint=cli; cch={:05x};{sub_agent}",
        0x7a31 * (nth + 3)
    );
    json!({ "type": "text", "text": text })
}

fn metadata() -> Value {
    let user = json!({ "device_id": "4c1f", "account_uuid": "", "session_id": SESSION });
    json!({ "user_id": user.to_string() })
}

fn fields(agent: Option<&str>, attempt: u32) -> Vec<(&'static str, String)> {
    let mut fields: Vec<(&str, String)> = vec![
        ("user-agent", "claude-cli/2.1.197 (external, cli)".to_owned()),
        ("x-app", "cli".to_owned()),
        ("anthropic-version", "2023-06-01".to_owned()),
        ("authorization", "Bearer demo-secret-that-is-not-logged".to_owned()),
        ("x-stainless-lang", "js".to_owned()),
        ("x-stainless-retry-count", attempt.to_string()),
        ("x-claude-code-session-id", SESSION.to_owned()),
        ("x-client-request-id", uuid::Uuid::new_v4().to_string()),
    ];
    fields.extend(agent.map(|id| ("x-claude-code-agent-id", id.to_owned())));
    fields
}
