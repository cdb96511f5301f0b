//! An agent in pieces: the tunnel, the TLS inside it and the HTTP inside that, each to be looked at by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::origin::TestOrigin;
use super::proxy::{PATIENCE, Running};

/// The body of a request.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// One that is there already.
pub fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed()
}

/// Opens a tunnel: the answer to CONNECT as it came, and the stream after it. Not a byte of the inside is read.
pub async fn connect(proxy: &Running, authority: &str) -> (String, TcpStream) {
    connect_at(proxy.addr, authority).await
}

async fn connect_at(proxy: SocketAddr, authority: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("no answer to CONNECT");
        head.push(byte.unwrap());
    }
    (String::from_utf8(head).unwrap(), stream)
}

/// A tunnel that must open, through the proxy at this address.
pub async fn tunnel_at(proxy: SocketAddr, authority: &str) -> TcpStream {
    let (head, stream) = connect_at(proxy, authority).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    stream
}

/// The same for a tunnel that must open.
pub async fn tunnel(proxy: &Running, authority: &str) -> TcpStream {
    let (head, stream) = connect(proxy, authority).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    stream
}

/// TLS on `stream`, for `name` (a DNS name, or an IP address: then without SNI).
pub async fn tls<S>(stream: S, name: &str, config: ClientConfig) -> std::io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    tokio::time::timeout(PATIENCE, connecting).await.expect("the TLS handshake hangs")
}

/// An HTTP connection inside an intercepted tunnel.
pub struct Agent {
    sender: Sender,
    task: JoinHandle<()>,
    authority: String,
    /// What the TLS handshake agreed on.
    pub alpn: Option<Vec<u8>>,
    /// The certificate that was shown.
    pub certificate: CertificateDer<'static>,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Agent {
    /// To `origin` by its name, offering `alpn`.
    pub async fn to(proxy: &Running, origin: &TestOrigin, alpn: &[&[u8]]) -> Self {
        Self::named(proxy, "localhost", origin.addr.port(), alpn).await
    }

    /// To `name` (also an IP address) and `port`, offering `alpn`.
    pub async fn named(proxy: &Running, name: &str, port: u16, alpn: &[&[u8]]) -> Self {
        Self::through(proxy.addr, proxy.client_tls(alpn), name, port).await
    }

    /// The same through the proxy at this address, with this configuration.
    pub async fn through(proxy: SocketAddr, config: ClientConfig, name: &str, port: u16) -> Self {
        let authority = format!("{name}:{port}");
        Self::inside(tunnel_at(proxy, &authority).await, config, name, authority).await
    }

    /// To the origin at this address itself, without a proxy.
    pub async fn direct(origin: SocketAddr, config: ClientConfig, name: &str) -> Self {
        let stream = TcpStream::connect(origin).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::inside(stream, config, name, format!("{name}:{}", origin.port())).await
    }

    async fn inside(stream: TcpStream, config: ClientConfig, name: &str, authority: String) -> Self {
        let stream = tls(stream, name, config).await.unwrap();
        let (_, session) = stream.get_ref();
        let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
        let certificate = session.peer_certificates().unwrap()[0].clone();
        let h2 = alpn.as_deref() == Some(b"h2");
        let (sender, task) = speak(stream, h2).await;
        Self { sender, task, authority, alpn, certificate }
    }

    /// In clear inside a tunnel.
    pub async fn clear(proxy: &Running, authority: &str, h2: bool) -> Self {
        let (sender, task) = speak(tunnel(proxy, authority).await, h2).await;
        Self { sender, task, authority: authority.to_owned(), alpn: None, certificate: CertificateDer::from(vec![]) }
    }

    /// A request for `path`, in the form that this connection's protocol wants.
    pub fn request(&self, method: &str, path: &str, body: Body) -> Request<Body> {
        let request = Request::builder().method(method);
        let request = match &self.sender {
            Sender::Http1(_) => request.uri(path).header("host", &self.authority),
            Sender::Http2(_) => request.uri(format!("https://{}{path}", self.authority)),
        };
        request.body(body).unwrap()
    }

    /// Sends a request.
    pub fn send(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        let sent: std::pin::Pin<Box<dyn Future<Output = _> + Send>> = match &mut self.sender {
            Sender::Http1(sender) => Box::pin(sender.send_request(request)),
            Sender::Http2(sender) => Box::pin(sender.send_request(request)),
        };
        async { tokio::time::timeout(PATIENCE, sent).await.expect("no response") }
    }

    /// Sends a request without waiting for its answer, as an agent that may leave does.
    pub fn start(&mut self, request: Request<Body>) -> JoinHandle<hyper::Result<Response<Incoming>>> {
        tokio::spawn(self.send(request))
    }

    /// GET: the status and the whole body.
    pub async fn get(&mut self, path: &str) -> (u16, Bytes) {
        self.post("GET", path, Bytes::new()).await
    }

    /// Any method with a body: the status and the whole body.
    pub async fn post(&mut self, method: &str, path: &str, body: impl Into<Bytes>) -> (u16, Bytes) {
        let response = self.send(self.request(method, path, full(body))).await.unwrap();
        (response.status().as_u16(), whole(response).await)
    }

    /// Waits until the connection can carry the next request.
    pub async fn ready(&mut self) {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.unwrap(),
            Sender::Http2(sender) => sender.ready().await.unwrap(),
        }
    }

    /// Ends the connection in good order and waits for that.
    pub async fn close(self) {
        drop(self.sender);
        tokio::time::timeout(PATIENCE, self.task).await.expect("the connection does not end").unwrap();
    }

    /// Drops the connection, whatever is under way on it.
    pub async fn vanish(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// A response's body to its end.
pub async fn whole(response: Response<Incoming>) -> Bytes {
    tokio::time::timeout(PATIENCE, response.into_body().collect()).await.expect("the body hangs").unwrap().to_bytes()
}

async fn speak<S>(stream: S, h2: bool) -> (Sender, JoinHandle<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    if h2 {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new()).handshake(io).await.unwrap();
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        return (Sender::Http2(sender), task);
    }
    let (sender, connection) = http1::handshake(io).await.unwrap();
    let task = tokio::spawn(async move {
        let _ = connection.await;
    });
    (Sender::Http1(sender), task)
}
