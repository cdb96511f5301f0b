//! Who makes a call, as far as the data path can tell: what decides in which session its event goes.

use std::sync::Arc;

/// Who makes a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Whoever uses this proxy.
    #[default]
    Proxy,
    /// An agent that gave the proxy credentials.
    Credential(Arc<Credential>),
}

/// Whom credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Credential {
    /// The `name` of an entry of `[[agents]]`.
    pub agent: String,
    /// What stood after a `+` in the user name: which of that agent's runs.
    pub label: Option<String>,
}

/// Why a call has no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlogged {
    /// Its origin is in the project's domain, and logs it itself.
    InDomain,
    /// It was for OTAS itself.
    Otas,
}
