//! Calls to the MCP server of the tracker, over HTTP without TLS.

use serde_json::{Value, json};

use super::Failed;
use super::caller::Caller;
use super::origin::ISSUE;

/// Opens a session and calls the tool that reads an issue. Returns what the tool says.
pub(super) async fn get_issue(caller: &Caller) -> Result<String, Failed> {
    let url = format!("{}/mcp", caller.plain);
    let call = |id: u32, method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let hello = call(
        0,
        "initialize",
        json!({
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "claude-code", "version": "2.1.197" },
        }),
    );
    caller.post(&url, &fields(false), &hello).await?;
    let tool = call(1, "tools/call", json!({ "name": "get_issue", "arguments": { "number": 42 } }));
    caller.post(&url, &fields(true), &tool).await?;
    Ok(ISSUE.to_owned())
}

fn fields(in_session: bool) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("user-agent", "claude-code/2.1.197".to_owned()),
        ("accept", "application/json, text/event-stream".to_owned()),
        ("mcp-protocol-version", "2025-06-18".to_owned()),
    ];
    fields.extend(in_session.then(|| ("mcp-session-id", "demo-mcp-session".to_owned())));
    fields
}
