//! What a call to a model was about, in a few words, for lists: the newest text of the user or the newest tool call that its request
//! holds. It is read from the masked text of the request, so it holds no more than the event does.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::brief;
use crate::llm::message_places;

/// The most characters that are kept.
const MAX_CHARS: usize = 120;
/// Messages that are looked at, from the newest on. A call of many tools at once brings a result for each.
const LOOKED_AT: usize = 64;

/// What a call was about. Empty: it is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// The newest text of the user, if no tool was called after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The tool that was called last, if its result is newer than the user's text: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The argument of this tool that says most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argument: Option<String>,
    /// The beginning of a tool's result, if the request says neither: one that goes on from an answer holds nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// The members of a request that may hold a question as a string, and those around them.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

impl Said {
    /// Reads the text of a request. Empty if it is not whole, or holds no messages.
    pub fn of_request(text: &str) -> Self {
        Self::of_messages(text, &message_places(text))
    }

    /// The same if it is known where its messages stand.
    pub(super) fn of_messages(text: &str, places: &[Range<usize>]) -> Self {
        let said = if places.is_empty() { Self::in_question(text) } else { Self::in_messages(text, places) };
        said.unwrap_or_default()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn in_messages(text: &str, places: &[Range<usize>]) -> Option<Self> {
        let newest = places.iter().rev().take(LOOKED_AT);
        let mut newest = newest.filter_map(|place| serde_json::from_str::<Value>(text.get(place.clone())?).ok());
        let mut result = None;
        newest
            .find_map(|message| {
                result = result.take().or_else(|| result_in(&message));
                newest_of(&message)
            })
            .or(result)
    }

    /// What a request without a list of messages asks.
    fn in_question(text: &str) -> Option<Self> {
        let text = text.trim_start();
        let request: Request<'_> = text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()?;
        let outer = [request.request, request.response].into_iter().flatten();
        if let Some(inner) = outer.map(|inner| inner.get()).find(|inner| inner.starts_with('{')) {
            return Self::in_question(inner);
        }
        let question = [request.input, request.prompt].into_iter().flatten().next()?;
        Self::of_user(&serde_json::from_str::<String>(question.get()).ok()?)
    }

    fn of_user(text: &str) -> Option<Self> {
        let text = brief::excerpt(text, MAX_CHARS);
        (!text.is_empty()).then(|| Self { user: Some(text), ..Self::default() })
    }

    fn of_call(name: &Value, arguments: &Value) -> Option<Self> {
        let name = name.as_str().filter(|name| !name.is_empty())?;
        let parsed = arguments.as_str().and_then(|text| serde_json::from_str(text).ok());
        let argument = brief::argument(parsed.as_ref().unwrap_or(arguments));
        let argument = argument.map(|text| brief::excerpt(&text, MAX_CHARS)).filter(|text| !text.is_empty());
        Some(Self { tool: Some(brief::excerpt(name, MAX_CHARS)), argument, ..Self::default() })
    }
}

/// The newest text of the user or tool call in a message.
fn newest_of(message: &Value) -> Option<Said> {
    if let Some(call) = call_in(message) {
        return Some(call);
    }
    let content = [&message["content"], &message["parts"]].into_iter().find(|content| !content.is_null());
    let content = content.unwrap_or(&Value::Null);
    let is_user = message["role"] == "user";
    if let (true, Some(text)) = (is_user, content.as_str()) {
        return words(text).and_then(Said::of_user);
    }
    let parts = content.as_array().into_iter().flatten().rev();
    let of_part = |part: &Value| match part["text"].as_str().filter(|_| is_user) {
        Some(text) => words(text).and_then(Said::of_user),
        None => call_in(part),
    };
    let found = parts.clone().find_map(of_part);
    // OpenAI's chat has its calls beside the content.
    found.or_else(|| message["tool_calls"].as_array()?.iter().rev().find_map(call_in))
}

/// What a person wrote: agents add reminders of their own to it.
fn words(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty() && !brief::is_reminder(text))
}

/// The result of a tool, where it is an item of its own (OpenAI's responses).
fn result_in(item: &Value) -> Option<Said> {
    let is_result = item["type"].as_str().is_some_and(|kind| kind.ends_with("call_output"));
    let output = is_result.then_some(&item["output"])?;
    let text = output.as_str().or_else(|| output.as_array()?.iter().find_map(|part| part["text"].as_str()))?;
    let text = brief::excerpt(text, MAX_CHARS);
    (!text.is_empty()).then(|| Said { result: Some(text), ..Said::default() })
}

