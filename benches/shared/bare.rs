//! The bare proxy: the cost of a forward proxy with interception on hyper and rustls that does nothing else. No
//! capture, no events, no mirroring of the origin's protocol; one pool for all agents.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use otas_proxy::tls::{CertAuthority, HTTP11, Leaves, SuiteOrder};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Pool = Client<hyper_rustls::HttpsConnector<HttpConnector>, Incoming>;
type Body = BoxBody<Bytes, hyper::Error>;

struct Proxy {
    pool: Pool,
    leaves: Leaves,
}

/// Serves forever; prints its port. `folder` holds its CA (`proxy-ca`) and the origin's (`origin-ca`).
pub fn serve(folder: &Path) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("origin-ca/ca.pem")).unwrap()).unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let authority = Arc::new(CertAuthority::load_or_create(&folder.join("proxy-ca")).unwrap());
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async move {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let pool = Client::builder(TokioExecutor::new()).build(https);
        let proxy = Arc::new(Proxy { pool, leaves: Leaves::new(authority).unwrap() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(connection(proxy.clone(), TokioIo::new(stream), None));
        }
    });
}

fn connection<I>(proxy: Arc<Proxy>, io: I, inside: Option<String>) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    Box::pin(async move {
        let service = service_fn(|request| route(proxy.clone(), request, inside.clone()));
        let _ = http1::Builder::new().serve_connection(io, service).with_upgrades().await;
    })
}

async fn route(
    proxy: Arc<Proxy>,
    mut request: Request<Incoming>,
    inside: Option<String>,
) -> Result<Response<Body>, hyper_util::client::legacy::Error> {
    if request.method() == Method::CONNECT {
        let authority = request.uri().authority().unwrap().to_string();
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let name = authority.rsplit_once(':').unwrap().0.to_owned();
            let config = proxy.leaves.server_config(&name, Some(HTTP11), SuiteOrder::Agents).unwrap();
            if let Ok(stream) = TlsAcceptor::from(config).accept(TokioIo::new(upgraded)).await {
                connection(proxy, TokioIo::new(stream), Some(authority)).await;
            }
        });
        return Ok(Response::new(Empty::new().map_err(|never| match never {}).boxed()));
    }
    if let Some(authority) = inside {
        let path = request.uri().path_and_query().unwrap().as_str();
        *request.uri_mut() =
            Uri::builder().scheme("https").authority(authority).path_and_query(path).build().unwrap();
    }
    Ok(proxy.pool.request(request).await?.map(BodyExt::boxed))
}
