//! The CA in the course of time, and in the hands of others: what is shown, exported, installed and rotated.

use std::path::{Path, PathBuf};
use std::process::Output;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::support::origin::{TestCa, TestOrigin};
use crate::support::program::{Folder, Served};
use crate::support::proxy::{eventually, trusting};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn configured() -> Folder {
    let folder = Folder::new();
    folder.configure("");
    folder
}

fn ca(folder: &Folder, arguments: &[&str]) -> Output {
    folder.program().arg("ca").args(arguments).output().unwrap()
}

/// What a command that must succeed has said.
fn said(folder: &Folder, arguments: &[&str]) -> String {
    let done = ca(folder, arguments);
    assert!(done.status.success(), "{arguments:?}: {}", text(&done.stderr));
    text(&done.stdout)
}

/// Why a command that must fail has failed.
fn refused(folder: &Folder, arguments: &[&str]) -> String {
    let done = ca(folder, arguments);
    assert!(!done.status.success(), "{arguments:?}: {}", text(&done.stdout));
    text(&done.stderr)
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).map(Result::unwrap).collect()
}

#[test]
fn each_form_of_export_holds_the_certificate_and_never_the_key() {
    let folder = configured();
    let shown = said(&folder, &["show"]);
    assert!(shown.contains("state      in force") && shown.contains("CN=OTAS Proxy CA "), "{shown}");
    let ours = certificates(shown.as_bytes());
    for (format, file) in [("pem", "out.pem"), ("der", "out.der"), ("p12", "out.p12")] {
        said(&folder, &["export", "--format", format, file]);
        let refused = refused(&folder, &["export", "--format", format, file]);
        assert!(refused.contains("exists already"), "nothing is overwritten: {refused}");
        let bytes = std::fs::read(folder.path().join(file)).unwrap();
        let found = match format {
            "pem" => certificates(&bytes),
            "der" => vec![CertificateDer::from(bytes.clone())],
            _ => {
                let policy = p12_keystore::Pkcs12ImportPolicy::Relaxed;
                let store = p12_keystore::KeyStore::from_pkcs12(&bytes, "changeit", policy).unwrap();
                let found = store.entries().map(|(_, entry)| match entry {
                    p12_keystore::KeyStoreEntry::Certificate(found) => found.as_der().to_vec().into(),
                    _ => panic!("a trust store holds certificates"),
                });
                found.collect()
            }
        };
        assert_eq!(found, ours, "{format}");
        assert!(!text(&bytes).contains("PRIVATE"));
    }
    assert_eq!(said(&folder, &["export", "-"]), said(&folder, &["export", "--format", "pem", "-"]));
}

/// Also on a system whose store we do not know, for that is told as well; never does it change anything.
#[test]
fn a_dry_run_says_what_would_be_done_to_the_systems_store_and_does_nothing() {
    let folder = configured();
    let done = ca(&folder, &["install", "--dry-run"]);
    if !done.status.success() {
        assert!(text(&done.stderr).contains("no trust store that otas-proxy knows"), "{}", text(&done.stderr));
        return;
    }
    let steps = text(&done.stdout);
    let mut lines = steps.lines();
    let file = lines.next().and_then(|line| line.strip_prefix("would write ")).map(PathBuf::from);
    assert!(lines.next().is_some_and(|line| line.starts_with("would run ")), "{steps}");
    assert!(!file.unwrap().exists(), "it was only said");
    assert!(said(&folder, &["uninstall", "--dry-run"]).contains("nothing to do"));
}

/// One call through `served` by an agent that trusts what is in `file`.
async fn trusts(file: &Path, served: &Served, url: &str) -> bool {
    let proxy = reqwest::Proxy::all(&served.url).unwrap();
    let client = reqwest::Client::builder().proxy(proxy).tls_backend_preconfigured(trusting(file)).build().unwrap();
    client.get(url).send().await.is_ok_and(|response| response.status() == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_leaves_no_moment_in_which_an_agent_that_knows_both_cannot_call() {
    let folder = Folder::new();
    let origins = TestCa::new(folder.path());
    folder.configure("");
    let origin = TestOrigin::https(&origins).await;
    let url = origin.url("/");
    let served = Served::start(folder, |program| program);
    let folder = &served.folder;
    let copy = |name: &str| {
        let to = folder.path().join(name);
        std::fs::copy(folder.path().join("ca/bundle.pem"), &to).unwrap();
        to
    };
    let only_old = copy("before.pem");
    assert!(refused(folder, &["rotate", "--finish"]).contains("no new CA waits"));

    assert!(said(folder, &["rotate", "--overlap", "2d"]).contains("takes over at"));
    assert!(refused(folder, &["rotate"]).contains("--finish"), "one at a time");
    let shown = said(folder, &["show"]);
    assert!(shown.contains("state      in force") && shown.contains("state      takes over at"), "{shown}");
    assert_eq!(certificates(shown.as_bytes()).len(), 2);
    // The bundle that agents were pointed at has learnt the next CA; the old one still signs.
    let both = copy("during.pem");
    assert!(trusts(&only_old, &served, &url).await && trusts(&both, &served, &url).await);

    said(folder, &["rotate", "--finish"]);
    let shown = said(folder, &["show"]);
    assert!(shown.contains("state      replaced, trusted until"), "{shown}");
    eventually("the running proxy follows", async || !trusts(&only_old, &served, &url).await).await;
    assert!(trusts(&both, &served, &url).await);
    assert!(trusts(&folder.path().join("ca/bundle.pem"), &served, &url).await);
}

#[test]
fn without_overlap_the_new_ca_is_alone_at_once() {
    let folder = configured();
    let old = certificates(said(&folder, &["show"]).as_bytes());
    assert!(said(&folder, &["rotate", "--overlap", "0s"]).contains("restart running agents"));
    let new = certificates(said(&folder, &["show"]).as_bytes());
    assert!(new.len() == 1 && new != old);
}
