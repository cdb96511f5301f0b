//! How much one agent may take: 429 for what is beyond, and the others keep their share.

use std::time::Instant;

use base64::Engine as _;
use otas_proxy::config::{Agent, Scope};
use otas_proxy::secret::Secret;
use tokio::io::AsyncWriteExt;

use super::failure;
use crate::support::origin::TestOrigin;
use crate::support::proxy::{Running, TestProxy, read_until};

async fn known() -> Running {
    let agent = |name: &str| Agent {
        name: name.to_owned(),
        secret: Secret::new("s"),
        secret_file: "agent.secret".into(),
        agent_key: None,
        project_id: None,
        agent_id: None,
        project_domain: None,
    };
    let agents = vec![agent("wild"), agent("calm")];
    let proxy = TestProxy::new().with(|c| {
        (c.session.scope, c.agents) = (Scope::Credential, agents);
        (c.proxy.agent_connections, c.proxy.agent_requests_per_second) = (3, 2);
    });
    proxy.run().await
}

async fn ask(proxy: &Running, user: &str, origin: &TestOrigin) -> String {
    let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{user}:s"));
    let host = origin.addr;
    let request = format!(
        "GET http://{host}/bytes/9 HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Basic {credentials}\r\nConnection: close\r\n\r\n"
    );
    proxy.raw(request.as_bytes()).await
}

#[tokio::test]
async fn an_agent_that_asks_too_often_is_told_when_to_come_again_and_another_is_served() {
    let (origin, proxy) = (TestOrigin::http().await, known().await);
    let began = Instant::now();
    // Labels are its own to make up: all of them are one agent.
    let users: Vec<String> = (0..40).map(|n| format!("wild+{n}")).collect();
    let mut replies = Vec::new();
    for user in &users {
        replies.push(ask(&proxy, user, &origin).await);
    }
    let (served, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.starts_with("HTTP/1.1 200 "));
    assert!(served.len() as u64 <= 2 * (2 + began.elapsed().as_secs()), "{} in {:?}", served.len(), began.elapsed());
    assert!(!served.is_empty() && !refused.is_empty());
    for reply in &refused {
        assert!(reply.starts_with("HTTP/1.1 429 ") && reply.contains("\r\nretry-after: 1\r\n"), "{reply}");
    }
    assert!(ask(&proxy, "calm", &origin).await.starts_with("HTTP/1.1 200 "));
    let events = proxy.events().await;
    assert_eq!(events.iter().filter(|event| failure(event) == "agent_limit").count(), refused.len());
    assert_eq!(events.len(), 41, "each call is one event");
    assert_eq!(origin.received().len(), served.len() + 1);
}

#[tokio::test]
async fn an_agent_has_so_many_connections_and_gets_one_back_when_it_ends_one() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().with(|c| c.proxy.agent_connections = 2).run().await;
    let authority = origin.addr;
    let request = format!("GET http://{authority}/bytes/3 HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = proxy.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
        held.push(stream);
    }
    let refused = proxy.raw(request.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{refused}");
    assert!(refused.contains("\r\nretry-after: 1\r\n") && refused.contains("proxy.agent_connections"), "{refused}");
    drop(held.pop());
    crate::support::proxy::eventually("its place is free again", async || {
        let mut stream = proxy.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200 ")
    })
    .await;
}

#[tokio::test]
async fn a_silent_connection_above_the_limit_is_closed_soon() {
    use tokio::io::AsyncReadExt;
    let proxy = TestProxy::new().with(|c| c.proxy.agent_connections = 1).run().await;
    let mut first = proxy.connect().await;
    // It is served once its answer is here; until then the next one might be first.
    first
        .write_all(b"OPTIONS http://a.invalid/ HTTP/1.1\r\nHost: a.invalid\r\nMax-Forwards: 0\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut first, "\r\n\r\n").await;
    let mut silent = proxy.connect().await;
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0, "fifteen minutes is for those who are not too many");
}
