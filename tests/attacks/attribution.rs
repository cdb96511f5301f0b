//! An agent that would have its calls logged as another's: `X-OTAS-*` fields, in every form.

use std::time::Duration;

use base64::Engine as _;
use otas_proxy::config::{Agent, Scope};
use otas_proxy::secret::Secret;

use crate::support::origin::TestOrigin;
use crate::support::otas::TestOtas;
use crate::support::proxy::TestProxy;

#[tokio::test]
async fn no_field_puts_a_call_into_another_agents_session_or_leaves() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas);
    let mut agents = Vec::new();
    for name in ["mallory", "victim"] {
        let key = otas.another_agent(name).await;
        let file = proxy.folder().join(name);
        agents.push(Agent {
            name: name.to_owned(),
            secret: Secret::new(&format!("secret-of-{name}")),
            secret_file: "agent.secret".into(),
            agent_key: Some((key, file)),
            project_id: None,
            agent_id: None,
            project_domain: None,
        });
    }
    let victims_key = agents[1].agent_key.as_ref().unwrap().0.clone();
    let victims = otas.session_token(&victims_key).await;
    let victim = otas.sessions().await[0].agent_id;
    let (token, key) = (victims.expose().to_owned(), victims_key.expose().to_owned());
    let proxy = proxy.with(|c| (c.session.scope, c.agents) = (Scope::Credential, agents)).run().await;
    let credentials = base64::engine::general_purpose::STANDARD.encode("mallory+victim:secret-of-mallory");
    let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
    let forged = [
        format!("X-OTAS-AGENT-SESSION-TOKEN: {token}\r\n"),
        format!("x-otas-agent-session-token: {token}\r\n"),
        format!("X-OTAS-AGENT-SESSION-TOKEN: none\r\nX-OTAS-AGENT-SESSION-TOKEN: {token}\r\n"),
        format!("X-OTAS-AGENT-SESSION-TOKEN: {unsigned}\r\n"),
        format!("X-OTAS-AGENT-SESSION-TOKEN: Bearer {token}\r\n"),
        format!("X-OTAS-AGENT-KEY: {key}\r\nX-OTAS-AGENT-SESSION-TOKEN: {token}\r\n"),
        "X-OTAS-AGENT: victim\r\nX-OTAS-AGENT-ID: victim\r\nX-OTAS-SESSION-ID: 1\r\n".to_owned(),
        "X-OTAS-PROPERTY-server.address: victim.example\r\nX-OTAS-PROPERTY-agent: victim\r\n".to_owned(),
        format!("Connection: X-OTAS-AGENT-SESSION-TOKEN\r\nX-OTAS-AGENT-SESSION-TOKEN: {token}\r\n"),
    ];
    for fields in &forged {
        let host = origin.addr;
        let request = format!(
            "GET http://{host}/status/200 HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Basic {credentials}\r\n{fields}\r\n"
        );
        let mut stream = proxy.connect().await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        let head = crate::support::proxy::read_until(&mut stream, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{fields}: {head}");
    }
    otas.events_at_least(forged.len() as u64, Duration::from_secs(60)).await;
    proxy.stop().await;
    for event in otas.stored_events().await {
        assert_ne!(event.agent_id, victim, "{}", event.body);
        assert_eq!(event.body["metadata"]["attribution"]["agent"], "mallory");
        assert_eq!(event.body["custom_properties"]["server.address"], "127.0.0.1");
        assert!(!event.body.to_string().contains(&token) && !event.body.to_string().contains(&key));
    }
    for received in origin.received() {
        assert!(received.headers.iter().all(|(name, _)| !name.starts_with("x-otas")), "{received:?}");
    }
}
