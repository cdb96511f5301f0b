//! Real clients over every answer of [`cases`], called directly and through the proxy, side by side, in clear and over
//! TLS: the client sees the same outcome, and each call has exactly one event, whose facts are right.

mod cases;
mod judge;
mod origin;
mod stage;

use stage::{Client, Program, compare};

use crate::clients::installed;

async fn python(script: &'static str, package: &str) {
    let version = installed::python_package(package);
    compare(Client { script, program: Program::Python, installed: version }).await;
}

async fn node(script: &'static str, package: Option<&str>) {
    let version = match package {
        Some(package) => installed::node_package(24, package),
        None => installed::node_itself(24, "fetch"),
    };
    compare(Client { script, program: Program::Node, installed: version }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl() {
    let version = installed::program("Shell", "curl", "--version");
    compare(Client { script: "with_curl.py", program: Program::Python, installed: version }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests() {
    python("with_requests.py", "requests").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn httpx() {
    python("with_httpx.py", "httpx").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_for_python() {
    python("with_openai.py", "openai").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_for_python() {
    python("with_anthropic.py", "anthropic").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_fetch() {
    node("with_fetch.mjs", None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_for_node() {
    node("with_openai.mjs", Some("openai")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_for_node() {
    node("with_anthropic.mjs", Some("@anthropic-ai/sdk")).await;
}
