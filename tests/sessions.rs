//! Sessions: each event is in its caller's session. The project's own calls carry their token and are not logged here, and no
//! other server sees it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use otas_proxy::config::{Agent, Scope};
use otas_proxy::secret::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

use crate::support::agent;
use crate::support::origin::{TestCa, TestOrigin};
use crate::support::otas::TestOtas;
use crate::support::proxy::{Running, TestProxy};

const WITHIN: Duration = Duration::from_secs(60);
const TOKEN: &str = "x-otas-agent-session-token";

/// An agent with its own key in OTAS.
async fn known(otas: &TestOtas, folder: &Path, name: &str) -> Agent {
    let key = otas.another_agent(name).await;
    Agent {
        name: name.to_owned(),
        secret: Secret::new(&format!("secret-of-{name}")),
        secret_file: "agent.secret".into(),
        agent_key: Some((key, folder.join(format!("{name}.key")))),
        project_id: None,
        agent_id: None,
        project_domain: None,
    }
}

/// A proxy that requires credentials.
pub(crate) async fn with_agents(otas: &TestOtas, names: &[&str]) -> Running {
    with_agents_and(otas, names, |proxy| proxy).await
}

/// The same, with more settings.
pub(crate) async fn with_agents_and(
    otas: &TestOtas,
    names: &[&str],
    more: impl FnOnce(TestProxy) -> TestProxy,
) -> Running {
    let proxy = more(TestProxy::new().otas(otas));
    let folder = proxy.folder().to_owned();
    let mut agents = Vec::new();
    for name in names {
        agents.push(known(otas, &folder, name).await);
        let (key, file) = agents.last().unwrap().agent_key.clone().unwrap();
        std::fs::write(file, key.expose()).unwrap();
    }
    proxy.with(|c| (c.session.scope, c.agents) = (Scope::Credential, agents)).run().await
}

pub(crate) fn client(proxy: &Running, user: &str, secret: &str) -> reqwest::Client {
    let url = format!("http://{}", proxy.addr);
    let through = reqwest::Proxy::all(url).unwrap().basic_auth(user, secret);
    reqwest::Client::builder().proxy(through).tls_backend_preconfigured(proxy.client_tls(&[])).build().unwrap()
}

pub(crate) fn header<'a>(received: &'a crate::support::origin::Received, name: &str) -> Option<&'a str> {
    received.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_overlapping_calls_of_two_agents_are_each_in_their_own_session() {
    const CALLS: usize = 10_000;
    const AT_ONCE: usize = 8;
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = with_agents(&otas, &["planner", "writer"]).await;
    let mut tasks = Vec::new();
    for name in ["planner", "writer"] {
        let client = client(&proxy, name, &format!("secret-of-{name}"));
        for _ in 0..AT_ONCE {
            let (client, url) = (client.clone(), origin.url(&format!("/{name}")));
            tasks.push(tokio::spawn(async move {
                for _ in 0..CALLS / 2 / AT_ONCE {
                    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
                }
            }));
        }
    }
    // One of them knows a name but not its secret.
    let elsewhere = TestOrigin::http().await;
    let (intruder, url) = (client(&proxy, "planner", "secret-of-writer"), elsewhere.url("/planner"));
    for _ in 0..100 {
        assert_eq!(intruder.get(&url).send().await.unwrap().status(), 407);
    }
    for task in tasks {
        task.await.unwrap();
    }
    otas.events_at_least(CALLS as u64, Duration::from_secs(300)).await;
    assert_eq!(proxy.status().await["calls"]["unauthorized"], 100);
    proxy.stop().await;
    assert_eq!(elsewhere.accepted(), 0, "a wrong secret reaches no origin");
    let events = otas.stored_events().await;
    assert_eq!(events.len(), CALLS);
    let mut sessions: HashMap<String, HashSet<String>> = HashMap::new();
    for event in &events {
        let path = event.body["path"].as_str().unwrap().trim_start_matches('/').to_owned();
        let attribution = &event.body["metadata"]["attribution"];
        assert_eq!(*attribution, json!({"rule": "credential", "agent": path}));
        sessions.entry(path).or_default().insert(event.session_id.to_string());
    }
    assert_eq!(sessions.len(), 2);
    assert!(sessions.values().all(|of_one| of_one.len() == 1), "{sessions:?}");
    assert!(sessions["planner"].is_disjoint(&sessions["writer"]));
    let known = otas.sessions().await;
    assert_eq!(known.len(), 2, "only needed sessions are opened");
    assert!(known[0].agent_id != known[1].agent_id, "each under its agent's key");
}

