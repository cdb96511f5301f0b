//! Names that agents ask for where the proxy is their only resolver (`run --netns`).

use std::net::IpAddr;

use super::error::ProxyError;
use super::shared::Shared;

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Its addresses.
    Found(Vec<IpAddr>),
    /// There is no such name, or it has no address.
    Missing,
    /// The resolver failed.
    Failed,
    /// Agents may not call it (`[egress]`).
    Denied,
}

impl Shared {
    /// The addresses of a name, if agents may call it. Where they may call only what is listed, names that no entry can mean are not
    /// asked for: a question for a name can carry data.
    pub async fn look_up(&self, name: &str) -> Lookup {
        let rules = self.rules();
        let origins = &rules.origins;
        if !origins.egress.may_be_asked_for(name) {
            return Lookup::Denied;
        }
        // The agent has added the search domains already.
        match tokio::time::timeout(origins.connect_timeout, origins.resolver.resolve(&format!("{name}."), 0)).await {
            Ok(Ok(addresses)) => Lookup::Found(addresses.into_iter().map(|address| address.ip()).collect()),
            Ok(Err(ProxyError::Dns { reason, .. })) if !is_temporary(&reason) => Lookup::Missing,
            Ok(Err(_)) | Err(_) => Lookup::Failed,
        }
    }
}

/// Whether the system's resolver may know more later: `EAI_AGAIN` in the words of glibc and musl.
fn is_temporary(reason: &str) -> bool {
    reason.contains("emporary") || reason.contains("ry again")
}
