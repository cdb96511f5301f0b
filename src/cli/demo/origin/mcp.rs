//! The tracker's MCP server.

use http::Response;
use serde_json::{Value, json};

use super::{Body, json, with};

/// What the tool returns.
pub(in crate::cli::demo) const ISSUE: &str =
    "#42 (open) Empty last fields are lost\n`a,b,` has three fields, and the importer sees two.";

pub(super) fn answer(asked: &Value) -> Response<Body> {
    let answered = |result: Value| json(&json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result }));
    match asked["method"].as_str() {
        Some("initialize") => {
            let response = answered(json!({
                "protocolVersion": "2025-06-18", "capabilities": { "tools": {} }, "serverInfo": { "name": "tracker", "version": "1" },
            }));
            with(response, &[("mcp-session-id", "demo-mcp-session")])
        }
        _ => answered(json!({ "content": [{ "type": "text", "text": ISSUE }], "isError": false })),
    }
}
