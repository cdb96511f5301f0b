//! What was said, in the form of OpenTelemetry's conventions for generative AI: JSON texts, each of limited length. Pure.
//!
//! Of the messages the newest are kept, because agents resend the older ones with each call. What is left out is marked where it
//! was.

use serde_json::{Map, Value, json};

use super::shorten::{self, mark};
use crate::conversation::{Answer, Block, Conversation, Message, Tool};
use crate::event::{Content as Body, Side, Stored};

/// Extensions of images.
const IMAGES: [&str; 5] = [".png", ".jpg", ".jpeg", ".gif", ".webp"];

/// The content of a call, an attribute each. `None`: there is none.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Content {
    /// The messages of the request.
    pub(super) input: Option<String>,
    /// The answer.
    pub(super) output: Option<String>,
    /// The system prompt.
    pub(super) system: Option<String>,
    /// The tools that the model may call.
    pub(super) tools: Option<String>,
    /// Something is missing: here, or in the stored event already.
    pub(super) is_cut: bool,
}

/// The content of a model call. Each attribute has at most `max` bytes.
pub(super) fn of(conversation: &Conversation, max: usize) -> Content {
    let Conversation { request, answer } = conversation;
    let mut is_cut = request.is_cut || answer.is_cut;
    let mut text = |values: Vec<Value>, cut: bool| {
        is_cut |= cut;
        (!values.is_empty()).then(|| Value::Array(values).to_string())
    };
    let (messages, cut) = newest(&request.messages, max);
    let input = text(messages, cut);
    let (parts, cut) = first(request.system.iter().map(part), max);
    let system = text(parts, cut);
    let (definitions, cut) = definitions(&request.tools, max);
    let tools = text(definitions, cut);
    let (messages, cut) = first(of_blocks("assistant", &answer.blocks, Some(finish_reason(answer))), max);
    let output = text(messages, cut);
    Content { input, output, system, tools, is_cut }
}

/// The last messages that fit.
fn newest(messages: &[Message], max: usize) -> (Vec<Value>, bool) {
    // The brackets, and the mark.
    let mut room = max.saturating_sub(128);
    let mut kept = Vec::new();
    for (at, message) in messages.iter().enumerate().rev() {
        let (of_message, cut) = shorten::all(self::messages(message), room);
        if cut && !kept.is_empty() || of_message.is_empty() {
            let what = format!("{} earlier messages left out", at + 1);
            kept.push(vec![json!({ "role": message.role, "parts": [{ "type": "text", "content": mark(&what) }] })]);
            return (kept.into_iter().rev().flatten().collect(), true);
        }
        room = room.saturating_sub(of_message.iter().map(|message| message.to_string().len() + 1).sum());
        kept.push(of_message);
        if cut {
            room = 0;
        }
    }
    let is_cut = room == 0;
    (kept.into_iter().rev().flatten().collect(), is_cut)
}

/// The first values that fit.
fn first(values: impl IntoIterator<Item = Value>, max: usize) -> (Vec<Value>, bool) {
    let mut room = max.saturating_sub(2);
    let (mut kept, mut is_cut) = (Vec::new(), false);
    for value in values {
        let Some((value, cut)) = shorten::one(value, room) else { return (kept, true) };
        room = room.saturating_sub(value.to_string().len() + 1);
        is_cut |= cut;
        kept.push(value);
    }
    (kept, is_cut)
}

/// One message, without a stop reason if it is not an answer. `None`: it has no parts.
pub(super) fn message(role: &str, blocks: &[Block], max: usize) -> (Option<String>, bool) {
    let reason = (role == "assistant").then_some("stop");
    let (messages, is_cut) = first(of_blocks(role, blocks, reason), max);
    ((!messages.is_empty()).then(|| Value::Array(messages).to_string()), is_cut)
}

/// A message in the conventions' form. Each result of a tool is a message of its own, because readers expect one result a message.
fn messages(message: &Message) -> Vec<Value> {
    let mut all = Vec::new();
    let mut parts = Vec::new();
    for block in &message.blocks {
        if matches!(block, Block::ToolResult { .. }) {
            all.push(json!({ "role": "tool", "parts": [part(block)] }));
        } else {
            parts.push(part(block));
        }
    }
    if !parts.is_empty() || all.is_empty() {
        all.push(json!({ "role": message.role, "parts": parts }));
    }
    all
}

