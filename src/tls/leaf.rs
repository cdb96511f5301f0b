//! The certificate for a name that an agent asked for: issued on first use, cached, renewed at half of its lifetime.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use quick_cache::sync::Cache;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ServerSessionMemoryCache;
use time::OffsetDateTime;

use super::authority::{BACKDATE, serial};
use super::{CertAuthority, SuiteOrder};

/// Leaves in the cache. An agent that asks for a million names uses bounded memory.
const CACHED_LEAVES: usize = 1024;
/// TLS sessions that agents may resume, over all names. Otherwise each configuration would keep as many of its own.
const KEPT_TLS_SESSIONS: usize = 4096;
const VALIDITY: time::Duration = time::Duration::days(30);
const RENEW_AFTER: Duration = Duration::from_secs(15 * 24 * 3600);

/// Server configurations for agents, one for each name and protocol, made on demand.
pub struct Leaves {
    authority: RwLock<Arc<CertAuthority>>,
    /// One key for all leaves of this process. By measurement this halves the cost, and nothing is lost: the CA key in
    /// the same process is worth more.
    key: KeyPair,
    cache: Cache<(Box<str>, Protocol, SuiteOrder), Minted>,
    /// rustls resumes a TLS session only for the name that it was made for.
    sessions: Arc<ServerSessionMemoryCache>,
}

/// The ALPN protocol that a leaf's configuration selects.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Protocol {
    None,
    Http11,
    H2,
}

#[derive(Clone)]
struct Minted {
    config: Arc<ServerConfig>,
    by: Arc<CertAuthority>,
    at: Instant,
}

/// Why a leaf could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// The certificate could not be built or signed.
    #[error("cannot make a certificate for `{name}`: {source}")]
    Mint {
        /// The name that was asked for.
        name: String,
        /// Why it failed.
        source: rcgen::Error,
    },
    /// rustls refused what was made.
    #[error("cannot use the certificate made for `{name}`: {source}")]
    Config {
        /// The name that was asked for.
        name: String,
        /// Why it failed.
        source: rustls::Error,
    },
}

impl Leaves {
    /// Leaves signed by `authority`.
    ///
    /// # Errors
    /// When no key can be generated.
    pub fn new(authority: Arc<CertAuthority>) -> Result<Self, rcgen::Error> {
        Ok(Self {
            authority: RwLock::new(authority),
            key: KeyPair::generate()?,
            cache: Cache::new(CACHED_LEAVES),
            sessions: ServerSessionMemoryCache::new(KEPT_TLS_SESSIONS),
        })
    }

    /// Sets the CA that signs leaves from now on.
    pub fn sign_by(&self, authority: Arc<CertAuthority>) {
        *self.authority.write() = authority;
    }

    /// The CA that signs leaves.
    pub fn authority(&self) -> Arc<CertAuthority> {
        self.authority.read().clone()
    }

    /// The server configuration for an agent that asked for `name` (a DNS name or an IP literal without brackets) and
    /// whose ALPN offer is answered with `alpn` (`None`: no ALPN extension is sent). `order`: of cipher suites.
    ///
    /// # Errors
    /// [`LeafError`] when the name is not valid in a certificate.
    pub fn server_config(
        &self,
        name: &str,
        alpn: Option<&[u8]>,
        order: SuiteOrder,
    ) -> Result<Arc<ServerConfig>, LeafError> {
        let protocol = match alpn {
            Some(super::H2) => Protocol::H2,
            Some(super::HTTP11) => Protocol::Http11,
            _ => Protocol::None,
        };
        let key: (Box<str>, Protocol, SuiteOrder) = (name.into(), protocol, order);
        let by = self.authority();
        let good = |minted: &Minted| minted.at.elapsed() < RENEW_AFTER && Arc::ptr_eq(&minted.by, &by);
        if let Some(minted) = self.cache.get(&key).filter(good) {
            return Ok(minted.config);
        }
        let config = Arc::new(self.mint(name, protocol, order, &by)?);
        self.cache.insert(key, Minted { config: config.clone(), by, at: Instant::now() });
        Ok(config)
    }

