//! Limits for each agent (`proxy.agent_connections`, `proxy.agent_requests_per_second`), so that one agent cannot use up the proxy.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::ProxyError;
use parking_lot::Mutex;

use crate::capture::{AgentProcess, Caller};

/// The most agents that are tracked. Agents without connections that are within their rate need no tracking.
const AGENTS: usize = 4096;

/// The limits of each agent.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// `proxy.agent_connections`: the most connections at once. 0: no limit.
    pub connections: usize,
    /// `proxy.agent_requests_per_second`: the most requests per second. They may come in a burst. 0: no limit.
    pub per_second: u32,
}

/// What each agent uses.
#[derive(Default)]
pub struct Quotas {
    agents: Mutex<HashMap<Who, Used>>,
}

/// What counts as one agent. Labels do not count, because agents choose them freely.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Name(String),
    Process(AgentProcess),
    /// An IPv4 address, or an IPv6 /64 network: one machine may use all addresses of its network.
    Address(IpAddr),
}

struct Used {
    connections: usize,
    /// When the rate allows the next request without a burst (the "theoretical arrival time" of GCRA).
    until: Instant,
}

/// A slot among the connections of an agent. Dropping it frees the slot.
pub(super) struct Slot {
    quotas: Arc<Quotas>,
    /// `None`: slots are not counted.
    who: Option<Who>,
}

impl Quotas {
    /// A slot for one more connection of `caller`, who calls from `address`.
    ///
    /// # Errors
    /// When it has too many connections.
    pub(super) fn connect(
        self: &Arc<Self>,
        share: Share,
        caller: &Caller,
        address: IpAddr,
    ) -> Result<Slot, ProxyError> {
        let mut who = None;
        if share.connections > 0 {
            let of = Who::of(caller, address);
            let mut agents = self.agents.lock();
            let used = used(&mut agents, &of, Instant::now());
            if used.connections >= share.connections {
                let retry_after = Duration::from_secs(1);
                return Err(ProxyError::TooMany {
                    what: "connections at once",
                    limit: share.connections,
                    retry_after,
                });
            }
            used.connections += 1;
            who = Some(of);
        }
        Ok(Slot { quotas: self.clone(), who })
    }

    /// Counts a request of `caller`, who calls from `address`.
    ///
    /// # Errors
    /// When requests come too fast. The error says when to retry.
    pub(super) fn request(
        &self,
        share: Share,
        caller: &Caller,
        address: IpAddr,
        now: Instant,
    ) -> Result<(), ProxyError> {
        if share.per_second == 0 {
            return Ok(());
        }
        let mut agents = self.agents.lock();
        let used = used(&mut agents, &Who::of(caller, address), now);
        let second = Duration::from_secs(1);
        let until = used.until.max(now) + second / share.per_second;
        if until > now + second {
            let (limit, retry_after) = (share.per_second as usize, until - now - second);
            return Err(ProxyError::TooMany { what: "requests per second", limit, retry_after });
        }
        used.until = until;
        Ok(())
    }
}

/// What an agent uses. If there are too many agents, the idle ones are evicted first, then the one closest to idle.
fn used<'a>(agents: &'a mut HashMap<Who, Used>, who: &Who, now: Instant) -> &'a mut Used {
    if agents.len() >= AGENTS && !agents.contains_key(who) {
        agents.retain(|_, used| used.connections > 0 || used.until > now);
        if agents.len() >= AGENTS {
            let idle = agents.iter().filter(|(_, used)| used.connections == 0);
            let nearest = idle.min_by_key(|(_, used)| used.until).map(|(who, _)| who.clone());
            nearest.and_then(|nearest| agents.remove(&nearest));
        }
    }
    agents.entry(who.clone()).or_insert(Used { connections: 0, until: now })
}

impl Who {
    fn of(caller: &Caller, address: IpAddr) -> Self {
        match caller {
            Caller::Credential(of) => Self::Name(of.agent.clone()),
            Caller::Process(of) => Self::Process(of.clone()),
            Caller::Proxy => Self::Address(match address.to_canonical() {
                IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
                v4 @ IpAddr::V4(_) => v4,
            }),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(who) = &self.who else { return };
        if let Some(used) = self.quotas.agents.lock().get_mut(who) {
            used.connections = used.connections.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Credential;

    fn named(agent: &str, label: &str) -> Caller {
        Caller::Credential(Arc::new(Credential { agent: agent.to_owned(), label: Some(label.to_owned()) }))
    }

    const HERE: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    #[test]
    fn an_agent_has_so_many_connections_whatever_labels_it_gives() {
        let (quotas, share) = (Arc::new(Quotas::default()), Share { connections: 2, per_second: 0 });
        let connect = |agent, label| quotas.connect(share, &named(agent, label), HERE);
        let (first, _second) = (connect("a", "1").ok(), connect("a", "2").ok());
        assert!(connect("a", "3").is_err());
        let _other = connect("b", "1").ok().unwrap();
        drop(first);
        assert!(connect("a", "3").is_ok());
        assert!(quotas.request(share, &named("a", ""), HERE, Instant::now()).is_ok(), "requests are not limited");
    }

    #[test]
    fn requests_come_at_their_rate_or_are_told_when_to_come_again() {
        let (quotas, now) = (Quotas::default(), Instant::now());
        let ask = |now| quotas.request(Share { connections: 0, per_second: 4 }, &Caller::Proxy, HERE, now);
        let at_once = (0..9).filter(|_| ask(now).is_ok()).count();
        assert_eq!(at_once, 4);
        let Err(ProxyError::TooMany { retry_after, limit: 4, .. }) = ask(now) else {
            panic!("a fifth is let through")
        };
        assert_eq!(retry_after, Duration::from_millis(250));
        assert!(ask(now + Duration::from_millis(249)).is_err() && ask(now + Duration::from_millis(250)).is_ok());
        let later = now + Duration::from_secs(60);
        assert_eq!((0..9).filter(|_| ask(later).is_ok()).count(), 4, "what was not used is not saved up");
    }

    #[test]
    fn addresses_of_one_network_are_one_agent_and_a_million_agents_are_forgotten() {
        let (quotas, now) = (Quotas::default(), Instant::now());
        let share = Share { connections: 0, per_second: 1 };
        let ask = |network: u128, host: u128| {
            let address = Ipv6Addr::from((0xfd << 120) | (network << 64) | host);
            quotas.request(share, &Caller::Proxy, address.into(), now).is_ok()
        };
        assert!(ask(1, 1) && !ask(1, 2) && ask(2, 1));
        for network in 0..20_000 {
            ask(network, 0);
            assert!(quotas.agents.lock().len() <= AGENTS);
        }
    }
}