/// A message in one piece. `None`: it has no parts.
fn of_blocks(role: &str, blocks: &[Block], finish_reason: Option<&str>) -> Option<Value> {
    let mut message = json!({ "role": role, "parts": blocks.iter().map(part).collect::<Value>() });
    if let Some(reason) = finish_reason {
        message["finish_reason"] = reason.into();
    }
    (!blocks.is_empty()).then_some(message)
}

/// The conventions' word for the stop reason, or the provider's.
fn finish_reason(answer: &Answer) -> &str {
    let Some(reason) = answer.stop_reason.as_deref() else {
        return if answer.is_cut || answer.error.is_some() { "error" } else { "unknown" };
    };
    match reason.to_ascii_lowercase().as_str() {
        "stop" | "end_turn" | "stop_sequence" | "completed" | "complete" => "stop",
        "length" | "max_tokens" | "max_output_tokens" => "length",
        "tool_use" | "tool_calls" | "tool_call" | "function_call" => "tool_call",
        "content_filter" | "content_filtered" | "refusal" | "safety" => "content_filter",
        "error" | "failed" => "error",
        _ => reason,
    }
}

/// A part of a message.
pub(super) fn part(block: &Block) -> Value {
    match block {
        Block::Text(text) => json!({ "type": "text", "content": text }),
        Block::Thinking(text) => json!({ "type": "reasoning", "content": text }),
        Block::ToolCall { id, name, arguments } => {
            let mut part = json!({ "type": "tool_call", "name": name, "arguments": parsed(arguments) });
            with_id(&mut part, id);
            part
        }
        Block::ToolResult { id, content, is_error } => {
            let mut part = json!({ "type": "tool_call_response", "response": result(content) });
            with_id(&mut part, id);
            if let Some(is_error) = is_error {
                part["is_error"] = (*is_error).into();
            }
            part
        }
        Block::Media { what, .. } => media(what),
        Block::Other { kind, json } => {
            let mut members = match serde_json::from_str(json) {
                Ok(Value::Object(members)) => members,
                Ok(other) => Map::from_iter([("value".to_owned(), other)]),
                Err(_) => Map::new(),
            };
            members.insert("type".to_owned(), if kind.is_empty() { "unknown" } else { kind }.into());
            Value::Object(members)
        }
    }
}

fn with_id(part: &mut Value, id: &str) {
    if !id.is_empty() {
        part["id"] = id.into();
    }
}

/// An image, a file or a sound: its address, or its type. Its data is not kept.
fn media(what: &str) -> Value {
    let path = what.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let is = |kind: &str| what.contains(kind);
    let has_extension = || IMAGES.iter().any(|extension| path.ends_with(extension));
    let modality = match () {
        () if is("image") || has_extension() => "image",
        () if is("audio") => "audio",
        () if is("video") => "video",
        () => "document",
    };
    if what.contains("://") {
        return json!({ "type": "uri", "modality": modality, "uri": what });
    }
    let mut part = json!({ "type": "blob", "modality": modality, "content": "", "is_left_out": true });
    if what.contains('/') {
        part["mime_type"] = what.into();
    }
    part
}

/// The result of a tool: a text if it is one, otherwise its parts.
pub(super) fn result(content: &[Block]) -> Value {
    let texts: Option<Vec<&str>> =
        content.iter().map(|block| if let Block::Text(text) = block { Some(text.as_str()) } else { None }).collect();
    match texts {
        Some(texts) => texts.join("\n").into(),
        None => content.iter().map(part).collect(),
    }
}

/// Arguments as JSON, if they are JSON.
fn parsed(arguments: &str) -> Value {
    serde_json::from_str(arguments).unwrap_or_else(|_| arguments.into())
}

/// The definitions of tools, without their schemas if they do not fit.
fn definitions(tools: &[Tool], max: usize) -> (Vec<Value>, bool) {
    let whole: Vec<Value> = tools.iter().map(definition).collect();
    if whole.iter().map(|tool| tool.to_string().len() + 1).sum::<usize>() < max {
        return (whole, false);
    }
    let (named, _) = first(tools.iter().map(|tool| json!({ "type": kind(tool), "name": tool.name })), max);
    (named, true)
}

