use serde_json::{Value, json};

use super::*;
use crate::conversation::{Answer, Block, Conversation, Message, Request, Tool};
use crate::llm::names;

const TASK: &str = "Find all tests of the parser.";

/// A model call, and what belongs to it.
struct Call {
    id: Uuid,
    at_ms: i64,
    failed: bool,
    continues: Option<Uuid>,
    parent_thread: Option<&'static str>,
    llm: Llm,
    conversation: Conversation,
}

/// A call at this time, which takes a second.
fn call(at_ms: i64, facts: &[(&str, &str)], messages: &[Message], answer: &[Block]) -> Call {
    let facts: serde_json::Map<String, Value> =
        facts.iter().chain(&[(names::API, "x")]).map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let tools = vec![Tool { name: "Bash".to_owned(), definition: Value::Null }];
    Call {
        id: Uuid::from_u128(at_ms as u128),
        at_ms,
        failed: false,
        continues: None,
        parent_thread: None,
        llm: Llm::of(&facts).unwrap(),
        conversation: Conversation {
            request: Request { tools, messages: messages.to_vec(), ..Request::default() },
            answer: Answer { blocks: answer.to_vec(), ..Answer::default() },
        },
    }
}

fn threads_of(calls: &[Call]) -> Vec<Thread> {
    let gists: Vec<Gist> = calls.iter().map(|call| Gist::of(&call.conversation)).collect();
    let steps: Vec<Step<'_>> = calls
        .iter()
        .zip(&gists)
        .map(|(call, gist)| Step {
            id: call.id,
            started_ms: call.at_ms,
            ended_ms: call.at_ms + 1_000,
            failed: call.failed,
            continues: call.continues,
            parent_thread: call.parent_thread,
            llm: &call.llm,
            gist,
        })
        .collect();
    threads(&steps)
}

fn user(text: &str) -> Message {
    Message { role: "user".to_owned(), blocks: vec![Block::Text(text.to_owned())] }
}

fn assistant(blocks: &[Block]) -> Message {
    Message { role: "assistant".to_owned(), blocks: blocks.to_vec() }
}

fn results(of: &[(&str, &str, bool)]) -> Message {
    let block = |(id, text, is_error): &(&str, &str, bool)| Block::ToolResult {
        id: (*id).to_owned(),
        content: vec![Block::Text((*text).to_owned())],
        is_error: Some(*is_error),
    };
    Message { role: "user".to_owned(), blocks: of.iter().map(block).collect() }
}

fn uses(id: &str, name: &str, arguments: &Value) -> Block {
    Block::ToolCall { id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_string() }
}

fn says(text: &str) -> Block {
    Block::Text(text.to_owned())
}

fn ids(calls: &[&Call]) -> Vec<Uuid> {
    calls.iter().map(|call| call.id).collect()
}

const MAIN: [(&str, &str); 2] = [(names::AGENT_NAME, "claude"), (names::SESSION, "s-1")];

fn sub(id: &'static str) -> [(&'static str, &'static str); 3] {
    [MAIN[0], MAIN[1], (names::AGENT_ID, id)]
}

