//! The sessions that callers have opened by themselves.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::OPEN_AT_ONCE;
use crate::capture::Caller;
use crate::secret::Secret;

/// Which token is whose. At most as many are remembered as sessions are open; the one used least lately makes room.
#[derive(Default)]
pub(super) struct Adopted(HashMap<Caller, Own>);

struct Own {
    token: Secret,
    used: Instant,
}

impl Adopted {
    /// The caller's own token, which is used with that.
    pub(super) fn token_of(&mut self, caller: &Caller) -> Option<Secret> {
        let own = self.0.get_mut(caller)?;
        own.used = Instant::now();
        Some(own.token.clone())
    }

    /// Whether the caller has one.
    pub(super) fn has(&self, caller: &Caller) -> bool {
        self.0.contains_key(caller)
    }

    /// From now on this is the caller's own.
    pub(super) fn insert(&mut self, caller: &Caller, token: &Secret) {
        if self.0.len() >= OPEN_AT_ONCE
            && !self.0.contains_key(caller)
            && let Some(oldest) = self.0.iter().min_by_key(|(_, own)| own.used).map(|(caller, _)| caller.clone())
        {
            self.0.remove(&oldest);
        }
        self.0.insert(caller.clone(), Own { token: token.clone(), used: Instant::now() });
    }

    /// Forgets those that were not used for so long: the run that such a session was for has ended.
    pub(super) fn tidy(&mut self, idle: Duration) {
        self.0.retain(|_, own| own.used.elapsed() < idle);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::capture::Credential;

    fn caller(n: usize) -> Caller {
        Caller::Credential(Arc::new(Credential { agent: "a".to_owned(), label: Some(n.to_string()) }))
    }

    #[test]
    fn many_callers_are_remembered_up_to_a_bound_and_idle_ones_are_forgotten() {
        let (mut adopted, token) = (Adopted::default(), Secret::told("t"));
        for n in 0..OPEN_AT_ONCE + 10 {
            adopted.insert(&caller(n), &token);
            assert!(adopted.token_of(&caller(0)).is_some(), "what is used stays");
        }
        assert_eq!(adopted.0.len(), OPEN_AT_ONCE);
        assert!(!adopted.has(&caller(1)) && adopted.has(&caller(OPEN_AT_ONCE + 9)));
        adopted.tidy(Duration::from_secs(3600));
        assert_eq!(adopted.0.len(), OPEN_AT_ONCE);
        adopted.tidy(Duration::ZERO);
        assert!(adopted.0.is_empty());
    }
}
