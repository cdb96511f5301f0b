//! The connections that we make: resolve, connect, TLS, HTTP; kept for the next request while they are good.

mod answers;
mod connection;
mod dial;
mod heard;
mod next_proxy;
mod origins;
mod pool;
mod resolve;
mod restore;
mod settings;
mod tasks;

pub(super) use answers::{Answered, Answers};
pub(super) use connection::{
    H2_CONNECTION_WINDOW_BYTES, H2_STREAM_WINDOW_BYTES, Upstream, bad_head, caused_by, is_malformed, open, words,
};
pub(super) use dial::{Dialled, OriginStream, Way, dial};
pub(super) use next_proxy::{authorization, unauthorized};
pub use origins::Origins;
pub use pool::Pool;
pub use resolve::Resolver;
pub(super) use restore::StandIn;
pub use tasks::Tasks;

use std::sync::Arc;

use crate::capture::Origin;
use crate::tls::Offer;

/// What a connection is for, cheap to clone. Two requests with equal targets may use the same one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    /// Who is called.
    pub(super) origin: Origin,
    /// TLS with this name, offering this; `None`: in clear.
    pub(super) tls: Option<TlsTarget>,
    /// How it is reached.
    pub(super) way: Way,
}

/// The TLS half of a [`Target`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TlsTarget {
    /// The name that is asked for and that the certificate must be for.
    pub(super) name: Arc<str>,
    /// The agent's ALPN offer.
    pub(super) offer: Offer,
}