fn definition(tool: &Tool) -> Value {
    let of = &tool.definition;
    let of = [&of["function"], &of["toolSpec"]].into_iter().find(|it| it.is_object()).unwrap_or(of);
    let mut definition = json!({ "type": kind(tool), "name": tool.name });
    if let Some(description) = of["description"].as_str() {
        definition["description"] = description.into();
    }
    let schemas = ["parameters", "parametersJsonSchema", "input_schema"].into_iter().map(|name| &of[name]);
    let schema = schemas.chain([&of["inputSchema"]["json"]]).find(|schema| schema.is_object());
    if let Some(schema) = schema {
        definition["parameters"] = schema.clone();
    }
    definition
}

/// `function`, or the type of a tool of the provider.
fn kind(tool: &Tool) -> &str {
    match tool.definition["type"].as_str() {
        None | Some("custom") => "function",
        Some(kind) => kind,
    }
}

/// The arguments and the result of a call to a tool over MCP, each of at most `max` bytes, and whether one is cut.
pub(super) struct ToolContent {
    pub(super) arguments: Option<String>,
    pub(super) result: Option<String>,
    pub(super) is_cut: bool,
}

/// What a call over MCP was given and brought.
pub(super) fn of_mcp(event: &Stored, max: usize) -> ToolContent {
    let request = body(event, Side::Request).unwrap_or_default();
    let response = body(event, Side::Response).unwrap_or_default();
    let given = &request["params"]["arguments"];
    let brought = if response["result"].is_null() { &response["error"] } else { &response["result"] };
    tool(given, brought, max)
}

/// The same for any tool. Null: there is none.
pub(super) fn tool(arguments: &Value, result: &Value, max: usize) -> ToolContent {
    let mut is_cut = false;
    let mut text = |value: &Value| {
        let (value, cut) = match value {
            Value::Null => return None,
            Value::String(text) => {
                let (text, cut) = shorten::text(text, max);
                (text, cut)
            }
            other => {
                let (value, cut) = shorten::one(other.clone(), max)?;
                (value.to_string(), cut)
            }
        };
        is_cut |= cut;
        Some(value)
    };
    let (arguments, result) = (text(arguments), text(result));
    ToolContent { arguments, result, is_cut }
}

