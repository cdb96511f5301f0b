//! The agents: one thread; each has a conversation on a connection of its own and sends it whole with each call. Prints
//! what was sent.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::task::{LocalSet, spawn_local};

use crate::shared::way::Way;
use crate::words::Words;

/// The system prompt and the tools of an agent: the same in all of its calls.
const SYSTEM_BYTES: usize = 12_000;
/// What a call adds to the conversation, beside the answer before it.
const RESULT_BYTES: usize = 6_000;

/// What all agents have sent and received.
#[derive(Default)]
struct Sums {
    calls: u64,
    errors: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

/// `PROXY_PORT ORIGIN_PORT CA_FILE|- AGENTS TURNS CONVERSATIONS` (of each agent, one after the other); prints
/// `calls errors sent_bytes received_bytes` (of content).
pub fn run(args: &[String]) {
    let [proxy_port, origin_port, ca, agents, turns, conversations] = args else { panic!("usage") };
    let [agents, turns, conversations]: [usize; 3] = [agents, turns, conversations].map(|n| n.parse().unwrap());
    let (way, sums) = (Rc::new(Way::new(proxy_port, origin_port, ca)), Rc::new(RefCell::new(Sums::default())));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let agents = (0..agents).map(|agent| {
            let (way, sums) = (way.clone(), sums.clone());
            spawn_local(async move {
                for conversation in 0..conversations {
                    hold(&way, &sums, (agent * conversations + conversation) as u64, turns).await;
                }
            })
        });
        for agent in agents.collect::<Vec<_>>() {
            agent.await.unwrap();
        }
    });
    let Sums { calls, errors, sent_bytes, received_bytes } = *sums.borrow();
    println!("{calls} {errors} {sent_bytes} {received_bytes}");
}

/// One conversation. It ends with its first failed call.
async fn hold(way: &Way, sums: &RefCell<Sums>, number: u64, turns: usize) {
    let stream = way.connect().await.unwrap();
    let (mut origin, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    spawn_local(connection);
    let mut conversation = Conversation::new(number);
    for _ in 0..turns {
        let content = conversation.next();
        let sent_bytes = content.len() as u64;
        let answer = call(way, &mut origin, content).await;
        let mut sums = sums.borrow_mut();
        sums.calls += 1;
        sums.sent_bytes += sent_bytes;
        let Ok(answer) = answer else {
            sums.errors += 1;
            return;
        };
        sums.received_bytes += answer.len() as u64;
        conversation.answered(&said(&answer));
    }
}

async fn call(way: &Way, origin: &mut SendRequest<Full<Bytes>>, content: Bytes) -> Result<Bytes, hyper::Error> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(way.target("/v1/messages"))
        .header("host", &way.authority)
        .header("user-agent", "claude-cli/2.1")
        .header("content-type", "application/json")
        .header("anthropic-version", "2023-06-01")
        .body(Full::new(content))
        .unwrap();
    origin.ready().await?;
    let response = origin.send_request(request).await?;
    assert_eq!(response.status(), StatusCode::OK);
    Ok(response.into_body().collect().await?.to_bytes())
}

/// The text of a streamed answer.
fn said(answer: &[u8]) -> String {
    let text = std::str::from_utf8(answer).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = data.map(|data| serde_json::from_str::<Value>(data).unwrap());
    events.filter_map(|event| Some(event["delta"]["text"].as_str()?.to_owned())).collect()
}

/// What an agent sends: its whole conversation, with the mark of what is to be cached on the last message, as Claude
/// Code sets it.
struct Conversation {
    words: Words,
    system: Value,
    /// Each message but the last in its JSON form.
    earlier: Vec<String>,
    turn: usize,
}

impl Conversation {
    fn new(number: u64) -> Self {
        // Its seed is none of the answers', which count from 0.
        let mut words = Words::new(!number);
        let system =
            json!([{"type": "text", "text": words.listing(SYSTEM_BYTES), "cache_control": {"type": "ephemeral"}}]);
        Self { words, system, earlier: Vec::new(), turn: 0 }
    }

    /// The content of the next call.
    fn next(&mut self) -> Bytes {
        let mut block = json!({
            "type": "tool_result", "tool_use_id": format!("toolu_{:06}", self.turn), "content": self.words.listing(RESULT_BYTES),
        });
        let unmarked = json!({"role": "user", "content": [block.clone()]}).to_string();
        block["cache_control"] = json!({"type": "ephemeral"});
        let last = json!({"role": "user", "content": [block]});
        let earlier: String = self.earlier.iter().flat_map(|message| [message.as_str(), ","]).collect();
        self.earlier.push(unmarked);
        let system = &self.system;
        Bytes::from(format!(
            r#"{{"model":"claude-sonnet-5","max_tokens":4096,"stream":true,"system":{system},"messages":[{earlier}{last}]}}"#
        ))
    }

    /// Adds an answer, and the call of a tool whose result comes next.
    fn answered(&mut self, text: &str) {
        self.turn += 1;
        let tool = json!({
            "type": "tool_use", "id": format!("toolu_{:06}", self.turn), "name": "Read", "input": {"file_path": "src/main.rs"},
        });
        self.earlier
            .push(json!({"role": "assistant", "content": [{"type": "text", "text": text}, tool]}).to_string());
    }
}
