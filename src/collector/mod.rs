//! The embedded OTAS-compatible endpoint: where events go when there is no OTAS to send them to.
//!
//! It answers for both of OTAS's services on one listener and keeps what it takes in one SQLite file:
//!
//! | service | endpoint |
//! |---|---|
//! | UASAM | `POST /api/agent/v1/session/create/`, `POST /api/agent/v1/auth/verify/` |
//! | Brain | `POST /api/v1/backend/log/agent/`, `GET /api/v1/agent/session/events/?session_id=…&limit=…` |
//! | ours | `GET /healthz` |
//!
//! Answers, the order of the checks and the limits are OTAS's own, as documented and as measured, so a sender that
//! works here works there. Where the two must differ, this one is the stricter, with three exceptions:
//!
//! - listing a session's events asks for no user token, because there are no users here; instead it is answered
//!   only to callers on the same machine ([`routes`]);
//! - an agent key does not expire after 30 days, because nobody could renew it (session tokens do expire);
//! - nothing is slow: the key check is one look-up, not 200 ms of PBKDF2.

mod answer;
mod book;
mod brain;
mod jwt;
mod kept_key;
mod key;
mod ledger;
mod limits;
mod parse;
pub mod routes;
mod uasam;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub use self::kept_key::embedded_agent;
pub use self::key::{RandomError, issue_key};
pub use self::ledger::{Ledger, LedgerError, StoredEvent, StoredSession};
use crate::secret::Secret;
use crate::serving;

/// How long [`Collector::stop`] waits for requests under way.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What its clients may take. The program's own delivery keeps no connection idle for as long.
const LIMITS: serving::Limits =
    serving::Limits { connections: 128, head: Duration::from_secs(20), content: Duration::from_secs(30) };

/// What a collector is started with.
#[derive(Clone, Default)]
pub struct CollectorOptions {
    /// The SQLite file, created with mode 0600. `None`: in memory, gone at the stop.
    pub db: Option<PathBuf>,
    /// Agents to accept, beside those that the file remembers.
    pub agents: Vec<Agent>,
}

/// An agent that may send events.
#[derive(Clone)]
pub struct Agent {
    /// Its key, as made by [`issue_key`]. Giving a known agent another key revokes the one it had.
    pub key: Secret,
    /// The project that its events are filed under, whatever they say.
    pub project_id: Uuid,
    /// Its name, unique in the project.
    pub name: String,
}

/// A running collector. Dropping it stops it too, without waiting for anything.
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

    /// What it has stored, for listing and for adding agents.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Stops accepting, and lets requests under way finish for at most five seconds. What takes longer is no longer
    /// waited for and goes with the runtime.
    pub async fn stop(self) {
        drop(self.stop);
        let abort = self.server.abort_handle();
        if tokio::time::timeout(STOP_GRACE, self.server).await.is_err() {
            abort.abort();
        }
    }
}

/// Why a collector could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener is not bound.
    #[error("reading the collector's own address failed")]
    Listener(#[source] std::io::Error),
    /// The database would not open.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The address to call a socket by that is bound to every address.
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
    fn a_socket_bound_to_every_address_is_called_by_loopback() {
        assert_eq!(reachable("0.0.0.0:80".parse().unwrap()), "127.0.0.1:80".parse().unwrap());
        assert_eq!(reachable("[::]:80".parse().unwrap()), "[::1]:80".parse().unwrap());
        assert_eq!(reachable("10.1.2.3:80".parse().unwrap()), "10.1.2.3:80".parse().unwrap());
    }
}
