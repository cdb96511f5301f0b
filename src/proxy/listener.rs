//! Accepts agents for ever; each gets a task of its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;

use super::Shared;
use super::connection::serve_agent;

/// When there are no descriptors left, waiting a little lets connections end; giving up would end the proxy.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Serves agents on `listener` until `shared.stop`. Connections go on in `shared.tasks`.
pub async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, agent)) => {
                // Whole exchanges are handed over, not pieces: see `upstream::dial`.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "an agent left at once");
                    continue;
                }
                shared.tasks.spawn(serve_agent(shared.clone(), agent, stream));
            }
            Err(error) if is_the_agents(&error) => tracing::debug!(%error, "an agent left at once"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection just now");
                sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

fn is_the_agents(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
