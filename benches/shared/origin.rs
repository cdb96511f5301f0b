//! The origin's connections: HTTP/1.1 in clear and over TLS, one thread.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use otas_proxy::tls::{CertAuthority, HTTP11, Leaves, SuiteOrder};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The content of a response.
pub type Body = BoxBody<Bytes, Infallible>;

/// Serves forever; prints its two ports, the one in clear first. Its certificate is signed by the CA in `folder`.
pub fn serve<A, F>(folder: &Path, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<Body>, Infallible>> + Send,
{
    let authority = Arc::new(CertAuthority::load_or_create(folder).unwrap());
    let tls = TlsAcceptor::from(
        Leaves::new(authority).unwrap().server_config("localhost", Some(HTTP11), SuiteOrder::Agents).unwrap(),
    );
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let secure = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{} {}", plain.local_addr().unwrap().port(), secure.local_addr().unwrap().port());
        tokio::join!(accept(plain, None, answer.clone()), accept(secure, Some(tls), answer));
    });
}

async fn accept<A, F>(listener: TcpListener, tls: Option<TlsAcceptor>, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<Body>, Infallible>> + Send,
{
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (tls, answer) = (tls.clone(), answer.clone());
        tokio::spawn(async move {
            match tls {
                None => http(stream, answer).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        http(stream, answer).await;
                    }
                }
            }
        });
    }
}

async fn http<A, F>(stream: impl AsyncRead + AsyncWrite + Unpin, answer: A)
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}
