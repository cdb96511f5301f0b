//! The server's side of WebSocket, as far as an echo of short messages needs it (RFC 6455), compressed or not: what comes
//! compressed is in the context of all that came before, and so is its echo (RFC 7692).

use base64::Engine as _;
use bytes::Bytes;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::support::agent::{Body, full};

const CLOSE: u8 = 0x8;

/// If the request asks for a WebSocket: the answer that grants it. Every message is then sent back.
pub fn upgrade(request: &mut Request<Incoming>) -> Option<Response<Body>> {
    let asked = request.headers().get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = request.headers().get(SEC_WEBSOCKET_KEY).filter(|_| asked)?.to_str().unwrap();
    let accept = accept(key);
    let offered = request.headers().get(SEC_WEBSOCKET_EXTENSIONS).and_then(|offered| offered.to_str().ok());
    let deflate = offered.is_some_and(|offered| offered.contains("permessage-deflate"));
    let upgrading = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(stream) = upgrading.await {
            let _ = echo(TokioIo::new(stream)).await;
        }
    });
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
        .header(SEC_WEBSOCKET_ACCEPT, accept);
    if deflate {
        response = response.header(SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate");
    }
    Some(response.body(full(Bytes::new())).unwrap())
}

fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hash)
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    loop {
        let (first, length) = (stream.read_u8().await?, stream.read_u8().await? & 0x7f);
        assert!(length < 126, "a longer message than this echo can read");
        let mut mask = [0; 4];
        stream.read_exact(&mut mask).await?;
        let mut message = vec![0; length.into()];
        stream.read_exact(&mut message).await?;
        message.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        stream.write_all(&[&[first, length], &message[..]].concat()).await?;
        stream.flush().await?;
        if first & 0xf == CLOSE {
            return stream.shutdown().await;
        }
    }
}
