//! Admits only our own user and root (`listen.same_user`). Refused connections are counted, and logged once a minute.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Owner;
use super::refusals::Refusals;

/// Connections that were closed, and agents that stayed unknown, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Closed: from another user of this machine.
    pub other_user: u64,
    /// Closed: from an address outside `listen.allow_clients`.
    pub other_network: u64,
    /// Closed: the agent closed them before their owner was known.
    pub left: u64,
    /// Admitted although the system does not report their owner.
    pub unknown: u64,
    /// Agents whose process lookup was dropped or given up: too many at once, or too expensive.
    pub processes_missed: u64,
}

/// Decides which connections are admitted.
pub(super) struct Gate {
    own: u32,
    other_user: Refusals,
    left: AtomicU64,
    unknown: AtomicU64,
}

/// The decision on one connection.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Admit,
    AdmitUnknown,
    OtherUser(u32),
    Left,
}

impl Gate {
    pub(super) fn new(own: u32) -> Self {
        Self { own, other_user: Refusals::default(), left: AtomicU64::new(0), unknown: AtomicU64::new(0) }
    }

    /// Whether a connection of this owner is admitted.
    pub(super) fn admits(&self, owner: Owner) -> bool {
        match verdict(owner, self.own) {
            Verdict::Admit => return true,
            Verdict::AdmitUnknown => {
                if self.unknown.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!(
                        "this system does not report who owns a connection, so every user of this machine may connect \
                         (`listen.same_user`; logged once)"
                    );
                }
                return true;
            }
            Verdict::Left => {
                self.left.fetch_add(1, Ordering::Relaxed);
                tracing::debug!("an agent closed its connection before its owner was known");
            }
            Verdict::OtherUser(uid) => {
                if let Some(count) = self.other_user.note() {
                    tracing::warn!(
                        uid,
                        count,
                        "closed connections of another user of this machine; set `listen.same_user = false` to admit every \
                         user (logged once a minute)"
                    );
                }
            }
        }
        false
    }

    pub(super) fn counts(&self) -> Counts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            other_user: self.other_user.count(),
            other_network: 0,
            left: count(&self.left),
            unknown: count(&self.unknown),
            processes_missed: 0,
        }
    }
}

/// Root is admitted: it can become our user or read our memory in any case. This also lets `sudo` reach a proxy of the
/// user who runs it.
fn verdict(owner: Owner, own: u32) -> Verdict {
    match owner {
        Owner::Held { uid, .. } if uid == own || uid == 0 => Verdict::Admit,
        Owner::Held { uid, .. } => Verdict::OtherUser(uid),
        Owner::Left => Verdict::Left,
        Owner::Unknown => Verdict::AdmitUnknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(uid: u32) -> Owner {
        Owner::Held { uid, inode: 7 }
    }

    #[test]
    fn only_our_user_and_root_may_call() {
        assert_eq!(verdict(held(1000), 1000), Verdict::Admit);
        assert_eq!(verdict(held(0), 1000), Verdict::Admit);
        assert_eq!(verdict(held(1001), 1000), Verdict::OtherUser(1001));
        assert_eq!(verdict(held(1000), 0), Verdict::OtherUser(1000));
        assert_eq!(verdict(Owner::Unknown, 1000), Verdict::AdmitUnknown);
        assert_eq!(verdict(Owner::Left, 0), Verdict::Left);
    }

    #[test]
    fn each_decision_is_counted() {
        let gate = Gate::new(1000);
        let admitted = [held(1000), held(1001), held(1002), Owner::Left, Owner::Unknown].map(|it| gate.admits(it));
        assert_eq!(admitted, [true, false, false, false, true]);
        assert_eq!(gate.counts(), Counts { other_user: 2, left: 1, unknown: 1, ..Counts::default() });
    }
}
