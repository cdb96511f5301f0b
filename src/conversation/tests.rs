use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A stored model call.
fn call(api: &str, request: &str, response: &str) -> Stored {
    let event = json!({
        "request_body": request, "response_body": response,
        "request_size_bytes": request.len(), "response_size_bytes": response.len(),
        "custom_properties": { names::API: api },
        "metadata": { "llm": { "complete": true } },
    });
    Stored::parse(event.to_string().as_bytes())
}

fn of(api: &str, request: &Value, response: &str) -> Conversation {
    Conversation::of(&call(api, &request.to_string(), response)).unwrap()
}

fn said(text: &str) -> Block {
    Block::Text(text.to_owned())
}

fn tool_call(id: &str, name: &str, arguments: &str) -> Block {
    Block::ToolCall { id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_owned() }
}

fn events(events: &[Value]) -> String {
    events.iter().map(|event| format!("event: x\ndata: {event}\n\n")).collect()
}

/// What all interfaces say in the tests below.
fn weather(api: &str, request: &Value, response: &str, id: &str, is_error: Option<bool>) {
    let conversation = of(api, request, response);
    let Conversation { request, answer } = &conversation;
    assert_eq!(request.system, [said("Be brief.")], "{api}");
    assert_eq!(request.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["get_weather"], "{api}");
    let result = Block::ToolResult { id: id.to_owned(), content: vec![said("rain")], is_error };
    let roles: Vec<&str> = request.messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!((roles[0], roles[1], roles.len()), ("user", "assistant", 3), "{api}: {roles:?}");
    assert_eq!(request.messages[0].blocks, [said("Weather?")], "{api}");
    let call = Block::ToolCall {
        id: id.to_owned(),
        name: "get_weather".to_owned(),
        arguments: r#"{"city":"Oslo"}"#.to_owned(),
    };
    assert_eq!(request.messages[1].blocks.last(), Some(&call), "{api}");
    assert_eq!(request.messages[2].blocks, [result], "{api}");
    assert!(!request.is_cut && !answer.is_cut, "{api}");
    assert_eq!(answer.blocks, [Block::Thinking("Hm.".to_owned()), said("It rains.")], "{api}");
    assert!(answer.stop_reason.is_some() && answer.error.is_none(), "{api}");
}

