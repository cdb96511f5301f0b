//! Reads what an agent sends first in a tunnel, until its protocol is known.

use std::io;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::proxy::acknowledge::Acknowledge;
use crate::proxy::sniff::{Protocol, sniff};
use crate::proxy::upstream::OriginStream;

/// Reads into `seen` until the protocol is known. If the origin speaks first, the protocol is unknown, except for HTTP/2, where
/// both sides begin at once.
///
/// # Errors
/// When the agent's stream fails.
pub(in crate::proxy) async fn first_bytes(
    agent: &mut TcpStream,
    mut origin: Option<&mut OriginStream>,
    seen: &mut BytesMut,
) -> io::Result<Protocol> {
    loop {
        if let Some(protocol) = sniff(seen) {
            return Ok(protocol);
        }
        if !seen.is_empty() {
            agent.acknowledge();
        }
        let read = match &mut origin {
            Some(stream) => tokio::select! {
                biased;
                read = agent.read_buf(seen) => read?,
                http2 = begins_http2(stream) => match http2 {
                    true => {
                        origin = None;
                        continue;
                    }
                    false => return Ok(Protocol::Unknown),
                },
            },
            None => agent.read_buf(seen).await?,
        };
        if read == 0 {
            return Ok(Protocol::Unknown);
        }
    }
}

/// Waits until the origin speaks. True: it sent the SETTINGS frame that an HTTP/2 server may send first (RFC 9113 3.4). The
/// bytes stay unread.
async fn begins_http2(origin: &mut OriginStream) -> bool {
    // The first of the three length bytes is 0, because no frame may exceed 16 KiB yet. After them: type 4, no flags, stream 0.
    const SETTINGS: [u8; 6] = [4, 0, 0, 0, 0, 0];
    loop {
        match &origin.seen()[..] {
            [0, _, _, header @ ..] if header.starts_with(&SETTINGS) => return true,
            [0, _, _, header @ ..] if !SETTINGS.starts_with(header) => return false,
            [] | [0, ..] => {}
            _ => return false,
        }
        if !matches!(origin.read_ahead().await, Ok(1..)) {
            return false;
        }
    }
}
