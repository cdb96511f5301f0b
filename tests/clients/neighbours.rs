//! The proxies and servers that others put around us: behind tinyproxy and squid, before nginx that asks for a certificate, and
//! HTTP/2's own load generator through our tunnels.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use otas_proxy::config::{ClientCertificate, NextProxy};
use otas_proxy::hosts::{HostRule, HostRules};
use tokio::net::{TcpListener, TcpStream};

use super::installed::{Client, program};
use super::table::{Row, Told};
use crate::support::agent;
use crate::support::origin::{Certificate, TestCa, TestOrigin};
use crate::support::otas::TestOtas;
use crate::support::proxy::{Running, TestProxy, eventually};

/// A server of somebody else's, ended when dropped.
struct Neighbour {
    child: Child,
    address: SocketAddr,
}

impl Neighbour {
    /// Starts the command that `with` makes for a port, and waits until somebody listens there. The port may be taken in
    /// between: then another is tried.
    async fn start(with: impl Fn(u16) -> Command) -> Self {
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let mut command = with(address.port());
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let mut it = Self { child, address };
            let listening = async {
                loop {
                    let connected = TcpStream::connect(address).await.is_ok();
                    if it.child.try_wait().unwrap().is_some() {
                        return false;
                    }
                    if connected {
                        return true;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            if tokio::time::timeout(Duration::from_secs(20), listening).await == Ok(true) {
                return it;
            }
        }
        panic!("it does not start");
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tool(name: &str, question: &str) -> Client {
    program("Neighbours", name, question)
}

/// Calls in clear, over TLS and over HTTP/2, through the next proxy at `address`.
async fn calls_through(address: SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (otas, clear) = (TestOtas::start().await, TestOrigin::http().await);
    let (https, h2) = (TestOrigin::https(&ca).await, TestOrigin::h2(&ca).await);
    let next = NextProxy::parse(&format!("http://{address}")).unwrap();
    let through = |c: &mut otas_proxy::config::Config| {
        (c.upstream.proxy, c.upstream.no_proxy) = (Some(next), HostRules::default());
    };
    let proxy = TestProxy::new().otas(&otas).trusting(&ca).with(through).run().await;
    for origin in [&clear, &https] {
        let answer = proxy.client().post(origin.url("/echo")).body("hello").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (200, "hello".to_owned()));
    }
    let mut agent = agent::Agent::to(&proxy, &h2, &[b"h2"]).await;
    assert_eq!(agent.post("POST", "/echo", "hello").await, (200, "hello".into()));
    agent.close().await;
    let events = proxy.events().await;
    assert_eq!(events.len(), 3, "{events:#?}");
    assert!(events.iter().all(|event| event["error"] == "" && event["status_code"] == 200), "{events:#?}");
}

#[tokio::test]
async fn behind_tinyproxy() {
    let Some(row) = Row::of(&tool("tinyproxy", "-v"), "as the next proxy: HTTP, HTTPS, HTTP/2", Told::Otherwise)
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let neighbour = Neighbour::start(|port| {
        let file = folder.path().join("tinyproxy.conf");
        std::fs::write(&file, format!("Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nAllow 127.0.0.1\n"))
            .unwrap();
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(file);
        command
    })
    .await;
    calls_through(neighbour.address).await;
    row.passed();
}

#[tokio::test]
async fn behind_squid() {
    let Some(row) = Row::of(&tool("squid", "--version"), "as the next proxy: HTTP, HTTPS, HTTP/2", Told::Otherwise)
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    // As root it runs as another user, which needs its way here.
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let neighbour = Neighbour::start(|port| {
        let (file, here) = (folder.path().join("squid.conf"), folder.path().display());
        let settings = format!(
            "http_port 127.0.0.1:{port}\nhttp_access allow all\ncache deny all\npid_filename none\nshutdown_lifetime 0 seconds\n\
             access_log none\ncache_log {here}/cache.log\ncoredump_dir {here}\nhosts_file /etc/hosts\n"
        );
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new("squid");
        command.args(["-N", "-f"]).arg(file);
        command
    })
    .await;
    calls_through(neighbour.address).await;
    row.passed();
}

#[tokio::test]
async fn nginx_that_asks_for_a_certificate_gets_ours() {
    let Some(row) = Row::of(&tool("nginx", "-v"), "as the origin, with mutual TLS", Told::Otherwise) else { return };
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (certificate, key) = ca.issue(Certificate::Good);
    let here = folder.path();
    std::fs::write(here.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(here.join("server.key"), key.serialize_pem()).unwrap();
    let (cert_file, key_file) = ca.client_certificate(here);
    let neighbour = Neighbour::start(|port| {
        let (file, at, roots) = (here.join("nginx.conf"), here.display(), ca.file.display());
        let settings = format!(
            "daemon off; master_process off; pid {at}/nginx.pid; error_log {at}/error.log; events {{}}\n\
             http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;\n\
             uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {at}/server.pem; ssl_certificate_key {at}/server.key;\n\
             ssl_client_certificate {roots}; ssl_verify_client on;\n\
             location / {{ return 200 \"$ssl_client_verify $server_protocol\"; }} }} }}\n"
        );
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-c").arg(file).arg("-p").arg(here).arg("-e").arg(here.join("error.log"));
        command
    })
    .await;
    let ours =
        ClientCertificate { hosts: HostRules::new(vec![HostRule::parse("localhost").unwrap()]), cert_file, key_file };
    for (ours, expected) in [(vec![ours], 200), (vec![], 400)] {
        let proxy = TestProxy::new().trusting(&ca).with(|c| c.tls.client_certificates = ours).run().await;
        for alpn in [&[&b"h2"[..]][..], &[b"http/1.1"]] {
            let mut agent = agent::Agent::named(&proxy, "localhost", neighbour.address.port(), alpn).await;
            let (status, body) = agent.get("/").await;
            assert_eq!(status, expected, "{body:?}");
            let protocol = if alpn[0] == b"h2" { "HTTP/2.0" } else { "HTTP/1.1" };
            assert!(status != 200 || body == format!("SUCCESS {protocol}"), "{body:?}");
            agent.close().await;
        }
        proxy.stop().await;
    }
    row.passed();
}

/// An address where each connection is a tunnel to `authority`: for programs that know nothing of proxies.
async fn bridge(proxy: &Running, authority: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, proxy) = (listener.local_addr().unwrap().port(), proxy.addr);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let authority = authority.clone();
            tokio::spawn(async move {
                let mut tunnel = agent::tunnel_at(proxy, &authority).await;
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut tunnel).await;
            });
        }
    });
    port
}

