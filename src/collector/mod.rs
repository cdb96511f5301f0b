//! The embedded OTAS-compatible endpoint, which receives events when there is no OTAS.
//!
//! It implements both of OTAS's services on one listener and stores everything in one SQLite file:
//!
//! | service | endpoint |
//! |---|---|
//! | UASAM | `POST /api/agent/v1/session/create/`, `POST /api/agent/v1/auth/verify/` |
//! | Brain | `POST /api/v1/backend/log/agent/`, `GET /api/v1/agent/session/events/?session_id=…&limit=…` |
//! | ours | `GET /healthz` |
//!
//! The answers, the order of the checks and the limits are those of OTAS, as documented and measured. So a sender that works
//! here works there. Where the two must differ, this one is stricter, with three exceptions:
//!
//! - listing a session's events needs no user token, because there are no users here; instead it is answered
//!   only to callers on the same machine ([`routes`]);
//! - an agent key does not expire after 30 days, because nobody could renew it (session tokens do expire);
//! - it is fast: the key check is one look-up, not 200 ms of PBKDF2.

mod answer;
mod brain;
mod database;
mod error;
mod jwt;
mod kept_key;
mod key;
mod ledger;
mod limits;
mod parse;
mod request;
pub mod routes;
mod stored;
mod uasam;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub use self::error::LedgerError;
pub use self::kept_key::embedded_agent;
pub use self::key::{RandomError, issue_key};
pub use self::ledger::Ledger;
pub use self::stored::{StoredEvent, StoredSession};
use crate::secret::Secret;
use crate::serving;

/// How long [`Collector::stop`] waits for requests in flight.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Limits for its clients. Our own delivery closes idle connections sooner.
const LIMITS: serving::Limits =
    serving::Limits { connections: 128, head: Duration::from_secs(20), content: Duration::from_secs(30) };

/// The collector's options.
#[derive(Clone, Default)]
pub struct CollectorOptions {
    /// The SQLite file, created with mode 0600. `None`: in memory.
    pub db: Option<PathBuf>,
    /// Agents to accept, in addition to those in the file.
    pub agents: Vec<Agent>,
}

/// An agent that may send events.
#[derive(Clone)]
pub struct Agent {
    /// Its key, from [`issue_key`]. A new key for a known agent revokes the old one.
    pub key: Secret,
    /// The project of its events, whatever the events say.
    pub project_id: Uuid,
    /// Its name, unique in the project.
    pub name: String,
}

/// A running collector. Dropping it stops it without waiting.
pub struct Collector {
    /// The base URL of both services, such as `http://127.0.0.1:4321`.
    pub url: String,
    ledger: Ledger,
    stop: DropGuard,
    server: JoinHandle<()>,
}

impl Collector {
    /// Opens the database and serves on `listener`.
    ///
    /// # Errors
    /// When the listener has no address, or the database cannot be opened or written.
    pub async fn start(listener: TcpListener, options: CollectorOptions) -> Result<Self, StartError> {
        let address = listener.local_addr().map_err(StartError::Listener)?;
        let ledger = Ledger::open(options).await?;
        let stop = CancellationToken::new();
        let server = tokio::spawn(serving::serve(listener, routes::router(ledger.clone()), LIMITS, stop.clone()));
        let stop = stop.drop_guard();
        Ok(Self { url: format!("http://{}", reachable(address)), ledger, stop, server })
    }

    /// The database, for listing events and adding agents.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Stops accepting connections, and lets requests in flight finish for at most five seconds. Slower ones end with the
    /// runtime.
    pub async fn stop(self) {
        drop(self.stop);
        let abort = self.server.abort_handle();
        if tokio::time::timeout(STOP_GRACE, self.server).await.is_err() {
            abort.abort();
        }
    }
}

/// Why a collector could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener is not bound.
    #[error("cannot read the collector's own address")]
    Listener(#[source] std::io::Error),
    /// The database could not be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The address to reach a socket that is bound to every address.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_bound_to_every_address_is_reached_by_loopback() {
        assert_eq!(reachable("0.0.0.0:80".parse().unwrap()), "127.0.0.1:80".parse().unwrap());
        assert_eq!(reachable("[::]:80".parse().unwrap()), "[::1]:80".parse().unwrap());
        assert_eq!(reachable("10.1.2.3:80".parse().unwrap()), "10.1.2.3:80".parse().unwrap());
    }
}
