//! What is called in the demo: two models, an MCP server and a page, on one port with TLS and one without. The CA of the
//! certificate is the demo's own.

mod mcp;
mod messages;
mod responses;

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::Failed;

pub(super) use self::mcp::ISSUE;

type Body = BoxBody<Bytes, Infallible>;

/// The time between two pieces of a streamed answer.
const PACE: Duration = Duration::from_millis(12);

/// The origin, and the file with the CA that it is verified against.
pub(super) struct DemoOrigin {
    pub(super) tls_port: u16,
    pub(super) plain_port: u16,
    pub(super) ca_file: PathBuf,
}

/// Starts the origin; it ends with the process.
pub(super) async fn start(folder: &Path) -> Result<DemoOrigin, Failed> {
    let (tls, ca_pem) = certificate()?;
    let ca_file = folder.join("demo-origin-ca.pem");
    std::fs::write(&ca_file, ca_pem)?;
    let (secured, plain) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    let (tls_port, plain_port) = (secured.local_addr()?.port(), plain.local_addr()?.port());
    tokio::spawn(accept(secured, Some(TlsAcceptor::from(Arc::new(tls)))));
    tokio::spawn(accept(plain, None));
    Ok(DemoOrigin { tls_port, plain_port, ca_file })
}

fn certificate() -> Result<(ServerConfig, String), Failed> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let key = KeyPair::generate()?;
    let leaf =
        CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &Issuer::from_params(&ca, &ca_key))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)?;
    Ok((config, ca_pem))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            let served = async {
                stream.set_nodelay(true)?;
                match tls {
                    Some(tls) => serve(tls.accept(stream).await?).await,
                    None => serve(stream).await,
                }
            };
            if let Err(error) = served.await {
                tracing::debug!(%error, "the demo's origin lost a connection");
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<()> {
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
    connection.with_upgrades().await.map_err(io::Error::other)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    if path == "/v1/responses" {
        return Ok(responses::open(request));
    }
    let (head, body) = request.into_parts();
    let asked = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&asked).unwrap_or_default();
    Ok(match path.as_str() {
        "/v1/messages" => messages::answer(&head.headers, &asked),
        "/mcp" => mcp::answer(&asked),
        "/docs/csv" => page(),
        _ => with_status(StatusCode::NOT_FOUND, typed("text/plain", "no such page\n".into())),
    })
}

/// A compressed page.
fn page() -> Response<Body> {
    use std::io::Write as _;
    let text = "<!doctype html>\n<title>CSV</title>\n<p>A line that ends with a comma has an empty last field.</p>\n"
        .repeat(20);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let packed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).unwrap_or_default();
    with(typed("text/html; charset=utf-8", packed.into()), &[(CONTENT_ENCODING.as_str(), "gzip")])
}

fn typed(content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn json(value: &Value) -> Response<Body> {
    typed("application/json", value.to_string().into())
}

fn with_status(code: StatusCode, mut response: Response<Body>) -> Response<Body> {
    *response.status_mut() = code;
    response
}

fn with(mut response: Response<Body>, fields: &[(&'static str, &'static str)]) -> Response<Body> {
    for (name, value) in fields {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}
