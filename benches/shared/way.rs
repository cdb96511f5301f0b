//! The way from an agent through a proxy to the origin.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection to the proxy in clear, or a TLS connection in a tunnel.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// In clear, or intercepted.
pub struct Way {
    /// The origin's, for `Host`.
    pub authority: String,
    proxy: String,
    tls: Option<TlsConnector>,
}

impl Way {
    /// `ca` is the file of the proxy's CA, or `-` for plain HTTP.
    pub fn new(proxy_port: &str, origin_port: &str, ca: &str) -> Self {
        Self {
            authority: format!("localhost:{origin_port}"),
            proxy: format!("127.0.0.1:{proxy_port}"),
            tls: (ca != "-").then(|| connector(Path::new(ca))),
        }
    }

    /// The request target for a path: whole for a proxy in clear.
    pub fn target(&self, path: &str) -> String {
        if self.tls.is_some() { path.to_owned() } else { format!("http://{}{path}", self.authority) }
    }

    /// A new connection.
    pub async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        let mut tcp = TcpStream::connect(&self.proxy).await?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        tcp.write_all(format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", self.authority).as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await?);
        }
        // Some answer with version 1.0.
        if !head.starts_with(b"HTTP/1.") || head.get(8..12) != Some(b" 200") {
            return Err(std::io::Error::other(String::from_utf8_lossy(&head).into_owned()));
        }
        Ok(Box::new(tls.connect(ServerName::try_from("localhost").unwrap(), tcp).await?))
    }
}

/// Full handshakes each time: resumption would hide what a new connection costs.
fn connector(ca: &Path) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}