    fn mint(
        &self,
        name: &str,
        protocol: Protocol,
        order: SuiteOrder,
        by: &CertAuthority,
    ) -> Result<ServerConfig, LeafError> {
        let refused = |source| LeafError::Mint { name: name.to_owned(), source };
        let cert = profile(name, by.not_after())
            .and_then(|params| params.signed_by(&self.key, &by.issuer))
            .map_err(refused)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(order.provider())
            .with_safe_default_protocol_versions()
            .and_then(|b| b.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key))
            .map_err(|source| LeafError::Config { name: name.to_owned(), source })?;
        config.alpn_protocols = match protocol {
            Protocol::None => vec![],
            Protocol::Http11 => vec![super::HTTP11.to_vec()],
            Protocol::H2 => vec![super::H2.to_vec()],
        };
        config.ignore_client_order = order == SuiteOrder::Ours;
        config.session_storage = self.sessions.clone();
        // Two tickets for each handshake would cost as much as a signature, and a write. Clients use one.
        config.send_tls13_tickets = 1;
        Ok(config)
    }
}

/// Satisfies all clients that we tested, including Python 3.13's strict check.
fn profile(name: &str, ca_not_after: OffsetDateTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let common_name = if name.len() <= 64 { name } else { "otas-proxy" };
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = vec![match name.parse::<IpAddr>() {
        Ok(ip) => SanType::IpAddress(ip),
        Err(_) => SanType::DnsName(name.try_into()?),
    }];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial());
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - BACKDATE, (now + VALIDITY).min(ca_not_after));
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves() -> (tempfile::TempDir, Leaves) {
        let tmp = tempfile::tempdir().unwrap();
        let ca = CertAuthority::load_or_create(&tmp.path().join("ca")).unwrap();
        (tmp, Leaves::new(Arc::new(ca)).unwrap())
    }

    #[test]
    fn a_leaf_is_minted_once_for_each_name_and_protocol() {
        let (_tmp, leaves) = leaves();
        let first = leaves.server_config("api.example.com", Some(super::super::H2), SuiteOrder::Ours).unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &leaves.server_config("api.example.com", Some(super::super::H2), SuiteOrder::Ours).unwrap()
        ));
        let other = leaves.server_config("api.example.com", None, SuiteOrder::Ours).unwrap();
        assert!(!Arc::ptr_eq(&first, &other));
        assert_eq!(first.alpn_protocols, [b"h2".to_vec()]);
        assert!(other.alpn_protocols.is_empty());
    }

    #[test]
    fn leaves_of_a_replaced_authority_are_not_used() {
        let (tmp, leaves) = leaves();
        let before = leaves.server_config("api.example.com", None, SuiteOrder::Ours).unwrap();
        let next = CertAuthority::load_or_create(&tmp.path().join("next")).unwrap();
        leaves.sign_by(Arc::new(next));
        assert!(!Arc::ptr_eq(&before, &leaves.server_config("api.example.com", None, SuiteOrder::Ours).unwrap()));
    }

    #[test]
    fn the_profile_has_what_strict_clients_ask_for() {
        let (_tmp, leaves) = leaves();
        let long = format!("{}.example.com", "a".repeat(60));
        for name in ["api.example.com", "127.0.0.1", "::1", long.as_str()] {
            let params = profile(name, leaves.authority().not_after()).unwrap();
            let cert = params.signed_by(&leaves.key, &leaves.authority().issuer).unwrap();
            let (_, cert) = x509_parser::parse_x509_certificate(cert.der()).unwrap();
            let constraints = cert.basic_constraints().unwrap().unwrap();
            assert!(constraints.critical && !constraints.value.ca);
            assert!(cert.key_usage().unwrap().unwrap().critical);
            assert!(cert.extended_key_usage().unwrap().unwrap().value.server_auth);
            assert!(cert.subject_alternative_name().unwrap().is_some());
            let ids = cert.extensions().iter().filter(|e| {
                matches!(
                    e.parsed_extension(),
                    x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(_)
                        | x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(_)
                )
            });
            assert_eq!(ids.count(), 2, "authority and subject key identifier");
            let days = (cert.validity().not_after.timestamp() - cert.validity().not_before.timestamp()) / 86_400;
            assert!((30..=32).contains(&days));
        }
    }

    #[test]
    fn a_name_that_is_invalid_in_a_certificate_is_an_error() {
        let (_tmp, leaves) = leaves();
        assert!(matches!(
            leaves.server_config("bücher.example", None, SuiteOrder::Ours),
            Err(LeafError::Mint { .. })
        ));
    }
}