#[test]
fn a_turn_goes_from_a_message_to_the_answer_that_calls_no_tool() {
    let bash = uses("t1", "Bash", &json!({ "command": "ls" }));
    let read = uses("t2", "Read", &json!({ "path": "x" }));
    let mut talk = vec![user("List it.")];
    let first = call(1_000, &MAIN, &talk, &[bash.clone(), read.clone()]);
    talk.extend([assistant(&[bash, read]), results(&[("t1", "a b", false), ("t2", "no such file", true)])]);
    let second = call(2_500, &MAIN, &talk, &[says("Done.")]);
    talk.extend([assistant(&[says("Done.")]), user("Thanks.")]);
    let third = call(9_000, &MAIN, &talk, &[says("You are welcome.")]);
    let calls = [first, second, third];
    let [thread] = &threads_of(&calls)[..] else { panic!() };
    let [turn, thanks] = &thread.turns[..] else { panic!("{thread:?}") };
    assert_eq!(
        (turn.said.text.as_str(), &turn.calls, turn.is_complete),
        ("List it.", &ids(&[&calls[0], &calls[1]]), true)
    );
    assert_eq!((thanks.said.text.as_str(), &thanks.calls), ("Thanks.", &ids(&[&calls[2]])));
    let [bash, read] = &turn.tools[..] else { panic!() };
    let outcome = bash.result.as_ref().unwrap();
    assert_eq!(
        (bash.name.as_str(), bash.arguments.text.as_str(), outcome.at_most_ms),
        ("Bash", r#"{"command":"ls"}"#, 500)
    );
    assert_eq!((outcome.to, outcome.is_error, &*outcome.content.text), (calls[1].id, Some(false), "a b"));
    assert_eq!(read.result.as_ref().unwrap().is_error, Some(true));
}

#[test]
fn a_tool_whose_result_has_not_come_has_none_and_its_turn_is_open() {
    let first = call(1_000, &MAIN, &[user("Go.")], &[uses("t1", "Bash", &json!({}))]);
    let turn = &threads_of(&[first])[0].turns[0];
    assert!(!turn.is_complete && turn.tools[0].result.is_none());
}

#[test]
fn results_without_ids_of_their_own_come_in_order() {
    let both =
        [uses("weather", "weather", &json!({ "city": "A" })), uses("weather", "weather", &json!({ "city": "B" }))];
    let first = call(1_000, &[], &[user("Both.")], &both);
    let talk = [user("Both."), assistant(&both), results(&[("weather", "rain", false), ("weather", "sun", false)])];
    let second = Call { continues: Some(first.id), ..call(3_000, &[], &talk, &[says("Mixed.")]) };
    let tools = &threads_of(&[first, second])[0].turns[0].tools;
    let texts: Vec<_> = tools.iter().map(|tool| tool.result.clone().unwrap().content.text).collect();
    assert_eq!(texts, ["rain", "sun"]);
}

#[test]
fn a_sub_agent_belongs_to_the_open_tool_call_with_its_task() {
    // Two sub-agents with the same task, whose calls interleave, and one of another task.
    let tasks = ["a1", "a2"].map(|id| uses(id, "Agent", &json!({ "prompt": TASK, "description": "tests" })));
    let other = uses("a3", "Agent", &json!({ "prompt": "Look for open questions." }));
    let started = [&tasks[..], &[other]].concat();
    let first = call(1_000, &MAIN, &[user("Go.")], &started);
    let reminded = |task: &str| {
        let mut message = user("<system-reminder>Today is Monday.</system-reminder>");
        message.blocks.push(says(task));
        message
    };
    let one = call(3_000, &sub("x1"), &[reminded(TASK)], &[uses("t1", "Bash", &json!({}))]);
    let two = call(3_001, &sub("x2"), &[reminded(TASK)], &[says("Two.")]);
    let three = call(3_002, &sub("x3"), &[reminded("Look for open questions.")], &[says("Three.")]);
    let again = call(
        5_000,
        &sub("x1"),
        &[reminded(TASK), assistant(&[uses("t1", "Bash", &json!({}))]), results(&[("t1", "ok", false)])],
        &[says("One.")],
    );
    let talk = [
        user("Go."),
        assistant(&started),
        results(&[("a1", "One.", false), ("a2", "Two.", false), ("a3", "Three.", false)]),
    ];
    let last = call(9_000, &MAIN, &talk, &[says("All done.")]);
    let calls = [first, one, two, three, again, last];
    let [main, x1, x2, x3] = &threads_of(&calls)[..] else { panic!() };
    assert_eq!((main.id.as_deref(), &main.parent, main.turns.len()), (None, &None, 1));
    let by = |id: &str| Some(Parent { thread: 0, tool: Some((calls[0].id, id.to_owned())) });
    assert_eq!((x1.id.as_deref(), &x1.parent), (Some("x1"), &by("a1")));
    assert_eq!((x2.id.as_deref(), &x2.parent), (Some("x2"), &by("a2")));
    assert_eq!((x3.id.as_deref(), &x3.parent), (Some("x3"), &by("a3")));
    assert_eq!(x1.calls().collect::<Vec<_>>(), ids(&[&calls[1], &calls[4]]));
    assert_eq!(main.turns[0].tools.len(), 3);
    assert!(main.turns[0].is_complete);
}

#[test]
fn a_result_that_names_the_sub_agent_shows_which_call_started_it() {
    // Two with the same task: the second one begins first. The result of the first call is long, and names its agent at the end.
    let tasks = ["a1", "a2"].map(|id| uses(id, "Agent", &json!({ "prompt": TASK })));
    let first = call(1_000, &MAIN, &[user("Go.")], &tasks);
    let two = call(3_000, &sub("agent-two"), &[user(TASK)], &[says("Two.")]);
    let one = call(3_001, &sub("agent-one"), &[user(TASK)], &[says("One.")]);
    let long = format!("{}\nagentId: agent-one (to continue)", "x".repeat(5_000));
    let talk =
        [user("Go."), assistant(&tasks), results(&[("a1", &long, false), ("a2", "agentId: agent-two", false)])];
    let last = call(9_000, &MAIN, &talk, &[says("All done.")]);
    let calls = [first, two, one, last];
    let threads = threads_of(&calls);
    let started: Vec<_> = threads.iter().map(|of| Some(of.parent.as_ref()?.tool.as_ref()?.1.as_str())).collect();
    assert_eq!(started, [None, Some("a2"), Some("a1")]);
}

#[test]
fn a_failed_call_does_not_end_its_turn() {
    let talk = [user("Go.")];
    let failed = Call { failed: true, ..call(1_000, &MAIN, &talk, &[]) };
    let retry = call(3_000, &MAIN, &talk, &[says("Gone.")]);
    let calls = [failed, retry];
    let thread = &threads_of(&calls)[0];
    assert_eq!((thread.turns.len(), &thread.turns[0].calls), (1, &ids(&[&calls[0], &calls[1]])));
    assert!(thread.turns[0].is_complete);
}

#[test]
fn codex_names_thread_turn_and_parent() {
    let of = |thread: &'static str, turn: &'static str| {
        [
            (names::AGENT_NAME, "codex"),
            (names::SESSION, "s"),
            (names::AGENT_THREAD, thread),
            (names::AGENT_TURN, turn),
        ]
    };
    let main =
        call(1_000, &of("root", "t1"), &[user("Go.")], &[uses("f1", "spawn_agent", &json!({ "message": TASK }))]);
    let helper =
        Call { parent_thread: Some("root"), ..call(3_000, &of("helper", "h1"), &[user(TASK)], &[says("Found.")]) };
    let next = call(6_000, &of("root", "t2"), &[user("Go."), user("And now?")], &[says("Nothing.")]);
    let calls = [main, helper, next];
    let [root, helper] = &threads_of(&calls)[..] else { panic!() };
    assert_eq!(root.turns.iter().map(|turn| turn.id.as_deref()).collect::<Vec<_>>(), [Some("t1"), Some("t2")]);
    assert_eq!(helper.parent, Some(Parent { thread: 0, tool: Some((calls[0].id, "f1".to_owned())) }));
    // Helpers that inherit the conversation, and begin when the parent has gone on. The task is encrypted for both sides.
    let task = "Zm9vIGJhciBiYXo=";
    let tools = ["f1", "f2"].map(|id| uses(id, "spawn_agent", &json!({ "message": task })));
    let main = call(1_000, &of("root", "t1"), &[user("Go.")], &tools);
    let next = [user("Go."), assistant(&tools), results(&[("f1", "{}", false), ("f2", "{}", false)])];
    let next = Call { continues: Some(main.id), ..call(2_000, &of("root", "t1"), &next, &[says("Waiting.")]) };
    let json = json!({ "type": "encrypted_content", "encrypted_content": task }).to_string();
    let handed_over = Block::Other { kind: "encrypted_content".to_owned(), json };
    let inherited = Message { role: "user".to_owned(), blocks: vec![says("Payload:"), handed_over] };
    let helper = |at_ms, thread| Call {
        parent_thread: Some("root"),
        ..call(at_ms, &of(thread, "h"), &[user("Go."), assistant(&tools), inherited.clone()], &[says("Found.")])
    };
    let calls = [main, next, helper(3_000, "one"), helper(3_500, "two")];
    let [_, one, two] = &threads_of(&calls)[..] else { panic!() };
    let started = |id: &str| Some(Parent { thread: 0, tool: Some((calls[0].id, id.to_owned())) });
    assert_eq!((&one.parent, &two.parent), (&started("f1"), &started("f2")));
    // The parent is stated, even if nothing shows the tool.
    let unseen = Call { conversation: Conversation::default(), ..call(1_000, &of("root", "t1"), &[], &[]) };
    let later = Call { parent_thread: Some("root"), ..call(3_000, &of("helper", "h1"), &[user(TASK)], &[]) };
    assert_eq!(threads_of(&[unseen, later])[1].parent, Some(Parent { thread: 0, tool: None }));
}

#[test]
fn without_ids_calls_that_continue_each_other_are_a_thread() {
    let first = call(1_000, &[], &[user("One.")], &[says("1")]);
    let other = call(1_500, &[], &[user("Else.")], &[says("2")]);
    let second = Call {
        continues: Some(first.id),
        ..call(2_000, &[], &[user("One."), assistant(&[says("1")]), user("Two.")], &[says("3")])
    };
    let calls = [first, other, second];
    let threads = threads_of(&calls);
    let of: Vec<Vec<Uuid>> = threads.iter().map(|thread| thread.calls().collect()).collect();
    assert_eq!(of, [ids(&[&calls[0], &calls[2]]), ids(&[&calls[1]])]);
    assert_eq!(threads[0].turns.len(), 2);
}

/// A call without tools that goes on from another one.
fn asks(at_ms: i64, said: &str, continues: Option<Uuid>) -> Call {
    let mut call = Call { continues, ..call(at_ms, &[], &[user(said)], &[says("flash")]) };
    call.conversation.request.tools.clear();
    call
}

#[test]
fn the_calls_by_which_an_agent_without_ids_chooses_a_model_are_beside_the_conversation_that_follows() {
    // For each message of the user, and for two sub-agents with the same task.
    let tools = ["a1", "a2"].map(|id| uses(id, "invoke_agent", &json!({ "prompt": TASK })));
    let choice = asks(1_000, "Go.", None);
    let main = call(2_000, &[], &[user("Go.")], &tools);
    let (one, two) = (asks(4_000, TASK, None), asks(4_001, TASK, None));
    let helpers =
        [5_000, 5_001].map(|at_ms| call(at_ms, &[], &[user(TASK)], &[uses("done", "complete_task", &json!({}))]));
    let talk = [user("Go."), assistant(&tools), results(&[("a1", "Found.", false), ("a2", "Found.", false)])];
    let last = Call { continues: Some(main.id), ..call(9_000, &[], &talk, &[says("Here.")]) };
    let again = asks(11_000, "And now?", Some(choice.id));
    let next = Call { continues: Some(last.id), ..call(12_000, &[], &[user("And now?")], &[says("Nothing.")]) };
    let [first, second] = helpers;
    let calls = [choice, main, one, two, first, second, last, again, next];
    let threads = threads_of(&calls);
    let [main, x, y] = &threads[..] else { panic!("{threads:#?}") };
    assert_eq!((&main.side, main.turns.len()), (&ids(&[&calls[0], &calls[7]]), 2));
    assert_eq!((&x.side, &y.side), (&ids(&[&calls[2]]), &ids(&[&calls[3]])));
    let started = |id: &str| Some(Parent { thread: 0, tool: Some((calls[1].id, id.to_owned())) });
    assert_eq!((&x.parent, &y.parent), (&started("a1"), &started("a2")));
    // They end with a call to a tool, and the main agent has their results.
    assert!(x.turns[0].is_complete && y.turns[0].is_complete);
    // A conversation without tools of its own stays one.
    let alone = [asks(1_000, "Go.", None), asks(9_000, "Else.", None)];
    assert_eq!(threads_of(&alone).iter().map(|thread| thread.turns.len()).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn calls_beside_the_conversation_are_no_turns() {
    let mut title = call(1_000, &MAIN, &[user("Write a title.")], &[says("Tests")]);
    title.conversation.request.tools.clear();
    let mut quota = call(1_100, &MAIN, &[user("quota")], &[says("x")]);
    quota.conversation.request.parameters.insert("max_tokens".to_owned(), json!(1));
    let first = call(1_200, &MAIN, &[user("Go.")], &[says("Gone.")]);
    let calls = [title, quota, first];
    let thread = &threads_of(&calls)[0];
    assert_eq!(thread.side, ids(&[&calls[0], &calls[1]]));
    assert_eq!((thread.turns.len(), thread.turns[0].said.text.as_str()), (1, "Go."));
}

#[test]
fn a_session_of_sixty_calls_with_three_sub_agents_has_its_tree() {
    let mut calls = Vec::new();
    let mut talk = vec![user("Do all of it.")];
    for n in 0..60i64 {
        let id = format!("t{n}");
        let tool = if n % 20 == 5 {
            uses(&id, "Agent", &json!({ "prompt": format!("Sub-task number {n} of many.") }))
        } else {
            uses(&id, "Bash", &json!({ "command": "x".repeat(6_000) }))
        };
        let answer = if n == 59 { vec![says("All done.")] } else { vec![tool.clone()] };
        calls.push(call(10_000 * (n + 1), &MAIN, &talk, &answer));
        if n % 20 == 5 {
            let (name, task) = (
                [names::AGENT_ID, "s5", "s25", "s45"][(n / 20 + 1) as usize],
                format!("Sub-task number {n} of many."),
            );
            calls.push(call(10_000 * (n + 1) + 5_000, &sub(name), &[user(&task)], &[says("Sub done.")]));
        }
        talk.extend([assistant(&answer), results(&[(&id, "ok", false)])]);
    }
    let threads = threads_of(&calls);
    assert_eq!(threads.len(), 4);
    let main = &threads[0];
    assert_eq!((main.turns.len(), main.calls().count(), main.turns[0].tools.len()), (1, 60, 59));
    assert!(
        main.turns[0].tools.iter().all(|tool| tool.result.as_ref().is_some_and(|result| result.at_most_ms == 9_000))
    );
    for (thread, tool) in threads[1..].iter().zip(["t5", "t25", "t45"]) {
        assert_eq!(
            thread.parent.as_ref().and_then(|parent| parent.tool.as_ref()).map(|(_, id)| id.as_str()),
            Some(tool)
        );
    }
}