/// A body as JSON: whole, or the last event of a stream that is JSON.
fn body(event: &Stored, side: Side) -> Option<Value> {
    let Body::Text(text) = event.body(side) else { return None };
    let of_stream = || {
        let mut data = text.lines().rev().filter_map(|line| line.strip_prefix("data:"));
        data.find_map(|data| serde_json::from_str(data.trim()).ok())
    };
    serde_json::from_str(text).ok().or_else(of_stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Request;

    const MAX: usize = 64 << 10;

    fn text(text: &str) -> Block {
        Block::Text(text.to_owned())
    }

    fn message(role: &str, blocks: &[Block]) -> Message {
        Message { role: role.to_owned(), blocks: blocks.to_vec() }
    }

    fn call() -> Block {
        Block::ToolCall { id: "t1".to_owned(), name: "Bash".to_owned(), arguments: r#"{"command":"ls"}"#.to_owned() }
    }

    fn parsed(text: Option<&String>) -> Value {
        serde_json::from_str(text.unwrap()).unwrap()
    }

    #[test]
    fn a_conversation_has_the_form_of_the_conventions() {
        let result = |id: &str, text: &str| Block::ToolResult {
            id: id.to_owned(),
            content: vec![self::text(text)],
            is_error: Some(false),
        };
        let schema = json!({ "type": "object" });
        let conversation = Conversation {
            request: Request {
                system: vec![text("Be brief.")],
                tools: vec![
                    Tool {
                        name: "Bash".to_owned(),
                        definition: json!({ "name": "Bash", "description": "Runs it.", "input_schema": schema }),
                    },
                    Tool { name: "web_search".to_owned(), definition: json!({ "type": "web_search" }) },
                ],
                messages: vec![
                    message("user", &[text("List it."), Block::Media { what: "image/png".to_owned(), data: 1 }]),
                    message("assistant", &[Block::Thinking("Hm.".to_owned()), call()]),
                    message("user", &[result("t1", "a"), result("t2", "b"), text("And now?")]),
                ],
                ..Request::default()
            },
            answer: Answer {
                blocks: vec![text("Done.")],
                stop_reason: Some("end_turn".to_owned()),
                ..Answer::default()
            },
        };
        let content = of(&conversation, MAX);
        let response = |id: &str, text: &str| {
            json!({ "role": "tool", "parts": [
                { "type": "tool_call_response", "id": id, "response": text, "is_error": false },
            ] })
        };
        assert_eq!(
            parsed(content.input.as_ref()),
            json!([
                { "role": "user", "parts": [
                    { "type": "text", "content": "List it." },
                    { "type": "blob", "modality": "image", "mime_type": "image/png", "content": "", "is_left_out": true },
                ] },
                { "role": "assistant", "parts": [
                    { "type": "reasoning", "content": "Hm." },
                    { "type": "tool_call", "id": "t1", "name": "Bash", "arguments": { "command": "ls" } },
                ] },
                response("t1", "a"),
                response("t2", "b"),
                { "role": "user", "parts": [{ "type": "text", "content": "And now?" }] },
            ])
        );
        let said = json!([{ "role": "assistant", "parts": [{ "type": "text", "content": "Done." }], "finish_reason": "stop" }]);
        assert_eq!(parsed(content.output.as_ref()), said);
        assert_eq!(parsed(content.system.as_ref()), json!([{ "type": "text", "content": "Be brief." }]));
        assert_eq!(
            parsed(content.tools.as_ref()),
            json!([
                { "type": "function", "name": "Bash", "description": "Runs it.", "parameters": schema },
                { "type": "web_search", "name": "web_search" },
            ])
        );
        assert!(!content.is_cut);
    }

    #[test]
    fn the_newest_messages_are_kept_and_what_is_left_out_is_marked() {
        let long = |n: usize| message("user", &[text(&format!("{n} {}", "\u{1}é".repeat(400)))]);
        for (count, max) in [(1, 1_024), (30, 1_024), (30, 8_192), (3, 65_536)] {
            let request = Request { messages: (0..count).map(long).collect(), ..Request::default() };
            let content = of(&Conversation { request, answer: Answer::default() }, max);
            let input = content.input.unwrap();
            assert!(input.len() <= max, "{} of {max}", input.len());
            let kept = serde_json::from_str::<Vec<Value>>(&input).unwrap();
            let last = kept.last().unwrap()["parts"][0]["content"].as_str().unwrap();
            assert!(last.starts_with(&format!("{} ", count - 1)), "{last}");
            assert_eq!(content.is_cut, count > 3 || max == 1_024, "{count} {max}");
            assert_eq!(input.contains("left out]…"), content.is_cut);
        }
    }

    #[test]
    fn tools_lose_their_schemas_before_their_names() {
        let tool = |n: usize| Tool {
            name: format!("tool-{n}"),
            definition: json!({ "name": format!("tool-{n}"), "description": "x".repeat(2_000) }),
        };
        let request = Request { tools: (0..5).map(tool).collect(), ..Request::default() };
        let content = of(&Conversation { request, answer: Answer::default() }, 4_096);
        let tools = parsed(content.tools.as_ref());
        assert_eq!((tools.as_array().map(Vec::len), &tools[4]["name"]), (Some(5), &json!("tool-4")));
        assert!(content.is_cut && tools[0]["description"].is_null());
    }

    #[test]
    fn stop_reasons_are_the_conventions() {
        let of = |reason: Option<&str>, error: Option<&str>| {
            let answer = Answer {
                stop_reason: reason.map(str::to_owned),
                error: error.map(str::to_owned),
                ..Answer::default()
            };
            finish_reason(&answer).to_owned()
        };
        assert_eq!(
            [of(Some("tool_use"), None), of(Some("MAX_TOKENS"), None), of(Some("pause_turn"), None)],
            ["tool_call", "length", "pause_turn"]
        );
        assert_eq!([of(None, Some("overloaded")), of(None, None)], ["error", "unknown"]);
    }

    #[test]
    fn calls_over_mcp_have_arguments_and_a_result() {
        let event = |response: &str| {
            let request = json!({ "method": "tools/call", "params": { "name": "add", "arguments": { "a": 1 } } });
            Stored::parse(
                json!({ "request_body": request.to_string(), "response_body": response }).to_string().as_bytes(),
            )
        };
        let result = r#"{"content":[{"text":"2","type":"text"}]}"#;
        let plain = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        for response in [plain.clone(), format!("event: message\ndata: {plain}\n\n")] {
            let content = of_mcp(&event(&response), MAX);
            assert_eq!(content.arguments.as_deref(), Some(r#"{"a":1}"#));
            assert_eq!(content.result.as_deref(), Some(result));
        }
        assert_eq!(of_mcp(&event("broken"), MAX).result, None);
    }
}
