use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use serde_json::{Value, json};

use super::*;
use crate::capture::{Caller, Failure, Fields, Origin, RequestFacts, ResponseFacts, Timings};
use crate::llm::{Facts, message_places, names};

/// A call that began this many milliseconds after a fixed time, and took ten.
fn call(at_ms: u64, method: Method, url: &str, body: &str, status: u16) -> Exchange {
    let url = url::Url::parse(url).unwrap();
    let head = vec![Bytes::copy_from_slice(body.as_bytes())];
    let body = Captured { head, total_bytes: body.len() as u64, ..Captured::default() };
    Exchange {
        id: Uuid::now_v7(),
        started_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + at_ms),
        kind: Kind::Http,
        process: crate::peer::ProcessLookup::none(),
        agent: "127.0.0.1:50000".parse().unwrap(),
        caller: Caller::Proxy,
        unlogged: None,
        origin: Origin {
            scheme: if url.scheme() == "http" { "http" } else { "https" },
            host: url.host_str().unwrap().into(),
            port: url.port_or_known_default().unwrap(),
        },
        peer: None,
        version: Version::HTTP_11,
        tls: None,
        blind: None,
        names: None,
        connection_reused: false,
        sent_again: 0,
        request: RequestFacts {
            method,
            path: url.path().to_owned(),
            query: url.query().map(str::to_owned),
            headers: headers("content-length", &body.total_bytes.to_string()),
            body,
            trailers: None,
        },
        response: (status > 0).then(|| ResponseFacts {
            status: StatusCode::from_u16(status).unwrap(),
            headers: Fields::default(),
            body: Captured::default(),
            trailers: None,
            arrivals: Vec::new(),
            faults: Vec::new(),
        }),
        outcome: Outcome::Complete,
        timings: Timings { total: Duration::from_millis(10), ..Timings::default() },
        websocket: None,
        llm: None,
    }
}

fn post(at_ms: u64, body: &str, status: u16) -> Exchange {
    call(at_ms, Method::POST, "https://api.test/v1/x?a=b", body, status)
}

fn failing(mut exchange: Exchange) -> Exchange {
    exchange.response = None;
    exchange.outcome = Outcome::Failed(Failure { id: "connect_refused", detail: String::new() });
    exchange
}

fn headers(name: &'static str, value: &str) -> Fields {
    let mut fields = HeaderMap::new();
    fields.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    Fields::from(&fields)
}

fn redirecting(mut exchange: Exchange, to: &str) -> Exchange {
    exchange.response.as_mut().unwrap().headers = headers("location", to);
    exchange
}

#[test]
fn the_same_call_after_a_failure_is_its_retry_and_each_knows_the_first() {
    let linking = Linking::new();
    let (first, second, third) = (failing(post(0, "{}", 0)), post(20, "{}", 429), post(40, "{}", 200));
    assert_eq!(linking.links(&first).retry, None);
    let retry = |of: &Exchange, count| Some(crate::event::Retry { of: of.id, first: first.id, count });
    assert_eq!(linking.links(&second).retry, retry(&first, 1));
    assert_eq!(linking.links(&third).retry, retry(&second, 2));
    assert_eq!(linking.links(&post(60, "{}", 200)).retry, None, "it had succeeded");
}

#[test]
fn another_call_is_no_retry() {
    type Change = fn(Exchange) -> Exchange;
    let others: [(&str, Change); 6] = [
        ("another body", |it| Exchange { request: post(0, "{\"a\":1}", 0).request, ..it }),
        ("another query", |mut it| {
            it.request.query = None;
            it
        }),
        ("another method", |mut it| {
            it.request.method = Method::PUT;
            it
        }),
        ("another machine", |it| Exchange { agent: "10.0.0.1:1".parse().unwrap(), ..it }),
        ("begun before the failure", |it| Exchange { started_at: post(5, "", 0).started_at, ..it }),
        ("long after", |it| Exchange { started_at: post(700_000, "", 0).started_at, ..it }),
    ];
    for (what, other) in others {
        let linking = Linking::new();
        linking.links(&post(0, "{}", 503));
        assert_eq!(linking.links(&other(post(20, "{}", 200))).retry, None, "{what}");
    }
    let linking = Linking::new();
    linking.links(&post(0, "{}", 404));
    assert_eq!(linking.links(&post(20, "{}", 200)).retry, None, "a refusal that a retry does not change");
}

