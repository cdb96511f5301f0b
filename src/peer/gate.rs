//! Only our own user may call (`listen.same_user`): what is refused is counted, and told once a minute.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Owner;
use super::refusals::Refusals;

/// Connections that were not let in, and agents that could not be told. All since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Closed: another user's.
    pub other_user: u64,
    /// Closed: from outside of `listen.allow_clients`.
    pub other_network: u64,
    /// Closed: whose they were could not be told any more, for their agents had closed them at once.
    pub left: u64,
    /// Let in, though the system does not tell whose they are.
    pub unknown: u64,
    /// Agents whose process was not looked for to the end: too many connected at once, or it would have cost too much time.
    pub processes_missed: u64,
}

/// Lets connections in.
pub(super) struct Gate {
    own: u32,
    other_user: Refusals,
    left: AtomicU64,
    unknown: AtomicU64,
}

/// What is to be done with a connection.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    LetIn,
    LetInUnknown,
    OtherUser(u32),
    Left,
}

impl Gate {
    pub(super) fn new(own: u32) -> Self {
        Self { own, other_user: Refusals::default(), left: AtomicU64::new(0), unknown: AtomicU64::new(0) }
    }

    /// Whether a connection of this owner is served.
    pub(super) fn admits(&self, owner: Owner) -> bool {
        match verdict(owner, self.own) {
            Verdict::LetIn => return true,
            Verdict::LetInUnknown => {
                if self.unknown.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!(
                        "the system does not tell whose connections are, so every user of this machine may call \
                         (`listen.same_user`; this is told once)"
                    );
                }
                return true;
            }
            Verdict::Left => {
                self.left.fetch_add(1, Ordering::Relaxed);
                tracing::debug!("an agent closed its connection before it could be told whose it was");
            }
            Verdict::OtherUser(uid) => {
                if let Some(count) = self.other_user.note() {
                    tracing::warn!(
                        uid,
                        count,
                        "closed connections of another user of this machine; `listen.same_user = false` lets every user \
                         call (this is told once a minute)"
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

/// Root may call: it can become our user, or read our memory, in any case. (That is also how `sudo` reaches a proxy of the
/// user who runs it.)
fn verdict(owner: Owner, own: u32) -> Verdict {
    match owner {
        Owner::Held { uid, .. } if uid == own || uid == 0 => Verdict::LetIn,
        Owner::Held { uid, .. } => Verdict::OtherUser(uid),
        Owner::Left => Verdict::Left,
        Owner::Unknown => Verdict::LetInUnknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(uid: u32) -> Owner {
        Owner::Held { uid, inode: 7 }
    }

    #[test]
    fn our_user_and_root_may_call_and_nobody_else() {
        assert_eq!(verdict(held(1000), 1000), Verdict::LetIn);
        assert_eq!(verdict(held(0), 1000), Verdict::LetIn);
        assert_eq!(verdict(held(1001), 1000), Verdict::OtherUser(1001));
        assert_eq!(verdict(held(1000), 0), Verdict::OtherUser(1000));
        assert_eq!(verdict(Owner::Unknown, 1000), Verdict::LetInUnknown);
        assert_eq!(verdict(Owner::Left, 0), Verdict::Left);
    }

    #[test]
    fn each_is_counted() {
        let gate = Gate::new(1000);
        let admitted = [held(1000), held(1001), held(1002), Owner::Left, Owner::Unknown].map(|it| gate.admits(it));
        assert_eq!(admitted, [true, false, false, false, true]);
        assert_eq!(gate.counts(), Counts { other_user: 2, left: 1, unknown: 1, ..Counts::default() });
    }
}
