//! The environment that makes an agent use the proxy and trust it, as far as it can be told by variables.

use std::path::Path;

/// Read by clients in either case, so both are set.
const PROXY: [&str; 6] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// What these name *replaces* a client's roots: they get the bundle.
const REPLACING: [&str; 9] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "npm_config_cafile",
];
/// What these name is *added* to a client's roots: they get our CA alone.
const ADDING: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// The variables for a proxy at `proxy_url`, with our CA in `ca` and the bundle in `bundle`.
pub(super) fn for_agent(proxy_url: &str, ca: &Path, bundle: &Path, run_id: &str) -> Vec<(&'static str, String)> {
    let (ca, bundle) = (ca.display().to_string(), bundle.display().to_string());
    let mut all: Vec<(&'static str, String)> = Vec::new();
    all.extend(PROXY.map(|name| (name, proxy_url.to_owned())));
    all.extend(REPLACING.map(|name| (name, bundle.clone())));
    all.extend(ADDING.map(|name| (name, ca.clone())));
    all.push(("NODE_USE_ENV_PROXY", "1".to_owned()));
    all.push(("OTAS_PROXY_URL", proxy_url.to_owned()));
    all.push(("OTAS_PROXY_CA", ca));
    all.push(("OTAS_PROXY_RUN_ID", run_id.to_owned()));
    all
}
