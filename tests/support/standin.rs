//! Origins that stand in for services that clients know: each answers as its own function says, over TLS, and remembers
//! what it received and how much it sent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

pub mod files;
pub mod llm;
pub mod websocket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::agent::Body;
use super::origin::{Certificate, Received, TestCa};

/// The service.
pub struct StandIn {
    pub addr: SocketAddr,
    served: Arc<Mutex<Vec<Served>>>,
    task: tokio::task::JoinHandle<()>,
}

/// One call that it answered.
#[derive(Debug, Clone)]
pub struct Served {
    pub request: Received,
    pub status: u16,
    /// Bytes of the answer's body, where it is known beforehand: not that of an upgraded connection.
    pub sent: Option<usize>,
}

/// An answer, whose body is sent piece by piece.
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    pieces: Vec<Bytes>,
}

type Answer = dyn Fn(&Received) -> Reply + Send + Sync;

impl Reply {
    /// 200, in one piece and with its length.
    pub fn whole(content_type: &str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let length = body.len().to_string();
        let headers = vec![("content-type", content_type.to_owned()), ("content-length", length)];
        Self { status: 200, headers, pieces: vec![body] }
    }

    /// 200, server-sent events.
    pub fn events(events: impl IntoIterator<Item = String>) -> Self {
        let headers = vec![("content-type", "text/event-stream; charset=utf-8".to_owned())];
        Self { status: 200, headers, pieces: events.into_iter().map(Bytes::from).collect() }
    }

    /// Nothing is there.
    pub fn not_found() -> Self {
        Self { status: 404, ..Self::whole("text/plain", "not found") }
    }

    /// With one more header field.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

impl StandIn {
    /// Starts it: `http/1.1` only, or with `h2` preferred.
    pub async fn start(ca: &TestCa, h2: bool, answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let alpn: &[&[u8]] = if h2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        let tls = TlsAcceptor::from(Arc::new(ca.server(Certificate::Good, alpn)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let served = Arc::new(Mutex::new(Vec::new()));
        let (log, answer): (_, Arc<Answer>) = (served.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, tls.clone(), answer.clone(), log.clone()));
            }
        });
        Self { addr, served, task }
    }

    /// `https://localhost:PORT` and the path.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.addr.port())
    }

    /// What was answered so far.
    pub fn served(&self) -> Vec<Served> {
        self.served.lock().unwrap().clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, answer: Arc<Answer>, log: Arc<Mutex<Vec<Served>>>) {
    stream.set_nodelay(true).unwrap();
    let Ok(stream) = tls.accept(stream).await else { return };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| respond(request, answer.clone(), log.clone()));
    let io = TokioIo::new(stream);
    if h2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades().await;
    }
}

async fn respond(
    mut request: Request<Incoming>,
    answer: Arc<Answer>,
    log: Arc<Mutex<Vec<Served>>>,
) -> Result<Response<Body>, Infallible> {
    let upgrade = websocket::upgrade(&mut request);
    let (parts, body) = request.into_parts();
    let field = |(n, v): (&http::HeaderName, &HeaderValue)| {
        (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())
    };
    let request = Received {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        version: parts.version,
        headers: parts.headers.iter().map(field).collect(),
        body: body.collect().await.map(|b| b.to_bytes()).unwrap_or_default(),
    };
    if let Some(response) = upgrade {
        log.lock().unwrap().push(Served { request, status: 101, sent: None });
        return Ok(response);
    }
    let reply = answer(&request);
    let head = parts.method == http::Method::HEAD;
    let sent = if head { 0 } else { reply.pieces.iter().map(Bytes::len).sum() };
    log.lock().unwrap().push(Served { request, status: reply.status, sent: Some(sent) });
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    let pieces = reply.pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
    Ok(response.body(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(pieces)))).unwrap())
}
