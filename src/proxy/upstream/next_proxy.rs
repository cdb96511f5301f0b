//! Tunnels through the next proxy (`upstream.proxy`), by CONNECT or SOCKS5. The next proxy resolves names.

use std::io;

use bytes::{Buf, BytesMut};
use http::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_socks::tcp::Socks5Stream;
use tokio_util::either::Either;

use super::origins::Origins;
use super::tcp::{Dialled, OriginStream, dial_host, too_late};
use crate::capture::Origin;
use crate::cause;
use crate::config::{NextProxy, NextProxyScheme};
use crate::proxy::error::ProxyError;
use crate::proxy::rewind::Rewind;
use crate::tls::Offer;

/// The largest head of a response to CONNECT.
const HEAD_LIMIT_BYTES: usize = 16 << 10;
/// The most fields in it.
const HEAD_FIELDS: usize = 64;

/// Connects to the proxy itself, over TLS if its scheme is `https`.
pub(super) async fn connect(origins: &Origins, proxy: &NextProxy, deadline: Instant) -> Result<Dialled, ProxyError> {
    let shown = proxy.to_string();
    let (tcp, peer, mut timings) =
        dial_host(origins, None, (&proxy.host, None), proxy.port, &shown, deadline).await?;
    let began = Instant::now();
    let socket = match proxy.scheme {
        NextProxyScheme::Https => {
            let secured = timeout_at(deadline, tls(origins, proxy, tcp)).await;
            Either::Right(Box::new(secured.map_err(|_| too_late(origins, &shown, "TLS handshake"))??))
        }
        NextProxyScheme::Http | NextProxyScheme::Socks5 => Either::Left(tcp),
    };
    timings.connect = timings.connect.map(|took| took + began.elapsed());
    Ok(Dialled { stream: Rewind::new(BytesMut::new(), socket), peer, timings })
}

/// Opens a tunnel to `origin` on a connection to the proxy.
pub(super) async fn tunnel(
    stream: OriginStream,
    proxy: &NextProxy,
    origin: &Origin,
) -> Result<OriginStream, ProxyError> {
    match proxy.scheme {
        NextProxyScheme::Http | NextProxyScheme::Https => http_connect(stream, proxy, origin).await,
        NextProxyScheme::Socks5 => socks5_connect(stream, proxy, origin).await,
    }
}

/// The `Proxy-Authorization` for the proxy, if it has credentials.
///
/// # Errors
/// When a header field cannot hold the credentials.
pub(in crate::proxy) fn authorization(proxy: &NextProxy) -> Result<Option<HeaderValue>, ProxyError> {
    let Some(value) = proxy.authorization() else { return Ok(None) };
    let mut value = HeaderValue::from_str(value.expose())
        .map_err(|_| failed(proxy, "its credentials cannot be sent over HTTP".to_owned()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The error of a request that the next proxy itself answered with 407.
pub(in crate::proxy) fn unauthorized(proxy: &NextProxy) -> ProxyError {
    failed(proxy, "it requires valid credentials (status 407)".to_owned())
}

async fn tls(
    origins: &Origins,
    proxy: &NextProxy,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ProxyError> {
    let name = ServerName::try_from(proxy.host.clone())
        .map_err(|_| failed(proxy, "its name is not a valid TLS server name".to_owned()))?;
    let config = origins.tls.offering(&proxy.host, proxy.port, Offer::None);
    tokio_rustls::TlsConnector::from(config.clone())
        .connect(name, stream)
        .await
        .map_err(|e| failed(proxy, format!("the TLS handshake failed: {e}")))
}

async fn http_connect(
    mut stream: OriginStream,
    proxy: &NextProxy,
    origin: &Origin,
) -> Result<OriginStream, ProxyError> {
    let lost = |e: io::Error| failed(proxy, cause::chain(&e));
    stream.write_all(connect_request(proxy, origin).as_bytes()).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    loop {
        match answer(stream.seen()) {
            Ok(Some((status, head_bytes))) if (200..300).contains(&status) => {
                stream.seen_mut().advance(head_bytes);
                return Ok(stream);
            }
            Ok(Some((407, _))) => {
                return Err(unauthorized(proxy));
            }
            Ok(Some((status, _))) => {
                return Err(failed(proxy, format!("it refused the tunnel with status {status}")));
            }
            Ok(None) => {}
            Err(()) => return Err(failed(proxy, "its answer to CONNECT is not HTTP".to_owned())),
        }
        if stream.read_ahead().await.map_err(lost)? == 0 {
            return Err(failed(proxy, "it closed the connection without answering".to_owned()));
        }
    }
}

fn connect_request(proxy: &NextProxy, origin: &Origin) -> String {
    let authority = origin.authority();
    let authorization = proxy.authorization();
    let authorization =
        authorization.map(|value| format!("Proxy-Authorization: {}\r\n", value.expose())).unwrap_or_default();
    format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{authorization}\r\n")
}

/// The status of a response to CONNECT, and the length of its head. `None`: it is incomplete.
fn answer(bytes: &[u8]) -> Result<Option<(u16, usize)>, ()> {
    let mut fields = [httparse::EMPTY_HEADER; HEAD_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(head_bytes)) => Ok(response.code.map(|status| (status, head_bytes))),
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_LIMIT_BYTES => Ok(None),
        _ => Err(()),
    }
}

async fn socks5_connect(
    stream: OriginStream,
    proxy: &NextProxy,
    origin: &Origin,
) -> Result<OriginStream, ProxyError> {
    let target = (&*origin.host, origin.port);
    let tunnelled = match &proxy.credentials {
        None => Socks5Stream::connect_with_socket(stream, target).await,
        Some((name, password)) => {
            Socks5Stream::connect_with_password_and_socket(stream, target, name, password.expose()).await
        }
    };
    tunnelled.map(Socks5Stream::into_inner).map_err(|e| failed(proxy, cause::chain(&e)))
}

fn failed(proxy: &NextProxy, reason: String) -> ProxyError {
    ProxyError::NextProxy { proxy: proxy.to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_names_the_origin_and_us() {
        let proxy = NextProxy::parse("http://u:p@h:1").ok().unwrap();
        let origin = |host: &str| Origin { scheme: "tcp", host: host.into(), port: 443 };
        assert_eq!(
            connect_request(&proxy, &origin("::1")),
            "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
        );
        let anonymous = NextProxy { credentials: None, ..proxy };
        assert_eq!(
            connect_request(&anonymous, &origin("a.example")),
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"
        );
    }

    #[test]
    fn its_answer_ends_where_the_tunnel_begins() {
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n220 mail"), Ok(Some((200, 25))));
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\nA: b\r\n"), Ok(None));
        assert_eq!(answer(b"SSH-2.0-x\r\n"), Err(()));
        assert_eq!(answer(&[b'a'; HEAD_LIMIT_BYTES]), Err(()));
    }
}
