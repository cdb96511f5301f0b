//! Calls that fail with a sentence about an address: a next proxy that refuses our password, a certificate that is not trusted, a
//! name that is not found. Neither the proxy's password nor the secrets in the agent's address are shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::places::all_that_it_tells;
use super::{KNOWN, Loud, TRACES, WITHIN, found_in};
use crate::support::origin::{Act, RawOrigin, TestCa, TestOrigin};
use crate::support::otas::TestOtas;
use crate::support::program::Folder;

const PASSWORD: &str = "n3xt-c4n4ry-passw0rd";

/// A proxy that refuses each call, and quotes the request.
async fn refusing() -> RawOrigin {
    let told = STANDARD.encode(format!("ada:{PASSWORD}"));
    let body =
        format!("{{\"error\":\"bad credentials: Basic {told}\",\"url\":\"http://ada:{PASSWORD}@proxy.test/\"}}");
    let answer = format!(
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\", nonce=\"{PASSWORD}\"\r\n\
         X-Note: Basic {told}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    RawOrigin::start(vec![Act::Write(answer.into()), Act::Close]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_shows_neither_the_next_proxys_password_nor_the_secrets_of_the_address() {
    let (folder, otas, next) = (Folder::new(), TestOtas::start().await, refusing().await);
    let untrusted = tempfile::tempdir().unwrap();
    let secure = TestOrigin::https(&TestCa::new(untrusted.path())).await;
    folder.configure(&format!(
        "[otas]\nbrain_url = '{0}'\nuasam_url = '{0}'\n[upstream]\nproxy = 'http://ada:{PASSWORD}@127.0.0.1:{1}'\n\
         no_proxy = ['127.0.0.1', '*.invalid']\n",
        otas.url(),
        next.addr.port()
    ));
    let key = otas.key();
    let mut proxy = Loud::start(folder, key.expose());
    let path = format!("{}?token=c4n4ry&q={}", KNOWN[3], KNOWN[0]);
    let (mut calls, mut answers) = (0, String::new());
    for target in [
        // Through the next proxy, which refuses.
        "http://ada:c4n4ry-0123@origin.test".to_owned(),
        // A name that is not found, a secret itself.
        "http://ada:c4n4ry-0123@nothing.invalid".to_owned(),
        format!("http://ada:c4n4ry-0123@{}.invalid", KNOWN[3]),
        // A certificate that is not trusted.
        format!("https://ada:c4n4ry-0123@127.0.0.1:{}", secure.addr.port()),
    ] {
        let host = target.rsplit('@').next().unwrap();
        let ask = format!("GET {target}/{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        answers += &proxy.raw(ask.as_bytes()).await;
        calls += 1;
    }
    // The next proxy refuses a tunnel, too.
    let ask = "CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\nConnection: close\r\n\r\n";
    let refusal = proxy.raw(ask.as_bytes()).await;
    assert!(refusal.contains("407"), "{refusal}");
    // A handshake is completed although the origin's certificate is refused, and the call gets a 502 that says why.
    let url = format!("https://ada:c4n4ry-0123@127.0.0.1:{}/{path}", secure.addr.port());
    let answer = proxy.client().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 502);
    for sentence in [refusal, answer.text().await.unwrap()] {
        assert!(!TRACES.iter().any(|trace| sentence.contains(trace)), "{sentence}");
    }
    calls += 2;
    assert!(
        next.received().contains(&STANDARD.encode(format!("ada:{PASSWORD}"))),
        "the next proxy gets the password"
    );
    assert_eq!(answers.matches("HTTP/1.1 502 ").count(), 4, "{answers}");
    let saved = otas.events_at_least(calls, WITHIN).await;
    let told = all_that_it_tells(&proxy, 1).await;
    let of_settings = |found: Vec<String>| found.into_iter().filter(|found| !found.contains("proxy.toml")).collect();
    let while_running: Vec<String> = of_settings(found_in(proxy.folder.path(), PASSWORD));
    proxy.end();
    let told = told + &saved.iter().map(Value::to_string).collect::<String>();
    let coded = STANDARD.encode(format!("ada:{PASSWORD}"));
    for trace in TRACES.iter().copied().chain([PASSWORD, &coded[..16]]) {
        assert!(!told.contains(trace), "{trace}: {:.600}", &told[told.find(trace).unwrap().saturating_sub(200)..]);
    }
    let after: Vec<String> = of_settings(found_in(proxy.folder.path(), PASSWORD));
    assert_eq!((while_running, after), (Vec::new(), Vec::new()));
}
