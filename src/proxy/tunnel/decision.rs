//! What is done with a tunnel.

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::capture::Blind;
use crate::proxy::acknowledge::Prompt;
use crate::proxy::context::Inside;
use crate::proxy::rewind::Rewind;
use crate::proxy::upstream::Upstream;

/// What is done with a tunnel, once its first bytes are known.
pub(in crate::proxy) enum Decision {
    /// HTTP is served on the inside.
    Serve(Box<Serving>),
    /// The bytes are relayed without decryption, for this reason.
    Relay { agent: Rewind<TcpStream>, why: Blind },
    /// The tunnel has ended, and its record says why.
    Over,
}

/// A tunnel whose inside is HTTP.
pub(in crate::proxy) struct Serving {
    pub(in crate::proxy) inside: Inside,
    /// The connection to the origin, if it could be opened.
    pub(in crate::proxy) upstream: Option<Box<Upstream>>,
    pub(in crate::proxy) stream: Decrypted,
}

/// The agent's stream inside the tunnel.
pub(in crate::proxy) enum Decrypted {
    Tls(Box<TlsStream<Prompt<TcpStream>>>),
    Clear(Rewind<TcpStream>),
}
