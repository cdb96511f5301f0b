//! The Model Context Protocol over HTTP: the one message that answers the request, among those that a stream may carry.

use serde_json::Value;

use super::facts::Fact;
use super::names;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};

/// Of a message.
pub(super) const WANTED: &[Wanted] = &[
    ("id", 512),
    ("method", 0),
    ("result.isError", 16),
    ("result.protocolVersion", 64),
    ("error.code", 32),
    ("error.message", 2048),
];

/// A message of the server's.
pub(super) fn read(reading: &mut Reading, said: &Sieve) {
    let answers = !said.has("method") && said.get("id").map(|id| id.to_string()) == reading.asked().id;
    if !answers || reading.asked().id.is_none() {
        return;
    }
    reading.confirm();
    if said.get("result.isError") == Some(Value::Bool(true)) {
        reading.tell(names::TOOL_ERROR, Fact::Flag(true));
        let tool = reading.asked().tool.clone().unwrap_or_default();
        reading.fail("tool_error", &tool, "");
    }
    if let Some(version) = said.text("result.protocolVersion") {
        reading.tell(names::MCP_VERSION, Fact::Text(version));
    }
    if let Some(code) = said.get("error.code") {
        reading.tell(names::RPC_STATUS, Fact::Text(code.to_string()));
        reading.fail("jsonrpc_error", &code.to_string(), &said.text("error.message").unwrap_or_default());
    }
    reading.close();
}
