//! Who makes a call, as far as the data path knows. This decides in which session its event goes.

use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;

use crate::peer::Facts;
use crate::secret::Secret;

/// Who makes a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Unknown: anyone who uses this proxy.
    #[default]
    Proxy,
    /// An agent that gave the proxy credentials.
    Credential(Arc<Credential>),
    /// A process on this machine: the agent's, which may be an ancestor of the process that calls.
    Process(AgentProcess),
}

/// A process as a caller. Two are equal if process id and start time are.
#[derive(Debug, Clone)]
pub struct AgentProcess(pub Arc<Facts>);

impl AgentProcess {
    fn key(&self) -> (u32, u64) {
        (self.0.pid, self.0.start_ticks)
    }
}

impl PartialEq for AgentProcess {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for AgentProcess {}

impl Hash for AgentProcess {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// The agent that credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Credential {
    /// The `name` of an entry of `[[agents]]`.
    pub agent: String,
    /// The text after `+` in the user name. It distinguishes runs of the same agent.
    pub label: Option<String>,
}

/// Why a call has no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlogged {
    /// Its origin is in the project's domain and logs the call itself.
    InDomain,
    /// It was a call to OTAS.
    Otas,
}

/// Gives the session tokens that calls into a project's domain carry.
pub trait SessionTokens: Send + Sync {
    /// The token for a call. It is the one that the call itself carries (`named`), if that belongs to the caller's agent. Otherwise
    /// it is that of the caller's session, once the session is open. `None`: no session was open within a few seconds.
    fn token<'a>(
        &'a self,
        caller: &'a Caller,
        named: Option<Secret>,
    ) -> Pin<Box<dyn Future<Output = Option<Secret>> + Send + 'a>>;
}