#[test]
fn a_body_that_is_not_known_whole_is_like_no_other() {
    let linking = Linking::new();
    let cut = |mut exchange: Exchange| {
        exchange.request.headers = headers("content-length", "3");
        exchange.request.body.total_bytes = 3;
        exchange
    };
    linking.links(&cut(post(0, "{}", 503)));
    assert_eq!(linking.links(&cut(post(20, "{}", 200))).retry, None);
    let never_read = |mut exchange: Exchange| {
        exchange.request.body = Captured::default();
        failing(exchange)
    };
    linking.links(&never_read(post(40, "{}", 0)));
    assert_eq!(linking.links(&never_read(post(60, "{}", 0))).retry, None);
}

#[test]
fn members_of_json_may_change_their_order() {
    let linking = Linking::new();
    let first = post(0, r#"{"model":"m","client_metadata":{"a":"1","b":"2"}}"#, 503);
    linking.links(&first);
    let again = post(20, r#"{"client_metadata":{"b":"2","a":"1"},"model":"m"}"#, 200);
    assert_eq!(linking.links(&again).retry.map(|retry| retry.of), Some(first.id));
}

#[test]
fn a_request_that_was_refused_unread_equals_no_other() {
    let linking = Linking::new();
    let refused = |at| {
        let mut exchange = call(at, Method::GET, "http://api.test/", "", 400);
        exchange.request.headers = Fields::default();
        exchange.outcome = Outcome::Failed(Failure { id: "bad_request", detail: String::new() });
        exchange
    };
    linking.links(&refused(0));
    assert_eq!(linking.links(&refused(20)).retry, None);
}

#[test]
fn the_next_call_to_where_an_answer_points_has_followed_it_once() {
    let linking = Linking::new();
    let first = redirecting(post(0, "{}", 303), "../login?next=%2F#top");
    let second =
        redirecting(call(20, Method::GET, "https://api.test/login?next=%2F", "", 302), "https://other.test/");
    let third = call(40, Method::GET, "https://other.test/", "", 200);
    assert_eq!(linking.links(&first).redirect_of, None);
    assert_eq!(linking.links(&second).redirect_of, Some(first.id));
    assert_eq!(linking.links(&third).redirect_of, Some(second.id));
    assert_eq!(linking.links(&call(60, Method::GET, "https://other.test/", "", 200)).redirect_of, None);
}

#[test]
fn a_redirect_is_followed_with_its_method_only() {
    let linking = Linking::new();
    linking.links(&redirecting(post(0, "{}", 307), "/x"));
    assert_eq!(linking.links(&call(20, Method::GET, "https://api.test/x", "", 200)).redirect_of, None);
    assert!(linking.links(&call(20, Method::POST, "https://api.test/x", "{}", 200)).redirect_of.is_some());
}

/// A chat with these messages.
fn chat(at_ms: u64, messages: &[(&str, &str)], status: u16) -> Exchange {
    let messages: Vec<Value> = messages.iter().map(|(role, text)| json!({ "role": role, "content": text })).collect();
    let body = json!({ "model": "m", "messages": messages }).to_string();
    call(at_ms, Method::POST, "https://api.test/v1/chat/completions", &body, status)
}

const ONE: [(&str, &str); 2] = [("system", "be brief"), ("user", "hi")];
const TWO: [(&str, &str); 4] = [ONE[0], ONE[1], ("assistant", "hello"), ("user", "how far?")];

#[test]
fn messages_that_begin_with_all_of_an_earlier_call_and_an_answer_go_on_from_it() {
    let linking = Linking::new();
    let (first, second) = (chat(0, &ONE, 200), chat(20, &TWO, 200));
    let third = chat(40, &[&TWO[..], &[("assistant", "far"), ("user", "thanks")]].concat(), 200);
    assert_eq!(linking.links(&first).conversation, None);
    assert_eq!(linking.links(&second).conversation, Some(Turn { previous: first.id, first: first.id }));
    assert_eq!(linking.links(&third).conversation, Some(Turn { previous: second.id, first: first.id }));
}

#[test]
fn messages_that_the_reader_listed_link_like_those_that_are_parsed_here() {
    let listed = |mut exchange: Exchange| {
        let messages = message_places(str::from_utf8(&exchange.request.body.kept()).unwrap());
        exchange.llm = Some(Box::new(Facts { messages, ..Facts::default() }));
        exchange
    };
    let linking = Linking::new();
    let (first, second) = (listed(chat(0, &ONE, 200)), chat(20, &TWO, 200));
    let third = listed(chat(40, &[&TWO[..], &[("assistant", "far"), ("user", "thanks")]].concat(), 200));
    linking.links(&first);
    assert_eq!(linking.links(&second).conversation, Some(Turn { previous: first.id, first: first.id }));
    assert_eq!(linking.links(&third).conversation, Some(Turn { previous: second.id, first: first.id }));
    let mut wrong = chat(60, &TWO, 200);
    wrong.llm = Some(Box::new(Facts { messages: vec![0..5, 7..9], ..Facts::default() }));
    assert_eq!(linking.links(&wrong).conversation, None, "these places hold no messages");
}

#[test]
fn the_session_of_a_sub_agents_sub_agent_is_that_of_the_first_parent() {
    let linking = Linking::new();
    let note = |thread: &str, session: &str| {
        let facts = json!({ names::AGENT_THREAD: thread, names::SESSION: session, names::OUTPUT_TOKENS: 1 });
        let llm = Llm::of(facts.as_object().unwrap()).unwrap();
        linking.note(Uuid::now_v7(), Some(&llm), &Links::default());
    };
    note("root", "root");
    note("child", "root");
    assert_eq!((linking.session_of("child").as_deref(), linking.session_of("root")), (Some("root"), None));
}

#[test]
fn an_ambiguous_continuation_is_not_linked() {
    let linking = Linking::new();
    linking.links(&chat(0, &ONE, 200));
    linking.links(&chat(20, &ONE, 200));
    assert_eq!(linking.links(&chat(40, &TWO, 200)).conversation, None);
    let linking = Linking::new();
    linking.links(&chat(0, &ONE, 500));
    let again = chat(20, &ONE, 200);
    assert!(linking.links(&again).retry.is_some());
    let goes_on = linking.links(&chat(40, &TWO, 200)).conversation;
    assert_eq!(goes_on.map(|turn| turn.previous), Some(again.id), "a retry is no second conversation");
    let not_answered = [ONE[0], ONE[1], ("user", "hello?")];
    assert_eq!(linking.links(&chat(60, &not_answered, 200)).conversation, None);
}

/// A POST of this JSON, to an interface for models, by this agent.
fn asked(at_ms: u64, path: &str, agent: &str, body: &Value) -> Exchange {
    let mut exchange = call(at_ms, Method::POST, &format!("https://api.test{path}"), &body.to_string(), 200);
    exchange.request.headers.push("x-claude-code-agent-id", agent.as_bytes());
    exchange
}

#[test]
fn a_conversation_goes_on_while_its_marks_for_the_cache_move() {
    let linking = Linking::new();
    let text = |text: &str, marked: bool| match marked {
        true => json!({ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } }),
        false => json!({ "type": "text", "text": text }),
    };
    let user = |words: &str, marked| json!({ "role": "user", "content": [text(words, marked)] });
    let answer = json!({ "content": [text("done", false)], "role": "assistant" });
    let messages = |n: usize| -> Vec<Value> {
        (0..=n).flat_map(|at| [user(&format!("step {at}"), at == n), answer.clone()]).take(2 * n + 1).collect()
    };
    let mut before: Option<Uuid> = None;
    for n in 0..20 {
        let exchange = asked(n * 20, "/v1/messages", "", &json!({ "messages": messages(n as usize) }));
        assert_eq!(linking.links(&exchange).conversation.map(|turn| turn.previous), before, "call {n}");
        before = Some(exchange.id);
    }
}

#[test]
fn conversations_of_each_interface_go_on() {
    let said = |role: &str, text: &str| json!({ "role": role, "content": text });
    let item = |kind: &str, id: &str| json!({ "type": kind, "id": id, "call_id": "c1", "arguments": "{}" });
    let part = |role: &str, text: &str| json!({ "role": role, "parts": [{ "text": text }] });
    let cases = [
        (
            "/v1/responses",
            "input",
            vec![said("user", "hi")],
            vec![item("reasoning", "r1"), item("function_call", "f1")],
        ),
        (
            "/v1beta/models/gemini-x:generateContent",
            "contents",
            vec![part("user", "hi")],
            vec![part("model", "hello")],
        ),
        ("/v1/messages", "messages", vec![said("user", "hi")], vec![said("assistant", "hello")]),
    ];
    for (path, name, question, answer) in cases {
        let linking = Linking::new();
        let call = |at_ms: u64, messages: &[Value]| {
            let mut exchange = asked(at_ms, path, "", &json!({ name: messages }));
            exchange.llm = Some(Box::default());
            exchange
        };
        let first = call(0, &question);
        assert_eq!(linking.links(&first).conversation, None, "{path}");
        let mut renamed = answer.clone();
        if renamed[0]["id"].is_string() {
            renamed[0]["id"] = "another".into();
        }
        let second = call(20, &[&question[..], &answer[..], &[said("user", "more")]].concat());
        assert_eq!(linking.links(&second).conversation.map(|turn| turn.previous), Some(first.id), "{path}");
        let more = [said("user", "more"), answer[0].clone(), said("user", "and more")];
        let third = call(40, &[&question[..], &renamed[..], &more[..]].concat());
        assert_eq!(linking.links(&third).conversation.map(|turn| turn.previous), Some(second.id), "{path}");
    }
}

#[test]
fn two_agents_with_the_same_words_have_conversations_of_their_own() {
    let linking = Linking::new();
    let question = json!({ "messages": [{ "role": "user", "content": "look" }] });
    let more = json!({ "messages": [
        { "role": "user", "content": "look" }, { "role": "assistant", "content": "seen" }, { "role": "user", "content": "on" },
    ] });
    let of = |at_ms, agent, body| asked(at_ms, "/v1/messages", agent, body);
    let (one, other) = (of(0, "agent-1", &question), of(20, "agent-2", &question));
    linking.links(&one);
    linking.links(&other);
    assert_eq!(linking.links(&of(40, "agent-2", &more)).conversation.map(|turn| turn.previous), Some(other.id));
    assert_eq!(linking.links(&of(60, "agent-1", &more)).conversation.map(|turn| turn.previous), Some(one.id));
}

#[test]
fn sub_agents_that_name_themselves_in_the_body_have_conversations_of_their_own() {
    // As Gemini CLI calls Google's code assistant.
    let linking = Linking::new();
    let of = |at_ms, agent: &str, messages: &[(&str, &str)]| {
        let contents: Value =
            messages.iter().map(|(role, text)| json!({ "role": role, "parts": [{ "text": text }] })).collect();
        let body = json!({ "model": "m", "user_prompt_id": agent, "request": { "session_id": "s-1", "contents": contents } });
        let url = "https://api.test/v1internal:streamGenerateContent";
        let mut exchange = call(at_ms, Method::POST, url, &body.to_string(), 200);
        exchange.request.headers.push("user-agent", b"GeminiCLI/0.61.0/gemini-3 (linux; x64)");
        let claims = vec![("user_prompt_id", json!(agent)), ("request.session_id", json!("s-1"))];
        exchange.llm = Some(Box::new(Facts { claims, ..Facts::default() }));
        exchange
    };
    let question = [("user", "look")];
    let (one, other) = (of(0, "agent-1#0", &question), of(20, "agent-2#0", &question));
    linking.links(&one);
    linking.links(&other);
    let more = [("user", "look"), ("model", "seen"), ("user", "on")];
    let next = |at_ms, agent| linking.links(&of(at_ms, agent, &more)).conversation.map(|turn| turn.previous);
    assert_eq!((next(40, "agent-2#1"), next(60, "agent-1#1")), (Some(other.id), Some(one.id)));
}

#[test]
fn the_ids_of_tool_calls_tell_conversations_with_the_same_words_apart() {
    let linking = Linking::new();
    let answered = |mut exchange: Exchange, id: &str| {
        exchange.llm = Some(Box::new(Facts { tool_ids: vec![id.to_owned()], ..Facts::default() }));
        exchange
    };
    let more = |id: &str| {
        json!({ "model": "m", "messages": [
            { "role": "system", "content": "be brief" }, { "role": "user", "content": "hi" },
            { "role": "assistant", "tool_calls": [{ "id": id, "type": "function", "function": { "name": "ls", "arguments": "{}" } }] },
            { "role": "tool", "tool_call_id": id, "content": "x" },
        ] })
    };
    let (one, other) = (answered(chat(0, &ONE, 200), "call_1"), answered(chat(20, &ONE, 200), "call_2"));
    linking.links(&one);
    linking.links(&other);
    let url = "https://api.test/v1/chat/completions";
    let next = |at_ms, id| {
        let exchange = call(at_ms, Method::POST, url, &more(id).to_string(), 200);
        linking.links(&exchange).conversation.map(|turn| turn.previous)
    };
    assert_eq!(next(40, "call_2"), Some(other.id));
    assert_eq!(next(60, "call_1"), Some(one.id));
    assert_eq!(next(80, "call_3"), None);
}

#[test]
fn a_body_of_any_shape_is_read() {
    let linking = Linking::new();
    for body in [
        "{}",
        "[]",
        "1",
        r#"{"messages":"hi"}"#,
        r#"{"messages":{"a":[1]},"input":7,"contents":null}"#,
        r#"{"request":7}"#,
        r#"{"request":{"contents":{"a":1}}}"#,
        r#"{"request":null}"#,
        r#"{"input":true}"#,
    ] {
        let exchange = call(0, Method::POST, "https://api.test/v1/messages", body, 200);
        assert_eq!(linking.links(&exchange).conversation, None, "{body}");
    }
    let ask = |at_ms: u64, messages: Value| {
        asked(at_ms, "/v1/responses", "", &json!({ "messages": "x", "input": messages }))
    };
    let first = ask(0, json!([{ "role": "user", "content": "hi" }]));
    linking.links(&first);
    let second = ask(20, json!([{ "role": "user", "content": "hi" }, { "role": "assistant" }, { "role": "user" }]));
    assert_eq!(linking.links(&second).conversation.map(|turn| turn.previous), Some(first.id));
}

#[test]
fn a_prewarm_call_begins_no_conversation() {
    let linking = Linking::new();
    let body = |generate: bool| json!({ "generate": generate, "input": [{ "role": "user", "content": "hi" }] });
    linking.links(&asked(0, "/v1/responses", "", &body(false)));
    let first = asked(20, "/v1/responses", "", &body(true));
    linking.links(&first);
    let more = json!({ "input": [
        { "role": "user", "content": "hi" }, { "role": "assistant", "content": "hello" }, { "role": "user", "content": "on" },
    ] });
    let second = linking.links(&asked(40, "/v1/responses", "", &more));
    assert_eq!(second.conversation.map(|turn| turn.previous), Some(first.id));
}

#[test]
fn a_call_that_names_an_answer_or_a_conversation_goes_on_from_it() {
    let linking = Linking::new();
    let llm = |facts: Value| Llm::of(facts.as_object().unwrap()).unwrap();
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let first = llm(json!({ "gen_ai.response.id": "resp_1" }));
    let second = llm(json!({ "gen_ai.request.previous_response.id": "resp_1", "gen_ai.response.id": "resp_2" }));
    let third = llm(json!({ "gen_ai.request.previous_response.id": "resp_2" }));
    linking.memory().conversations.note(one, &first, None);
    assert_eq!(linking.continues(&second), Some(Turn { previous: one, first: one }));
    linking.memory().conversations.note(two, &second, None);
    assert_eq!(linking.continues(&third), Some(Turn { previous: two, first: one }));
    assert_eq!(linking.continues(&llm(json!({ "gen_ai.request.previous_response.id": "resp_9" }))), None);
    let talk = llm(json!({ "gen_ai.conversation.id": "conv_1" }));
    assert_eq!(linking.continues(&talk), None);
    linking.memory().conversations.note(one, &talk, None);
    assert_eq!(linking.continues(&talk), Some(Turn { previous: one, first: one }));
}

#[test]
fn remembered_calls_are_bounded() {
    let linking = Linking::new();
    for n in 0..3 * REMEMBERED {
        linking.links(&post(0, &n.to_string(), 503));
    }
    assert!(linking.memory().retries.remembered() <= REMEMBERED);
}
