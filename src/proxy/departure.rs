//! Whether an agent that closed its side of the connection has left. It may have closed only its half and still wait for a response:
//! both look the same. If the agent is on this machine, the system knows whether a process still holds its socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::peer::{Ends, Peers};

/// The first pause between two lookups. An agent that closes its socket holds it for a moment longer.
const FIRST_LOOK: Duration = Duration::from_millis(5);
/// The longest pause between two lookups.
const EVERY: Duration = Duration::from_secs(1);
/// After this long without a write, an agent that the system does not know counts as gone. Writing to an agent that has left fails,
/// so writes need no lookup.
const UNKNOWN: Duration = Duration::from_secs(60);

/// Ends when the agent has left, as far as that can be known. `written`: bytes written to it so far.
pub(super) async fn gone(peers: &Peers, ends: Ends, written: &AtomicU64) {
    let mut wait = FIRST_LOOK;
    loop {
        match peers.holds(ends).await {
            Some(true) => {
                sleep(wait).await;
                wait = (wait * 2).min(EVERY);
            }
            Some(false) => return,
            None => return silent(written, UNKNOWN).await,
        }
    }
}

/// Ends when nothing was written for `limit`.
async fn silent(written: &AtomicU64, limit: Duration) {
    loop {
        let before = written.load(Ordering::Relaxed);
        sleep(limit).await;
        if written.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// Waits until an agent has left: see [`gone`].
pub(super) type Departure = Box<dyn Fn(Arc<AtomicU64>) -> futures_util::future::BoxFuture<'static, ()> + Send>;

/// For the agent with this connection.
pub(super) fn of(peers: &Arc<Peers>, ends: Ends) -> Departure {
    let peers = peers.clone();
    Box::new(move |written| {
        let peers = peers.clone();
        Box::pin(async move { gone(&peers, ends, &written).await })
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_agent_of_this_machine_is_gone_when_no_process_has_its_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut agent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, address) = listener.accept().await.unwrap();
        let ends = Ends::new(address, ours.local_addr().unwrap());
        let peers = Peers::new(IpAddr::V4(Ipv4Addr::LOCALHOST), false, false, Vec::new()).unwrap();
        let written = AtomicU64::new(0);
        let mut leaving = Box::pin(gone(&peers, ends, &written));
        assert!(timeout(Duration::from_millis(50), &mut leaving).await.is_err(), "it is there");
        agent.shutdown().await.unwrap();
        assert!(timeout(Duration::from_millis(50), &mut leaving).await.is_err(), "it has closed its half");
        drop(agent);
        timeout(Duration::from_secs(20), leaving).await.expect("it has gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_remote_agent_counts_as_gone_if_nothing_was_written_to_it() {
        let from: SocketAddr = "192.0.2.1:5".parse().unwrap();
        let peers = Peers::new(IpAddr::V4(Ipv4Addr::LOCALHOST), false, false, Vec::new()).unwrap();
        let written = AtomicU64::new(0);
        let began = tokio::time::Instant::now();
        let leaving = gone(&peers, Ends::new(from, "192.0.2.2:8080".parse().unwrap()), &written);
        let writing = async {
            sleep(UNKNOWN / 2).await;
            written.store(9, Ordering::Relaxed);
        };
        tokio::join!(leaving, writing);
        assert_eq!(began.elapsed(), UNKNOWN * 2);
    }
}