#[tokio::test]
async fn each_label_is_a_session() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = with_agents(&otas, &["planner"]).await;
    for user in ["planner", "planner+run-1", "planner+run-2", "planner+run-1"] {
        client(&proxy, user, "secret-of-planner").get(origin.url("/")).send().await.unwrap();
    }
    otas.events_at_least(4, WITHIN).await;
    let of: HashMap<Value, HashSet<String>> =
        otas.stored_events().await.iter().fold(HashMap::new(), |mut of, event| {
            let label = event.body["metadata"]["attribution"]["label"].clone();
            of.entry(label).or_default().insert(event.session_id.to_string());
            of
        });
    assert_eq!(of.len(), 3);
    assert!(of.values().all(|sessions| sessions.len() == 1));
    assert_eq!(otas.sessions().await.len(), 3);
    let metas: Vec<Value> = otas.sessions().await.into_iter().map(|session| session.meta["caller"].clone()).collect();
    assert!(metas.contains(&json!({"rule": "credential", "agent": "planner", "label": "run-2"})), "{metas:?}");
    proxy.stop().await;
}

#[tokio::test]
async fn without_the_right_secret_nothing_goes_out_and_nothing_is_logged() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = with_agents(&otas, &["planner"]).await;
    let host = origin.url("").replace("http://", "");
    for user in ["", "planner:wrong", "nobody:secret-of-planner", "planner:"] {
        let field = match user {
            "" => String::new(),
            user => format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(user)),
        };
        let get = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{field}\r\n");
        let connect = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{field}\r\n");
        for request in [get, connect] {
            let reply = proxy.raw(request.as_bytes()).await;
            assert!(reply.starts_with("HTTP/1.1 407 "), "{request}{reply}");
            assert!(reply.contains("proxy-authenticate: Basic realm=\"otas-proxy\""), "{reply}");
        }
    }
    // SOCKS: without a password; with a wrong one.
    let mut socks = proxy.connect().await;
    socks.write_all(b"\x05\x01\x00").await.unwrap();
    let mut answer = Vec::new();
    socks.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"\x05\xff");
    let mut socks = proxy.connect().await;
    socks.write_all(b"\x05\x01\x02\x01\x07planner\x05wrong").await.unwrap();
    answer.clear();
    socks.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"\x05\x02\x01\x01");
    assert_eq!(origin.accepted(), 0, "no origin was called");
    assert_eq!(proxy.status().await["calls"]["unauthorized"], 10);
    assert!(proxy.events().await.is_empty());
}

#[tokio::test]
async fn socks_takes_the_same_credentials() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = with_agents(&otas, &["planner"]).await;
    let mut socks = proxy.connect().await;
    socks.write_all(b"\x05\x01\x02\x01\x09planner+s\x11secret-of-planner").await.unwrap();
    socks.write_all(b"\x05\x01\x00\x01\x7f\x00\x00\x01").await.unwrap();
    socks.write_all(&origin.addr.port().to_be_bytes()).await.unwrap();
    socks.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    socks.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"\x05\x02\x01\x00\x05\x00"), "{answer:?}");
    assert!(String::from_utf8_lossy(&answer).contains("HTTP/1.1 200 OK"));
    let events = otas.events_at_least(1, WITHIN).await;
    let expected = json!({"rule": "credential", "agent": "planner", "label": "s"});
    assert_eq!(events[0]["metadata"]["attribution"], expected);
    proxy.stop().await;
}

/// A proxy whose project's domain is `domain`.
async fn in_project(otas: &TestOtas, ca: &TestCa, domain: &TestOrigin) -> Running {
    let url: Url = domain.url("/").parse().unwrap();
    TestProxy::new().otas(otas).trusting(ca).with(|c| c.otas.project_domain = Some(url)).run().await
}

