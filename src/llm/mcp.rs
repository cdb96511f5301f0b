//! The Model Context Protocol over HTTP: finds the message that answers the request among the messages of a stream.

use serde_json::Value;

use super::facts::Fact;
use super::names;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};

/// The members of a message that are read.
pub(super) const WANTED: &[Wanted] = &[
    ("id", 512),
    ("method", 0),
    ("result.isError", 16),
    ("result.protocolVersion", 64),
    ("error.code", 32),
    ("error.message", 2048),
];

/// Reads a message from the server.
pub(super) fn read(reading: &mut Reading, members: &Sieve) {
    let answers = !members.has("method") && members.get("id").map(|id| id.to_string()) == reading.request().id;
    if !answers || reading.request().id.is_none() {
        return;
    }
    reading.confirm();
    if members.get("result.isError") == Some(Value::Bool(true)) {
        reading.add_fact(names::TOOL_ERROR, Fact::Flag(true));
        let tool = reading.request().tool.clone().unwrap_or_default();
        reading.fail("tool_error", &tool, "");
    }
    if let Some(version) = members.text("result.protocolVersion") {
        reading.add_fact(names::MCP_VERSION, Fact::Text(version));
    }
    if let Some(code) = members.get("error.code") {
        reading.add_fact(names::RPC_STATUS, Fact::Text(code.to_string()));
        reading.fail("jsonrpc_error", &code.to_string(), &members.text("error.message").unwrap_or_default());
    }
    reading.close();
}
