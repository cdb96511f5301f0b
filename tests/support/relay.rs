//! A relay that stands for the distance to an origin: each piece of bytes arrives later by as much as the distance takes, and a
//! connection takes a round trip to open.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// A relay to one origin.
pub struct Relay {
    pub addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Relay {
    /// To `origin`, whose bytes take this long in each direction.
    pub async fn to(origin: SocketAddr, one_way: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let counted = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((agent, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let Ok(origin) = TcpStream::connect(origin).await else { return };
                    agent.set_nodelay(true).unwrap();
                    origin.set_nodelay(true).unwrap();
                    let ((from_agent, to_agent), (from_origin, to_origin)) =
                        (agent.into_split(), origin.into_split());
                    // What the system answers at once would take a round trip.
                    let open = Instant::now() + one_way * 2;
                    tokio::join!(
                        carry(from_agent, to_origin, one_way, open),
                        carry(from_origin, to_agent, one_way, open),
                    );
                });
            }
        });
        Self { addr, connections, task }
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries each piece and the end, in order, each for this long, and none before the connection is `open`.
async fn carry(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    mut to: impl AsyncWrite + Unpin,
    takes: Duration,
    open: Instant,
) {
    let (sent, mut under_way) = mpsc::unbounded_channel::<(Instant, Bytes)>();
    let read = tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        while from.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
            let _ = sent.send((Instant::now().max(open) + takes, buffer.split().freeze()));
        }
    });
    while let Some((due, piece)) = under_way.recv().await {
        sleep_until(due).await;
        if to.write_all(&piece).await.is_err() {
            read.abort();
            return;
        }
    }
    let _ = to.shutdown().await;
}
