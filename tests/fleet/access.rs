//! Who may use the queue: TLS with roots of its own, and credentials of NATS's operators.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use otas_proxy::store::State;
use serde_json::{Value, json};

use super::call;
use super::stage::{Fleet, TestRelay, all_are, complains};
use crate::support::nats::{TestNats, is_installed};
use crate::support::origin::{Certificate, TestCa, TestOrigin};

/// What `relay init` says when it fails.
fn refused(folder: &crate::support::program::Folder) -> String {
    let done = folder.program().args(["relay", "init"]).output().unwrap();
    assert!(!done.status.success());
    String::from_utf8_lossy(&done.stderr).into_owned()
}

/// A CA in a folder, and the settings of a server with a certificate of it.
fn with_tls(folder: &Path, certificate: Certificate) -> (TestCa, String) {
    let ca = TestCa::new(folder);
    let (cert, key) = ca.issue(certificate);
    let (cert_file, key_file) = (folder.join("server.pem"), folder.join("server.key"));
    std::fs::write(&cert_file, cert.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let settings =
        format!("tls {{ cert_file: \"{}\", key_file: \"{}\", timeout: 5 }}", cert_file.display(), key_file.display());
    (ca, settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_verified_against_the_roots_of_the_settings_and_nothing_is_lost_until_they_fit() {
    if !is_installed("servers_are_verified_against_the_roots_of_the_settings_and_nothing_is_lost_until_they_fit") {
        return;
    }
    let (files, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ca, settings) = with_tls(files.path(), Certificate::Good);
    let another = TestCa::new(others.path());
    let mut fleet = Fleet::new(1, TestNats::start(&settings)).await;
    fleet.servers = Some(fleet.nats.url().replace("nats://", "tls://"));
    let wrong = fleet.relay_folder_with(&format!("ca_file = '{}'", another.file.display()));
    let said = refused(&wrong);
    assert!(said.contains("its certificate is not accepted") && said.contains("`queue.ca_file`"), "{said}");
    let missing = refused(&fleet.relay_folder_with("ca_file = 'none.pem'"));
    assert!(missing.contains("No such file") && missing.contains("`queue.ca_file`"), "{missing}");

    let folder = fleet.relay_folder_with(&format!("ca_file = '{}'", ca.file.display()));
    assert!(folder.program().args(["relay", "init"]).status().unwrap().success());
    let origin = TestOrigin::http().await;
    let proxy = fleet.proxy_with(0, |config| config.queue.ca_file = Some(another.file.clone())).await;
    call(&proxy, &origin, 3).await;
    complains(&proxy, "its certificate is not accepted").await;
    all_are(&proxy, State::Pending, 3).await;
    // The same store, with the right roots.
    let (store, kept) = (proxy.app.store.path().to_owned(), proxy.folder);
    proxy.app.stop(std::time::Duration::ZERO, tokio_util::sync::CancellationToken::new(), |_| {}).await;
    let proxy = fleet
        .proxy_with(0, |config| (config.store.path, config.queue.ca_file) = (store, Some(ca.file.clone())))
        .await;
    let _relay = TestRelay::start(folder);
    call(&proxy, &origin, 2).await;
    all_are(&proxy, State::Delivered, 5).await;
    assert_eq!(fleet.otas.events().await.len(), 5);
    drop(kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_not_used_when_roots_are_set() {
    if !is_installed("a_server_without_tls_is_not_used_when_roots_are_set") {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    let ca = TestCa::new(files.path());
    let fleet = Fleet::new(0, TestNats::start("")).await;
    let said = refused(&fleet.relay_folder_with(&format!("ca_file = '{}'", ca.file.display())));
    assert!(said.contains("cannot connect to NATS at nats://"), "{said}");
}

/// A signed claim, as NATS reads it.
fn jwt(signer: &KeyPair, subject: &KeyPair, name: &str, expires: Option<i64>, nats: &Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let mut claims = json!({
        "jti": name, "iat": 1_700_000_000, "iss": signer.public_key(), "name": name, "sub": subject.public_key(), "nats": nats,
    });
    if let Some(expires) = expires {
        claims["exp"] = expires.into();
    }
    let signed = format!("{head}.{}", part(claims));
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

/// An operator with an account that may use JetStream.
struct Operator {
    account: KeyPair,
    settings: String,
}

impl Operator {
    fn new() -> Self {
        let (operator, system, account) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
        let all = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
            "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
        });
        let about = |limits: Value| json!({ "limits": limits, "type": "account", "version": 2 });
        let own = json!({ "system_account": system.public_key(), "type": "operator", "version": 2 });
        let none = json!({ "subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1 });
        let settings = format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}\n",
            jwt(&operator, &operator, "operator", None, &own),
            system.public_key(),
            system.public_key(),
            jwt(&operator, &system, "system", None, &about(none)),
            account.public_key(),
            jwt(&operator, &account, "fleet", None, &about(all)),
        );
        Self { account, settings }
    }

    /// A `.creds` file of a user whose claim this account has signed.
    fn credentials(folder: &Path, account: &KeyPair, name: &str, expires: Option<i64>, allowed: &Value) -> PathBuf {
        let user = KeyPair::new_user();
        let mut about = json!({ "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2 });
        about.as_object_mut().unwrap().extend(allowed.as_object().unwrap().clone());
        let claim = jwt(account, &user, name, expires, &about);
        let seed = user.seed().unwrap();
        let path = folder.join(format!("{name}.creds"));
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{claim}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_an_operator_are_used_and_those_that_are_refused_are_named() {
    if !is_installed("credentials_of_an_operator_are_used_and_those_that_are_refused_are_named") {
        return;
    }
    let (files, operator) = (tempfile::tempdir().unwrap(), Operator::new());
    let made = |account: &KeyPair, name: &str, expires: Option<i64>, allowed: Value| {
        Operator::credentials(files.path(), account, name, expires, &allowed)
    };
    let all = made(&operator.account, "relay", None, json!({}));
    let publishes = made(
        &operator.account,
        "proxy",
        None,
        json!({ "pub": { "allow": ["otas.events.>"] }, "sub": { "allow": ["otas.verdicts.*", "_INBOX.>"] } }),
    );
    let strange = made(&KeyPair::new_account(), "strange", None, json!({}));
    let expired = made(&operator.account, "expired", Some(1_700_000_001), json!({}));
    let fleet = Fleet::new(1, TestNats::start(&operator.settings)).await;
    for file in [&strange, &expired] {
        let said = refused(&fleet.relay_folder_with(&format!("credentials_file = '{}'", file.display())));
        assert!(said.contains("the server refuses the credentials: check `queue.credentials_file`"), "{said}");
    }
    let folder = fleet.relay_folder_with(&format!("credentials_file = '{}'", all.display()));
    assert!(folder.program().args(["relay", "init"]).status().unwrap().success());
    let _relay = TestRelay::start(folder);
    let origin = TestOrigin::http().await;
    let waits = fleet.proxy_with(0, |config| config.queue.credentials_file = Some(strange)).await;
    call(&waits, &origin, 2).await;
    complains(&waits, "the server refuses the credentials").await;
    all_are(&waits, State::Pending, 2).await;
    let proxy = fleet.proxy_with(0, |config| config.queue.credentials_file = Some(publishes)).await;
    call(&proxy, &origin, 3).await;
    all_are(&proxy, State::Delivered, 3).await;
}
