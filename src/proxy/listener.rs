//! Accepts agents for ever. Each gets a task of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use super::connection::{serve_agent, serve_redirected};
use super::door::Door;
use super::shared::Shared;

/// The pause after a failed accept. If there are no descriptors left, other connections may end meanwhile.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Accepts agents on `listener` until `shared.lifecycle.stop`. Their connections continue in `shared.lifecycle.tasks`.
///
/// At `proxy.max_connections` it waits until a connection ends. Meanwhile the system queues new connections, or refuses them.
pub async fn listen(shared: Arc<Shared>, listener: Arc<TcpListener>, door: Door) {
    let mut told = false;
    loop {
        if shared.admission.connections.available_permits() == 0 && !std::mem::replace(&mut told, true) {
            tracing::warn!("limit reached: `proxy.max_connections`; new connections wait (logged once)");
        }
        let accepted = tokio::select! {
            biased;
            () = shared.lifecycle.stop.cancelled() => return,
            accepted = accept(&shared, &listener) => accepted,
        };
        match accepted {
            Ok((stream, address, permit)) => {
                // We write whole messages: see `upstream::tcp`.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "an agent left before it was accepted");
                    continue;
                }
                let (tasks, shared) = (&shared.lifecycle.tasks, shared.clone());
                match door {
                    Door::Proxy | Door::ProxyInside => {
                        tasks.spawn(serve_agent(shared, address, permit, stream, door))
                    }
                    Door::Redirected | Door::RedirectedInside => {
                        tasks.spawn(serve_redirected(shared, address, permit, stream, door))
                    }
                };
            }
            Err(error) if is_the_agents(&error) => tracing::debug!(%error, "an agent left before it was accepted"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

async fn accept(
    shared: &Shared,
    listener: &TcpListener,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = shared.admission.connections.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, permit))
}

fn is_the_agents(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
