//! The proxy's own secrets, said by an agent and by an origin, in every place: none is written down.

use std::path::Path;
use std::time::Duration;

use crate::sessions::{client, with_agents_and};
use crate::support::origin::{TestCa, TestOrigin};
use crate::support::otas::TestOtas;
use crate::support::program::content_of;
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
        let bytes = content_of(&path);
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

/// A secret as other writers encode it, one encoding inside another among them.
fn encodings(secret: &str) -> Vec<(&'static str, String)> {
    let base64 = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let url_safe = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text);
    let each = |text: &str, write: &dyn Fn(u8) -> String| text.bytes().map(write).collect::<String>();
    let escaped = |text: &str| each(text, &|byte| format!("\\u{byte:04x}"));
    let percent = |text: &str| each(text, &|byte| format!("%{byte:02x}"));
    vec![
        ("JSON's \\u", escaped(secret)),
        ("JSON's \\/", format!("path\\/{}", secret.replace('/', "\\/").replace('+', "\\u002B"))),
        ("HTML, decimal", each(secret, &|byte| format!("&#{byte};"))),
        ("HTML, hexadecimal", each(secret, &|byte| format!("&#x{byte:X};"))),
        ("HTML, names", secret.replace('_', "&lowbar;").replace('/', "&sol;").replace('+', "&plus;")),
        ("URL", percent(secret)),
        ("base64", base64(secret)),
        ("base64 behind a byte", base64(&format!("x{secret}y"))),
        ("base64 behind two bytes", base64(&format!("xy{secret}yz"))),
        ("base64 for URLs", url_safe(&format!("user:{secret}"))),
        ("hexadecimal", each(secret, &|byte| format!("{byte:02x}"))),
        ("hexadecimal, capitals", each(secret, &|byte| format!("{byte:02X}"))),
        ("URL in base64", base64(&percent(secret))),
        ("base64 in a URL", percent(&base64(secret))),
        ("base64 in base64", base64(&base64(&format!("a {secret} b")))),
        ("JSON in HTML", escaped(secret).replace('\\', "&bsol;")),
    ]
}

/// Whether part of an encoded secret can be read that is long enough to tell it, whatever its first and last bytes show.
fn shows(text: &str, encoded: &str) -> bool {
    let reach = encoded.len().min(24);
    let parts: Vec<&str> =
        (8..encoded.len().saturating_sub(reach)).step_by(7).map(|at| &encoded[at..at + reach]).collect();
    parts.iter().any(|part| text.contains(part))
}

#[tokio::test]
async fn our_own_secrets_are_found_behind_every_encoding_in_every_place() {
    let (otas, outside) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = with_agents_and(&otas, &["planner"], |proxy| proxy).await;
    let planner = client(&proxy, "planner", "secret-of-planner");
    let ca_dir = proxy.app.ca_file.parent().unwrap();
    let pem = std::fs::read_to_string(ca_dir.join("ca.key")).unwrap();
    let line = pem.lines().find(|line| !line.starts_with('-') && line.len() > 30).unwrap();
    let mut expected = Vec::new();
    for secret in [otas.key().expose(), line] {
        for (coding, encoded) in encodings(secret) {
            let pieces = |text: &str| {
                let pieces: Vec<_> =
                    text.as_bytes().chunks(5).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect();
                pieces
                    .iter()
                    .map(|piece| format!("data: {}\n\n", serde_json::json!({ "delta": { "text": piece } })))
                    .collect::<String>()
            };
            for (content_type, body) in [
                ("text/html", format!("<p>it is {encoded}, yes</p>")),
                ("application/json", format!("{{\"a\":{{\"b\":\"{encoded}\"}}}}")),
                (
                    "application/x-www-form-urlencoded",
                    format!("a={}&b=2", encoded.replace('%', "%25").replace('&', "%26").replace('+', "%2B")),
                ),
                ("application/octet-stream", format!("\0\u{1}{encoded}\0")),
                ("text/event-stream", pieces(&format!("it is {encoded} ."))),
            ] {
                let query: String = form_urlencoded::byte_serialize(encoded.as_bytes()).collect();
                let post = planner.post(outside.url(&format!("/echo?q={query}"))).header("x-any", &encoded);
                let post =
                    post.header("user-agent", format!("agent ({encoded})")).header("content-type", content_type);
                assert_eq!(
                    post.body(body.clone()).send().await.unwrap().text().await.unwrap(),
                    body,
                    "the wire is never changed"
                );
                expected.push((coding, content_type, encoded.clone(), body));
            }
        }
    }
    let events = otas.events_at_least(expected.len() as u64, WITHIN).await;
    let mut all = String::new();
    for value in events.iter().flat_map(|event| event.as_object().unwrap().values()) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        // A binary body is shown in base64 itself.
        let inner = value
            .split_once(";base64,")
            .and_then(|(_, coded)| base64::Engine::decode(&base64::engine::general_purpose::STANDARD, coded).ok());
        all += &value;
        all += &String::from_utf8_lossy(&inner.unwrap_or_default());
    }
    let all = [serde_json::to_string(&all).unwrap(), all].concat();
    let left: Vec<_> = expected
        .iter()
        .filter(|(_, _, encoded, body)| shows(&all, encoded) || all.contains(&**body))
        .map(|(coding, content_type, ..)| format!("{coding} in {content_type}"))
        .collect();
    assert!(left.is_empty(), "{} left: {:#?}", left.len(), &left[..left.len().min(6)]);
    proxy.stop().await;
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
