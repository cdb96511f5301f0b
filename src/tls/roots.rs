//! The roots that origins' certificates are verified against, and the client side of TLS towards origins.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustls::client::WantsClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, ClientConfig, ConfigBuilder, RootCertStore};

use super::pinned::Pinned;
use crate::config::{ClientCertificate, PinnedCertificate};
use crate::hosts::HostRules;

/// Where distributions keep their roots. They are read directly, not through `SSL_CERT_FILE`: inside a `run` that
/// variable names a bundle with our own CA, and the proxy must never trust itself.
const SYSTEM_BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// TLS towards origins: the roots, our client certificates, and a configuration for each ALPN offer.
pub struct OriginTls {
    /// For most origins.
    verified: Clients,
    /// For origins whose certificate is known in advance. The first match counts.
    pinned: Vec<(HostRules, Clients)>,
}

/// Client configurations that verify origins in one way.
struct Clients {
    anonymous: Offers,
    /// For hosts that get a client certificate. The first match counts.
    known_to: Vec<(HostRules, Offers)>,
}

/// A client configuration for each ALPN offer.
struct Offers {
    h2_and_http11: Arc<ClientConfig>,
    http11_and_h2: Arc<ClientConfig>,
    h2: Arc<ClientConfig>,
    http11: Arc<ClientConfig>,
    none: Arc<ClientConfig>,
}

/// Why TLS towards origins cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// `tls.origin_ca_file` is missing or contains no certificate.
    #[error("tls.origin_ca_file: cannot read certificates from `{}`: {problem}", path.display())]
    OriginCaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file of `tls.client_certificates` cannot be used.
    #[error("tls.client_certificates: cannot use `{}`: {problem}", path.display())]
    ClientCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The TLS library refused the settings.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl OriginTls {
    /// Trusts the `system`'s roots ([`system_roots`]) and those in `origin_ca_file`. `own_cas` are never trusted, wherever
    /// they are installed. `client_certificates`: our client certificates and their hosts. `pinned`:
    /// certificates that are accepted as they are, and their hosts.
    ///
    /// # Errors
    /// [`RootsError`] when a file cannot be used.
    pub fn load(
        system: Vec<CertificateDer<'static>>,
        origin_ca_file: Option<&Path>,
        client_certificates: &[ClientCertificate],
        pinned: &[PinnedCertificate],
        own_cas: &[CertificateDer<'_>],
    ) -> Result<Self, RootsError> {
        let mut roots = RootCertStore::empty();
        // Old roots that webpki cannot parse are skipped, as usual.
        roots.add_parsable_certificates(system.into_iter().filter(|der| !own_cas.contains(der)));
        if let Some(path) = origin_ca_file {
            let extra = extra_roots(path)?;
            for der in extra.into_iter().filter(|der| !own_cas.contains(der)) {
                roots
                    .add(der)
                    .map_err(|e| RootsError::OriginCaFile { path: path.to_owned(), problem: e.to_string() })?;
            }
        }
        let base = || ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let pinned = pinned.iter().map(|PinnedCertificate { hosts, sha256 }| {
            let verifier = Pinned::new(*sha256, provider());
            let base = base()?.dangerous().with_custom_certificate_verifier(verifier);
            Ok((hosts.clone(), Clients::new(&base, client_certificates)?))
        });
        Ok(Self {
            pinned: pinned.collect::<Result<_, RootsError>>()?,
            verified: Clients::new(&base()?.with_root_certificates(roots), client_certificates)?,
        })
    }

    /// The client configuration for `host`. It offers the agent's ALPN protocols in its order, as far as we speak them.
    pub fn offering(&self, host: &str, port: u16, alpn: Offer) -> &Arc<ClientConfig> {
        let pinned = self.pinned.iter().find(|(hosts, _)| hosts.matches(host, port));
        pinned.map_or(&self.verified, |(_, clients)| clients).of(host, port).offering(alpn)
    }

    /// Whether the certificate of `host` is pinned instead of verified.
    pub fn pins(&self, host: &str, port: u16) -> bool {
        self.pinned.iter().any(|(hosts, _)| hosts.matches(host, port))
    }

    /// The client configuration for our own calls.
    pub fn for_ourselves(&self) -> &ClientConfig {
        &self.verified.anonymous.none
    }
}

impl Clients {
    fn new(
        base: &ConfigBuilder<ClientConfig, WantsClientCert>,
        certificates: &[ClientCertificate],
    ) -> Result<Self, RootsError> {
        let known_to = certificates.iter().map(|ours| {
            let (chain, key) = client_certificate(ours)?;
            let config = base.clone().with_client_auth_cert(chain, key);
            let config = config.map_err(|e| unusable(&ours.cert_file, &e))?;
            Ok((ours.hosts.clone(), Offers::of(&config)))
        });
        let known_to = known_to.collect::<Result<_, RootsError>>()?;
        Ok(Self { anonymous: Offers::of(&base.clone().with_no_client_auth()), known_to })
    }

    fn of(&self, host: &str, port: u16) -> &Offers {
        let known_to = self.known_to.iter().find(|(hosts, _)| hosts.matches(host, port));
        known_to.map_or(&self.anonymous, |(_, offers)| offers)
    }
}

/// Reads the chain and the key of an entry of `tls.client_certificates`.
fn client_certificate(
    ours: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), RootsError> {
    let chain = CertificateDer::pem_file_iter(&ours.cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| unusable(&ours.cert_file, &e))?;
    let key = PrivateKeyDer::from_pem_file(&ours.key_file).map_err(|e| unusable(&ours.key_file, &e))?;
    Ok((chain, key))
}

fn unusable(path: &Path, problem: &dyn std::fmt::Display) -> RootsError {
    RootsError::ClientCertificate { path: path.to_owned(), problem: problem.to_string() }
}

impl Offers {
    fn of(base: &ClientConfig) -> Self {
        let offering = |alpn: &[&[u8]]| {
            let mut config = base.clone();
            config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
            Arc::new(config)
        };
        Self {
            h2_and_http11: offering(&[super::H2, super::HTTP11]),
            http11_and_h2: offering(&[super::HTTP11, super::H2]),
            h2: offering(&[super::H2]),
            http11: offering(&[super::HTTP11]),
            none: offering(&[]),
        }
    }

    fn offering(&self, alpn: Offer) -> &Arc<ClientConfig> {
        match alpn {
            Offer::H2AndHttp11 => &self.h2_and_http11,
            Offer::Http11AndH2 => &self.http11_and_h2,
            Offer::H2 => &self.h2,
            Offer::Http11 => &self.http11,
            Offer::None => &self.none,
        }
    }
}

/// An ALPN offer, reduced to the protocols that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offer {
    /// `h2, http/1.1`: what most clients send.
    H2AndHttp11,
    /// `http/1.1, h2`.
    Http11AndH2,
    /// `h2` alone.
    H2,
    /// `http/1.1` alone.
    Http11,
    /// No ALPN extension: HTTP/1.1 is spoken.
    None,
}

