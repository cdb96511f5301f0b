//! What the settings say about calls. New settings replace all of it at once; a call keeps the rules that it began with.

use std::sync::Arc;

use super::admission::CallerRules;
use super::agent::Agent;
use super::agent_limits::AgentLimits;
use super::forwarding::Forwarding;
use super::interception::Passthrough;
use super::upstream::{Origins, Sharer};
use crate::capture::Caller;

/// The rules of a call or of a connection.
pub struct Rules {
    /// Who may use the proxy, and how much.
    pub callers: CallerRules,
    /// How long agents may take, and how much they may send.
    pub agent_limits: AgentLimits,
    /// Which tunnels are not decrypted.
    pub passthrough: Passthrough,
    /// How requests are checked and changed on their way.
    pub forwarding: Forwarding,
    /// How connections to origins are made. The same as before, if none of its settings has changed.
    pub origins: Arc<Origins>,
}

impl Rules {
    /// Who may use the upstream connections of `caller` again. `None`: nobody (`upstream.share`), or the user is unknown.
    pub(super) fn sharer(&self, agent: &Agent, caller: &Caller) -> Option<Sharer> {
        let user = agent.user.filter(|_| self.origins.next_proxies.share)?;
        Some(Sharer { user, caller: caller.clone() })
    }
}
