//! An origin whose every step the test makes itself, and that tells the test when a call was given up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

use super::agent::Body;
use super::proxy::PATIENCE;

/// The origin. Calls come out of [`ManualOrigin::call`].
pub struct ManualOrigin {
    pub addr: SocketAddr,
    calls: mpsc::UnboundedReceiver<Call>,
    task: tokio::task::JoinHandle<()>,
}

/// A request, and the way to answer it. `answer.closed()` tells when nobody waits any more.
pub struct Call {
    /// The proxy's end of the connection that it came on.
    pub from: SocketAddr,
    pub request: Request<Incoming>,
    pub answer: oneshot::Sender<Response<Body>>,
}

/// The way to send a response's body. `closed()` tells when nobody reads it any more.
pub type Pieces = mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>;

/// A body that is sent piece by piece: it ends when `Pieces` is dropped.
pub fn piecewise() -> (Pieces, Body) {
    let (pieces, receiver) = mpsc::channel(1);
    let frames = futures_util::stream::unfold(receiver, |mut r| async { r.recv().await.map(|piece| (piece, r)) });
    (pieces, StreamBody::new(Box::pin(frames)).boxed())
}

/// One piece of such a body.
pub fn piece(bytes: impl Into<Bytes>) -> Result<Frame<Bytes>, std::io::Error> {
    Ok(Frame::data(bytes.into()))
}

impl ManualOrigin {
    /// In clear (HTTP/1.1), or with this configuration.
    pub async fn start(tls: Option<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::unbounded_channel();
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let task = tokio::spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let (sender, tls) = (sender.clone(), tls.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return serve(stream, from, false, sender).await };
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    serve(stream, from, h2, sender).await;
                });
            }
        });
        Self { addr, calls, task }
    }

    /// The next call.
    pub async fn call(&mut self) -> Call {
        tokio::time::timeout(PATIENCE, self.calls.recv()).await.expect("no call came").unwrap()
    }
}

impl Call {
    /// Answers 200 with a body that the test sends piece by piece.
    pub fn stream(self, content_type: &'static str) -> (Pieces, Incoming) {
        let (pieces, body) = piecewise();
        let response = Response::builder().header("content-type", content_type).body(body).unwrap();
        self.answer.send(response).unwrap();
        (pieces, self.request.into_body())
    }
}

impl Drop for ManualOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<S>(stream: S, from: SocketAddr, h2: bool, calls: mpsc::UnboundedSender<Call>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (answer, answered) = oneshot::channel();
        let _ = calls.send(Call { from, request, answer });
        async move {
            match answered.await {
                Ok(response) => Ok::<_, Infallible>(response),
                Err(_) => std::future::pending().await,
            }
        }
    });
    let io = TokioIo::new(stream);
    if h2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    }
}
