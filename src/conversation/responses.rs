//! OpenAI's Responses: over HTTP, and as turns of a WebSocket.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Answer, Block, Interface, Message, Request, Tool, as_written, content, elements, text};

pub(super) const INTERFACE: Interface = Interface { request, answer };

fn request(request: &Value, out: &mut Request) {
    out.system = content(&request["instructions"], part);
    out.tools = elements(&request["tools"]).iter().flat_map(tools).collect();
    let whole = Value::Array(vec![]);
    let items = match &request["input"] {
        Value::String(said) => {
            out.messages.push(Message { role: "user".to_owned(), blocks: vec![Block::Text(said.clone())] });
            &whole
        }
        items => items,
    };
    // Codex sends the tools of some models as an item.
    let is_tools = |item: &&Value| item["type"] == "additional_tools";
    let of_items = elements(items).iter().filter(is_tools).flat_map(|item| elements(&item["tools"]));
    out.tools.extend(of_items.flat_map(tools));
    let items = || elements(items).iter().filter(|item| !is_tools(item));
    let system = items().take_while(|item| matches!(item["role"].as_str(), Some("system" | "developer")));
    out.system.extend(system.clone().flat_map(|item| content(&item["content"], part)));
    for item in items().skip(system.count()) {
        let role = role(item);
        let blocks = self::item(item);
        // The items of one answer belong together.
        match out.messages.last_mut() {
            Some(last) if last.role == role && role == "assistant" => last.blocks.extend(blocks),
            _ => out.messages.push(Message { role, blocks }),
        }
    }
    out.take_parameters(request, &["instructions", "tools", "input", "generate"]);
}

/// The tools of a definition, which may be a namespace of several.
fn tools(definition: &Value) -> Vec<Tool> {
    match definition["type"] == "namespace" {
        true => elements(&definition["tools"]).iter().map(Tool::of).collect(),
        false => vec![Tool::of(definition)],
    }
}

fn role(item: &Value) -> String {
    match (item["role"].as_str(), item["type"].as_str().unwrap_or_default()) {
        (Some(role), _) => role.to_owned(),
        // From another agent.
        (None, "agent_message") => "user".to_owned(),
        (None, kind) if kind.ends_with("_output") => "tool".to_owned(),
        (None, _) => "assistant".to_owned(),
    }
}

/// The parts of an item.
fn item(item: &Value) -> Vec<Block> {
    let id = ["call_id", "id"].iter().find_map(|name| item[*name].as_str()).unwrap_or_default().to_owned();
    match item["type"].as_str().unwrap_or("message") {
        "message" | "agent_message" => content(&item["content"], part),
        "reasoning" => {
            let parts = elements(&item["summary"]).iter().chain(elements(&item["content"]));
            parts.filter_map(|part| part["text"].as_str()).map(|text| Block::Thinking(text.to_owned())).collect()
        }
        kind if kind.ends_with("_output") => {
            let is_error = item["status"].as_str().map(|status| status == "failed" || status == "incomplete");
            vec![Block::ToolResult { id, content: content(&item["output"], part), is_error }]
        }
        kind if kind.ends_with("_call") => {
            let own = kind.strip_suffix("_call").unwrap_or(kind);
            let name = item["name"].as_str().unwrap_or(own).to_owned();
            let arguments = ["arguments", "input", "action", "queries", "code"].iter().map(|name| &item[*name]);
            let arguments = arguments.into_iter().find(|value| !value.is_null());
            vec![Block::ToolCall { id, name, arguments: arguments.map(as_written).unwrap_or_default() }]
        }
        _ => vec![Block::other(item)],
    }
}

/// A part of a message.
fn part(part: &Value) -> Option<Block> {
    Some(match part["type"].as_str().unwrap_or_default() {
        "input_text" | "output_text" | "text" => Block::Text(text(&part["text"])),
        "refusal" => Block::Text(text(&part["refusal"])),
        "input_image" | "input_file" | "input_audio" => {
            let url = ["image_url", "file_url", "filename"].iter().find_map(|name| part[*name].as_str());
            let url = url.filter(|url| !url.starts_with("data:"));
            Block::media(url.or(part["type"].as_str()).unwrap_or_default(), part)
        }
        _ => Block::other(part),
    })
}

/// An item while it arrives.
#[derive(Default)]
struct Arriving {
    item: Value,
    text: String,
    thought: String,
    input: String,
}

fn answer(values: &[Value], out: &mut Answer) {
    let mut items = BTreeMap::<u64, Arriving>::new();
    for value in values {
        let index = value["output_index"].as_u64().unwrap_or(0);
        let delta = value["delta"].as_str().unwrap_or_default();
        match value["type"].as_str().unwrap_or_default() {
            "response.output_item.added" => at(&mut items, index).item = value["item"].clone(),
            "response.output_item.done" => {
                *at(&mut items, index) = Arriving { item: value["item"].clone(), ..Arriving::default() };
            }
            "response.output_text.delta" | "response.refusal.delta" => at(&mut items, index).text.push_str(delta),
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                at(&mut items, index).thought.push_str(delta);
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                at(&mut items, index).input.push_str(delta);
            }
            kind if kind.starts_with("response.") && value["response"].is_object() => {
                end(&value["response"], items.is_empty(), out);
            }
            "" if value["object"] == "response" => end(value, true, out),
            _ => {}
        }
    }
    if !items.is_empty() {
        out.blocks = items.into_values().flat_map(Arriving::blocks).collect();
    }
}

fn at(items: &mut BTreeMap<u64, Arriving>, index: u64) -> &mut Arriving {
    items.entry(index).or_default()
}

/// Reads the state of the whole answer. `items`: whether its items are wanted.
fn end(response: &Value, items: bool, out: &mut Answer) {
    let why = response["incomplete_details"]["reason"].as_str();
    let status = response["status"].as_str().filter(|status| !matches!(*status, "in_progress" | "queued"));
    out.stop_reason = why.or(status).map(str::to_owned).or(out.stop_reason.take());
    if items {
        out.blocks = elements(&response["output"]).iter().flat_map(item).collect();
    }
}

impl Arriving {
    fn blocks(self) -> Vec<Block> {
        let mut blocks = item(&self.item);
        match blocks.last_mut() {
            Some(Block::ToolCall { arguments, .. }) if !self.input.is_empty() => *arguments = self.input,
            _ => {}
        }
        blocks.retain(|block| !matches!(block, Block::Other { kind, .. } if kind.is_empty()));
        let thought = Some(self.thought).filter(|text| !text.is_empty()).map(Block::Thinking);
        let said = Some(self.text).filter(|text| !text.is_empty()).map(Block::Text);
        thought.into_iter().chain(said).chain(blocks).collect()
    }
}
