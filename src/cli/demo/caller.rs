//! What makes the demo's calls: an ordinary HTTP client that knows the proxy and its CA, and nothing else.

use std::net::SocketAddr;
use std::path::Path;

use reqwest::{Client, Proxy, RequestBuilder, Response};
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Failed;
use super::origin::DemoOrigin;

/// Any key that the client gives in the opening of a WebSocket. This one is the example of RFC 6455.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Calls the demo's origin through the proxy.
pub(super) struct Caller {
    client: Client,
    /// The origin over TLS, without a path.
    pub(super) models: String,
    /// The origin without TLS.
    pub(super) plain: String,
}

impl Caller {
    pub(super) fn new(proxy: SocketAddr, ca_file: &Path, origin: &DemoOrigin) -> Result<Self, Failed> {
        let client = Client::builder()
            .proxy(Proxy::all(format!("http://{proxy}"))?)
            .tls_backend_preconfigured(trusting(ca_file)?)
            .build()?;
        let models = format!("https://localhost:{}", origin.tls_port);
        let plain = format!("http://localhost:{}", origin.plain_port);
        Ok(Self { client, models, plain })
    }

    /// Posts JSON with these header fields. The answer has arrived completely.
    pub(super) async fn post(
        &self,
        url: &str,
        fields: &[(&str, String)],
        body: &Value,
    ) -> Result<http::StatusCode, Failed> {
        let request = with(self.client.post(url), fields).header("content-type", "application/json");
        whole(request.body(body.to_string()).send().await?).await
    }

    /// Gets a page.
    pub(super) async fn get(&self, url: &str, fields: &[(&str, String)]) -> Result<http::StatusCode, Failed> {
        whole(with(self.client.get(url), fields).send().await?).await
    }

    /// Opens a WebSocket.
    pub(super) async fn socket(
        &self,
        url: &str,
        fields: &[(&str, String)],
    ) -> Result<WebSocketStream<reqwest::Upgraded>, Failed> {
        let opening = with(self.client.get(url), fields)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", KEY);
        let stream = opening.send().await?.upgrade().await?;
        Ok(WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
    }
}

fn with(request: RequestBuilder, fields: &[(&str, String)]) -> RequestBuilder {
    fields.iter().fold(request, |request, (name, value)| request.header(*name, value))
}

async fn whole(response: Response) -> Result<http::StatusCode, Failed> {
    let status = response.status();
    response.bytes().await?;
    Ok(status)
}

/// What `SSL_CERT_FILE` and the like would configure: our CA, and nothing else for this demo.
fn trusting(ca_file: &Path) -> Result<rustls::ClientConfig, Failed> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca_file).map_err(|e| format!("cannot read our CA: {e:?}"))?)?;
    Ok(rustls::ClientConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// A port on which nobody listens, for as long as the socket is held.
pub(super) fn closed_port() -> std::io::Result<(TcpSocket, u16)> {
    let held = TcpSocket::new_v4()?;
    held.bind(([127, 0, 0, 1], 0).into())?;
    let port = held.local_addr()?.port();
    Ok((held, port))
}