#[tokio::test]
async fn calls_into_the_projects_domain_carry_the_token_unlogged_and_no_other_origin_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    for h2 in [false, true] {
        let otas = TestOtas::start().await;
        let (inside, outside) = match h2 {
            false => (TestOrigin::https(&ca).await, TestOrigin::https(&ca).await),
            true => (TestOrigin::h2(&ca).await, TestOrigin::h2(&ca).await),
        };
        let proxy = in_project(&otas, &ca, &inside).await;
        let alpn: &[&[u8]] = if h2 { &[b"h2"] } else { &[b"http/1.1"] };
        let (mut to_inside, mut to_outside) =
            (agent::Agent::to(&proxy, &inside, alpn).await, agent::Agent::to(&proxy, &outside, alpn).await);
        for _ in 0..3 {
            assert_eq!(to_inside.get("/mine").await.0, 200);
            let mut spoofed = to_outside.request("GET", "/other", agent::full(""));
            spoofed.headers_mut().insert("x-otas-agent-key", "agent_a_b".parse().unwrap());
            spoofed.headers_mut().insert("x-otas-anything", "x".parse().unwrap());
            assert_eq!(to_outside.send(spoofed).await.unwrap().status(), 200);
        }
        let received = inside.received();
        let tokens: HashSet<&str> = received.iter().filter_map(|r| header(r, TOKEN)).collect();
        assert_eq!((received.len(), tokens.len()), (3, 1), "every call carries the one token");
        let leaked =
            |r: &crate::support::origin::Received| r.headers.iter().any(|(name, _)| name.starts_with("x-otas"));
        assert!(!outside.received().iter().any(leaked), "the token does not leak: {:?}", outside.received());
        otas.events_at_least(3, WITHIN).await;
        proxy.stop().await;
        let events = otas.stored_events().await;
        assert_eq!(events.len(), 3);
        assert!(events.iter().all(|event| event.body["path"] == "/other"));
        let sessions = otas.sessions().await;
        let token = tokens.into_iter().next().unwrap();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(sessions.len(), 1);
        assert_eq!(claims["agent_session_id"], sessions[0].session_id.to_string(), "it is that of the same session");
        assert!(events.iter().all(|event| event.session_id == sessions[0].session_id));
    }
}

#[tokio::test]
async fn a_failed_call_into_the_domain_is_logged_here() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (otas, inside) = (TestOtas::start().await, TestOrigin::https(&ca).await);
    let proxy = in_project(&otas, &ca, &inside).await;
    let url = inside.url("/gone");
    drop(inside);
    let _ = proxy.client().get(&url).send().await;
    let events = otas.events_at_least(1, WITHIN).await;
    assert!(events[0]["error"].as_str().unwrap().starts_with("connect_refused"), "{}", events[0]);
    proxy.stop().await;
}

#[tokio::test]
async fn log_in_domain_logs_such_calls_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (otas, inside) = (TestOtas::start().await, TestOrigin::https(&ca).await);
    let url: Url = inside.url("/").parse().unwrap();
    let proxy = TestProxy::new().otas(&otas).trusting(&ca);
    let proxy = proxy.with(|c| (c.otas.project_domain, c.otas.log_in_domain) = (Some(url), true)).run().await;
    proxy.client().get(inside.url("/mine")).send().await.unwrap();
    assert!(header(&inside.received()[0], TOKEN).is_some());
    assert_eq!(otas.events_at_least(1, WITHIN).await[0]["path"], "/mine");
    proxy.stop().await;
}

