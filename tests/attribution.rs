//! Agents that try to have their calls attributed to another agent: by credentials, by token, by a forged token.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use otas_proxy::secret::Secret;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::sessions::{client, with_agents};
use crate::support::origin::TestOrigin;
use crate::support::otas::TestOtas;
use crate::support::proxy::{Running, TestProxy, eventually, read_until};

const WITHIN: Duration = Duration::from_secs(60);
const TOKEN: &str = "x-otas-agent-session-token";

/// Rule, agent and session of each event, by path.
async fn attributed(otas: &TestOtas) -> HashMap<String, (String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |event: otas_proxy::collector::StoredEvent| {
        let by = &event.body["metadata"]["attribution"];
        (text(&event.body["path"]), (text(&by["rule"]), text(&by["agent"]), event.session_id.to_string()))
    };
    otas.stored_events().await.into_iter().map(of).collect()
}

fn basic(name: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("{name}:secret-of-{name}")))
}

/// The agent's key, as in its file.
fn key(proxy: &Running, agent: &str) -> Secret {
    Secret::new(&std::fs::read_to_string(proxy.folder.path().join(format!("{agent}.key"))).unwrap())
}

/// The token with a different signature.
fn forged(token: &Secret) -> String {
    let (signed, _) = token.expose().rsplit_once('.').unwrap();
    format!("{signed}.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
}

async fn noticed(proxy: &Running, unlogged: u64) {
    eventually("the call to OTAS is noticed", async || proxy.status().await["calls"]["unlogged"] == unlogged).await;
}

#[tokio::test]
async fn inside_a_tunnel_only_the_tunnels_credentials_count() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = with_agents(&otas, &["planner", "writer"]).await;
    let host = format!("localhost:{}", origin.addr.port());
    let mut tunnel = proxy.connect().await;
    let connect = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{}\r\n", basic("planner"));
    tunnel.write_all(connect.as_bytes()).await.unwrap();
    let opened = read_until(&mut tunnel, "\r\n\r\n").await;
    assert!(opened.starts_with("HTTP/1.1 200 "), "{opened}");
    for (path, credentials) in [("/writers", basic("writer")), ("/wrong", "Proxy-Authorization: Basic !\r\n".into())]
    {
        let get = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{credentials}\r\n");
        tunnel.write_all(get.as_bytes()).await.unwrap();
        read_until(&mut tunnel, "agent\"}").await;
    }
    let seen = origin.received();
    assert!(seen.iter().all(|r| r.headers.iter().all(|(name, _)| name != "proxy-authorization")), "{seen:?}");
    otas.events_at_least(2, WITHIN).await;
    proxy.stop().await;
    let of = attributed(&otas).await;
    for path in ["/writers", "/wrong"] {
        assert_eq!((&*of[path].0, &*of[path].1), ("credential", "planner"), "{path}");
    }
}

#[tokio::test]
async fn each_request_of_one_connection_has_its_own_credentials() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = with_agents(&otas, &["planner", "writer"]).await;
    let host = format!("localhost:{}", origin.addr.port());
    let mut stream = proxy.connect().await;
    for name in ["planner", "writer", "planner"] {
        let get = format!("GET http://{host}/{name} HTTP/1.1\r\nHost: {host}\r\n{}\r\n", basic(name));
        stream.write_all(get.as_bytes()).await.unwrap();
        read_until(&mut stream, "agent\"}").await;
    }
    // The credentials of one request do not apply to the next.
    let get = format!("GET http://{host}/nobody HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(get.as_bytes()).await.unwrap();
    read_until(&mut stream, "HTTP/1.1 407 ").await;
    otas.events_at_least(3, WITHIN).await;
    proxy.stop().await;
    assert_eq!(origin.received().len(), 3);
    for event in otas.stored_events().await {
        assert_eq!(
            format!("/{}", event.body["metadata"]["attribution"]["agent"].as_str().unwrap()),
            event.body["path"]
        );
    }
}

#[tokio::test]
async fn a_forged_token_of_the_right_agent_does_not_reach_an_existing_session() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas).run().await;
    let client = proxy.client();
    client.get(origin.url("/before")).send().await.unwrap();
    let victim = otas.session_token(&otas.key()).await;
    client.get(origin.url("/victim")).header(TOKEN, victim.expose()).send().await.unwrap();
    otas.events_at_least(2, WITHIN).await;
    client.get(origin.url("/forged")).header(TOKEN, forged(&victim)).send().await.unwrap();
    otas.events_at_least(3, WITHIN).await;
    proxy.stop().await;
    let of = attributed(&otas).await;
    assert_eq!(of["/victim"].0, "token");
    assert!(of["/forged"].2 != of["/victim"].2 && of["/forged"].2 != of["/before"].2, "{of:?}");
    let forged = &of["/forged"].2;
    let session =
        otas.sessions().await.into_iter().find(|session| session.session_id.to_string() == *forged).unwrap();
    assert!(session.meta["in_place_of"].is_string(), "the session says why it exists: {}", session.meta);
}

