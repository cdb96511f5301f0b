//! The two ports: for agents, and for people who look at their calls.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::error::{AppError, step};
use crate::config::Listen;

/// Both ports, bound.
pub(super) struct Ports {
    pub(super) proxy: TcpListener,
    pub(super) proxy_addr: SocketAddr,
    pub(super) admin: TcpListener,
    pub(super) admin_addr: SocketAddr,
}

impl Ports {
    /// Binds both.
    ///
    /// # Errors
    /// When one of them cannot be bound.
    pub(super) async fn bind(listen: &Listen) -> Result<Self, AppError> {
        let proxy = bind("listen.proxy", listen.proxy).await?;
        let admin = bind("listen.admin", listen.admin).await?;
        let (proxy_addr, admin_addr) = (local(&proxy)?, local(&admin)?);
        Ok(Self { proxy, proxy_addr, admin, admin_addr })
    }
}

pub(super) async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, AppError> {
    let hint = |e: io::Error| match e.kind() {
        io::ErrorKind::AddrInUse => {
            io::Error::new(e.kind(), "the port is taken; choose another, or 0 for any free one")
        }
        _ => e,
    };
    TcpListener::bind(address).await.map_err(|e| step(format!("listen on {address} ({what})"), hint(e)))
}

fn local(listener: &TcpListener) -> Result<SocketAddr, AppError> {
    listener.local_addr().map_err(|e| step("learn the listening address".to_owned(), e))
}
