//! Bedrock's Converse. Its streams are binary, so they are not read here.

use serde_json::Value;

use super::{Answer, Block, Interface, Message, Request, Tool, as_written, elements, text};

pub(super) const INTERFACE: Interface = Interface { request, answer };

fn request(request: &Value, out: &mut Request) {
    out.system = elements(&request["system"]).iter().filter_map(block).collect();
    out.tools = elements(&request["toolConfig"]["tools"])
        .iter()
        .filter(|tool| tool["cachePoint"].is_null())
        .map(|tool| Tool { name: text(&tool["toolSpec"]["name"]), definition: tool.clone() })
        .collect();
    out.messages = elements(&request["messages"])
        .iter()
        .map(|message| Message { role: text(&message["role"]), blocks: blocks(&message["content"]) })
        .collect();
    out.take_parameters(request, &["system", "toolConfig", "messages"]);
}

fn blocks(content: &Value) -> Vec<Block> {
    elements(content).iter().filter_map(block).collect()
}

fn block(block: &Value) -> Option<Block> {
    let (call, result) = (&block["toolUse"], &block["toolResult"]);
    if let Some(text) = block["text"].as_str() {
        return Some(Block::Text(text.to_owned()));
    }
    if let Some(thought) = block["reasoningContent"]["reasoningText"]["text"].as_str() {
        return Some(Block::Thinking(thought.to_owned()));
    }
    if call.is_object() {
        let (id, name) = (text(&call["toolUseId"]), text(&call["name"]));
        return Some(Block::ToolCall { id, name, arguments: as_written(&call["input"]) });
    }
    if result.is_object() {
        let is_error = Some(result["status"] == "error");
        return Some(Block::ToolResult {
            id: text(&result["toolUseId"]),
            content: blocks(&result["content"]),
            is_error,
        });
    }
    let (kind, of) = block.as_object().and_then(|members| members.iter().next())?;
    match kind.as_str() {
        // A mark for the cache.
        "cachePoint" => None,
        "json" => Some(Block::Text(of.to_string())),
        "image" | "document" | "video" => {
            Some(Block::media(&format!("{kind}/{}", of["format"].as_str().unwrap_or_default()), of))
        }
        _ => Some(Block::Other { kind: kind.clone(), json: block.to_string() }),
    }
}

fn answer(values: &[Value], out: &mut Answer) {
    for value in values {
        out.blocks.extend(blocks(&value["output"]["message"]["content"]));
        out.stop_reason = value["stopReason"].as_str().map(str::to_owned).or(out.stop_reason.take());
    }
}
