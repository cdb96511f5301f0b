//! Java's client, which reads no variable but `JAVA_TOOL_OPTIONS`.

use std::process::Command;

use super::installed::program;
use super::stage::{Stage, script, text_of};
use super::table::{Row, Told};
use crate::support::origin::Received;
use crate::support::standin::Reply;

/// Sends back what it is sent.
fn echo(request: &Received) -> Reply {
    Reply::whole("application/json", request.body.clone())
}

/// Java reads no PEM, so the CA is put into a store of its own kind first.
fn trust(stage: &Stage) -> String {
    let store = stage.folder.path().join("trust.p12");
    let mut keytool = Command::new("keytool");
    keytool.args(["-importcert", "-noprompt", "-storetype", "PKCS12", "-storepass", "changeit", "-file"]);
    text_of(&keytool.arg(&stage.ca.file).arg("-keystore").arg(&store).output().unwrap());
    format!("-Djavax.net.ssl.trustStore={} -Djavax.net.ssl.trustStorePassword=changeit", store.display())
}

/// One POST of a small JSON text, by a program that `java` compiles as it starts it.
async fn posts(h2: bool, what: &'static str, version: &str) {
    let Some(row) = Row::of(&program("Java", "javac", "-version").called("java.net.http"), what, Told::Variables)
    else {
        return;
    };
    let stage = Stage::new(h2, echo).await;
    let command = ["java", &script("Post.java"), &stage.origin.url("/v1/echo?q=1&x=%2F")];
    let same = stage.same_by(Told::Variables, &command, ("JAVA_TOOL_OPTIONS", &trust(&stage))).await;
    assert_eq!(same.said, format!("{version} 200 {{\"ask\":\"me\"}}"));
    assert_eq!(same.events.len(), 1);
    assert_eq!(same.events[0]["request_body"], "{\"ask\":\"me\"}");
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_client_over_http_1() {
    posts(false, "HTTP/1.1", "HTTP_1_1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_client_over_http_2() {
    posts(true, "HTTP/2", "HTTP_2").await;
}
