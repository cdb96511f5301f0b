//! The cipher suite for agents. Most clients prefer AES-256 with SHA-384, which common processors have no instructions for. With
//! SHA-256 a handshake takes a tenth less time. AES-128 is as good on the way from an agent to its proxy.

use std::sync::{Arc, LazyLock};

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;

use super::roots::provider;

/// Whose order of preference decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SuiteOrder {
    /// The agent's.
    Agents,
    /// Ours: what the processor is fast at.
    Ours,
}

impl SuiteOrder {
    /// For an agent that offers these. One that prefers ChaCha20 is on a processor without AES, so it decides.
    pub fn of(offered: &[CipherSuite]) -> Self {
        let first = offered.iter().find(|suite| provider().cipher_suites.iter().any(|ours| ours.suite() == **suite));
        let prefers_chacha = first.and_then(CipherSuite::as_str).is_none_or(|name| name.contains("CHACHA20"));
        if has_instructions() && !prefers_chacha { Self::Ours } else { Self::Agents }
    }

    /// The provider with the suites in this order.
    pub(super) fn provider(self) -> Arc<CryptoProvider> {
        static OURS: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
            let mut ours = (*provider()).clone();
            // Stable, so TLS 1.3 stays before TLS 1.2.
            ours.cipher_suites.sort_by_key(|suite| (suite.tls13().is_none(), !is_fast(suite.suite())));
            Arc::new(ours)
        });
        match self {
            Self::Agents => provider(),
            Self::Ours => OURS.clone(),
        }
    }
}

fn is_fast(suite: CipherSuite) -> bool {
    suite.as_str().is_some_and(|name| name.ends_with("AES_128_GCM_SHA256"))
}

/// Whether the processor has instructions for AES and SHA-256.
fn has_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("sha");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

#[cfg(test)]
mod tests {
    use rustls::CipherSuite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
    };

    use super::*;

    #[test]
    fn our_order_begins_with_sha_256_and_loses_no_suite() {
        let suites = |order: SuiteOrder| -> Vec<_> {
            order.provider().cipher_suites.iter().map(rustls::SupportedCipherSuite::suite).collect()
        };
        let (ours, mut agents) = (suites(SuiteOrder::Ours), suites(SuiteOrder::Agents));
        assert_eq!(ours[..2], [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384]);
        assert_eq!(ours[3], TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
        let mut sorted = ours.clone();
        sorted.sort_by_key(|suite| u16::from(*suite));
        agents.sort_by_key(|suite| u16::from(*suite));
        assert_eq!(sorted, agents);
    }

    #[test]
    fn an_agent_without_aes_instructions_decides() {
        let order = SuiteOrder::of(&[TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256]);
        assert_eq!((order, SuiteOrder::of(&[])), (SuiteOrder::Agents, SuiteOrder::Agents));
        let usual = SuiteOrder::of(&[CipherSuite::Unknown(0x1a1a), TLS13_AES_256_GCM_SHA384]);
        assert_eq!(usual, if has_instructions() { SuiteOrder::Ours } else { SuiteOrder::Agents });
    }
}
