//! The origin: HTTP/1.1 in clear and over TLS, one thread, responses of fixed sizes.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use otas_proxy::tls::{CertAuthority, HTTP11, Leaves};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The interval between events of a stream.
const EVENT_EVERY: Duration = Duration::from_millis(500);

/// Serves forever; prints its two ports. Its certificate is signed by the CA in `folder`.
pub fn serve(folder: &Path) {
    let authority = Arc::new(CertAuthority::load_or_create(folder).unwrap());
    let tls = TlsAcceptor::from(Leaves::new(authority).unwrap().server_config("localhost", Some(HTTP11)).unwrap());
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let secure = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{} {}", plain.local_addr().unwrap().port(), secure.local_addr().unwrap().port());
        tokio::join!(accept(plain, None), accept(secure, Some(tls)));
    });
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>) {
    let mib = Bytes::from(vec![b'z'; 1 << 20]);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (tls, mib) = (tls.clone(), mib.clone());
        tokio::spawn(async move {
            match tls {
                None => http(stream, mib).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        http(stream, mib).await;
                    }
                }
            }
        });
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin, mib: Bytes) {
    let service = service_fn(|request| answer(request, mib.clone()));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Endless events, each with the time when it was sent, in nanoseconds since 1970.
fn stamps() -> impl futures_util::Stream<Item = Result<http_body::Frame<Bytes>, Infallible>> + Send + Sync {
    let every = tokio::time::interval(EVENT_EVERY);
    futures_util::stream::unfold(every, |mut every| async move {
        every.tick().await;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        Some((Ok(http_body::Frame::data(Bytes::from(format!("data: {now}\n\n")))), every))
    })
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, mib: Bytes) -> Result<Response<Body>, Infallible> {
    const SMALL: &str = r#"{"id":"resp_0123456789abcdef","object":"response","model":"demo-small","status":"completed","usage":{"input_tokens":12,"output_tokens":34,"total_tokens":46},"output":"the quick brown fox jumps over the lazy dog"}"#;
    let path = request.uri().path().to_owned();
    let body = match path.as_str() {
        "/mib" => Full::new(mib).boxed(),
        "/100mib" => {
            let frames = (0..100).map(move |_| Ok(http_body::Frame::data(mib.clone())));
            http_body_util::StreamBody::new(futures_util::stream::iter(frames)).boxed()
        }
        "/sse" => http_body_util::StreamBody::new(stamps()).boxed(),
        "/echo" => Full::new(request.into_body().collect().await.unwrap().to_bytes()).boxed(),
        _ => Full::new(Bytes::from_static(SMALL.as_bytes())).boxed(),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    if path == "/100mib" {
        response.headers_mut().insert("content-length", http::HeaderValue::from_static("104857600"));
    }
    Ok(response)
}
