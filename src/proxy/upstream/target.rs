//! Where a connection leads.

use std::net::IpAddr;
use std::sync::Arc;

use crate::capture::{Caller, Origin};
use crate::peer::User;
use crate::tls::Offer;

/// Where a connection leads. Cheap to clone. Requests with equal targets may use the same connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct Target {
    /// The server that is called.
    pub(in crate::proxy) origin: Origin,
    /// The address that the agent called, if the system redirected it to us. `None`: the origin's name is resolved.
    pub(in crate::proxy) at: Option<IpAddr>,
    /// `None`: cleartext.
    pub(in crate::proxy) tls: Option<TlsTarget>,
    /// How the origin is reached.
    pub(in crate::proxy) way: Way,
    /// Who may use the connection again. `None`: nobody but the agent connection that it was opened for.
    pub(in crate::proxy) sharer: Option<Sharer>,
}

/// Who uses a connection. No other user and no other caller ever gets it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct Sharer {
    pub(in crate::proxy) user: User,
    pub(in crate::proxy) caller: Caller,
}

/// The TLS half of a [`Target`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct TlsTarget {
    /// The server name of the ClientHello. The certificate must be valid for it.
    pub(in crate::proxy) name: Arc<str>,
    /// The agent's ALPN offer.
    pub(in crate::proxy) offer: Offer,
}

/// How an origin is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::proxy) enum Way {
    /// By a connection of its own: directly, or by a tunnel through the next proxy.
    Tunnel,
    /// By sending each request to the next proxy, as clients do for `http` URLs (RFC 9112 3.2.2).
    NextProxy,
}
