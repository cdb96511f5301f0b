//! A port where nobody listens.

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use std::{fmt, io};

use tokio::net::{TcpListener, TcpSocket};

use super::proxy::PATIENCE;

/// A port of this machine that refuses connections, and that is held for as long as this lives: no test that runs beside this
/// one is given it meanwhile.
pub struct Nobody {
    held: TcpSocket,
    pub addr: SocketAddr,
}

impl Nobody {
    /// Any port.
    pub fn new() -> Self {
        Self::at(([127, 0, 0, 1], 0).into())
    }

    /// The port of a listener that has just gone.
    pub fn at(addr: SocketAddr) -> Self {
        let held = TcpSocket::new_v4().unwrap();
        // Connections of the one before may not have ended.
        held.set_reuseaddr(true).unwrap();
        let until = Instant::now() + PATIENCE;
        // A process that another test has just forked holds that listener until it begins its own program.
        while let Err(error) = held.bind(addr) {
            assert!(error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until, "{addr}: {error}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let addr = held.local_addr().unwrap();
        Self { held, addr }
    }

    /// Listens from now on.
    pub fn listen(self) -> TcpListener {
        self.held.listen(1024).unwrap()
    }
}

/// Where it is.
impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr.fmt(f)
    }
}
