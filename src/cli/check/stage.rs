//! What clients call: a proxy with the CA of these settings, and behind it an origin that no name service knows.
//!
//! The proxy's own next proxy (`upstream.proxy`) is ours as well: whatever it is asked to connect to, it is the origin itself. So
//! clients are given names that lead nowhere else, none of them takes the origin for this machine, and each name tells whose
//! call it is. The origin's certificate is signed by a root that lives as long as the check, and that this proxy alone trusts.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::super::meta;
use crate::app::App;
use crate::config::{Config, NextProxy};
use crate::store::Filter;
use crate::system::files::DirBuilderExt as _;

/// A name below which there can be no host (RFC 6761, section 6.4).
const DOMAIN: &str = "otas-proxy-check.invalid";

/// The head of a CONNECT from our own proxy is some hundred bytes.
const HEAD_LIMIT_BYTES: usize = 8 << 10;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long to wait for calls that are in flight at the end.
const GRACE: Duration = Duration::from_secs(3);

/// The proxy and the origin, running.
pub(super) struct Stage {
    pub(super) app: App,
    folder: PathBuf,
    seen: Arc<Mutex<Seen>>,
}

/// The outcome of the calls, by the names of clients.
#[derive(Default)]
pub(super) struct Seen {
    /// Those that asked the proxy for a tunnel.
    pub(super) connected: HashSet<String>,
    /// Those whose request came to the origin.
    pub(super) asked: HashSet<String>,
    /// The proxy's error of the call.
    pub(super) errors: HashMap<String, String>,
}

impl Stage {
    /// Starts both, with the CA of `settings`. If their proxy asks for credentials, this one does so, too, with the same agents.
    pub(super) async fn start(settings: &Config, with_callers: bool, clients: &[&str]) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("otas-proxy-check-{}", uuid::Uuid::new_v4().simple()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        match Self::start_in(&folder, settings, with_callers, clients).await {
            Ok((app, seen)) => Ok(Self { app, folder, seen }),
            Err(error) => {
                remove(&folder);
                Err(error)
            }
        }
    }

    async fn start_in(
        folder: &Path,
        settings: &Config,
        with_callers: bool,
        clients: &[&str],
    ) -> Result<(App, Arc<Mutex<Seen>>), Failure> {
        let (tls, root_pem) = certificate(clients)?;
        let root_file = folder.join("origin-ca.pem");
        std::fs::write(&root_file, root_pem)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let next_proxy = format!("http://{}", listener.local_addr()?);
        let seen = Arc::new(Mutex::new(Seen::default()));
        tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), seen.clone()));

        let mut config = Config::defaults(folder)?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        (config.listen.proxy, config.listen.admin) = (any, any);
        config.proxy.shutdown_grace = GRACE;
        config.tls.ca_dir = settings.tls.ca_dir.clone();
        config.tls.origin_ca_file = Some(root_file);
        config.upstream.proxy = Some(NextProxy::parse(&next_proxy)?);
        if with_callers {
            config.session = settings.session.clone();
            config.agents = settings.agents.clone();
            // These calls are not for OTAS.
            config.agents.iter_mut().for_each(|agent| agent.agent_key = None);
        }
        let app = App::start(config, |_| meta::of_this_process("check")).await?;
        Ok((app, seen))
    }

    /// A folder that is removed with the check.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stops both. Returns the outcome of the calls.
    pub(super) async fn stop(self) -> Seen {
        let store = self.app.store.clone();
        // Waits for calls that are ending, because their outcome is what counts.
        self.app.stop(Duration::ZERO, CancellationToken::new(), |_| {}).await;
        let events = store.list(&Filter { limit: usize::MAX, ..Filter::default() }).unwrap_or_default();
        let mut seen = std::mem::take(&mut *self.seen.lock());
        for event in events {
            let Ok(event) = serde_json::from_slice::<Value>(&event.json) else { continue };
            let host = event["custom_properties"]["server.address"].as_str().and_then(client_of);
            let error = event["error"].as_str().filter(|error| !error.is_empty());
            if let (Some(client), Some(error)) = (host, error) {
                seen.errors.insert(client.to_owned(), error.to_owned());
            }
        }
        remove(&self.folder);
        seen
    }
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        tracing::warn!(folder = %folder.display(), %error, "a temporary folder could not be removed");
    }
}

/// The host that a client is to call.
pub(super) fn host_of(client: &str) -> String {
    format!("{client}.{DOMAIN}")
}

/// The client that a host was for.
fn client_of(host: &str) -> Option<&str> {
    host.strip_suffix(DOMAIN)?.strip_suffix('.')
}
/// The origin's certificate for all of its names, and the root that it is signed by (PEM).
fn certificate(clients: &[&str]) -> Result<(ServerConfig, String), Failure> {
    let root_key = KeyPair::generate()?;
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    root.distinguished_name.push(DnType::CommonName, "otas-proxy check");
    let root_pem = root.self_signed(&root_key)?.pem();
    let key = KeyPair::generate()?;
    let names: Vec<String> = clients.iter().map(|client| host_of(client)).collect();
    let leaf = CertificateParams::new(names)?.signed_by(&key, &Issuer::from_params(&root, &root_key))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)?;
    Ok((config, root_pem))
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, seen) = (tls.clone(), seen.clone());
        tokio::spawn(async move {
            if let Err(error) = serve(stream, tls, seen).await {
                tracing::debug!(%error, "the check's origin lost a connection");
            }
        });
    }
}

/// Accepts the CONNECT, and then is the origin.
async fn serve(mut stream: TcpStream, tls: TlsAcceptor, seen: Arc<Mutex<Seen>>) -> io::Result<()> {
    let host = connect_target(&mut stream).await?;
    let Some(client) = client_of(&host).map(str::to_owned) else { return Ok(()) };
    seen.lock().connected.insert(client.clone());
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let stream = TokioIo::new(tls.accept(stream).await?);
    let service = service_fn(move |request| {
        seen.lock().asked.insert(client.clone());
        std::future::ready(Ok::<_, Infallible>(answer(&request, &host)))
    });
    http1::Builder::new().serve_connection(stream, service).await.map_err(io::Error::other)
}

/// The host that our proxy asks for, without its port.
async fn connect_target(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    // Byte by byte: the TLS that follows is not ours to read.
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_LIMIT_BYTES {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split([':', ' ']).next());
    target.map(str::to_ascii_lowercase).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no CONNECT"))
}

/// Enough of a repository, an index, and a registry for their clients to succeed.
fn answer(request: &Request<Incoming>, host: &str) -> Response<Full<Bytes>> {
    let (kind, body) = match request.uri().path() {
        "/repo.git/info/refs" => ("text/plain", format!("{}\trefs/heads/main\n", "0123456789".repeat(4))),
        "/repo.git/HEAD" => ("text/plain", "ref: refs/heads/main\n".to_owned()),
        "/index/config.json" => {
            ("application/json", format!("{{\"dl\":\"https://{host}/dl\",\"api\":\"https://{host}\"}}"))
        }
        "/api/v1/crates" => ("application/json", r#"{"crates":[],"meta":{"total":0}}"#.to_owned()),
        path if path.ends_with("/@v/list") => ("text/plain", "v1.0.0\n".to_owned()),
        path if path.starts_with("/simple/") => ("text/html", "<!DOCTYPE html><html><body></body></html>".to_owned()),
        _ => ("application/json", "{}".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
