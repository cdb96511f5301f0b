//! The second agent. It calls as Codex does: turns of OpenAI's responses on a WebSocket, which it warms up first.

pub(super) mod script;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Upgraded;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::Failed;
use super::caller::Caller;

const SESSION: &str = "019a8c2e-5b7d-7e31-8f60-2c4a9d1e7b55";
const TURN: &str = "019a8c2e-61a0-7b12-9d3e-7f5b0c8a4e21";

/// Does what the user asks, in one turn of two calls.
pub(super) async fn works(caller: &Caller) -> Result<(), Failed> {
    let url = format!("{}/v1/responses", caller.models);
    let mut socket = caller.socket(&url, &fields()).await?;
    let asked =
        json!([{ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": script::ASKED }] }]);
    let warm_up = json!({ "input": [], "generate": false });
    ask(&mut socket, &warm_up).await?;
    let answer = ask(&mut socket, &json!({ "input": asked })).await?;
    let result = json!([{ "type": "function_call_output", "call_id": "call_1", "output": script::DIFF }]);
    ask(&mut socket, &json!({ "previous_response_id": answer, "input": result })).await?;
    socket.close(None).await?;
    // The origin closes as well.
    while socket.next().await.is_some() {}
    Ok(())
}

/// Asks, and waits for the end of the answer: its id.
async fn ask(socket: &mut WebSocketStream<Upgraded>, members: &Value) -> Result<Value, Failed> {
    let mut frame = json!({
        "type": "response.create", "model": script::MODEL, "instructions": script::INSTRUCTIONS, "tools": script::tools(),
        "tool_choice": "auto", "store": false, "stream": true, "prompt_cache_key": SESSION, "client_metadata": client_metadata(),
    });
    if let (Some(frame), Some(members)) = (frame.as_object_mut(), members.as_object()) {
        frame.extend(members.clone());
    }
    socket.send(Message::text(frame.to_string())).await?;
    while let Some(message) = socket.next().await {
        let event: Value = serde_json::from_str(message?.to_text()?)?;
        if event["type"] == "response.completed" {
            return Ok(event["response"]["id"].clone());
        }
    }
    Err("the model's answer broke off".into())
}

fn turn_metadata() -> String {
    json!({ "session_id": SESSION, "thread_id": SESSION, "turn_id": TURN, "thread_source": "user", "request_kind": "turn" }).to_string()
}

fn client_metadata() -> Value {
    json!({ "session_id": SESSION, "thread_id": SESSION, "turn_id": TURN, "x-codex-turn-metadata": turn_metadata() })
}

fn fields() -> Vec<(&'static str, String)> {
    vec![
        ("user-agent", "codex_exec/0.171.0 (Debian 12; x86_64)".to_owned()),
        ("originator", "codex_exec".to_owned()),
        ("authorization", "Bearer demo-secret-that-is-not-logged".to_owned()),
        ("session-id", SESSION.to_owned()),
        ("thread-id", SESSION.to_owned()),
        ("x-client-request-id", SESSION.to_owned()),
        ("x-codex-turn-metadata", turn_metadata()),
    ]
}
