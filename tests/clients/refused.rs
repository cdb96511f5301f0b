//! What the user of an SDK sees when the proxy answers in place of the service: our sentence, with its advice.

use std::collections::BTreeMap;

use tokio::process::Command;

use super::installed::{is_there, node, node_package, python_package};
use super::node::put_script;
use super::stage::{script, text_of};
use crate::support::origin::{Certificate, TestCa, TestOrigin};
use crate::support::program::python;
use crate::support::proxy::TestProxy;

/// Runs a program of ours, for a service whose certificate has expired.
async fn shown(mut client: Command) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let origin = TestOrigin::tls(ca.server(Certificate::Expired, &[b"http/1.1"])).await;
    let proxy = TestProxy::new().trusting(&ca).run().await;
    client.arg(origin.url("/v1")).env_remove("NO_PROXY").env_remove("no_proxy");
    for name in ["https_proxy", "HTTPS_PROXY"] {
        client.env(name, proxy.url());
    }
    for name in ["SSL_CERT_FILE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
        client.env(name, &proxy.app.ca_file);
    }
    let said = text_of(&client.env("NODE_USE_ENV_PROXY", "1").kill_on_drop(true).output().await.unwrap());
    serde_json::from_str(&said).unwrap()
}

fn is_our_sentence(shown: &BTreeMap<String, String>) {
    for (sdk, text) in shown {
        for part in ["otas-proxy: the TLS certificate of https://localhost:", "expired", "must present a certificate"]
        {
            assert!(text.contains(part), "{sdk} shows: {text}");
        }
    }
    assert_eq!(shown.len(), 3, "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sdks_for_python_show_why_the_proxy_answered() {
    if ["openai", "anthropic", "boto3"].iter().all(|name| is_there(&python_package(name))) {
        let mut client = Command::new(python());
        client.arg(script("shown_errors.py"));
        is_our_sentence(&shown(client).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sdks_for_node_show_why_the_proxy_answered() {
    if ["openai", "@anthropic-ai/sdk", "axios"].iter().all(|name| is_there(&node_package(24, name))) {
        let folder = tempfile::tempdir().unwrap();
        put_script(folder.path(), "shown_errors.mjs");
        let mut client = Command::new(node(24));
        client.current_dir(folder.path()).arg("shown_errors.mjs");
        is_our_sentence(&shown(client).await);
    }
}
