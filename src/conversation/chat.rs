//! OpenAI's Chat Completions and text completions, and interfaces with the same messages: Ollama, Cohere.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Answer, Block, Interface, Message, Request, Tool, append, as_written, content, elements, text};

pub(super) const INTERFACE: Interface = Interface { request, answer };

fn request(request: &Value, out: &mut Request) {
    out.tools = elements(&request["tools"]).iter().chain(elements(&request["functions"])).map(Tool::of).collect();
    let messages = elements(&request["messages"]);
    let system =
        messages.iter().take_while(|message| matches!(message["role"].as_str(), Some("system" | "developer")));
    out.system = system.clone().flat_map(|message| content(&message["content"], part)).collect();
    out.system.extend(content(&request["system"], part));
    out.messages = messages.iter().skip(system.count()).map(message).collect();
    let prompt = content(&request["prompt"], part);
    if !prompt.is_empty() {
        out.messages.push(Message { role: "user".to_owned(), blocks: prompt });
    }
    out.take_parameters(request, &["tools", "functions", "messages", "system", "prompt"]);
}

fn message(message: &Value) -> Message {
    let role = text(&message["role"]);
    let mut blocks = Vec::new();
    thinking(message, &mut blocks);
    blocks.extend(content(&message["content"], part));
    blocks.extend(content(&message["refusal"], part));
    blocks.extend(elements(&message["tool_calls"]).iter().map(call));
    if message["function_call"].is_object() {
        blocks.push(call(message));
    }
    if matches!(role.as_str(), "tool" | "function") {
        let id =
            [&message["tool_call_id"], &message["tool_name"], &message["name"]].into_iter().find_map(Value::as_str);
        blocks = vec![Block::ToolResult { id: id.unwrap_or_default().to_owned(), content: blocks, is_error: None }];
    }
    Message { role, blocks }
}

fn thinking(message: &Value, blocks: &mut Vec<Block>) {
    let thought = ["reasoning_content", "reasoning", "thinking"].iter().find_map(|name| message[*name].as_str());
    if let Some(thought) = thought.filter(|thought| !thought.is_empty()) {
        append(blocks, Block::Thinking(thought.to_owned()));
    }
}

/// A part of a message.
fn part(part: &Value) -> Option<Block> {
    Some(match part["type"].as_str().unwrap_or_default() {
        "text" => Block::Text(text(&part["text"])),
        "refusal" => Block::Text(text(&part["refusal"])),
        "image_url" => media("image", &part["image_url"]),
        kind @ ("input_audio" | "file") => media(kind, &part[kind]),
        // A list of prompts.
        "" if part.is_string() => Block::Text(text(part)),
        _ => Block::other(part),
    })
}

/// An image by its address or its data.
fn media(kind: &str, of: &Value) -> Block {
    let url = of["url"].as_str().or(of.as_str()).filter(|url| !url.starts_with("data:"));
    let of_data = of["url"].as_str().and_then(|url| url.strip_prefix("data:")?.split([';', ',']).next());
    Block::media(url.or(of_data).unwrap_or(kind), of)
}

/// A call to a tool, of either of the two interfaces.
fn call(call: &Value) -> Block {
    let function = ["function", "custom", "function_call"].iter().map(|name| &call[*name]).find(|it| it.is_object());
    let function = function.unwrap_or(call);
    let arguments = if function["arguments"].is_null() { &function["input"] } else { &function["arguments"] };
    Block::ToolCall { id: text(&call["id"]), name: text(&function["name"]), arguments: as_written(arguments) }
}

/// One of several answers, in pieces.
#[derive(Default)]
struct Choice {
    blocks: Vec<Block>,
    /// Calls by their index: id, name and arguments.
    calls: Vec<(u64, [String; 3])>,
}

fn answer(values: &[Value], out: &mut Answer) {
    let mut choices = BTreeMap::<u64, Choice>::new();
    for value in values {
        for (place, of) in (0..).zip(elements(&value["choices"])) {
            let choice = choices.entry(of["index"].as_u64().unwrap_or(place)).or_default();
            choice.whole(&of["message"]);
            choice.delta(&of["delta"]);
            choice.say(&of["text"]);
            out.stop_reason = of["finish_reason"].as_str().map(str::to_owned).or(out.stop_reason.take());
        }
        // Ollama's lines, and Cohere's whole answer.
        if value["choices"].is_null() {
            let choice = choices.entry(0).or_default();
            choice.delta(&value["message"]);
            choice.say(&value["response"]);
            let reason = value["done_reason"].as_str().or(value["finish_reason"].as_str());
            out.stop_reason = reason.map(str::to_owned).or(out.stop_reason.take());
        }
    }
    for choice in choices.into_values() {
        out.blocks.extend(choice.blocks);
        let calls =
            choice.calls.into_iter().map(|(_, [id, name, arguments])| Block::ToolCall { id, name, arguments });
        out.blocks.extend(calls);
    }
}

impl Choice {
    /// Takes a whole message. Some servers repeat it at the end of a stream.
    fn whole(&mut self, of: &Value) {
        if of.is_object() {
            *self = Self { blocks: message(of).blocks, calls: Vec::new() };
        }
    }

    fn delta(&mut self, delta: &Value) {
        thinking(delta, &mut self.blocks);
        for block in content(&delta["content"], part).into_iter().chain(content(&delta["refusal"], part)) {
            append(&mut self.blocks, block);
        }
        for (place, piece) in (0..).zip(elements(&delta["tool_calls"])) {
            self.call(place, piece);
        }
    }

    fn say(&mut self, said: &Value) {
        if let Some(said) = said.as_str().filter(|said| !said.is_empty()) {
            append(&mut self.blocks, Block::Text(said.to_owned()));
        }
    }

    /// Adds a piece of a call. Pieces of one call have its index, or follow each other.
    fn call(&mut self, place: u64, piece: &Value) {
        let Block::ToolCall { id, name, arguments } = call(piece) else { return };
        let last = self.calls.last().map(|(index, _)| *index);
        let begins = !id.is_empty() || !name.is_empty();
        let index = piece["index"].as_u64().unwrap_or(match last {
            Some(last) if begins => last + 1,
            Some(last) => last,
            None => place,
        });
        match self
            .calls
            .iter_mut()
            .find(|(known, parts)| *known == index && (id.is_empty() || parts[0].is_empty() || parts[0] == id))
        {
            Some((_, parts)) => {
                if parts[0].is_empty() {
                    parts[0] = id;
                }
                if parts[1] != name {
                    parts[1].push_str(&name);
                }
                parts[2].push_str(&arguments);
            }
            None => self.calls.push((index, [id, name, arguments])),
        }
    }
}
