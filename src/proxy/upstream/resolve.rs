//! Resolves host names with the system's resolver, so that `/etc/hosts` and search domains work as for the agent.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::proxy::error::ProxyError;

/// The most lookups at once. Each blocks a thread until the system responses, even if nobody waits for it any more. There are 512 such
/// threads, and delivery and the page need some of them.
const AT_ONCE: usize = 256;

/// Resolves host names. Clones share their limit.
#[derive(Clone)]
pub struct Resolver {
    at_once: Arc<Semaphore>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { at_once: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Resolver {
    /// The addresses of a host, at least one.
    pub(in crate::proxy) async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ProxyError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let failed = |reason: String| ProxyError::Dns { host: host.to_owned(), reason };
        let name = host.to_owned();
        let found = self.look_up(move || Ok((name.as_str(), port).to_socket_addrs()?.collect::<Vec<_>>())).await;
        let addresses = found.map_err(|e| failed(words(&e)))?;
        if addresses.is_empty() { Err(failed("it has no address".to_owned())) } else { Ok(addresses) }
    }

    async fn look_up<T: Send + 'static>(
        &self,
        look_up: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let place = self.at_once.clone().acquire_owned().await.map_err(io::Error::other)?;
        let looking = spawn_blocking(move || {
            let found = look_up();
            drop(place);
            found
        });
        looking.await.map_err(io::Error::other)?
    }
}

/// "failed to lookup address information: Name or service not known" -> its last part.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(": ").map_or(text.clone(), |(_, reason)| reason.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_look_up_keeps_its_place_until_it_ends_whoever_waits_for_it() {
        let resolver = Resolver { at_once: Arc::new(Semaphore::new(1)) };
        let (end, ended) = mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let slow = resolver.look_up(move || {
            begun.send(()).unwrap();
            ended.recv().map_err(io::Error::other)
        });
        tokio::select! {
            _ = slow => panic!("it has not ended"),
            _ = begins => {}
        }
        assert_eq!(resolver.at_once.available_permits(), 0, "nobody waits for it, and it goes on");
        end.send(()).unwrap();
        assert_eq!(resolver.look_up(|| Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn names_and_addresses_are_resolved() {
        let resolver = Resolver::default();
        assert_eq!(resolver.resolve("::1", 80).await.unwrap(), ["[::1]:80".parse().unwrap()]);
        assert!(resolver.resolve("localhost", 80).await.unwrap().iter().all(|address| address.ip().is_loopback()));
        let error = resolver.resolve("no-such-name.invalid", 80).await.unwrap_err();
        assert!(matches!(error, ProxyError::Dns { .. }), "{error:?}");
    }
}
