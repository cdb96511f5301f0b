//! The proxy's side: it waits until the namespace is ready.

use std::io::{self, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::ExitStatus;

use uuid::Uuid;

use super::handover::{Inside, Said, receive};

/// The command has no network of its own, so it was not started.
#[derive(Debug, thiserror::Error)]
#[error("cannot give the command a network of its own, so it was not started: {0}")]
pub struct NotEntered(pub(super) String);

impl NotEntered {
    /// The process that makes the namespace has ended without a word.
    pub fn ended(how: &io::Result<ExitStatus>) -> Self {
        let how = how.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        Self(format!("the process that makes it has ended ({how})"))
    }
}

/// Waits for the process that makes the namespace.
pub struct Waiting {
    /// An abstract name: no file is left over.
    name: String,
    listener: tokio::net::UnixListener,
}

/// The process in the namespace, which waits for our word.
pub struct Start(UnixStream);

impl Waiting {
    /// Begins to listen. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn begin() -> io::Result<Self> {
        let name = format!("otas-proxy-{}", Uuid::new_v4());
        let listener = UnixListener::bind_addr(&address(&name)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self { name, listener: tokio::net::UnixListener::from_std(listener)? })
    }

    /// What the process is to be told, so that it finds us.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for what the process with this id has set up. Ends only when it says something, or ends.
    ///
    /// # Errors
    /// Why there is no namespace.
    pub async fn ready(&self, pid: u32) -> Result<(Inside, Start), NotEntered> {
        self.said(pid).await.unwrap_or_else(|error| Err(NotEntered(format!("its first process fails: {error}"))))
    }

    async fn said(&self, pid: u32) -> io::Result<Result<(Inside, Start), NotEntered>> {
        let stream = loop {
            let (stream, _) = self.listener.accept().await?;
            // Any process of this network namespace may connect.
            if stream.peer_cred()?.pid().is_some_and(|peer| u32::try_from(peer) == Ok(pid)) {
                break stream.into_std()?;
            }
        };
        stream.set_nonblocking(false)?;
        let received = tokio::task::spawn_blocking(move || receive(&stream).map(|said| (said, stream)));
        Ok(match received.await.map_err(io::Error::other)?? {
            (Said::Ready(inside), stream) => Ok((*inside, Start(stream))),
            (Said::Failed(why), _) => Err(NotEntered(why)),
        })
    }
}

impl Start {
    /// Lets the command begin.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn go(mut self) -> io::Result<()> {
        self.0.write_all(&[1])
    }
}

pub(super) fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(name)
}
