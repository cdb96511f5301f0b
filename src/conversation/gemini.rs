//! Google's `generateContent`.

use serde_json::Value;

use super::{Answer, Block, Interface, Message, Request, Tool, append, as_written, content, elements, text};

pub(super) const INTERFACE: Interface = Interface { request, answer };

fn request(request: &Value, out: &mut Request) {
    for name in ["systemInstruction", "system_instruction"] {
        out.system.extend(parts(&request[name]));
    }
    out.tools = elements(&request["tools"]).iter().flat_map(tools).collect();
    out.messages = elements(&request["contents"])
        .iter()
        .map(|message| {
            let role = match message["role"].as_str() {
                Some("model") => "assistant",
                Some(role) => role,
                None => "user",
            };
            Message { role: role.to_owned(), blocks: parts(message) }
        })
        .collect();
    out.take_parameters(request, &["systemInstruction", "system_instruction", "tools", "contents"]);
}

/// Each entry holds several functions, or is a tool of Google's.
fn tools(entry: &Value) -> Vec<Tool> {
    let functions = [&entry["functionDeclarations"], &entry["function_declarations"]].map(elements).concat();
    if functions.is_empty() {
        let names = entry.as_object().into_iter().flatten();
        return names.map(|(name, of)| Tool { name: name.clone(), definition: of.clone() }).collect();
    }
    functions.into_iter().map(|of| Tool { name: text(&of["name"]), definition: of }).collect()
}

fn parts(of: &Value) -> Vec<Block> {
    match of {
        Value::String(_) => content(of, part),
        _ => elements(&of["parts"]).iter().filter_map(part).collect(),
    }
}

fn part(part: &Value) -> Option<Block> {
    if let Some(text) = part["text"].as_str() {
        let text = text.to_owned();
        return Some(if part["thought"] == true { Block::Thinking(text) } else { Block::Text(text) });
    }
    let (call, result) = (&part["functionCall"], &part["functionResponse"]);
    if call.is_object() {
        return Some(Block::ToolCall {
            id: id(call),
            name: text(&call["name"]),
            arguments: as_written(&call["args"]),
        });
    }
    if result.is_object() {
        let response = &result["response"];
        let content =
            vec![Block::Text(as_written(response["output"].as_str().map_or(response, |_| &response["output"])))];
        let is_error = Some(!response["error"].is_null());
        return Some(Block::ToolResult { id: id(result), content, is_error });
    }
    for name in ["inlineData", "inline_data", "fileData", "file_data"] {
        if part[name].is_object() {
            let what = ["fileUri", "mimeType", "mime_type"].iter().find_map(|member| part[name][*member].as_str());
            return Some(Block::media(what.unwrap_or(name), &part[name]));
        }
    }
    let kind = part.as_object().and_then(|members| members.keys().next());
    kind.map(|kind| Block::Other { kind: kind.clone(), json: part.to_string() })
}

/// The id of a call to a function, or else its name. Gemini CLI makes up ids that the model did not give: `NAME_TIME_NUMBER`.
fn id(of: &Value) -> String {
    let name = text(&of["name"]);
    let is_made_up = |id: &str| id.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(['_', '-']));
    match of["id"].as_str() {
        Some(id) if name.is_empty() || !is_made_up(id) => id.to_owned(),
        _ => name,
    }
}

fn answer(values: &[Value], out: &mut Answer) {
    for value in values {
        // The code assistant wraps each piece.
        let value = if value["response"].is_object() { &value["response"] } else { value };
        for candidate in elements(&value["candidates"]) {
            for block in parts(&candidate["content"]) {
                append(&mut out.blocks, block);
            }
            out.stop_reason = candidate["finishReason"].as_str().map(str::to_owned).or(out.stop_reason.take());
        }
        let blocked = value["promptFeedback"]["blockReason"].as_str().map(str::to_owned);
        out.stop_reason = blocked.or(out.stop_reason.take());
    }
}
