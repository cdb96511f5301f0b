//! A small HTTPS origin with a throw-away CA of its own.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

type Body = BoxBody<Bytes, Infallible>;

/// The origin, and the file with the CA that it is verified against.
pub(super) struct DemoOrigin {
    pub(super) port: u16,
    pub(super) ca_file: PathBuf,
}

/// Starts the origin; it ends with the process.
pub(super) async fn start(folder: &Path) -> Result<DemoOrigin, Box<dyn std::error::Error + Send + Sync>> {
    let (tls, ca_pem) = certificate()?;
    let ca_file = folder.join("demo-origin-ca.pem");
    std::fs::write(&ca_file, ca_pem)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(tls))));
    Ok(DemoOrigin { port, ca_file })
}

fn certificate() -> Result<(ServerConfig, String), Box<dyn std::error::Error + Send + Sync>> {
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

async fn accept(listener: TcpListener, tls: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            let served = async {
                stream.set_nodelay(true)?;
                let stream = TokioIo::new(tls.accept(stream).await?);
                http1::Builder::new().serve_connection(stream, service_fn(answer)).await.map_err(io::Error::other)
            };
            if let Err(error) = served.await {
                tracing::debug!(%error, "the demo's origin lost a connection");
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let _question = request.into_body().collect().await;
    Ok(match path.as_str() {
        "/v1/models" => json(r#"{"data":[{"id":"demo-small"},{"id":"demo-large"}]}"#.into()),
        "/v1/chat/completions" => json(chat()),
        "/report" => gzipped("A report of some length, told again and again. ".repeat(200).as_bytes()),
        "/v1/messages" => stream(),
        "/overloaded" => overloaded(),
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(700)).await;
            json(r#"{"slow":true}"#.into())
        }
        "/image.png" => {
            typed("image/png", Bytes::from_static(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\xff\xfe"))
        }
        _ => status(StatusCode::NOT_FOUND, typed("text/plain", "no such page\n".into())),
    })
}

fn typed(content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed());
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

fn json(body: Bytes) -> Response<Body> {
    typed("application/json", body)
}

fn status(code: StatusCode, mut response: Response<Body>) -> Response<Body> {
    *response.status_mut() = code;
    response
}

fn overloaded() -> Response<Body> {
    let mut response = status(StatusCode::INTERNAL_SERVER_ERROR, json(r#"{"error":"overloaded"}"#.into()));
    response.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static("3"));
    response
}

fn gzipped(text: &[u8]) -> Response<Body> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let packed = encoder.write_all(text).and_then(|()| encoder.finish()).unwrap_or_default();
    let mut response = typed("text/plain; charset=utf-8", packed.into());
    response.headers_mut().insert(CONTENT_ENCODING, http::HeaderValue::from_static("gzip"));
    response
}

/// A model's answer, in the form of OpenAI's chat completions.
fn chat() -> Bytes {
    let answer = serde_json::json!({
        "id": "chatcmpl-demo", "object": "chat.completion", "created": 1_750_000_000, "model": "demo-small",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": "Every call becomes one event." },
        }],
        "usage": { "prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19 },
    });
    answer.to_string().into()
}

/// Words one by one, in the form of Anthropic's messages.
fn stream() -> Response<Body> {
    let (tx, mut rx) = mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        for event in events() {
            let kind = event["type"].as_str().unwrap_or_default();
            if tx.send(format!("event: {kind}\ndata: {event}\n\n").into()).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    });
    let frames = futures_util::stream::poll_fn(move |cx| {
        rx.poll_recv(cx).map(|word| word.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes))))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream"));
    response
}

/// The events of such an answer.
fn events() -> Vec<serde_json::Value> {
    use serde_json::json;
    let begin = [
        json!({ "type": "message_start", "message": {
            "id": "msg_demo", "type": "message", "role": "assistant", "model": "demo-large", "content": [],
            "stop_reason": null, "usage": { "input_tokens": 25, "output_tokens": 1 },
        } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
    ];
    let word = |word: &str| json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": word } });
    let words = ["Every ", "call ", "becomes ", "one ", "event."].map(word);
    let end = [
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 9 } }),
        json!({ "type": "message_stop" }),
    ];
    begin.into_iter().chain(words).chain(end).collect()
}
