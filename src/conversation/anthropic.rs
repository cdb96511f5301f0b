//! Anthropic's Messages.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Answer, Block, Interface, Message, Request, Tool, as_written, content, elements, text};

pub(super) const INTERFACE: Interface = Interface { request, answer };

fn request(request: &Value, out: &mut Request) {
    out.system = content(&request["system"], block);
    out.tools = elements(&request["tools"]).iter().map(Tool::of).collect();
    out.messages = elements(&request["messages"])
        .iter()
        .map(|message| Message { role: text(&message["role"]), blocks: content(&message["content"], block) })
        .collect();
    out.take_parameters(request, &["system", "tools", "messages"]);
}

/// A part of a message, of the system prompt, or of a tool's result.
fn block(block: &Value) -> Option<Block> {
    Some(match block["type"].as_str().unwrap_or_default() {
        "text" => Block::Text(text(&block["text"])),
        "thinking" => Block::Thinking(text(&block["thinking"])),
        "tool_use" | "server_tool_use" | "mcp_tool_use" => Block::ToolCall {
            id: text(&block["id"]),
            name: text(&block["name"]),
            arguments: as_written(&block["input"]),
        },
        kind if kind.ends_with("tool_result") => Block::ToolResult {
            id: text(&block["tool_use_id"]),
            content: content(&block["content"], self::block),
            is_error: block["is_error"].as_bool().or(Some(false)),
        },
        "image" | "document" => {
            let source = &block["source"];
            let what = ["media_type", "url", "type"].iter().find_map(|name| source[*name].as_str());
            Block::media(what.unwrap_or_default(), source)
        }
        _ => Block::other(block),
    })
}

fn answer(values: &[Value], out: &mut Answer) {
    let mut pieces = BTreeMap::<u64, (Value, String)>::new();
    for value in values {
        let index = value["index"].as_u64().unwrap_or(0);
        match value["type"].as_str().unwrap_or_default() {
            "message" => {
                out.blocks = content(&value["content"], block);
                out.stop_reason = value["stop_reason"].as_str().map(str::to_owned);
            }
            "content_block_start" => {
                pieces.insert(index, (value["content_block"].clone(), String::new()));
            }
            "content_block_delta" => {
                let delta = &value["delta"];
                let piece = ["text", "thinking", "partial_json"].iter().find_map(|name| delta[*name].as_str());
                pieces.entry(index).or_default().1.push_str(piece.unwrap_or_default());
            }
            "message_delta" => {
                let reason = value["delta"]["stop_reason"].as_str().map(str::to_owned);
                out.stop_reason = reason.or(out.stop_reason.take());
            }
            _ => {}
        }
    }
    out.blocks.extend(pieces.into_values().filter_map(|(start, more)| streamed(&start, &more)));
}

/// A part of a streamed answer: how it began, and what came after.
fn streamed(start: &Value, more: &str) -> Option<Block> {
    match block(start)? {
        Block::Text(text) => Some(Block::Text(text + more)),
        Block::Thinking(text) => Some(Block::Thinking(text + more)),
        // What came with the beginning is only a placeholder, unless nothing follows.
        Block::ToolCall { id, name, .. } if !more.is_empty() => {
            Some(Block::ToolCall { id, name, arguments: more.to_owned() })
        }
        // The beginning was cut off.
        Block::Other { kind, .. } if kind.is_empty() => Some(Block::Text(more.to_owned())),
        whole => Some(whole),
    }
}
