//! What the origin answers: responses of fixed sizes, and an endless stream of events.

use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use crate::shared::{self, origin::Body};

/// The interval between events of a stream.
const EVENT_EVERY: Duration = Duration::from_millis(500);

/// Serves forever; prints its two ports. Its certificate is signed by the CA in `folder`.
pub fn serve(folder: &Path) {
    let mib = Bytes::from(vec![b'z'; 1 << 20]);
    shared::origin::serve(folder, move |request| answer(request, mib.clone()));
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