#[test]
fn each_interface_is_read_into_the_same_form() {
    let anthropic = json!({
        "model": "claude-x", "max_tokens": 9, "stream": true,
        "system": [{ "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral" } }],
        "tools": [{ "name": "get_weather", "input_schema": {} }],
        "messages": [
            { "role": "user", "content": "Weather?" },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "A tool.", "signature": "c2ln" },
                { "type": "tool_use", "id": "t1", "name": "get_weather", "input": { "city": "Oslo" } }] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "content": "rain", "is_error": true }] },
        ],
    });
    let stream = events(&[
        json!({ "type": "message_start", "message": { "id": "m" } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "thinking", "thinking": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "thinking_delta", "thinking": "Hm." } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "signature_delta", "signature": "x" } }),
        json!({ "type": "content_block_start", "index": 1, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "text_delta", "text": "It " } }),
        json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "text_delta", "text": "rains." } }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" } }),
        json!({ "type": "message_stop" }),
    ]);
    weather("anthropic.messages", &anthropic, &stream, "t1", Some(true));

    let function = json!({ "name": "get_weather", "arguments": r#"{"city":"Oslo"}"# });
    let chat = json!({
        "model": "gpt-x",
        "tools": [{ "type": "function", "function": { "name": "get_weather" } }],
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": [{ "type": "text", "text": "Weather?" }] },
            { "role": "assistant", "content": null, "tool_calls": [{ "id": "c1", "type": "function", "function": function }] },
            { "role": "tool", "tool_call_id": "c1", "content": "rain" },
        ],
    });
    let delta = |delta: Value| json!({ "choices": [{ "index": 0, "delta": delta }] });
    let stream = events(&[
        delta(json!({ "role": "assistant", "reasoning_content": "Hm." })),
        delta(json!({ "content": "It " })),
        delta(json!({ "content": "rains." })),
        json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }),
    ]) + "data: [DONE]\n\n";
    weather("openai.chat", &chat, &stream, "c1", None);

    let responses = json!({
        "model": "gpt-x", "instructions": "Be brief.", "store": false,
        "tools": [{ "type": "function", "name": "get_weather" }],
        "input": [
            { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "Weather?" }] },
            { "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x" },
            { "type": "function_call", "call_id": "f1", "name": "get_weather", "arguments": r#"{"city":"Oslo"}"# },
            { "type": "function_call_output", "call_id": "f1", "output": "rain" },
        ],
    });
    let items = [
        json!({ "type": "reasoning", "summary": [{ "type": "summary_text", "text": "Hm." }] }),
        json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "It rains." }] }),
    ];
    let done =
        |index: usize| json!({ "type": "response.output_item.done", "output_index": index, "item": items[index] });
    let stream = [
        json!({ "type": "response.created", "response": { "status": "in_progress", "output": [] } }),
        json!({ "type": "response.output_text.delta", "output_index": 1, "delta": "It rains." }),
        done(0),
        done(1),
        json!({ "type": "response.completed", "response": { "status": "completed", "output": items } }),
    ];
    weather("openai.responses", &responses, &events(&stream), "f1", None);
    // As a turn of a WebSocket.
    let turn = json!({ "type": "response.create", "response": responses });
    let lines: String = stream.iter().map(|event| format!("{event}\n")).collect();
    weather("openai.responses", &turn, &lines, "f1", None);

    let contents = json!({
        "systemInstruction": { "role": "user", "parts": [{ "text": "Be brief." }] },
        "tools": [{ "functionDeclarations": [{ "name": "get_weather" }] }],
        "contents": [
            { "role": "user", "parts": [{ "text": "Weather?" }] },
            { "role": "model", "parts": [{ "functionCall": { "name": "get_weather", "args": { "city": "Oslo" } } }] },
            { "role": "user", "parts": [{ "functionResponse": { "name": "get_weather", "response": { "output": "rain" } } }] },
        ],
    });
    let piece = |part: Value| json!({ "candidates": [{ "content": { "role": "model", "parts": [part] } }] });
    let pieces = [
        piece(json!({ "text": "Hm.", "thought": true })),
        piece(json!({ "text": "It " })),
        json!({ "candidates": [{ "content": { "parts": [{ "text": "rains." }] }, "finishReason": "STOP" }] }),
    ];
    weather("gemini", &contents, &Value::from(pieces.to_vec()).to_string(), "get_weather", Some(false));
    // By Google's code assistant.
    let wrapped = json!({ "model": "gemini-x", "project": "p", "request": contents });
    let wrapped_pieces: Vec<Value> = pieces.iter().map(|piece| json!({ "response": piece })).collect();
    weather("gemini", &wrapped, &events(&wrapped_pieces), "get_weather", Some(false));

    let converse = json!({
        "system": [{ "text": "Be brief." }, { "cachePoint": { "type": "default" } }],
        "toolConfig": { "tools": [{ "toolSpec": { "name": "get_weather" } }, { "cachePoint": { "type": "default" } }] },
        "messages": [
            { "role": "user", "content": [{ "text": "Weather?" }] },
            { "role": "assistant", "content": [{ "toolUse": { "toolUseId": "b1", "name": "get_weather", "input": { "city": "Oslo" } } }] },
            { "role": "user", "content": [{ "toolResult": { "toolUseId": "b1", "content": [{ "text": "rain" }], "status": "success" } }] },
        ],
    });
    let whole = json!({ "stopReason": "end_turn", "output": { "message": { "content": [
        { "reasoningContent": { "reasoningText": { "text": "Hm." } } }, { "text": "It rains." }] } } });
    weather("bedrock.converse", &converse, &whole.to_string(), "b1", Some(false));
}

