//! The proxy's own secrets, said by an agent and by an origin, in every place: none is written down.

use std::path::Path;
use std::time::Duration;

use crate::sessions::{client, with_agents_and};
use crate::support::origin::{TestCa, TestOrigin};
use crate::support::otas::TestOtas;
use crate::support::proxy::Running;

const WITHIN: Duration = Duration::from_secs(60);

/// The files in a folder, and in those below, that hold this text, but for those that are there to hold it.
fn written(folder: &Path, secret: &str, at_home: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(written(&path, secret, at_home));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if bytes.windows(secret.len()).any(|window| window == secret.as_bytes()) && !at_home.contains(&&*name) {
            found.push(name);
        }
    }
    found
}

/// The key of the CA, the keys and the secret of an agent, the page's token, and a session's token.
async fn own_secrets(proxy: &Running, otas: &TestOtas, session: &str) -> Vec<String> {
    let file = |name: &str| std::fs::read_to_string(proxy.folder.path().join(name)).unwrap();
    let ca_dir = proxy.app.ca_file.parent().unwrap();
    let pem = std::fs::read_to_string(ca_dir.join("ca.key")).unwrap();
    let line = pem.lines().find(|line| !line.starts_with('-') && line.len() > 30).unwrap();
    let page = proxy.token();
    let all = [file("planner.key"), otas.key().expose().into(), line.into(), page, session.into()];
    all.into_iter().chain(["secret-of-planner".to_owned()]).map(|secret| secret.trim().to_owned()).collect()
}

#[tokio::test]
async fn our_own_secrets_are_masked_wherever_they_turn_up() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (otas, inside, outside) = (TestOtas::start().await, TestOrigin::https(&ca).await, TestOrigin::http().await);
    let domain = inside.url("/").parse().unwrap();
    let proxy = with_agents_and(&otas, &["planner"], |proxy| {
        proxy.trusting(&ca).with(|c| c.otas.project_domain = Some(domain))
    })
    .await;
    let planner = client(&proxy, "planner", "secret-of-planner");
    planner.get(inside.url("/")).send().await.unwrap();
    let session = crate::sessions::header(&inside.received()[0], "x-otas-agent-session-token").unwrap().to_owned();
    let secrets = own_secrets(&proxy, &otas, &session).await;
    let mut calls = 0;
    for secret in &secrets {
        for body in [format!("it is {secret}, yes"), serde_json::json!({ "a": { "b": secret } }).to_string()] {
            let escaped: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let post = planner.post(outside.url(&format!("/echo/{escaped}?q={escaped}"))).header("x-any", secret);
            let answer = post.body(body.clone()).send().await.unwrap();
            assert_eq!(answer.text().await.unwrap(), body, "the wire is never changed");
            let binary = [b"\xff\xfe\x00", secret.as_bytes(), b"\x00\xff"].concat();
            let post = planner.post(outside.url("/echo")).header("content-type", "application/octet-stream");
            post.body(binary).send().await.unwrap().bytes().await.unwrap();
            calls += 2;
        }
    }
    let events = otas.events_at_least(calls, WITHIN).await;
    for secret in &secrets {
        let coded = |secret: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, secret);
        for event in &events {
            let text = event.to_string();
            assert!(!text.contains(&**secret), "{event:#}");
            // As a binary body has it, whose first three bytes are others.
            let inner = coded(secret);
            assert!(!text.contains(&inner[..inner.len() - 4]), "{event:#}");
        }
        let at_home = ["planner.key", "ca.key", "admin.token"];
        assert_eq!(written(proxy.folder.path(), secret, &at_home), Vec::<String>::new());
    }
    proxy.stop().await;
}
