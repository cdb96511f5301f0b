//! The OTAS contract, line by line, against the collector; and the faults of the test OTAS.

use std::time::Duration;

use crate::support::nobody::Nobody;
use crate::support::otas::{Answer, Overload, TestOtas};
use otas_proxy::collector::{Agent, Collector, CollectorOptions, issue_key};
use otas_proxy::secret::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use uuid::Uuid;

const SESSION: &str = "/api/agent/v1/session/create/";
const VERIFY: &str = "/api/agent/v1/auth/verify/";
const LOG: &str = "/api/v1/backend/log/agent/";
const EVENTS: &str = "/api/v1/agent/session/events/";
const KEY: &str = "x-otas-agent-key";
const TOKEN: &str = "x-otas-agent-session-token";
const WITHIN: Duration = Duration::from_secs(20);
const BODY_MAX_BYTES: usize = 2_621_440;

// ---- UASAM: sessions and keys

#[tokio::test]
async fn a_session_is_opened_and_its_token_names_it() {
    let otas = TestOtas::start().await;
    let answer = post(&otas, SESSION, &[(KEY, otas.key().expose())], r#"{"meta":{"run":"a"}}"#).await;
    let token = answer.json["response"]["jwt_token"].as_str().unwrap().to_owned();
    let expected = json!({
        "status": 1,
        "status_description": "agent_session_created",
        "response": {"Header_value": "X-OTAS-AGENT-SESSION-TOKEN", "jwt_token": token},
    });
    assert_eq!((answer.status, answer.json), (200, expected));

    assert_eq!(
        post(&otas, LOG, &[(KEY, otas.key().expose()), (TOKEN, &token)], &event().to_string()).await.status,
        201
    );
    let (session, event) = (&otas.sessions().await[0], &otas.stored_events().await[0]);
    assert_eq!(session.meta, json!({"run": "a"}));
    assert_eq!((event.session_id, event.agent_id), (session.session_id, session.agent_id));
}

#[tokio::test]
async fn meta_is_read_as_older_and_newer_versions_do() {
    let otas = TestOtas::start().await;
    let bodies = [
        (r#"{"meta":{"a":1}}"#, json!({"a": 1})),
        (r#"{"Meta":{"b":2}}"#, json!({"b": 2})),
        (r#"{"meta":{"c":3},"Meta":{"c":3}}"#, json!({"c": 3})),
        (r#"{"meta":null}"#, json!({})),
        ("{}", json!({})),
        ("", json!({})),
    ];
    for (at, (body, meta)) in bodies.into_iter().enumerate() {
        assert_eq!(post(&otas, SESSION, &[(KEY, otas.key().expose())], body).await.status, 200, "{body}");
        assert_eq!(otas.sessions().await[at].meta, meta, "{body}");
    }
}

#[tokio::test]
async fn a_session_is_refused_for_a_bad_key_broken_json_and_unsavable_meta() {
    let otas = TestOtas::start().await;
    let key = otas.key();
    let key = key.expose();
    let table = [
        (None, "{}", 401, "invalid_agent_key"),
        (Some(""), "{}", 401, "invalid_agent_key"),
        (Some("agent_unknown_key"), "{", 401, "invalid_agent_key"),
        (Some("sdk_no_agents"), "{}", 401, "invalid_agent_key"),
        (Some(key), r#"{"meta""#, 400, "invalid_json"),
        (Some(key), r#"{"meta":{"a":"\u0000"}}"#, 500, "server_error: unsupported Unicode escape sequence"),
        (Some(key), r#"{"meta":{"a":"\ud800"}}"#, 500, "server_error: unsupported Unicode escape sequence"),
        (Some(key), "[]", 500, "server_error: the body is not an object"),
    ];
    for (key, body, status, description) in table {
        let headers: Vec<_> = key.map(|key| (KEY, key)).into_iter().collect();
        expect_no(&post(&otas, SESSION, &headers, body).await, status, description);
    }
    assert_eq!(otas.sessions().await, []);
}

#[tokio::test]
async fn a_key_tells_its_project_and_agent() {
    let otas = TestOtas::start().await;
    let answer = post(&otas, VERIFY, &[(KEY, otas.key().expose())], "{}").await;
    let id = answer.json["response"]["agent"]["id"].clone();
    assert!(Uuid::parse_str(id.as_str().unwrap()).is_ok());
    let agent = json!({"id": id, "name": "agent", "provider": "otas-proxy"});
    let response = json!({"project_id": otas.project_id().to_string(), "agent": agent});
    assert_eq!((answer.status, &answer.json["status"], &answer.json["response"]), (200, &json!(1), &response));
}

#[tokio::test]
async fn a_bad_key_is_not_verified() {
    let otas = TestOtas::start().await;
    expect_no(&post(&otas, VERIFY, &[], "{}").await, 401, "invalid_agent_key");
    expect_no(&post(&otas, VERIFY, &[(KEY, "agent_un_known")], "{}").await, 401, "invalid_agent_key");
}

/// About one in six keys of a real OTAS.
#[tokio::test]
async fn a_key_with_an_underscore_in_its_prefix_is_always_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = "agent_ab_defghijk_0123456789abcdef0123456789abcdef0123456789a";
    let agent = Agent { key: Secret::new(key), project_id: Uuid::new_v4(), name: "unlucky".to_owned() };
    let collector = Collector::start(listener, CollectorOptions { db: None, agents: vec![agent] }).await.unwrap();
    expect_no(&send(&collector.url, VERIFY, &[(KEY, key)], "{}").await, 401, "invalid_agent_key");
    expect_no(&send(&collector.url, LOG, &[(KEY, key)], "{}").await, 401, "invalid_or_expired_agent_key");
    collector.stop().await;
}

// ---- Brain: taking an event

#[tokio::test]
async fn an_event_is_stored_whole_under_the_keys_project() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    let mut sent = event();
    sent["project_id"] = json!("11111111-1111-4111-8111-111111111111");
    sent["metadata"] = json!({"event": {"id": "é 😀"}});
    sent["request_size_bytes"] = json!(2_147_483_647);
    sent["unknown"] = json!([1, 2]);
    let answer = run.log(&sent.to_string()).await;
    let stored = &otas.stored_events().await[0];
    let expected = json!({
        "status": 1,
        "status_description": "event_captured",
        "response": {"event_id": stored.event_id.to_string()},
    });
    assert_eq!((answer.status, answer.json), (201, expected));
    assert_eq!(stored.event_id.get_version_num(), 4);
    assert_eq!(stored.project_id, otas.project_id());
    assert_eq!(otas.events().await, [sent]);
    assert_eq!(otas.refused(), []);
}

#[tokio::test]
async fn each_refusal_has_its_status_and_description_and_checks_are_ordered() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    let (key, token) = (run.key.expose(), run.token.as_str());
    let other = otas.another_agent("other").await;
    let bad = "{";
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, u16, &'a str);
    let table: [Row<'_>; 11] = [
        (&[], bad, 401, "missing_agent_key"),
        (&[(TOKEN, token)], bad, 401, "missing_agent_key"),
        (&[(KEY, "")], bad, 401, "missing_agent_key"),
        (&[(KEY, "agent_un_known")], bad, 401, "invalid_or_expired_agent_key"),
        (&[(KEY, key)], bad, 401, "missing_agent_session_token"),
        (&[(KEY, key), (TOKEN, "")], bad, 401, "missing_agent_session_token"),
        (&[(KEY, key), (TOKEN, "not.a.token")], bad, 401, "invalid_or_expired_token"),
        (&[(KEY, other.expose()), (TOKEN, token)], bad, 403, "session_agent_mismatch"),
        (&[(KEY, key), (TOKEN, token)], bad, 400, "invalid_json"),
        (&[(KEY, key), (TOKEN, token)], r#"{"a":"\ud800""#, 400, "invalid_json"),
        (&[(KEY, key), (TOKEN, token)], r#"{"path":"\u0000"}"#, 400, "missing_required_fields"),
    ];
    for (headers, body, status, description) in table {
        let answer = post(&otas, LOG, headers, body).await;
        assert_eq!((answer.status, answer.description()), (status, description), "{headers:?} {body}");
        assert_eq!(answer.json["status"], 0);
    }
    assert_eq!(otas.events().await, [] as [Value; 0]);
    let refused: Vec<_> = otas.refused().into_iter().map(|refused| (refused.status, refused.reason)).collect();
    assert_eq!(refused, table.map(|(_, _, status, description)| (status, description.to_owned())));
}

#[tokio::test]
async fn a_token_of_another_database_is_refused() {
    let otas = TestOtas::start().await;
    let elsewhere = Run::open(&TestOtas::start().await).await;
    let headers = [(KEY, otas.key()), (TOKEN, Secret::new(&elsewhere.token))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.expose()));
    expect_no(&post(&otas, LOG, &headers, &event().to_string()).await, 401, "invalid_or_expired_token");
}

#[tokio::test]
async fn missing_fields_are_named_in_otass_order() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    let all = json!(["project_id", "path", "method", "status_code", "latency_ms"]);
    for (body, missing) in [
        ("", all.clone()),
        ("{}", all.clone()),
        ("[]", all.clone()),
        (r#"{"path":"/","project_id":"p"}"#, json!(["method", "status_code", "latency_ms"])),
        (r#"{"project_id":"p","path":"/","method":"GET","status_code":200}"#, json!(["latency_ms"])),
    ] {
        let answer = run.log(body).await;
        expect_no(&answer, 400, "missing_required_fields");
        assert_eq!(answer.json["missing_fields"], missing, "{body}");
    }
}

#[tokio::test]
async fn a_body_at_djangos_limit_is_accepted_and_a_longer_one_gets_a_page() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    let body = |length: usize| {
        let mut event = event();
        event["request_body"] = json!("");
        let padding = length - event.to_string().len();
        event["request_body"] = json!("x".repeat(padding));
        event.to_string()
    };
    assert_eq!(run.log(&body(BODY_MAX_BYTES)).await.status, 201);
    let answer = run.log(&body(BODY_MAX_BYTES + 1)).await;
    assert_eq!(
        (answer.status, answer.content_type.as_str(), answer.json),
        (400, "text/html; charset=utf-8", Value::Null)
    );
    assert!(answer.text.contains("<h1>Bad Request (400)</h1>"));
    assert_eq!(otas.refused()[0].reason, "text/html; charset=utf-8");

    // The credentials are checked first.
    let answer = post(&otas, LOG, &[(KEY, "agent_un_known")], &body(BODY_MAX_BYTES + 1)).await;
    expect_no(&answer, 401, "invalid_or_expired_agent_key");
}

#[tokio::test]
async fn events_that_the_database_cannot_save_are_refused() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    let long = |length| format!("{:?}", "a".repeat(length));
    let table = [
        ("path", r#""/\u0000""#.to_owned()),
        ("path", r#""/\ud800""#.to_owned()),
        ("path", long(2_801)),
        ("path", "null".to_owned()),
        ("error", r#""\udc00\ud800""#.to_owned()),
        ("response_body", r#""a\u0000b""#.to_owned()),
        ("metadata", r#"{"a":[{"b":"\u0000"}]}"#.to_owned()),
        ("metadata", r#"{"\u0000":1}"#.to_owned()),
        ("metadata", r#"{"a":[{"b":"\udfff"}]}"#.to_owned()),
        ("custom_properties", r#"{"\ud800":1}"#.to_owned()),
        ("custom_properties", r#"{"a":"\u0000"}"#.to_owned()),
        ("method", long(21)),
        ("request_content_type", long(256)),
        ("response_content_type", long(256)),
        ("status_code", "null".to_owned()),
        ("status_code", "-1".to_owned()),
        ("status_code", "2147483648".to_owned()),
        ("status_code", "200.5".to_owned()),
        ("request_size_bytes", "null".to_owned()),
        ("request_size_bytes", "-1".to_owned()),
        ("response_size_bytes", "2147483648".to_owned()),
        ("latency_ms", "null".to_owned()),
        ("latency_ms", r#""fast""#.to_owned()),
    ];
    for (field, value) in table {
        let answer = run.log(&event_with(field, &value)).await;
        assert_eq!((answer.status, answer.description()), (500, "event_capture_failed"), "{field}: {value}");
    }
    assert_eq!(otas.events().await, [] as [Value; 0]);
}

#[tokio::test]
async fn events_at_each_limit_are_saved() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    let long = |length| format!("{:?}", "a".repeat(length));
    let table = [
        ("path", long(2_601)),
        ("path", r#""/\ud83d\ude00""#.to_owned()),
        ("metadata", r#"{"a":"\\u0000 \\ud800"}"#.to_owned()),
        ("method", long(20)),
        ("request_content_type", long(255)),
        ("response_content_type", long(255)),
        ("status_code", "0".to_owned()),
        ("status_code", "2147483647".to_owned()),
        ("request_size_bytes", "0".to_owned()),
        ("response_size_bytes", "2147483647".to_owned()),
        ("latency_ms", "0".to_owned()),
        ("latency_ms", "1e300".to_owned()),
        ("error", "null".to_owned()),
    ];
    for (field, value) in &table {
        assert_eq!(run.log(&event_with(field, value)).await.status, 201, "{field}: {value}");
    }
    assert_eq!(otas.events().await.len(), table.len());
}

#[tokio::test]
async fn without_its_trailing_slash_a_post_is_a_server_error() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    for path in [SESSION, VERIFY, LOG] {
        let headers = [(KEY, run.key.expose()), (TOKEN, run.token.as_str())];
        let answer = post(&otas, path.trim_end_matches('/'), &headers, &event().to_string()).await;
        assert_eq!((answer.status, answer.json), (500, Value::Null), "{path}");
    }
    assert_eq!(otas.events().await, [] as [Value; 0]);
}

// ---- Brain: listing events

#[tokio::test]
async fn a_sessions_events_are_listed_in_order_of_arrival() {
    let otas = TestOtas::start().await;
    let (one, two) = (Run::open(&otas).await, Run::open(&otas).await);
    for path in ["/1", "/2", "/3"] {
        one.log(&event_with("path", &format!("{path:?}"))).await;
        two.log(&event_with("path", "\"/other\"")).await;
    }
    let id = otas.sessions().await[0].session_id;
    let answer = fetch(&otas, &format!("{EVENTS}?session_id={id}&limit=2")).await;
    assert_eq!((answer.status, answer.description()), (200, "session_events_listed"));
    assert_eq!((&answer.json["session_id"], &answer.json["count"]), (&json!(id.to_string()), &json!(2)));
    assert_eq!(answer.json["project_id"], otas.project_id().to_string());
    let listed = answer.json["events"].as_array().unwrap();
    assert_eq!(listed.iter().map(|event| event["path"].as_str().unwrap()).collect::<Vec<_>>(), ["/1", "/2"]);
    assert!(listed[0]["event_time"].as_str() <= listed[1]["event_time"].as_str());
    let stored = &otas.stored_events().await[0];
    let expected = json!({
        "event_id": stored.event_id.to_string(), "event_time": stored.event_time,
        "event_date": &stored.event_time[..10], "created_at": stored.event_time,
        "project_id": otas.project_id().to_string(), "agent_id": stored.agent_id.to_string(),
        "agent_session_id": id.to_string(),
        "path": "/1", "method": "GET", "status_code": 200, "latency_ms": 12.34,
        "request_size_bytes": 0, "response_size_bytes": 0,
        "request_headers": null, "request_body": null, "query_params": null, "post_data": null,
        "response_headers": null, "response_body": null,
        "request_content_type": null, "response_content_type": null,
        "custom_properties": null, "error": null, "metadata": null,
    });
    assert_eq!(listed[0], expected);
}

#[tokio::test]
async fn at_most_five_hundred_events_are_listed_and_two_hundred_by_default() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    for _ in 0..502 {
        run.log(&event().to_string()).await;
    }
    let id = otas.sessions().await[0].session_id;
    for (limit, count) in [("", 200), ("&limit=501", 500), ("&limit=502", 500), ("&limit=0", 1), ("&limit=-3", 1)] {
        let answer = fetch(&otas, &format!("{EVENTS}?session_id={id}{limit}")).await;
        assert_eq!(answer.json["count"], count, "{limit}");
    }
}

#[tokio::test]
async fn a_listing_needs_a_session_and_a_number() {
    let otas = TestOtas::start().await;
    let table = [
        ("".to_owned(), 400, "session_id is required"),
        ("?session_id=".to_owned(), 400, "session_id is required"),
        ("?session_id=7".to_owned(), 400, "session_id must be a valid UUID"),
        (format!("?session_id={}&limit=many", Uuid::nil()), 400, "limit must be an integer"),
        (format!("?session_id={}", Uuid::nil()), 200, "session_events_listed"),
    ];
    for (query, status, description) in table {
        let answer = fetch(&otas, &format!("{EVENTS}{query}")).await;
        assert_eq!((answer.status, answer.description()), (status, description), "{query}");
    }
}

#[tokio::test]
async fn only_this_machine_and_no_web_page_can_list_events() {
    let otas = TestOtas::start().await;
    let url = format!("{}{EVENTS}?session_id={}", otas.url(), Uuid::nil());
    let answer = Received::of(client().get(url).header("host", "evil.example").send().await.unwrap()).await;
    expect_no(&answer, 401, "missing_user_token");
}

// ---- The collector's life

#[tokio::test]
async fn a_collector_with_a_file_remembers_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = |agents| CollectorOptions { db: Some(dir.path().join("otas.db")), agents };
    let key = issue_key().unwrap();
    let agent = Agent { key: key.clone(), project_id: Uuid::new_v4(), name: "agent".to_owned() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = Collector::start(listener, options(vec![agent])).await.unwrap();
    let url = collector.url.clone();
    let run = Run::open_at(&url, key).await;
    assert_eq!(run.log(&event().to_string()).await.status, 201);
    collector.stop().await;
    let nobody = Nobody::at(url.strip_prefix("http://").unwrap().parse().unwrap());
    assert!(client().get(format!("{url}/healthz")).send().await.unwrap_err().is_connect());

    let collector = Collector::start(nobody.listen(), options(vec![])).await.unwrap();
    assert_eq!(run.log(&event().to_string()).await.status, 201);
    let ledger = collector.ledger();
    let session = ledger.sessions().await.unwrap()[0].session_id;
    assert_eq!(ledger.events(Some(session), 10).await.unwrap().len(), 2);
    assert_eq!(*ledger.saved().borrow(), 1);
    collector.stop().await;
}

#[tokio::test]
async fn its_health_check_answers() {
    let answer = fetch(&TestOtas::start().await, "/healthz").await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "ok\n"));
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_finish() {
    let key = issue_key().unwrap();
    let agent = Agent { key: key.clone(), project_id: Uuid::new_v4(), name: "agent".to_owned() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = Collector::start(listener, CollectorOptions { db: None, agents: vec![agent] }).await.unwrap();
    let mut stream = TcpStream::connect(collector.url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "POST {VERIFY} HTTP/1.1\r\nhost: a\r\n{KEY}: {}\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n",
        key.expose()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut continues = [0; 25];
    stream.read_exact(&mut continues).await.unwrap();
    assert_eq!(&continues, b"HTTP/1.1 100 Continue\r\n\r\n");

    let finish = async {
        stream.write_all(b"{}").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let ((), answer) = tokio::join!(biased; collector.stop(), finish);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

// ---- The faults of the test OTAS

#[tokio::test]
async fn down_aborts_everything_and_up_restores_the_same_otas() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    assert_eq!(run.log(&event().to_string()).await.status, 201);

    otas.hang();
    let hanging = async { run.try_log(&event().to_string()).await.unwrap_err() };
    let kill = async {
        otas.posts_at_least(2, WITHIN).await;
        otas.down().await;
    };
    let (error, ()) = tokio::join!(hanging, kill);
    assert!(error.is_request() && !error.is_connect() && !error.is_timeout(), "{error:?}");
    assert!(run.try_log(&event().to_string()).await.unwrap_err().is_connect());

    otas.up().await;
    assert_eq!(run.log(&event().to_string()).await.status, 201);
    assert_eq!(otas.events().await.len(), 2);
}

#[tokio::test]
async fn down_and_up_may_be_repeated() {
    let otas = TestOtas::start().await;
    otas.down().await;
    otas.down().await;
    otas.up().await;
    otas.up().await;
    assert_eq!(Run::open(&otas).await.log(&event().to_string()).await.status, 201);
}

#[tokio::test]
async fn a_hanging_otas_reads_the_request_and_never_answers() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    otas.hang();
    let body = event().to_string();
    let mut post = std::pin::pin!(run.try_log(&body));
    tokio::select! {
        biased;
        answer = &mut post => panic!("{answer:?}"),
        () = otas.posts_at_least(1, WITHIN) => {}
    }
    assert!(tokio::time::timeout(Duration::from_millis(50), post).await.is_err());
    assert_eq!(otas.events().await, [] as [Value; 0]);
    otas.up().await;
    assert_eq!(run.log(&event().to_string()).await.status, 201);
}

#[tokio::test]
async fn a_slow_otas_takes_its_time_for_each_event() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    let each = Duration::from_millis(60);
    otas.slow(each);
    let start = Instant::now();
    assert_eq!(run.log(&event().to_string()).await.status, 201);
    assert!(start.elapsed() >= each, "{:?}", start.elapsed());
}

#[tokio::test]
async fn scripted_answers_are_given_in_turn_and_save_nothing() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    let busy = r#"{"status":0,"status_description":"busy"}"#;
    otas.answer_next(2, Answer::new(429).header("retry-after", "1").body("application/json", busy));
    otas.answer_next(1, Answer::new(200).body("text/html", "<html>"));
    otas.answer_next(1, Answer::new(302).header("location", "/login"));
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(run.try_log(&event().to_string()).await.unwrap());
    }
    assert_eq!(seen.iter().map(|answer| answer.status().as_u16()).collect::<Vec<_>>(), [429, 429, 200, 302, 201]);
    assert_eq!(seen[0].headers()["retry-after"], "1");
    assert_eq!(seen[3].headers()["location"], "/login");
    let refused: Vec<_> = otas.refused().into_iter().map(|refused| (refused.status, refused.reason)).collect();
    let expected = [(429, "busy"), (429, "busy"), (200, "text/html"), (302, "")];
    assert_eq!(refused, expected.map(|(status, reason)| (status, reason.to_owned())));
    assert_eq!(otas.refused()[0].body, event().to_string());
    assert_eq!(otas.events().await.len(), 1);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_event_saved() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    otas.lose_answers(1);
    assert!(run.try_log(&event().to_string()).await.unwrap_err().is_request());
    assert_eq!(otas.events().await.len(), 1);
    assert_eq!(run.log(&event().to_string()).await.status, 201);
    assert_eq!(otas.events().await.len(), 2);
}

#[tokio::test]
async fn within_its_capacity_an_overloadable_otas_saves_everything() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    otas.overload(Overload { max_in_flight: 4, workers: 1, key_check: Duration::from_millis(5), time_out: WITHIN });
    assert_eq!(run.log_at_once(4).await, [201; 4]);
    assert_eq!(otas.events().await.len(), 4);
}

#[tokio::test]
async fn overload_looks_like_a_bad_key_to_all_posts_in_flight() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    let (key_check, time_out) = (Duration::from_millis(2_700), Duration::from_secs(3));
    otas.overload(Overload { max_in_flight: 4, workers: 1, key_check, time_out });
    assert_eq!(run.log_at_once(5).await, [401; 5]);
    assert!(otas.refused().iter().all(|refused| refused.reason == "invalid_or_expired_agent_key"));
    assert_eq!(otas.events().await, [] as [Value; 0]);

    // The key was valid all along, and UASAM says so when asked directly.
    assert_eq!(post(&otas, VERIFY, &[(KEY, run.key.expose())], "{}").await.status, 200);
    otas.up().await;
    assert_eq!(run.log(&event().to_string()).await.status, 201);
}

#[tokio::test]
async fn a_key_check_that_takes_too_long_looks_like_a_bad_key() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    let time_out = Duration::from_millis(20);
    otas.overload(Overload { max_in_flight: 20, workers: 1, key_check: WITHIN, time_out });
    expect_no(&run.log(&event().to_string()).await, 401, "invalid_or_expired_agent_key");
}

#[tokio::test]
async fn expired_tokens_are_refused_and_new_ones_are_not() {
    let otas = TestOtas::start().await;
    let (old, key) = (Run::open(&otas).await, otas.key());
    otas.expire_tokens().await;
    expect_no(&old.log(&event().to_string()).await, 401, "invalid_or_expired_token");
    // The key is still checked first.
    let headers = [(KEY, "agent_un_known"), (TOKEN, old.token.as_str())];
    expect_no(&post(&otas, LOG, &headers, "{}").await, 401, "invalid_or_expired_agent_key");
    assert_eq!(Run::open_at(&otas.url(), key).await.log(&event().to_string()).await.status, 201);
}

#[tokio::test]
async fn a_revoked_key_is_refused_and_the_new_one_continues_the_session() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    otas.revoke_key().await;
    expect_no(&run.log(&event().to_string()).await, 401, "invalid_or_expired_agent_key");
    expect_no(&post(&otas, VERIFY, &[(KEY, run.key.expose())], "{}").await, 401, "invalid_agent_key");
    let renewed = Run { key: otas.key(), ..run };
    assert_eq!(renewed.log(&event().to_string()).await.status, 201);
}

#[tokio::test]
async fn waiting_for_events_ends_with_the_event() {
    let otas = TestOtas::start().await;
    let run = Run::open(&otas).await;
    let (events, _) = tokio::join!(otas.events_at_least(2, WITHIN), run.log_at_once(2));
    assert_eq!(events.len(), 2);
}

#[tokio::test]
#[should_panic(expected = "0 of 1 events after")]
async fn a_wait_that_times_out_says_so() {
    TestOtas::start().await.events_at_least(1, Duration::from_millis(10)).await;
}

// ---- A sender

/// One run of an agent: its key and its session.
struct Run {
    url: String,
    key: Secret,
    token: String,
    client: reqwest::Client,
}

impl Run {
    async fn open(otas: &TestOtas) -> Self {
        Self::open_at(&otas.url(), otas.key()).await
    }

    async fn open_at(url: &str, key: Secret) -> Self {
        let answer = send(url, SESSION, &[(KEY, key.expose())], "{}").await;
        let token = answer.json["response"]["jwt_token"].as_str().unwrap().to_owned();
        Self { url: url.to_owned(), key, token, client: client() }
    }

    fn request(&self, body: &str) -> reqwest::RequestBuilder {
        let post = self.client.post(format!("{}{LOG}", self.url)).header("content-type", "application/json");
        post.header(KEY, self.key.expose()).header(TOKEN, &self.token).body(body.to_owned())
    }

    async fn try_log(&self, body: &str) -> reqwest::Result<reqwest::Response> {
        self.request(body).send().await
    }

    async fn log(&self, body: &str) -> Received {
        Received::of(self.try_log(body).await.unwrap()).await
    }

    /// The statuses of this many parallel posts.
    async fn log_at_once(&self, posts: usize) -> Vec<u16> {
        let body = event().to_string();
        let mut under_way = tokio::task::JoinSet::new();
        for _ in 0..posts {
            let post = self.request(&body).send();
            under_way.spawn(async { post.await.unwrap().status().as_u16() });
        }
        under_way.join_all().await
    }
}

/// A complete answer.
struct Received {
    status: u16,
    content_type: String,
    text: String,
    /// Null when it is not JSON.
    json: Value,
}

impl Received {
    async fn of(response: reqwest::Response) -> Self {
        let content_type = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or_default();
        Self { status, content_type: content_type.unwrap_or_default(), text, json }
    }

    fn description(&self) -> &str {
        self.json["status_description"].as_str().unwrap_or_default()
    }
}

#[track_caller]
fn expect_no(answer: &Received, status: u16, description: &str) {
    assert_eq!((answer.status, answer.description()), (status, description), "{}", answer.text);
    assert_eq!(answer.json["status"], 0);
}

async fn post(otas: &TestOtas, path: &str, headers: &[(&str, &str)], body: &str) -> Received {
    send(&otas.url(), path, headers, body).await
}

async fn fetch(otas: &TestOtas, path: &str) -> Received {
    Received::of(client().get(format!("{}{path}", otas.url())).send().await.unwrap()).await
}

async fn send(url: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Received {
    let mut post = client().post(format!("{url}{path}")).header("content-type", "application/json");
    for (name, value) in headers {
        post = post.header(*name, *value);
    }
    Received::of(post.body(body.to_owned()).send().await.unwrap()).await
}

fn client() -> reqwest::Client {
    // reqwest needs a TLS provider even for plain HTTP. Another test in this process may have set it.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// An event with only its required fields.
fn event() -> Value {
    json!({"project_id": Uuid::nil().to_string(), "path": "/", "method": "GET", "status_code": 200, "latency_ms": 12.34})
}

/// An event in which one field has this literal JSON.
fn event_with(field: &str, json: &str) -> String {
    let mut event = event();
    event.as_object_mut().unwrap().remove(field);
    let rest = event.to_string();
    format!("{{\"{field}\":{json},{}", &rest[1..])
}
