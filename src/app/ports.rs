//! The ports: for agents, for people who look at their calls, and those that the system redirects connections to.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::error::{AppError, step};
use crate::config::Listen;
use crate::system::ports;

/// Ports that somebody else has opened for us, such as systemd. `None`: we open it ourselves.
#[derive(Default)]
pub struct Sockets {
    /// For agents.
    pub proxy: Option<std::net::TcpListener>,
    /// For people who look at their calls.
    pub admin: Option<std::net::TcpListener>,
}

/// All ports, bound.
pub(super) struct Ports {
    pub(super) proxy: TcpListener,
    pub(super) proxy_addr: SocketAddr,
    pub(super) admin: TcpListener,
    pub(super) admin_addr: SocketAddr,
    /// Where the system redirects connections of agents to.
    pub(super) transparent: Vec<TcpListener>,
}

impl Ports {
    /// Binds them, as far as they are not among `sockets`.
    ///
    /// # Errors
    /// When one of them cannot be bound or used.
    pub(super) async fn open(listen: &Listen, sockets: Sockets) -> Result<Self, AppError> {
        let proxy = match sockets.proxy {
            Some(socket) => adopt("listen.proxy", socket)?,
            None => bind("listen.proxy", listen.proxy).await?,
        };
        let admin = match sockets.admin {
            Some(socket) => adopt("listen.admin", socket)?,
            None => bind("listen.admin", listen.admin).await?,
        };
        let (proxy_addr, admin_addr) = (local(&proxy)?, local(&admin)?);
        let mut transparent = Vec::new();
        for address in &listen.transparent {
            transparent.push(bind("listen.transparent", *address).await?);
        }
        Ok(Self { proxy, proxy_addr, admin, admin_addr, transparent })
    }
}

/// Uses a port that is open already.
pub(super) fn adopt(what: &str, socket: std::net::TcpListener) -> Result<TcpListener, AppError> {
    let adopted = socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket));
    adopted.map_err(|error| step(format!("use the socket that was passed for `{what}`"), error))
}

pub(super) async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, AppError> {
    let bound = TcpListener::bind(address).await;
    let listening = bound.and_then(|listener| ports::let_wait(&listener).map(|()| listener));
    listening.map_err(|e| step(format!("listen on {address} ({what})"), with_advice(e)))
}

/// Why a port cannot be opened, and what to do.
pub(crate) fn with_advice(error: io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "the port is taken; choose another, or 0 for any free one".to_owned(),
        io::ErrorKind::PermissionDenied => format!(
            "{error}. Ports below 1024 need root or the capability CAP_NET_BIND_SERVICE; choose a port from 1024 on"
        ),
        io::ErrorKind::AddrNotAvailable => format!("{error}. Choose an address of this machine"),
        _ => return error,
    };
    io::Error::new(error.kind(), advice)
}

pub(super) fn local(listener: &TcpListener) -> Result<SocketAddr, AppError> {
    listener.local_addr().map_err(|e| step("learn the listening address".to_owned(), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_cannot_be_opened_comes_with_advice() {
        for (kind, advice) in [
            (io::ErrorKind::AddrInUse, "choose another"),
            (io::ErrorKind::PermissionDenied, "from 1024 on"),
            (io::ErrorKind::AddrNotAvailable, "of this machine"),
        ] {
            let said = with_advice(kind.into());
            assert!(said.kind() == kind && said.to_string().contains(advice), "{said}");
        }
    }
}