impl Offer {
    /// Reduces an agent's offer. `None`: it offered only protocols that we do not speak, so the connection is relayed
    /// unread.
    pub fn of<'a>(protocols: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let (mut any, mut first, mut h2, mut http11) = (false, None, false, false);
        for protocol in protocols {
            any = true;
            match protocol {
                super::H2 => h2 = true,
                super::HTTP11 => http11 = true,
                _ => continue,
            }
            first.get_or_insert(protocol);
        }
        match (any, h2, http11) {
            (false, ..) => Some(Self::None),
            (true, true, true) if first == Some(super::H2) => Some(Self::H2AndHttp11),
            (true, true, true) => Some(Self::Http11AndH2),
            (true, true, false) => Some(Self::H2),
            (true, false, true) => Some(Self::Http11),
            (true, false, false) => None,
        }
    }
}

/// The cryptography provider of the process. It is passed explicitly, so that no global default is needed.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// Whether we support one of these cipher suites.
pub(crate) fn speaks_any(suites: &[CipherSuite]) -> bool {
    provider().cipher_suites.iter().any(|ours| suites.contains(&ours.suite()))
}

/// The system's roots, from its files; Mozilla's if there are none (a `scratch` image). Reading them takes some milliseconds.
pub fn system_roots() -> Vec<CertificateDer<'static>> {
    for path in SYSTEM_BUNDLES {
        let found = rustls_native_certs::load_certs_from_paths(Some(Path::new(path)), None).certs;
        if !found.is_empty() {
            return found;
        }
    }
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec()
}

fn extra_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let refuse = |problem: String| RootsError::OriginCaFile { path: path.to_owned(), problem };
    let bytes = std::fs::read(path).map_err(|e: io::Error| refuse(e.to_string()))?;
    let found = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| refuse(format!("it is not PEM ({e:?})")))?;
    if found.is_empty() {
        return Err(refuse("it contains no PEM certificate".to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_keeps_the_agents_order_and_drops_unknown_protocols() {
        let of = |offered: &[&[u8]]| Offer::of(offered.iter().copied());
        assert_eq!(of(&[b"h2", b"http/1.1"]), Some(Offer::H2AndHttp11));
        assert_eq!(of(&[b"http/1.1", b"http/1.0", b"h2"]), Some(Offer::Http11AndH2));
        assert_eq!(of(&[b"spdy/1", b"http/1.1"]), Some(Offer::Http11));
        assert_eq!(of(&[b"h2"]), Some(Offer::H2));
        assert_eq!(of(&[]), Some(Offer::None));
        assert_eq!(of(&[b"acme-tls/1"]), None);
    }

    #[test]
    fn a_missing_or_empty_origin_ca_file_is_named() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("roots.pem");
        for content in [None, Some("no certificate here")] {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let error = OriginTls::load(Vec::new(), Some(&path), &[], &[], &[]).err().unwrap().to_string();
            assert!(error.contains("roots.pem"), "{error}");
        }
    }
}