#[tokio::test]
async fn a_token_of_another_agent_is_ignored_even_before_either_is_known() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = with_agents(&otas, &["planner", "writer"]).await;
    let writers = otas.session_token(&key(&proxy, "writer")).await;
    let planner = client(&proxy, "planner", "secret-of-planner");
    planner.get(origin.url("/planner")).header(TOKEN, writers.expose()).send().await.unwrap();
    otas.events_at_least(1, WITHIN).await;
    proxy.stop().await;
    let sessions = otas.sessions().await;
    let event = otas.stored_events().await.remove(0);
    let of = |id| sessions.iter().find(|session| session.session_id == id).unwrap().agent_id;
    let writer = sessions.iter().find(|session| session.meta == json!({})).unwrap();
    assert_ne!(of(event.session_id), writer.agent_id, "the session belongs to the calling agent");
}

#[tokio::test]
async fn an_event_posted_by_an_agent_counts_once_otas_has_accepted_it() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = with_agents(&otas, &["planner"]).await;
    let planner = client(&proxy, "planner", "secret-of-planner");
    planner.get(origin.url("/before")).send().await.unwrap();
    otas.events_at_least(1, WITHIN).await;
    let key = key(&proxy, "planner");
    let own = otas.session_token(&key).await;
    let event = json!({
        "project_id": otas.project_id().to_string(), "path": "/by-itself", "method": "GET", "status_code": 200, "latency_ms": 1,
    });
    let post = async |token: &str| {
        let post = planner.post(format!("{}/api/v1/backend/log/agent/", otas.url())).body(event.to_string());
        let post = post.header("content-type", "application/json");
        post.header("X-OTAS-AGENT-KEY", key.expose()).header(TOKEN, token).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post(&forged(&own)).await, 401);
    noticed(&proxy, 1).await;
    planner.get(origin.url("/refused")).send().await.unwrap();
    otas.events_at_least(2, WITHIN).await;
    assert_eq!(post(own.expose()).await, 201);
    noticed(&proxy, 2).await;
    planner.get(origin.url("/after")).send().await.unwrap();
    otas.events_at_least(4, WITHIN).await;
    proxy.stop().await;
    let of = attributed(&otas).await;
    assert_eq!((&*of["/refused"].0, &*of["/after"].0), ("credential", "token"));
    assert_eq!(of["/before"].2, of["/refused"].2);
    assert_eq!(of["/after"].2, of["/by-itself"].2, "its own session from then on");
}

#[tokio::test]
async fn a_claimed_token_is_not_masked_elsewhere() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas).run().await;
    let client = proxy.client();
    for word in ["gpt-4o-mini", "{\"model\":", "http_status_200"] {
        client.get(origin.url("/")).header(TOKEN, word).send().await.unwrap();
    }
    otas.events_at_least(3, WITHIN).await;
    let body = r#"{"model":"gpt-4o-mini","note":"http_status_200"}"#;
    client.post(origin.url("/echo")).header("content-type", "application/json").body(body).send().await.unwrap();
    let events = otas.events_at_least(4, WITHIN).await;
    let posted = events.iter().find(|event| event["path"] == "/echo").unwrap();
    assert_eq!(posted["request_body"], body);
    proxy.stop().await;
}

#[tokio::test]
async fn an_idle_session_is_closed_and_the_next_call_opens_another() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let idle = Duration::from_millis(300);
    let proxy =
        crate::sessions::with_agents_and(&otas, &["planner"], |p| p.with(|c| c.session.idle_timeout = idle)).await;
    let planner = client(&proxy, "planner+run-1", "secret-of-planner");
    planner.get(origin.url("/first")).send().await.unwrap();
    otas.events_at_least(1, WITHIN).await;
    let closed = async || {
        let store = rusqlite::Connection::open(proxy.app.store.path()).unwrap();
        store.query_row("SELECT count(closed_at_ms) FROM sessions", [], |row| row.get::<_, i64>(0)).unwrap() == 1
    };
    eventually("it is closed", closed).await;
    planner.get(origin.url("/second")).send().await.unwrap();
    otas.events_at_least(2, WITHIN).await;
    proxy.stop().await;
    let of = attributed(&otas).await;
    assert_ne!(of["/first"].2, of["/second"].2);
}

#[tokio::test]
async fn without_user_checks_a_run_serves_only_its_own_command() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let secret = Secret::random().unwrap();
    let proxy = TestProxy::new().otas(&otas).with(|c| c.session.run_secret = Some(secret.clone())).run().await;
    let url = origin.url("/");
    for (user, shown) in [("run", "guessed"), ("run", ""), ("other", secret.expose())] {
        assert_eq!(client(&proxy, user, shown).get(&url).send().await.unwrap().status(), 407);
    }
    assert_eq!(origin.accepted(), 0);
    assert_eq!(client(&proxy, "run", secret.expose()).get(&url).send().await.unwrap().status(), 200);
    let events = proxy.events().await;
    assert_eq!((events.len(), &events[0]["metadata"]["attribution"]["rule"]), (1, &"proxy".into()), "{events:#?}");
}
