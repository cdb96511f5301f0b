//! The key of the CA, and the token of the page: by any path of the admin port, by what it exports, from the disk.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::origin::TestOrigin;
use crate::support::program::content_of;
use crate::support::proxy::{Running, TestProxy};

const PATHS: [&str; 22] = [
    "/",
    "/status",
    "/metrics",
    "/readyz",
    "/health",
    "/ca.key",
    "/ca/ca.key",
    "/certs/ca.key",
    "/../ca/ca.key",
    "/../../../../../../etc/passwd",
    "/..%2fca%2fca.key",
    "/%2e%2e/ca/ca.key",
    "/..%5cca%5cca.key",
    "/.%2e/ca/ca.key",
    "//ca/ca.key",
    "/static/../../ca/ca.key",
    "/style.css/../../ca/ca.key",
    "/event/../../ca/ca.key",
    "/event/1?file=../ca/ca.key",
    "/admin.token",
    "/redaction.key",
    "/otas-proxy.db",
];

async fn answer(proxy: &Running, target: &str, more: &str) -> String {
    let mut stream = TcpStream::connect(proxy.app.admin_addr).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

/// What no answer may hold: a line from the middle of the key, the page's token, and the key that tags are made with.
fn secrets(folder: &Path) -> Vec<Vec<u8>> {
    let key = std::fs::read_to_string(folder.join("ca/ca.key")).unwrap();
    let line = key.lines().find(|line| !line.starts_with('-')).unwrap();
    let token = std::fs::read_to_string(folder.join("admin.token")).unwrap();
    let tags = std::fs::read(folder.join("redaction.key")).unwrap();
    vec![line.as_bytes().to_vec(), token.trim().as_bytes().to_vec(), tags]
}

fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret)
}

#[tokio::test]
async fn no_path_of_the_admin_port_gives_a_secret_away_with_the_token_or_without() {
    let (origin, proxy) = (TestOrigin::http().await, TestProxy::new().run().await);
    let folder = proxy.folder.path().to_owned();
    let secrets = secrets(&folder);
    let token = String::from_utf8(secrets[1].clone()).unwrap();
    // An agent has read the key and sends it: what is shown of that is masked.
    let key = std::fs::read_to_string(folder.join("ca/ca.key")).unwrap();
    proxy.client().post(origin.url("/echo")).body(key).send().await.unwrap();
    let id = proxy.events_so_far(1).await[0]["metadata"]["event"]["id"].as_str().unwrap().to_owned();
    let mut paths: Vec<String> = PATHS.map(str::to_owned).to_vec();
    paths.extend(["/calls", "/sessions", "/calls.har", "/health"].map(str::to_owned));
    paths.extend(["", "/har", "/curl", ".har"].map(|end| format!("/event/{id}{end}")));
    let authorized = format!("Authorization: Bearer {token}\r\n");
    for path in &paths {
        for more in ["", authorized.as_str(), "Authorization: Bearer x\r\n", "Cookie: otas_proxy_1=x\r\n"] {
            let said = answer(&proxy, path, more).await;
            for secret in &secrets {
                assert!(!holds(said.as_bytes(), secret), "{path} ({more}): {said}");
            }
            assert!(!said.contains("PRIVATE KEY") && !said.contains("root:"), "{path}: {said}");
            let open = ["/status", "/metrics", "/readyz"].contains(&path.as_str());
            if more != authorized && !open {
                assert!(!said.starts_with("HTTP/1.1 200 "), "{path} ({more}) takes the token: {said}");
            }
        }
    }
}

#[tokio::test]
async fn no_url_that_an_agent_asks_the_proxy_for_is_a_file() {
    let proxy = TestProxy::new().run().await;
    let key = proxy.folder.path().join("ca/ca.key").display().to_string();
    let file = [format!("file://{key}"), key.clone(), format!("file://localhost{key}"), format!("http:{key}")];
    for target in file.iter().map(String::as_str).chain(["/", "*", "ca.key", "../ca/ca.key", "ftp://localhost/"]) {
        let reply = proxy
            .raw(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
            .await;
        assert!(reply.starts_with("HTTP/1.1 4") && !reply.contains("PRIVATE KEY"), "{target}: {reply}");
    }
}

#[tokio::test]
async fn files_are_private_and_keys_are_only_in_key_files() {
    let (origin, proxy) = (TestOrigin::http().await, TestProxy::new().run().await);
    let folder = proxy.folder.path().to_owned();
    let secrets = secrets(&folder);
    let key = std::fs::read_to_string(folder.join("ca/ca.key")).unwrap();
    proxy.client().post(origin.url("/echo")).body(key).send().await.unwrap();
    proxy.events_so_far(1).await;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap().chain(std::fs::read_dir(folder.join("ca")).unwrap()) {
        let path = entry.unwrap().path();
        let mode = match path.metadata() {
            // A journal of SQLite may be gone by now.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            facts => facts.unwrap().permissions().mode() & 0o777,
        };
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
            continue;
        }
        // What agents are to trust is for all to read, and in a folder that is not.
        assert!(mode & 0o077 == 0 || (mode & 0o133 == 0 && name.ends_with(".pem")), "{name} has mode {mode:o}");
        let mut bytes = content_of(&path);
        if name == "events.db" {
            bytes.extend(crate::support::program::stored_texts(&path));
        }
        found.extend(secrets.iter().filter(|secret| holds(&bytes, secret)).map(|_| name.clone()));
    }
    found.sort();
    assert_eq!(found, ["admin.token", "ca.key", "redaction.key"]);
}
