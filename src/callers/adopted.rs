//! Sessions that agents opened themselves.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::OPEN_AT_ONCE;
use crate::capture::Caller;
use crate::secret::Secret;

/// The tokens of callers. Bounded by the number of open sessions; the least recently used one is evicted.
#[derive(Default)]
pub(super) struct Adopted(HashMap<Caller, OwnToken>);

struct OwnToken {
    token: Secret,
    used: Instant,
}

impl Adopted {
    /// The caller's own token. This counts as a use.
    pub(super) fn token_of(&mut self, caller: &Caller) -> Option<Secret> {
        let own = self.0.get_mut(caller)?;
        own.used = Instant::now();
        Some(own.token.clone())
    }

    /// Whether the caller has one.
    pub(super) fn has(&self, caller: &Caller) -> bool {
        self.0.contains_key(caller)
    }

    /// Remembers the caller's own token.
    pub(super) fn insert(&mut self, caller: &Caller, token: &Secret) {
        if self.0.len() >= OPEN_AT_ONCE
            && !self.0.contains_key(caller)
            && let Some(oldest) = self.0.iter().min_by_key(|(_, own)| own.used).map(|(caller, _)| caller.clone())
        {
            self.0.remove(&oldest);
        }
        self.0.insert(caller.clone(), OwnToken { token: token.clone(), used: Instant::now() });
    }

    /// Evicts tokens that were not used for this long: their run has ended.
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
    fn callers_are_remembered_up_to_a_bound_and_idle_ones_are_evicted() {
        let (mut adopted, token) = (Adopted::default(), Secret::told("t"));
        for n in 0..OPEN_AT_ONCE + 10 {
            adopted.insert(&caller(n), &token);
            assert!(adopted.token_of(&caller(0)).is_some(), "a used token stays");
        }
        assert_eq!(adopted.0.len(), OPEN_AT_ONCE);
        assert!(!adopted.has(&caller(1)) && adopted.has(&caller(OPEN_AT_ONCE + 9)));
        adopted.tidy(Duration::from_secs(3600));
        assert_eq!(adopted.0.len(), OPEN_AT_ONCE);
        adopted.tidy(Duration::ZERO);
        assert!(adopted.0.is_empty());
    }
}
