//! Origins to call: plain or TLS, HTTP/1.1 or HTTP/2, with certificates good and bad, or literal bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

type Body = BoxBody<Bytes, std::io::Error>;

/// The CA that test origins are signed by: what `tls.origin_ca_file` names.
pub struct TestCa {
    key: KeyPair,
    params: CertificateParams,
    der: CertificateDer<'static>,
    pub file: PathBuf,
}

/// What is wrong with an origin's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    Good,
    Expired,
    NotYetValid,
    SelfSigned,
    WrongName,
}

impl TestCa {
    /// Makes a CA and writes its certificate into `folder`.
    pub fn new(folder: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "test origins' CA");
        let cert = params.self_signed(&key).unwrap();
        let file = folder.join("origin-ca.pem");
        std::fs::write(&file, cert.pem()).unwrap();
        Self { key, params, der: cert.der().clone(), file }
    }

    /// The certificate itself, for clients that call an origin directly.
    pub fn der(&self) -> CertificateDer<'static> {
        self.der.clone()
    }

    /// A server's TLS configuration with a good certificate for these names and addresses.
    pub fn server_for(&self, names: &[&str], alpn: &[&[u8]]) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        config
    }

    /// A client that trusts this CA and nothing else.
    pub fn client(&self, alpn: &[&[u8]]) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        config
    }

    /// A certificate for this machine, and its key.
    pub fn issue(&self, certificate: Certificate) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let names = if certificate == Certificate::WrongName { "other.test" } else { "localhost" };
        let mut params = CertificateParams::new(vec![names.to_owned()]).unwrap();
        if certificate != Certificate::WrongName {
            params.subject_alt_names.push(SanType::IpAddress("127.0.0.1".parse().unwrap()));
        }
        params.use_authority_key_identifier_extension = true;
        let now = time::OffsetDateTime::now_utc();
        let day = time::Duration::DAY;
        (params.not_before, params.not_after) = match certificate {
            Certificate::Expired => (now - day * 10, now - day),
            Certificate::NotYetValid => (now + day, now + day * 10),
            _ => (now - day, now + day * 10),
        };
        let cert = match certificate {
            Certificate::SelfSigned => params.self_signed(&key).unwrap(),
            _ => params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap(),
        };
        (cert, key)
    }

    /// The same as a server has them.
    fn server_certificate(&self, certificate: Certificate) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let (cert, key) = self.issue(certificate);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        (vec![cert.der().clone()], key)
    }

    /// A server's TLS configuration.
    pub fn server(&self, certificate: Certificate, alpn: &[&[u8]]) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (chain, key) = self.server_certificate(certificate);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        config
    }
}

impl TestCa {
    /// A certificate for a client and its key, as files in `folder`.
    pub fn client_certificate(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["agents.test".to_owned()]).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        let files = (folder.join("client.pem"), folder.join("client.key"));
        std::fs::write(&files.0, cert.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    /// A server's TLS configuration that asks clients for a certificate of this CA.
    pub fn server_for_known_clients(&self, alpn: &[&[u8]]) -> ServerConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let (chain, key) = self.server_certificate(Certificate::Good);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        config
    }
}

/// A request as the origin received it.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    pub uri: String,
    pub version: http::Version,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// An origin that answers by path (see [`answer`]) and remembers what it received.
pub struct TestOrigin {
    pub addr: SocketAddr,
    scheme: &'static str,
    received: Arc<Mutex<Vec<Received>>>,
    accepted: Arc<std::sync::atomic::AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl TestOrigin {
    /// Plain HTTP/1.1.
    pub async fn http() -> Self {
        Self::start("http", None).await
    }

    /// HTTPS with `http/1.1` only.
    pub async fn https(ca: &TestCa) -> Self {
        Self::tls(ca.server(Certificate::Good, &[b"http/1.1"])).await
    }

    /// HTTPS that prefers `h2`.
    pub async fn h2(ca: &TestCa) -> Self {
        Self::tls(ca.server(Certificate::Good, &[b"h2", b"http/1.1"])).await
    }

    /// HTTPS with this configuration.
    pub async fn tls(config: ServerConfig) -> Self {
        Self::start("https", Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(scheme: &'static str, tls: Option<TlsAcceptor>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), scheme, tls)
    }

    /// On this listener; with a TLS configuration, `https`.
    pub async fn at(addr: SocketAddr, tls: Option<ServerConfig>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        Self::on(TcpListener::bind(addr).await.unwrap(), scheme, tls)
    }

    fn on(listener: TcpListener, scheme: &'static str, tls: Option<TlsAcceptor>) -> Self {
        let addr = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let accepted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (log, count) = (received.clone(), accepted.clone());
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                let (log, tls) = (log.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, false, log).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                            serve(stream, h2, log).await;
                        }
                    }
                });
            }
        });
        Self { addr, scheme, received, accepted, task }
    }

    /// `https://localhost:PORT` and the path.
    pub fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.addr.port())
    }

    /// What was received so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// TCP connections so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Drop for TestOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<S>(stream: S, h2: bool, log: Arc<Mutex<Vec<Received>>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(request, log.clone()));
    let io = TokioIo::new(stream);
    if h2 {
        let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = http.max_header_list_size(256 << 10).serve_connection(io, service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    }
}

