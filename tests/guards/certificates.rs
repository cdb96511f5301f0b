//! `tls.pinned`: one certificate for one host in place of the check, told in each event; nothing switches the check off.

use aws_lc_rs::digest::{SHA256, digest};
use otas_proxy::config::PinnedCertificate;
use otas_proxy::hosts::{HostRule, HostRules};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{failure, only_event};
use crate::support::origin::{Certificate, TestCa, TestOrigin};
use crate::support::proxy::TestProxy;

/// An origin with a certificate that nobody vouches for, and the digest of that.
async fn unknown(ca: &TestCa, certificate: Certificate) -> (TestOrigin, [u8; 32]) {
    let (cert, key) = ca.issue(certificate);
    let sha256 = digest(&SHA256, cert.der()).as_ref().try_into().unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (TestOrigin::tls(config).await, sha256)
}

fn pin(host: &str, sha256: [u8; 32]) -> Vec<PinnedCertificate> {
    vec![PinnedCertificate { hosts: HostRules::new(vec![HostRule::parse(host).unwrap()]), sha256 }]
}

#[tokio::test]
async fn the_certificate_that_is_pinned_is_accepted_whatever_is_wrong_with_it_and_its_events_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    for wrong in [Certificate::SelfSigned, Certificate::Expired, Certificate::WrongName] {
        let (origin, sha256) = unknown(&ca, wrong).await;
        let pinned = pin(&format!("localhost:{}", origin.addr.port()), sha256);
        let proxy = TestProxy::new().with(|c| c.tls.pinned = pinned).run().await;
        assert_eq!(proxy.client().get(origin.url("/status/200")).send().await.unwrap().status(), 200, "{wrong:?}");
        assert_eq!(only_event(proxy).await["metadata"]["upstream"]["certificate"], "pinned");
    }
}

#[tokio::test]
async fn another_certificate_is_refused_from_that_host_and_that_certificate_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    // Good, but not the one.
    let good = TestOrigin::https(&ca).await;
    let proxy = TestProxy::new().trusting(&ca).with(|c| c.tls.pinned = pin("localhost", [7; 32])).run().await;
    assert_eq!(proxy.client().get(good.url("/")).send().await.unwrap().status(), 502);
    assert!(good.received().is_empty());
    assert_eq!(failure(&only_event(proxy).await), "tls_certificate_not_pinned");
    let (origin, sha256) = unknown(&ca, Certificate::SelfSigned).await;
    let proxy = TestProxy::new().with(|c| c.tls.pinned = pin("other.example", sha256)).run().await;
    assert_eq!(proxy.client().get(origin.url("/")).send().await.unwrap().status(), 502);
    assert_eq!(failure(&only_event(proxy).await), "tls_certificate_unknown_issuer");
}

#[tokio::test]
async fn an_origin_that_is_verified_says_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (origin, proxy) = (TestOrigin::https(&ca).await, TestProxy::new().trusting(&ca).run().await);
    proxy.client().get(origin.url("/status/200")).send().await.unwrap();
    assert!(only_event(proxy).await["metadata"]["upstream"].get("certificate").is_none());
}
