//! The proxy under test, whole, in this process: `TestProxy::new().otas(&otas).run().await`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use otas_proxy::app::{App, Summary};
use otas_proxy::config::Config;
use otas_proxy::store::{Filter, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::origin::TestCa;
use super::otas::TestOtas;

/// A test that waits longer for bytes than this has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A proxy about to be started.
pub struct TestProxy {
    folder: TempDir,
    config: Config,
}

/// A running one.
pub struct Running {
    pub app: App,
    pub addr: SocketAddr,
    pub folder: TempDir,
}

impl TestProxy {
    /// With defaults, free ports and a folder of its own.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::defaults(folder.path()).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        (config.listen.proxy, config.listen.admin) = (any, any);
        config.proxy.shutdown_grace = Duration::from_secs(5);
        Self { folder, config }
    }

    /// Its folder, for files that must be there before it starts.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Events go to `otas`.
    pub fn otas(mut self, otas: &TestOtas) -> Self {
        self.config.otas.brain_url = otas.url().parse().unwrap();
        self.config.otas.uasam_url = otas.url().parse().unwrap();
        self.config.otas.agent_key = Some(otas.key());
        self
    }

    /// Origins signed by `ca` are trusted.
    pub fn trusting(mut self, ca: &TestCa) -> Self {
        self.config.tls.origin_ca_file = Some(ca.file.clone());
        self
    }

    /// Any other setting.
    pub fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Starts it.
    pub async fn run(self) -> Running {
        let app = App::start(self.config, |_| json!({"command": "test"})).await.unwrap();
        Running { addr: app.proxy_addr, app, folder: self.folder }
    }
}

impl Running {
    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A client that uses the proxy and trusts its CA, and nothing else.
    pub fn client(&self) -> reqwest::Client {
        self.client_builder().build().unwrap()
    }

    /// The same, to add to.
    pub fn client_builder(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .proxy(reqwest::Proxy::all(self.url()).unwrap())
            .tls_backend_preconfigured(self.client_tls(&[]))
    }

    /// A TLS client that trusts the proxy's CA.
    pub fn client_tls(&self, alpn: &[&[u8]]) -> rustls::ClientConfig {
        let mut config = trusting(&self.app.ca_file);
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        config
    }

    /// A bare connection to the proxy.
    pub async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends literal bytes on a connection of its own and gives back all that comes until the proxy closes it.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        let mut all = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await;
        let all = String::from_utf8_lossy(&all).into_owned();
        assert!(ended.is_ok(), "the proxy did not close the connection; so far: {all:?}");
        all
    }

    /// Stops it and gives all its events, in the order in which they ended.
    pub async fn events(self) -> Vec<Value> {
        let store = self.app.store.clone();
        let folder = self.folder;
        self.app.stop(Duration::from_secs(20), CancellationToken::new(), |_| {}).await;
        let events = stored(&store);
        drop(folder);
        events
    }

    /// Waits until `n` events are stored and gives them.
    pub async fn events_so_far(&self, n: usize) -> Vec<Value> {
        let waiting = async {
            loop {
                let events = stored(&self.app.store);
                if events.len() >= n {
                    return events;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("{} of {n} events", stored(&self.app.store).len()))
    }

    /// The token by which programs look at the page.
    pub fn token(&self) -> String {
        std::fs::read_to_string(self.app.store.path().with_file_name("admin.token")).unwrap().trim().to_owned()
    }

    /// What the admin port tells.
    pub async fn status(&self) -> Value {
        let mut stream = TcpStream::connect(self.app.admin_addr).await.unwrap();
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        serde_json::from_str(all.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Stops it and waits for its events.
    pub async fn stop(self) -> Summary {
        self.app.stop(Duration::from_secs(20), CancellationToken::new(), |_| {}).await
    }
}

/// A TLS client that trusts the CAs in this file.
pub fn trusting(ca_file: &Path) -> rustls::ClientConfig {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_file_iter(ca_file).unwrap().map(Result::unwrap));
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Reads from `stream` until what came contains `end`.
pub async fn read_until(stream: &mut (impl tokio::io::AsyncRead + Unpin), end: &str) -> String {
    let mut all = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        let text = String::from_utf8_lossy(&all);
        if text.contains(end) {
            return text.into_owned();
        }
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await;
        let n = read.unwrap_or_else(|_| panic!("{end:?} did not come; so far: {text:?}")).unwrap();
        assert!(n > 0, "the connection ended before {end:?}; so far: {text:?}");
        all.extend_from_slice(&buffer[..n]);
    }
}

/// Polls `check` until it holds: for what happens elsewhere and tells nobody.
pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "in vain: {what}");
}

/// The events in a store, oldest first.
fn stored(store: &Store) -> Vec<Value> {
    let rows = store.list(&Filter { limit: usize::MAX, ..Filter::default() }).unwrap();
    rows.iter().rev().map(|row| serde_json::from_slice(&row.json).unwrap()).collect()
}
