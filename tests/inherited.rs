//! The proxy that the environment names is the next proxy of `run` and `serve`.

use crate::support::origin::{Act, RawOrigin};
use crate::support::program::Folder;

/// What curl got, what the program said, and what the next proxy was sent, for a `run` in this environment.
async fn ran(set: &[(&str, &str)], arguments: &[&str], url: &str) -> (String, String, String) {
    let next = RawOrigin::start(vec![Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext".to_vec())]).await;
    let folder = Folder::new();
    folder.configure("");
    let mut program = folder.program();
    for (name, value) in set {
        program.env(name, value.replace("NEXT", &next.addr.to_string()));
    }
    program.arg("run").args(arguments).args(["--", "curl", "-sS", url]);
    let output = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), next.received())
}

/// A name that nobody can resolve: only the next proxy knows it.
const INSIDE: &str = "http://only.behind.the.proxy.invalid/path";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_needs_the_environments_proxy_gets_through() {
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let (got, said, sent) = ran(&[(name, "http://me:hunter2-hunter2@NEXT")], &[], INSIDE).await;
        assert_eq!(got, "next", "{name}: {said}");
        assert!(sent.starts_with("GET http://only.behind.the.proxy.invalid/path HTTP/1.1\r\n"), "{sent}");
        let credentials = "proxy-authorization: basic bwu6ahvudgvymi1odw50zxiy";
        assert!(sent.to_ascii_lowercase().contains(credentials), "{sent}");
        assert!(said.contains("through http://127.0.0.1:") && said.contains(name), "{said}");
        assert!(said.contains("--no-upstream") && !said.contains("hunter2"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_not_taken_over_with_no_upstream_or_if_it_is_ours() {
    let proxy = [("HTTP_PROXY", "http://NEXT")];
    let (got, said, sent) = ran(&proxy, &["--no-upstream"], INSIDE).await;
    assert!(got.contains("dns_") && sent.is_empty(), "{got} {said} {sent}");
    let around = [("HTTP_PROXY", "http://NEXT"), ("OTAS_PROXY_URL", "http://NEXT")];
    let (got, said, sent) = ran(&around, &[], INSIDE).await;
    assert!(got.contains("dns_") && sent.is_empty(), "a run in a run: {got} {sent}");
    assert!(said.contains("HTTP_PROXY names an otas-proxy") && said.contains("OTAS_UPSTREAM_PROXY"), "{said}");
    let all = [("HTTP_PROXY", "http://NEXT"), ("NO_PROXY", "*")];
    let (got, said, sent) = ran(&all, &[], INSIDE).await;
    assert!(got.contains("dns_") && sent.is_empty(), "the call came to us and went on directly: {got} {said}");
    assert!(said.contains("NO_PROXY=*") && said.contains("1 call"), "{said}");
    // The settings' own comes first.
    let set = [("HTTP_PROXY", "http://127.0.0.1:1"), ("OTAS_UPSTREAM_PROXY", "http://NEXT")];
    assert_eq!(ran(&set, &[], INSIDE).await.0, "next");
}