#[test]
fn calls_to_tools_are_put_together_from_their_pieces() {
    let anthropic = events(&[
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "tool_use", "id": "t1", "name": "Bash", "input": {} } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "input_json_delta", "partial_json": "{\"a\"" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "input_json_delta", "partial_json": ":1}" } }),
    ]);
    let found = of("anthropic.messages", &json!({ "messages": [] }), &anthropic);
    assert_eq!(found.answer.blocks, [tool_call("t1", "Bash", r#"{"a":1}"#)]);

    let call = |call: Value| json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [call] } }] });
    let chat = events(&[
        call(json!({ "index": 0, "id": "c1", "function": { "name": "one", "arguments": "" } })),
        call(json!({ "index": 0, "function": { "arguments": "{\"a\"" } })),
        call(json!({ "index": 0, "function": { "arguments": ":1}" } })),
        call(json!({ "index": 1, "id": "c2", "function": { "name": "two", "arguments": "{}" } })),
        // Some servers have no index, or the same one for all calls.
        call(json!({ "index": 1, "id": "c3", "function": { "name": "three", "arguments": "{}" } })),
        call(json!({ "id": "c4", "function": { "name": "four", "arguments": { "b": 2 } } })),
    ]);
    let found = of("openai.chat", &json!({ "messages": [] }), &chat);
    let expected = [
        tool_call("c1", "one", r#"{"a":1}"#),
        tool_call("c2", "two", "{}"),
        tool_call("c3", "three", "{}"),
        tool_call("c4", "four", r#"{"b":2}"#),
    ];
    assert_eq!(found.answer.blocks, expected);

    let item = json!({ "type": "custom_tool_call", "call_id": "f1", "name": "patch", "input": "" });
    let responses = events(&[
        json!({ "type": "response.output_item.added", "output_index": 0, "item": item }),
        json!({ "type": "response.custom_tool_call_input.delta", "output_index": 0, "delta": "*** Begin" }),
    ]);
    let found = of("openai.responses", &json!({ "input": "x" }), &responses);
    assert_eq!(found.answer.blocks, [tool_call("f1", "patch", "*** Begin")]);
    assert_eq!(found.request.messages[0].blocks, [said("x")]);

    let ollama = "{\"message\":{\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"w\",\"arguments\":{\"c\":1}}}]}}\n{\"done\":true,\"done_reason\":\"stop\"}\n";
    let found = of("ollama", &json!({ "messages": [] }), ollama);
    assert_eq!(found.answer.blocks, [tool_call("", "w", r#"{"c":1}"#)]);
    assert_eq!(found.answer.stop_reason.as_deref(), Some("stop"));
}

#[test]
fn codex_sends_tools_and_messages_of_other_agents_as_items() {
    let tool = |kind: &str, name: &str| json!({ "type": kind, "name": name, "description": "x" });
    let space = |name: &str, tools: Value| json!({ "type": "namespace", "name": name, "tools": tools });
    let text = |text: &str| json!({ "type": "input_text", "text": text });
    let message = |role: &str, said: &str| json!({ "type": "message", "role": role, "content": [text(said)] });
    let input = json!([
        { "type": "additional_tools", "role": "developer", "tools": [
            space("functions", json!([tool("custom", "exec"), tool("function", "wait")])),
            space("collaboration", json!([tool("function", "spawn_agent")])),
        ] },
        message("developer", "You are Codex."),
        message("user", "Go."),
        { "type": "agent_message", "author": "/root", "recipient": "/root/helper_1", "content": [
            text("Task name: /root/helper_1"), { "type": "encrypted_content", "encrypted_content": "Zm9v" },
        ] },
    ]);
    let found =
        of("openai.responses", &json!({ "type": "response.create", "model": "m", "input": input }), "").request;
    assert_eq!(found.tools.iter().map(|tool| &*tool.name).collect::<Vec<_>>(), ["exec", "wait", "spawn_agent"]);
    assert_eq!(found.system, [said("You are Codex.")]);
    assert_eq!(found.messages.iter().map(|message| &*message.role).collect::<Vec<_>>(), ["user", "user"]);
    let [task, secret] = &found.messages[1].blocks[..] else { panic!("{found:?}") };
    assert_eq!(task, &said("Task name: /root/helper_1"));
    assert!(matches!(secret, Block::Other { kind, .. } if kind == "encrypted_content"), "{secret:?}");
}

#[test]
fn missing_parts_are_stated() {
    let request = json!({ "messages": [{ "role": "user", "content": "one" }, { "role": "user", "content": "two" }] })
        .to_string();
    let cut = &request[..request.len() - 8];
    let found = Conversation::of(&call("openai.chat", cut, "")).unwrap();
    assert!(found.request.is_cut && !found.answer.is_cut);
    assert_eq!(found.request.messages.len(), 2);
    let damaged = format!("{}…[otas-proxy: 9 of 99 bytes are damaged]…", &request[..40]);
    assert!(Conversation::of(&call("openai.chat", &damaged, "")).unwrap().request.is_cut);
    let broken = "data: {\"choices\":[{\"delta\":{\"content\":\"It r\"}}]}\n\ndata: {\"choices\":[{\"del";
    let found = of("openai.chat", &json!({ "messages": [] }), broken);
    assert!(found.answer.is_cut);
    assert_eq!(found.answer.blocks, [said("It r")]);
    // An agent may read about our marks.
    let quoted =
        json!({ "messages": [{ "role": "user", "content": "What is …[otas-proxy: 9 of 99 bytes not kept]…?" }] });
    let answer = "data: {\"choices\":[{\"delta\":{\"content\":\"…[otas-proxy: x]…\"}}]}\n\n";
    let found = of("openai.chat", &quoted, answer);
    assert!(!found.request.is_cut && !found.answer.is_cut);
    let refused = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    assert_eq!(of("anthropic.messages", &json!({}), refused).answer.error.as_deref(), Some("Overloaded"));
}

#[test]
fn a_binary_stream_shows_the_answer_that_was_read_while_it_passed() {
    let event = json!({
        "request_body": json!({ "messages": [] }).to_string(),
        "response_body": "data:application/vnd.amazon.eventstream;base64,AAAA",
        "custom_properties": { names::API: "bedrock.converse" },
        "metadata": { "llm": { "text": "It rains.", "complete": true }, "capture": { "response": { "encoding": "base64" } } },
    });
    let found = Conversation::of(&Stored::parse(event.to_string().as_bytes())).unwrap();
    assert_eq!(found.answer.blocks, [said("It rains.")]);
}

#[test]
fn other_calls_do_not_converse() {
    assert_eq!(Conversation::of(&call("mcp", r#"{"jsonrpc":"2.0","method":"tools/call"}"#, "")), None);
    assert_eq!(Conversation::of(&call("openai.embeddings", r#"{"input":"x"}"#, "")), None);
    let event = json!({ "request_body": r#"{"messages":[]}"# });
    assert_eq!(Conversation::of(&Stored::parse(event.to_string().as_bytes())), None);
}

/// A call of Claude Code with these messages: its mark for the cache is on the last one, and the first block of the system prompt
/// is new with each call.
fn claude(number: u32, messages: &[(&str, &str)]) -> Value {
    let marked = |text: &str| json!([{ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } }]);
    let last = messages.len() - 1;
    let messages: Vec<Value> = messages
        .iter()
        .enumerate()
        .map(|(at, (role, text))| json!({ "role": role, "content": if at == last { marked(text) } else { json!(text) } }))
        .collect();
    json!({
        "model": "claude-x", "max_tokens": 9,
        "system": [
            { "type": "text", "text": format!("x-anthropic-billing-header: cc_version=2.1; cch={number:05x};") },
            { "type": "text", "text": "You are Claude Code.", "cache_control": { "type": "ephemeral" } },
        ],
        "tools": [{ "name": "Bash" }, { "name": "Read" }],
        "messages": messages,
    })
}

fn read(request: &Value) -> Conversation {
    of("anthropic.messages", request, "")
}

const TALK: [(&str, &str); 4] = [("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four")];

#[test]
fn a_call_that_goes_on_changes_nothing_before_its_new_messages() {
    let (before, after) = (read(&claude(1, &TALK[..1])), read(&claude(2, &TALK[..3])));
    let found = changes(&before, &after);
    assert_eq!(found, Changes { kept: 1, added: 2, ..Changes::default() });
    assert_eq!(first_difference(&before, &after), None);
    assert!(cache_miss_reason(&before, &after).contains("expired"));
    assert_eq!(first_difference(&after, &before), None, "it goes back, but not beside the cache");
}

#[test]
fn what_a_call_that_goes_on_from_an_answer_does_not_repeat_has_not_changed() {
    let read = |request: Value| of("openai.responses", &request, "");
    let message = |role: &str, said: &str| json!({ "type": "message", "role": role, "content": said });
    let tools =
        json!({ "type": "additional_tools", "role": "developer", "tools": [{ "type": "custom", "name": "exec" }] });
    let first =
        read(json!({ "model": "m", "input": [tools, message("developer", "Be brief."), message("user", "Go.")] }));
    let next = |said: &str| {
        read(json!({ "model": "m", "previous_response_id": "resp_1", "input": [message("user", said)] }))
    };
    for (before, after) in [(&first, &next("On.")), (&next("On."), &next("And on."))] {
        assert_eq!(first_difference(before, after), None);
        assert!(changes(before, after).tools_removed.is_empty() && changes(before, after).system_removed == 0);
    }
    let other = read(json!({ "model": "n", "previous_response_id": "resp_1", "input": [] }));
    assert!(matches!(first_difference(&first, &other), Some(Difference::Model(..))));
}

#[test]
fn an_id_that_gemini_cli_makes_up_is_that_of_a_call_without_one() {
    let call = json!({ "functionCall": { "name": "ls", "args": {}, "id": "ls_1795974738000_0" } });
    let result =
        json!({ "functionResponse": { "name": "ls", "id": "ls_1795974738000_0", "response": { "output": "x" } } });
    let contents = json!([{ "role": "model", "parts": [call] }, { "role": "user", "parts": [result] }]);
    let answer = json!({ "candidates": [{ "content": { "role": "model", "parts": [{ "functionCall": { "name": "ls", "args": {} } }] } }] });
    let found = of("gemini", &json!({ "contents": contents }), &answer.to_string());
    assert_eq!(found.answer.blocks, [tool_call("ls", "ls", "{}")]);
    assert_eq!(found.request.messages[0].blocks, [tool_call("ls", "ls", "{}")]);
    let Block::ToolResult { id, .. } = &found.request.messages[1].blocks[0] else { panic!("{found:?}") };
    assert_eq!(id, "ls");
    let given = json!({ "contents": [{ "parts": [{ "functionResponse": { "name": "ls", "id": "call_7", "response": {} } }] }] });
    let found = of("gemini", &given, "").request;
    assert!(matches!(&found.messages[0].blocks[0], Block::ToolResult { id, .. } if id == "call_7"), "{found:?}");
}

#[test]
fn the_first_part_that_differs_is_the_reason_of_a_miss() {
    let before = read(&claude(1, &TALK[..3]));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut request = claude(2, &TALK);
        change(&mut request);
        read(&request)
    };
    type Change<'c> = &'c dyn Fn(&mut Value);
    let reasons: [(Change<'_>, &str); 9] = [
        (
            &|it| it["model"] = json!("claude-y"),
            "The model changed from claude-x to claude-y; each has its own cache.",
        ),
        (
            &|it| it["tools"] = json!([{ "name": "Bash" }, { "name": "Read" }, { "name": "Grep" }]),
            "The tool Grep was added.",
        ),
        (&|it| it["tools"] = json!([{ "name": "Bash" }]), "The tool Read was removed."),
        (&|it| it["tools"][0]["description"] = json!("x"), "The definition of the tool Bash changed."),
        (&|it| it["tools"] = json!([{ "name": "Read" }, { "name": "Bash" }]), "The order of the tools changed."),
        (
            &|it| it["system"][1]["text"] = json!("You are\n Claude Code. Today is Monday."),
            "Block 2 of the system prompt changed: “You are Claude Code. Today is Monday.”.",
        ),
        (
            &|it| it["thinking"] = json!({ "type": "enabled" }),
            "The parameter thinking changed; the cache of the messages depends on it.",
        ),
        (&|it| it["messages"][1]["content"] = json!("2"), "Message 2 (assistant) changed: “2”."),
        (
            &|it| {
                it["messages"] =
                    json!([{ "role": "user", "content": "A summary." }, { "role": "user", "content": "On." }]);
            },
            "Message 1 (user) changed: “A summary.”.",
        ),
    ];
    for (change, reason) in reasons {
        assert_eq!(cache_miss_reason(&before, &with(change)), reason);
    }
    // Tools come before the system prompt, and that before the messages.
    let all = with(&|it| {
        it["messages"][0]["content"] = json!("1");
        it["system"][1]["text"] = json!("x");
        it["tools"][0]["description"] = json!("x");
    });
    assert_eq!(first_difference(&before, &all), Some(Difference::ToolChanged("Bash".to_owned())));
    let found = changes(&before, &all);
    assert_eq!((found.kept, found.removed, found.added), (0, 3, 4));
    assert_eq!((found.system, found.system_removed, found.tools_changed), (vec![1], 1, vec!["Bash".to_owned()]));
}

#[test]
fn parameters_that_differ_are_named_and_those_of_the_call_are_not() {
    let mut after = claude(2, &TALK[..1]);
    after["max_tokens"] = json!(10);
    after["metadata"] = json!({ "user_id": "x" });
    after["stream"] = json!(true);
    let found = changes(&read(&claude(1, &TALK[..1])), &read(&after));
    let parameter = Parameter { name: "max_tokens".to_owned(), before: Some(json!(9)), after: Some(json!(10)) };
    assert_eq!(found.parameters, [parameter]);
}

#[test]
fn a_codex_call_goes_on_whatever_ids_its_items_have() {
    let item = |role: &str, text: &str, id: &str| json!({ "type": "message", "id": id, "role": role, "content": [{ "type": "input_text", "text": text }] });
    let request = |items: Vec<Value>, turn: &str| json!({ "model": "gpt-x", "instructions": "Be brief.", "store": false, "input": items, "client_metadata": { "turn_id": turn } });
    let first = request(vec![item("user", "one", "a")], "1");
    let second =
        request(vec![item("user", "one", "b"), item("assistant", "two", "c"), item("user", "three", "d")], "2");
    let (before, after) = (of("openai.responses", &first, ""), of("openai.responses", &second, ""));
    assert_eq!(changes(&before, &after), Changes { kept: 1, added: 2, ..Changes::default() });
}

/// The bodies of the recorded calls: the interface, request and response.
fn recorded() -> Vec<(String, String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llm");
    let body = |part: &str| part.split_once("\n\n").map_or("", |(_, body)| body).to_owned();
    std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|file| {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let (request, rest) = text.split_once("\n=== ").unwrap();
            let (response, facts) = rest.split_once("\n=== facts\n").unwrap();
            let facts: Value = serde_json::from_str(facts).unwrap();
            Some((facts["properties"][names::API].as_str()?.to_owned(), body(request), body(response)))
        })
        .collect()
}

#[test]
fn recorded_answers_say_what_was_read_while_they_passed() {
    let mut read = 0;
    for (api, request, response) in recorded() {
        let Some(conversation) = Conversation::of(&call(&api, &request, &response)) else { continue };
        let calls = conversation.answer.blocks.iter().filter(|block| matches!(block, Block::ToolCall { .. })).count();
        read += usize::from(calls > 0 || !conversation.answer.blocks.is_empty());
    }
    assert!(read > 40, "only {read}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_recorded_call_cut_anywhere_is_read(
        which in any::<prop::sample::Index>(), question in any::<prop::sample::Index>(), answer in any::<prop::sample::Index>(),
    ) {
        let all = recorded();
        let (api, request, response) = which.get(&all);
        let cut = |text: &str, at: prop::sample::Index| {
            let mut at = at.index(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            text[..at].to_owned()
        };
        let (request_cut, response_cut) = (cut(request, question), cut(response, answer));
        let whole = Conversation::of(&call(api, request, response));
        let found = Conversation::of(&call(api, &request_cut, &response_cut));
        if let (Some(whole), Some(found)) = (whole, found) {
            prop_assert!(found.request.messages.len() <= whole.request.messages.len());
            changes(&found, &whole);
            cache_miss_reason(&whole, &found);
        }
    }

    #[test]
    fn any_text_is_read(
        request in "[\\[\\]{}\":,a-z0-9 é\\\\\n]{0,120}", response in "(data: )?[\\[\\]{}\":,a-z0-9 é\\\\\n]{0,120}",
        api in prop::sample::select(vec!["anthropic.messages", "openai.chat", "openai.responses", "gemini", "bedrock.converse", "ollama", "x"]),
    ) {
        Conversation::of(&call(api, &request, &response));
    }

    #[test]
    fn any_json_is_read(
        members in prop::collection::vec((prop::sample::select(vec!["system", "messages", "input", "contents", "tools", "instructions", "choices", "type", "content_block", "delta", "index", "item", "request"]), any_value()), 0..6),
        api in prop::sample::select(vec!["anthropic.messages", "openai.chat", "openai.responses", "gemini", "bedrock.converse", "x"]),
    ) {
        let json = Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        let found = Conversation::of(&call(api, &json.to_string(), &events(&[json.clone(), json])));
        if let Some(found) = found {
            prop_assert_eq!(first_difference(&found, &found), None);
            prop_assert_eq!(changes(&found, &found).added, 0);
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3i32).prop_map(Value::from),
        "[a-z_.]{0,12}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = prop::sample::select(vec![
            "type",
            "text",
            "role",
            "content",
            "parts",
            "tool_use",
            "name",
            "id",
            "function",
            "arguments",
            "tool_calls",
            "output",
            "input",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..4).prop_map(|members| Value::Object(
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            )),
        ]
    })
}
