//! Agents that share a session of the proxy: each call belongs to the agent whose process made it.

use http::StatusCode;
use otas_proxy::config::Scope;
use otas_proxy::run_view::{self, Limits, RunId, Step};
use serde_json::json;
use tokio::process::Command;

use super::agents::{Model, REQUEST};
use super::{OTHER, SESSION, everything, read};
use crate::support::proxy::{Running, TestProxy, eventually};

/// A word of a shell's script.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// An agent that is one process: a call to the model, which calls a tool, a call of that tool to this path, and a call to the model
/// that ends the turn.
fn agent(proxy: &Running, model: &Model, session: &str, path: &str) -> String {
    let tool = json!({ "type": "tool_use", "id": "toolu_1", "name": "Fetch", "input": {} });
    let said = json!({ "role": "user", "content": "Fetch it." });
    let result =
        json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_1", "content": "ok" }] });
    let talk = [json!([said]), json!([said, { "role": "assistant", "content": [tool] }, result])];
    let answers = [(tool, "tool_use"), (json!({ "type": "text", "text": "Done." }), "end_turn")];
    let calls = talk.into_iter().zip(answers).enumerate().map(|(at, (messages, (block, stop)))| {
        let answer = json!({
            "id": format!("msg_{session}_{at}"), "type": "message", "role": "assistant", "model": "m-claude", "content": [block],
            "stop_reason": stop, "usage": { "input_tokens": 9, "output_tokens": 1 },
        });
        let id = model.will_answer(StatusCode::OK, answer.to_string());
        let tools = json!([{ "name": "Fetch", "input_schema": { "type": "object" } }]);
        let body = json!({ "model": "m-claude", "max_tokens": 999, "tools": tools, "messages": messages });
        let fields = [
            format!("{REQUEST}: {id}"),
            format!("x-claude-code-session-id: {session}"),
            "user-agent: claude-cli/2.1.197".to_owned(),
            "content-type: application/json".to_owned(),
        ];
        let fields: String = fields.iter().map(|field| format!("-H {} ", quoted(field))).collect();
        get(proxy, model, "/v1/messages") + " " + &fields + "-d " + &quoted(&body.to_string())
    });
    let [ask, answer] = &calls.collect::<Vec<_>>()[..] else { panic!() };
    format!("curl {ask} --next {} --next {answer}", get(proxy, model, path))
}

/// The arguments of curl for a request.
fn get(proxy: &Running, model: &Model, path: &str) -> String {
    format!("-sS -x {} {}{path}", proxy.url(), model.url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_agents_that_share_a_session_each_has_the_calls_of_its_process_and_nobody_the_rest() {
    // All that the shell starts has one session. For that the proxy waits until it knows the processes.
    let proxy = TestProxy::new().with(|config| {
        (config.session.scope, config.session.agent_processes) = (Scope::Process, vec!["sh".to_owned()]);
    });
    let (proxy, model) = (proxy.run().await, Model::start().await);
    let [one, two] =
        [(SESSION, "/of-one"), (OTHER, "/of-two")].map(|(session, path)| agent(&proxy, &model, session, path));
    let script = format!("{one} & {two} & curl {} & wait", get(&proxy, &model, "/of-nobody"));
    let mut shell = Command::new("sh");
    let done = shell.args(["-c", &script]).env_remove("no_proxy").env_remove("NO_PROXY").output().await.unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    eventually("all calls are stored", async || proxy.app.store.counts(None).unwrap().total >= 7).await;
    let viewer = proxy.app.store.viewer();
    let listed = run_view::list(&viewer, &everything()).unwrap();
    let mut seen: Vec<_> = listed.iter().map(|run| (run.totals.calls, run.other.calls)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [(0, 1), (2, 1), (2, 1)]);
    for (session, path) in [(SESSION, "/of-one"), (OTHER, "/of-two")] {
        let run = read(&viewer, "claude", session);
        let [turn] = &run.threads[0].turns[..] else { panic!("{run:?}") };
        let others: Vec<_> = turn
            .steps
            .iter()
            .filter_map(|step| if let Step::Other(call) = step { Some(call.path.as_str()) } else { None })
            .collect();
        assert_eq!((others, run.other.len()), (vec![path], 0));
        assert!(run.left_out.unattributed <= 1);
    }
    let rest = listed.iter().find(|run| matches!(run.id, RunId::Proxy(_))).unwrap();
    assert!(rest.is_unattributed && listed.iter().filter(|run| run.is_unattributed).count() == 1);
    let rest = run_view::read(&viewer, &rest.id, &Limits::default()).unwrap().unwrap();
    assert_eq!(rest.other.iter().map(|call| call.path.as_str()).collect::<Vec<_>>(), ["/of-nobody"]);
    proxy.stop().await;
}