/// A tool call, in the form of each interface.
fn call_in(part: &Value) -> Option<Said> {
    let [function, gemini, bedrock] = ["function", "functionCall", "toolUse"].map(|name| &part[name]);
    match part["type"].as_str().unwrap_or_default() {
        kind if kind.ends_with("tool_use") => Said::of_call(&part["name"], &part["input"]),
        "function_call" => Said::of_call(&part["name"], &part["arguments"]),
        "custom_tool_call" => Said::of_call(&part["name"], &part["input"]),
        "local_shell_call" => Said::of_call(&part["type"], &part["action"]),
        _ if function.is_object() => Said::of_call(&function["name"], &function["arguments"]),
        _ if gemini.is_object() => Said::of_call(&gemini["name"], &gemini["args"]),
        _ if bedrock.is_object() => Said::of_call(&bedrock["name"], &bedrock["input"]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(request: &Value) -> Said {
        Said::of_request(&request.to_string())
    }

    fn user(text: &str) -> Said {
        Said { user: Some(text.into()), ..Said::default() }
    }

    fn called(tool: &str, argument: &str) -> Said {
        Said { tool: Some(tool.into()), argument: Some(argument.into()), ..Said::default() }
    }

    #[test]
    fn the_newest_text_of_the_user_is_found_in_each_interface() {
        let text = json!([{ "type": "text", "text": "Fix\n the  test" }, { "type": "text", "text": "<system-reminder>x</system-reminder>" }]);
        for request in [
            json!({ "messages": [{ "role": "user", "content": "old" }, { "role": "assistant", "content": "ok" }, { "role": "user", "content": text }] }),
            json!({ "messages": [{ "role": "system", "content": "be brief" }, { "role": "user", "content": "Fix the test" }] }),
            json!({ "input": [{ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "Fix the test" }] }] }),
            json!({ "input": "Fix the test" }),
            json!({ "type": "response.create", "response": { "input": "Fix the test" } }),
            json!({ "contents": [{ "role": "user", "parts": [{ "text": "Fix the test" }] }] }),
            json!({ "model": "m", "request": { "contents": [{ "role": "user", "parts": [{ "text": "Fix the test" }] }] } }),
            json!({ "messages": [{ "role": "user", "content": [{ "text": "Fix the test" }] }] }),
            json!({ "prompt": "Fix the test" }),
        ] {
            assert_eq!(of(&request), user("Fix the test"), "{request}");
        }
    }

    #[test]
    fn after_a_tools_result_its_call_is_found() {
        let bash = json!({ "description": "List", "command": "ls -l" });
        let result =
            json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "1", "content": "a" }] });
        for request in [
            json!({ "messages": [{ "role": "user", "content": "old" }, { "role": "assistant", "content": [{ "type": "text", "text": "I look." }, { "type": "tool_use", "id": "1", "name": "Bash", "input": bash }] }, result] }),
            json!({ "messages": [{ "role": "assistant", "content": null, "tool_calls": [{ "id": "1", "function": { "name": "Bash", "arguments": bash.to_string() } }] }, { "role": "tool", "tool_call_id": "1", "content": "a" }] }),
            json!({ "input": [{ "type": "function_call", "call_id": "1", "name": "Bash", "arguments": bash.to_string() }, { "type": "function_call_output", "call_id": "1", "output": "a" }] }),
            json!({ "contents": [{ "role": "model", "parts": [{ "functionCall": { "name": "Bash", "args": bash } }] }, { "role": "user", "parts": [{ "functionResponse": { "name": "Bash" } }] }] }),
            json!({ "messages": [{ "role": "assistant", "content": [{ "toolUse": { "name": "Bash", "input": bash } }] }, { "role": "user", "content": [{ "toolResult": {} }] }] }),
        ] {
            assert_eq!(of(&request), called("Bash", "ls -l"), "{request}");
        }
    }

    #[test]
    fn a_result_alone_is_shown_if_its_call_is_not_in_the_request() {
        for output in [json!("a  b"), json!([{ "type": "input_text", "text": "a b" }])] {
            let older = json!({ "type": "function_call_output", "call_id": "0", "output": "old" });
            let newest = json!({ "type": "function_call_output", "call_id": "1", "output": output });
            let found = of(&json!({ "previous_response_id": "r", "input": [older, newest] }));
            assert_eq!(found, Said { result: Some("a b".into()), ..Said::default() }, "{output}");
        }
    }

    #[test]
    fn it_is_short_and_of_other_texts_nothing_is_known() {
        let long = of(&json!({ "input": "é".repeat(1_000) })).user.unwrap();
        assert_eq!(long.chars().count(), MAX_CHARS);
        for text in ["", "{}", "[]", "{\"messages\":[", "{\"messages\":[1,null]}", "messages", "{\"messages\":{}}"] {
            assert!(Said::of_request(text).is_empty(), "{text}");
        }
        assert_eq!(serde_json::to_string(&Said::default()).unwrap(), "{}");
    }
}