/// What each path answers.
///
/// `/echo` the body; `/bytes/N` N bytes; `/sse/N/MS` N events, one every MS ms; `/gzip` compressed text; `/bomb` a
/// small gzip of 64 MiB of zeros; `/status/N`; `/slow/MS`; `/trailers`; `/break/N` N bytes, then a reset;
/// `/redirect?URL` sends there; `/count` swallows the body and answers its length and a hash of it; `/never` no answer, `/hold` before the body was read; else a short JSON text.
async fn answer(request: Request<Incoming>, log: Arc<Mutex<Vec<Received>>>) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let mut words = path.trim_start_matches('/').split('/');
    let (first, numbers) =
        (words.next().unwrap_or_default(), words.filter_map(|w| w.parse::<u64>().ok()).collect::<Vec<_>>());
    let number = |at: usize| numbers.get(at).copied().unwrap_or_default();
    let mut body = Some(body);
    let collected = match (first, body.take_if(|_| first != "hold")) {
        ("count", Some(body)) => Bytes::from(count(body).await),
        (_, Some(body)) => body.collect().await.map(|b| b.to_bytes()).unwrap_or_default(),
        (_, None) => Bytes::new(),
    };
    log.lock().unwrap().push(Received {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        version: parts.version,
        headers: parts
            .headers
            .iter()
            .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
            .collect(),
        body: collected.clone(),
    });
    let mut response = match first {
        "echo" | "count" => Response::new(full(collected)),
        "bytes" => Response::new(bytes(number(0))),
        "sse" => typed("text/event-stream", events(number(0), Duration::from_millis(number(1)))),
        "gzip" => packed(&b"compressed text, compressed text. ".repeat(100)),
        "bomb" => packed(&vec![0; 64 << 20]),
        "status" => {
            let mut response = Response::new(full(format!("status {}", number(0))));
            *response.status_mut() = StatusCode::from_u16(number(0) as u16).unwrap();
            response
        }
        "slow" => {
            tokio::time::sleep(Duration::from_millis(number(0))).await;
            Response::new(full("slow"))
        }
        "redirect" => {
            let mut response = Response::new(full("elsewhere"));
            *response.status_mut() = StatusCode::FOUND;
            let to = parts.uri.query().unwrap_or_default();
            response.headers_mut().insert(http::header::LOCATION, HeaderValue::from_str(to).unwrap());
            response
        }
        "trailers" => with_trailers(),
        "break" => Response::new(broken(number(0))),
        "never" | "hold" => std::future::pending().await,
        _ => typed("application/json", full(r#"{"hello":"agent"}"#)),
    };
    response.headers_mut().insert("x-origin", HeaderValue::from_static("test"));
    Ok(response)
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed()
}

fn typed(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The same bytes for the same length, wherever they are made.
pub fn pattern(from: u64, length: usize) -> Bytes {
    (from..from + length as u64).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn bytes(length: u64) -> Body {
    const PIECE: u64 = 64 << 10;
    // One piece of the pattern is made once and sent over and over: a gigabyte must not cost the test a minute.
    let piece = pattern(0, PIECE as usize);
    let pieces = length.div_ceil(PIECE);
    let frames = futures_util::stream::iter(0..pieces).map(move |i| {
        let left = (length - i * PIECE).min(PIECE) as usize;
        Ok(Frame::data(piece.slice(..left)))
    });
    BodyExt::boxed(StreamBody::new(frames))
}

fn events(n: u64, every: Duration) -> Body {
    let frames = futures_util::stream::unfold(0, move |i| async move {
        if i == n {
            return None;
        }
        if i > 0 {
            tokio::time::sleep(every).await;
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
        Some((Ok(Frame::data(Bytes::from(format!("data: {{\"n\":{i},\"sent_us\":{now}}}\n\n")))), i + 1))
    });
    BodyExt::boxed(StreamBody::new(Box::pin(frames)))
}

fn packed(text: &[u8]) -> Response<Body> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    let mut response = typed("text/plain", full(encoder.finish().unwrap()));
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

fn with_trailers() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert(HeaderName::from_static("x-checksum"), HeaderValue::from_static("abc123"));
    let frames = futures_util::stream::iter([
        Ok(Frame::data(Bytes::from_static(b"body with trailers"))),
        Ok(Frame::trailers(trailers)),
    ]);
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert("trailer", HeaderValue::from_static("x-checksum"));
    response
}

/// Some bytes, and then the connection breaks.
fn broken(after: u64) -> Body {
    let frames = futures_util::stream::iter([
        Ok(Frame::data(pattern(0, after as usize))),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ]);
    // The bytes must be on their way before the error ends the connection.
    let frames = frames.then(|frame| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        frame
    });
    BodyExt::boxed(StreamBody::new(Box::pin(frames)))
}

/// The length and the SHA-256 of a body, without holding it.
async fn count(mut body: Incoming) -> String {
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut length = 0u64;
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            length += data.len() as u64;
            digest.update(data);
        }
    }
    format!("{length} {}", hex(digest.finish().as_ref()))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// An origin of literal bytes: reads a request's head, remembers all bytes it gets, and writes what it was told.
pub struct RawOrigin {
    pub addr: SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
    task: tokio::task::JoinHandle<()>,
}

/// What a [`RawOrigin`] does after each request's head.
#[derive(Clone)]
pub enum Act {
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Waits until it has received bytes that end like this.
    Await(Vec<u8>),
    /// Takes so long.
    Pause(Duration),
    /// Closes the connection. TLS ends without a word.
    Close,
    /// Closes the connection in good order: TLS with `close_notify`.
    Shutdown,
    /// Resets the connection.
    Reset,
}

impl RawOrigin {
    /// On each connection: for each request head, these acts in order.
    pub async fn start(acts: Vec<Act>) -> Self {
        Self::serving(None, acts).await
    }

    /// The same over TLS.
    pub async fn tls(config: ServerConfig, acts: Vec<Act>) -> Self {
        Self::serving(Some(TlsAcceptor::from(Arc::new(config))), acts).await
    }

    async fn serving(tls: Option<TlsAcceptor>, acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let log = received.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, acts, log) = (tls.clone(), acts.clone(), log.clone());
                tokio::spawn(async move {
                    match tls {
                        None => act(Either::Left(stream), acts, log).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            act(Either::Right(Box::new(stream)), acts, log).await;
                        }
                    }
                });
            }
        });
        Self { addr, received, task }
    }

    /// All bytes received so far, as text.
    pub fn received(&self) -> String {
        String::from_utf8_lossy(&self.received_bytes()).into_owned()
    }

    /// All bytes received so far.
    pub fn received_bytes(&self) -> Vec<u8> {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for RawOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection in clear or in TLS.
type RawStream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

async fn act(mut stream: RawStream, acts: Vec<Act>, log: Arc<Mutex<Vec<u8>>>) {
    let mut seen: Vec<u8> = Vec::new();
    loop {
        if !read_until(&mut stream, &mut seen, b"\r\n\r\n", &log).await {
            return;
        }
        for act in &acts {
            match act {
                Act::Write(bytes) => {
                    if stream.write_all(bytes).await.is_err() {
                        return;
                    }
                }
                Act::Await(end) => {
                    if !read_until(&mut stream, &mut seen, end, &log).await {
                        return;
                    }
                }
                Act::Pause(length) => tokio::time::sleep(*length).await,
                Act::Close => return,
                Act::Shutdown => {
                    let _ = stream.shutdown().await;
                    return;
                }
                Act::Reset => {
                    let tcp = match &stream {
                        Either::Left(tcp) => tcp,
                        Either::Right(tls) => tls.get_ref().0,
                    };
                    socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO)).unwrap();
                    return;
                }
            }
        }
    }
}

/// Reads until `seen` holds `end`, and takes everything up to it out of `seen`.
async fn read_until(stream: &mut RawStream, seen: &mut Vec<u8>, end: &[u8], log: &Arc<Mutex<Vec<u8>>>) -> bool {
    loop {
        if let Some(at) = seen.windows(end.len()).position(|w| w == end) {
            seen.drain(..at + end.len());
            return true;
        }
        let mut buffer = [0u8; 4096];
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => {
                seen.extend_from_slice(&buffer[..n]);
                log.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
            _ => return false,
        }
    }
}
