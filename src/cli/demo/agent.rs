//! A scripted agent: an ordinary HTTP client that knows the proxy and its CA, and nothing else.

use std::error::Error;

use reqwest::{Client, Method, Proxy};
use tokio::net::TcpSocket;

use super::super::say;
use super::origin::DemoOrigin;
use crate::app::App;

/// Printed beside calls that fail.
const MEANT: &str = " (meant to fail)";

/// Makes the calls, one after the other, and says what the agent saw of each.
pub(super) async fn calls(app: &App, origin: &DemoOrigin) -> Result<(), Box<dyn Error + Send + Sync>> {
    let client = Client::builder()
        .proxy(Proxy::all(format!("http://{}", app.proxy_addr))?)
        .tls_backend_preconfigured(trusting(app)?)
        .build()?;
    let base = format!("https://localhost:{}", origin.port);
    let (_held, nobody) = closed_port()?;
    let question = r#"{"model":"demo-small","messages":[{"role":"user","content":"What becomes of a call?"}]}"#;
    let streamed = r#"{"model":"demo-large","max_tokens":100,"stream":true,"messages":[{"role":"user","content":"And of a long one?"}]}"#;
    let script: [(&str, Method, String, Option<&str>); 8] = [
        ("a JSON answer", Method::GET, format!("{base}/v1/models"), None),
        ("a model's answer", Method::POST, format!("{base}/v1/chat/completions"), Some(question)),
        ("a compressed answer", Method::GET, format!("{base}/report?lang=en"), None),
        ("a model's stream", Method::POST, format!("{base}/v1/messages"), Some(streamed)),
        ("a failing service", Method::GET, format!("{base}/overloaded"), None),
        ("an unreachable host", Method::GET, format!("https://localhost:{nobody}/"), None),
        ("a slow answer", Method::GET, format!("{base}/slow"), None),
        ("a binary answer", Method::GET, format!("{base}/image.png"), None),
    ];
    for (what, method, url, body) in script {
        let mut request =
            client.request(method, url).header("authorization", "Bearer demo-secret-that-is-not-logged");
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let bytes = response.bytes().await?.len();
                say::out(&format!(
                    "agent: {what:<20} {status}, {bytes} bytes{}",
                    if status >= 500 { MEANT } else { "" }
                ))?;
            }
            Err(error) => {
                // The client reports a refused CONNECT as an error of its connection.
                let mut cause: &dyn Error = &error;
                while let Some(next) = cause.source() {
                    cause = next;
                }
                say::out(&format!("agent: {what:<20} {cause}{MEANT}"))?;
            }
        }
    }
    say::out("")?;
    Ok(())
}

/// What `SSL_CERT_FILE` and the like would configure: our CA, and nothing else for this demo.
fn trusting(app: &App) -> Result<rustls::ClientConfig, Box<dyn Error + Send + Sync>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&app.ca_file).map_err(|e| format!("cannot read our CA: {e:?}"))?)?;
    Ok(rustls::ClientConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// A port on which nobody listens, for as long as the socket is held.
fn closed_port() -> std::io::Result<(TcpSocket, u16)> {
    let held = TcpSocket::new_v4()?;
    held.bind(([127, 0, 0, 1], 0).into())?;
    let port = held.local_addr()?.port();
    Ok((held, port))
}
