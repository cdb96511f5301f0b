//! What the connections to a listener are.

/// What the connections to a listener are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Agents call the proxy.
    Proxy,
    /// The system redirects connections to us that agents open to others (`listen.transparent`).
    Redirected,
    /// As [`Door::Proxy`], in the network namespace of a run's command.
    ProxyInside,
    /// As [`Door::Redirected`], in the network namespace of a run's command.
    RedirectedInside,
}