#[tokio::test]
async fn an_agent_that_sends_its_own_token_is_logged_in_that_session() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas).run().await;
    let client = proxy.client();
    client.get(origin.url("/before")).send().await.unwrap();
    let own = otas.session_token(&otas.key()).await;
    client.get(origin.url("/own")).header(TOKEN, own.expose()).send().await.unwrap();
    client.get(origin.url("/forged")).header(TOKEN, "e30.e30.c2ln").send().await.unwrap();
    assert!(origin.received().iter().all(|r| header(r, TOKEN).is_none()), "the token is not forwarded");
    otas.events_at_least(3, WITHIN).await;
    proxy.stop().await;
    let of: HashMap<String, (String, String)> = otas
        .stored_events()
        .await
        .into_iter()
        .map(|event| {
            let rule = event.body["metadata"]["attribution"]["rule"].as_str().unwrap().to_owned();
            (event.body["path"].as_str().unwrap().to_owned(), (rule, event.session_id.to_string()))
        })
        .collect();
    assert_eq!((&*of["/before"].0, &*of["/own"].0, &*of["/forged"].0), ("proxy", "token", "proxy"));
    assert_eq!(of["/before"].1, of["/forged"].1);
    assert_ne!(of["/before"].1, of["/own"].1);
}

#[tokio::test]
async fn a_token_of_another_agent_does_not_give_access_to_its_session() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = with_agents(&otas, &["planner", "writer"]).await;
    let key = |agent: &str| {
        Secret::new(&std::fs::read_to_string(proxy.folder.path().join(format!("{agent}.key"))).unwrap())
    };
    let (planner, writer) =
        (client(&proxy, "planner", "secret-of-planner"), client(&proxy, "writer", "secret-of-writer"));
    for one in [&planner, &writer] {
        one.get(origin.url("/plain")).send().await.unwrap();
    }
    otas.events_at_least(2, WITHIN).await;
    let token = otas.session_token(&key("writer")).await;
    planner.get(origin.url("/planner")).header(TOKEN, token.expose()).send().await.unwrap();
    writer.get(origin.url("/writer")).header(TOKEN, token.expose()).send().await.unwrap();
    otas.events_at_least(4, WITHIN).await;
    proxy.stop().await;
    for event in otas.stored_events().await {
        let rule = &event.body["metadata"]["attribution"]["rule"];
        match event.body["path"].as_str().unwrap() {
            "/writer" => assert_eq!(rule, "token"),
            path => assert_eq!(rule, "credential", "{path}"),
        }
    }
    assert!(otas.refused().is_empty(), "{:?}", otas.refused());
}

#[tokio::test]
async fn a_session_opened_through_the_proxy_becomes_the_agents_own() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas).run().await;
    let client = proxy.client();
    client.get(origin.url("/before")).send().await.unwrap();
    otas.events_at_least(1, WITHIN).await;
    let create = client.post(format!("{}/api/agent/v1/session/create/", otas.url()));
    let answer = create.header("X-OTAS-AGENT-KEY", otas.key().expose()).body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 200, "calls to OTAS are forwarded unchanged");
    // It is noticed off the call's path.
    crate::support::proxy::eventually("the session is noticed", async || {
        proxy.status().await["calls"]["unlogged"] == 1
    })
    .await;
    client.get(origin.url("/after")).send().await.unwrap();
    otas.events_at_least(2, WITHIN).await;
    proxy.stop().await;
    let events = otas.stored_events().await;
    assert_eq!(events.len(), 2, "the call to OTAS is not logged");
    let rule = |at: usize| events[at].body["metadata"]["attribution"]["rule"].clone();
    assert_eq!((rule(0), rule(1)), (json!("proxy"), json!("token")));
    assert_ne!(events[0].session_id, events[1].session_id);
}

#[tokio::test]
async fn properties_and_trace_headers_are_read_and_the_properties_are_not_forwarded() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas).run().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let call = proxy.client().get(origin.url("/")).header("traceparent", trace);
    call.header("X-OTAS-PROPERTY-Task", "T-7").header("X-OTAS-Property-server.port", "1").send().await.unwrap();
    let received = origin.received().remove(0);
    assert_eq!(header(&received, "traceparent"), Some(trace));
    assert!(received.headers.iter().all(|(name, _)| !name.starts_with("x-otas")));
    let event = otas.events_at_least(1, WITHIN).await.remove(0);
    assert_eq!(event["custom_properties"]["task"], "T-7");
    assert_eq!(event["custom_properties"]["server.port"], origin.addr.port(), "our own properties are kept");
    assert_eq!(event["metadata"]["trace"]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    proxy.stop().await;
}