async fn http2_load(name: &'static str, arguments: &[&str], calls: u64, expected: &str) {
    let Some(row) = Row::of(&tool(name, "--version"), "HTTP/2 through CONNECT", Told::Otherwise) else { return };
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let origin = TestOrigin::h2(&ca).await;
    let otas = TestOtas::start().await;
    let proxy = TestProxy::new().otas(&otas).trusting(&ca).run().await;
    let port = bridge(&proxy, format!("localhost:{}", origin.addr.port())).await;
    let mut command = tokio::process::Command::new(name);
    let done = command.args(arguments).arg(format!("https://localhost:{port}/bytes/1000")).output().await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && said.contains(expected), "{said}{}", String::from_utf8_lossy(&done.stderr));
    eventually("each call is known", async || proxy.status().await["events"]["stored"] == calls).await;
    let events = proxy.events().await;
    assert!(events.iter().all(|event| event["error"] == "" && event["response_size_bytes"] == 1000), "{events:#?}");
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2load_through_connect() {
    let expected = "2000 succeeded, 0 failed, 0 errored, 0 timeout";
    http2_load("h2load", &["-n", "2000", "-c", "10", "-m", "20"], 2000, expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nghttp_through_connect() {
    http2_load("nghttp", &["-n", "-s", "--no-verify-peer", "-m", "20"], 20, "200").await;
}
