//! Item 29 over HTTP/2, by a client and a server whose library takes any path (nghttp2).

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::origin::{Certificate, TestCa};
use crate::support::proxy::{PATIENCE, TestProxy};

/// Answers each request with its path.
const ECHO: &str = "
const pem = require('fs').readFileSync(process.argv[1]);
const server = require('http2').createSecureServer({ key: pem, cert: pem });
server.on('stream', (stream, headers) => {
  stream.on('data', () => {});
  stream.on('end', () => { stream.respond({ ':status': 200 }); stream.end(headers[':method'] + ' ' + headers[':path']); });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
";

async fn curl(ca: &Path, more: &[&str]) -> String {
    let mut curl = tokio::process::Command::new("curl");
    curl.args(["-sS", "-g", "--path-as-is", "--http2", "--max-time", "20", "--noproxy", "", "--cacert"]).arg(ca);
    let output = curl.args(more).args(["-w", " %{http_version}"]).output().await.unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn item_29_a_path_that_no_uri_may_have_goes_as_it_was_written_over_http2() {
    let proxy = TestProxy::new();
    let ca = TestCa::new(proxy.folder());
    let (certificate, key) = ca.issue(Certificate::Good);
    let pem = proxy.folder().join("server.pem");
    write!(std::fs::File::create(&pem).unwrap(), "{}{}", certificate.pem(), key.serialize_pem()).unwrap();
    let mut node = tokio::process::Command::new("node");
    node.args(["-e", ECHO]).arg(&pem).stdout(Stdio::piped()).kill_on_drop(true);
    let mut server = node.spawn().unwrap();
    let mut port = String::new();
    let mut said = BufReader::new(server.stdout.take().unwrap());
    tokio::time::timeout(PATIENCE, said.read_line(&mut port)).await.expect("the server hangs").unwrap();
    let proxy = proxy.trusting(&ca).run().await;
    let (url, ours) = (format!("https://localhost:{}", port.trim()), proxy.app.ca_file.clone());
    let targets =
        ["/plain?q=1", "/a`b\"c<d>", "/?q=\"<a`b>\"&c={}|\\^~", "/<>?größe", "/<>", "/<long>".repeat(400).leak()];
    for target in targets {
        let url = format!("{url}{target}");
        let direct = curl(&ca.file, &["--noproxy", "*", &url]).await;
        // This server shows what is not ASCII in its own way.
        assert!(!target.is_ascii() || direct == format!("GET {target} 2"), "{direct}");
        assert_eq!(curl(&ours, &["-x", &proxy.url(), &url]).await, direct);
    }
    // Several on one connection, with content, the odd one in the middle.
    let urls = [format!("{url}/1"), format!("{url}/<2>"), format!("{url}/3")];
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let several = curl(&ours, &[&["-x", &*proxy.url(), "-d", "content"][..], &urls].concat()).await;
    assert_eq!(several, "POST /1 2POST /<2> 2POST /3 2");
    server.kill().await.unwrap();
    let events = proxy.events().await;
    assert_eq!(events.len(), targets.len() + 3);
    let paths: Vec<_> = events.iter().map(|event| event["path"].as_str().unwrap()).collect();
    assert_eq!(paths[..5], ["/plain", "/a`b\"c<d>", "/", "/<>", "/<>"]);
    assert_eq!(events[2]["query_params"], "q=\"<a`b>\"&c={}|\\^~");
    assert_eq!(paths[6..], ["/1", "/<2>", "/3"]);
}
