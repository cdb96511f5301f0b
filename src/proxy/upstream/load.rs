//! How many requests an HTTP/2 connection carries, and how many of one caller's agent connections use it.
//!
//! Agent connections that share a connection must not delay each other. A response that its agent does not read may fill its stream's
//! window. So while several agent connections use one, there are at most as many requests as stream windows fit into the connection's
//! window, and not more than the origin admits. Content that the origin does not read may fill the origin's window, so a request with
//! more than [`SHARED_CONTENT_MAX_BYTES`] has the connection for its agent connection alone. A connection on which a request was given
//! up, and nothing has come since that request, may be dead: it is not shared until something comes, and not kept when nobody uses it.
//!
//! Requests over the origin's limit (SETTINGS_MAX_CONCURRENT_STREAMS) wait here, so that a request whose agent has left is gone. The
//! library's own queue would hold it until its turn.

use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::idle::IdleSince;
use super::settings::OriginSettings;

/// The most content of a request on a shared connection. Four such requests fit into the smallest window of a connection, 65,535 bytes
/// (RFC 9113 6.9.2).
pub(in crate::proxy) const SHARED_CONTENT_MAX_BYTES: u64 = 16_000;

/// What an HTTP/2 connection carries. Clones share it.
#[derive(Clone)]
pub(in crate::proxy) struct Load(Arc<Carried>);

struct Carried {
    counts: Mutex<Counts>,
    /// Notified when a request has ended. The first that waits is the next.
    slot_freed: Notify,
    settings: OriginSettings,
}

struct Counts {
    agents: usize,
    /// Requests, until their response has ended.
    streams: usize,
    /// Requests that were sent.
    admitted: usize,
    /// Requests that wait for the origin's limit.
    waiting: usize,
    /// Those with much content.
    large: usize,
    /// The bytes that had been received when a request was given up, if none came since it was sent.
    silent_at: Option<u64>,
    /// Since when nobody uses the connection.
    idle_since: IdleSince,
}

/// One agent connection that uses the connection. Dropped when it does not any more.
pub(super) struct AgentPlace(Load);

/// One request on the connection, until its response has ended.
pub(in crate::proxy) struct StreamPlace {
    load: Load,
    _agent: Arc<AgentPlace>,
    large: bool,
    waiting: bool,
    admitted: bool,
    /// The bytes that had been received when it was sent. `None`: it was not sent, or it was answered.
    unanswered_since: Option<u64>,
}

impl Load {
    pub(super) fn new(settings: OriginSettings) -> Self {
        let counts = Counts {
            agents: 0,
            streams: 0,
            admitted: 0,
            waiting: 0,
            large: 0,
            silent_at: None,
            idle_since: IdleSince::now(),
        };
        Self(Arc::new(Carried { counts: Mutex::new(counts), slot_freed: Notify::new(), settings }))
    }

    /// A place for another agent connection. `None`: it has to use another connection. `limit`: the most requests of several agent
    /// connections.
    pub(super) fn enter(&self, limit: usize) -> Option<AgentPlace> {
        let mut counts = self.0.counts.lock();
        if !self.admits_to(&counts, limit) {
            return None;
        }
        counts.agents += 1;
        Some(AgentPlace(self.clone()))
    }

    /// Whether [`Self::enter`] would succeed.
    pub(super) fn admits(&self, limit: usize) -> bool {
        self.admits_to(&self.0.counts.lock(), limit)
    }

    fn admits_to(&self, counts: &Counts, limit: usize) -> bool {
        let has_room = counts.agents == 0 || (counts.streams < limit && counts.large == 0);
        has_room && !self.is_silent_since(counts)
    }

    /// Whether nothing has come since a request was sent that was given up. Then the connection may be dead.
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent_since(&self.0.counts.lock())
    }

    fn is_silent_since(&self, counts: &Counts) -> bool {
        counts.silent_at.is_some_and(|at| at == self.0.settings.received_bytes())
    }

    /// A place for a request. `None`: it has to use another connection. `large`: it has much content.
    pub(super) fn begin(&self, agent: &Arc<AgentPlace>, limit: usize, large: bool) -> Option<StreamPlace> {
        let mut counts = self.0.counts.lock();
        if counts.agents > 1 && (counts.streams >= limit || large || self.is_silent_since(&counts)) {
            return None;
        }
        counts.streams += 1;
        counts.large += usize::from(large);
        let (load, agent) = (self.clone(), agent.clone());
        Some(StreamPlace { load, _agent: agent, large, waiting: false, admitted: false, unanswered_since: None })
    }

    /// Since when no agent connection uses it. `None`: one does.
    pub(super) fn idle_since(&self) -> Option<IdleSince> {
        let counts = self.0.counts.lock();
        (counts.agents == 0).then_some(counts.idle_since)
    }
}

impl StreamPlace {
    /// Waits until the origin admits the request, or the connection has ended. It is sent then.
    pub(super) async fn admitted(&mut self) {
        let Carried { counts, slot_freed, settings } = &*self.load.0;
        let mut changes = settings.changes();
        while !self.admitted {
            let mut slot_freed = pin!(slot_freed.notified());
            // From here on, a slot that becomes free is noticed.
            slot_freed.as_mut().enable();
            {
                let mut counts = counts.lock();
                let is_next = self.waiting || counts.waiting == 0;
                if is_next && counts.admitted < settings.streams_admitted() {
                    counts.admitted += 1;
                    counts.waiting -= usize::from(self.waiting);
                    (self.admitted, self.waiting) = (true, false);
                    break;
                }
                counts.waiting += usize::from(!self.waiting);
                self.waiting = true;
            }
            tokio::select! {
                () = slot_freed => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
        self.unanswered_since = Some(settings.received_bytes());
    }

    /// Its response has begun.
    pub(super) fn answered(&mut self) {
        self.unanswered_since = None;
    }
}

impl Drop for AgentPlace {
    fn drop(&mut self) {
        let mut counts = self.0.0.counts.lock();
        counts.agents -= 1;
        counts.idle_since = IdleSince::now();
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let Carried { counts, slot_freed, settings } = &*self.load.0;
        let mut counts = counts.lock();
        counts.streams -= 1;
        counts.waiting -= usize::from(self.waiting);
        counts.large -= usize::from(self.large);
        let received = settings.received_bytes();
        if self.unanswered_since == Some(received) {
            counts.silent_at = Some(received);
        }
        if self.admitted {
            counts.admitted -= 1;
            slot_freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::super::settings::{SettingsIo, testing};
    use super::*;

    fn load() -> Load {
        Load::new(SettingsIo::of(tokio::io::empty()).1)
    }

    #[test]
    fn one_agent_connection_may_send_as_much_as_it_likes_and_several_share_the_limit() {
        let load = load();
        assert!(load.idle_since().is_some());
        let first = Arc::new(load.enter(2).unwrap());
        assert!(load.idle_since().is_none());
        let alone: Vec<_> = (0..9).map(|_| load.begin(&first, 2, false).unwrap()).collect();
        assert!(load.enter(2).is_none(), "the first one uses all of it");
        drop(alone);
        let second = Arc::new(load.enter(2).unwrap());
        let (one, other) = (load.begin(&first, 2, false).unwrap(), load.begin(&second, 2, false).unwrap());
        assert!(load.begin(&first, 2, false).is_none() && load.begin(&second, 2, false).is_none());
        assert!(load.enter(2).is_none());
        // The second one's request still counts as its own when it has left.
        drop((second, one));
        let _next = load.begin(&first, 2, false).unwrap();
        assert!(load.begin(&first, 2, false).is_none());
        drop(other);
        assert!((0..9).map(|_| load.begin(&first, 2, false)).collect::<Option<Vec<_>>>().is_some());
    }

    #[test]
    fn much_content_needs_a_connection_that_nobody_else_uses() {
        let load = load();
        let first = Arc::new(load.enter(4).unwrap());
        let upload = load.begin(&first, 4, true).unwrap();
        assert!(load.enter(4).is_none(), "the upload may fill the window");
        drop(upload);
        let second = Arc::new(load.enter(4).unwrap());
        assert!(load.begin(&second, 4, true).is_none() && load.begin(&second, 4, false).is_some());
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_came_is_not_shared_until_something_comes() {
        let (mut stream, settings) = SettingsIo::of(&b"\0\0\0\x04\0\0\0\0\0"[..]);
        let load = Load::new(settings);
        let first = Arc::new(load.enter(4).unwrap());
        let mut answered = load.begin(&first, 4, false).unwrap();
        answered.admitted().await;
        answered.answered();
        drop(answered);
        assert!(load.admits(4));
        let mut given_up = load.begin(&first, 4, false).unwrap();
        given_up.admitted().await;
        drop(given_up);
        assert!(!load.admits(4));
        tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 9]).await.unwrap();
        assert!(load.admits(4));
    }

    #[tokio::test]
    async fn requests_that_wait_are_sent_in_order() {
        let frame = testing::settings(&[(3, 1)]);
        let (mut stream, settings) = SettingsIo::of(&frame[..]);
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await.unwrap();
        let load = Load::new(settings);
        let agent = Arc::new(load.enter(4).unwrap());
        let place = || load.begin(&agent, 4, false).unwrap();
        let (mut first, mut second, mut newcomer) = (place(), place(), place());
        first.admitted().await;
        let mut waiting = Box::pin(second.admitted());
        assert!(poll!(&mut waiting).is_pending());
        drop(first);
        let mut pushing = Box::pin(newcomer.admitted());
        assert!(poll!(&mut pushing).is_pending(), "another one is next");
        assert!(poll!(&mut waiting).is_ready());
        drop(waiting);
        drop(second);
        assert!(poll!(&mut pushing).is_ready());
    }

    #[tokio::test]
    async fn a_request_waits_for_the_origins_limit_and_leaves_when_it_is_dropped() {
        let frames = [testing::settings(&[(3, 1)]), testing::settings(&[(3, 2)])].concat();
        let (mut stream, settings) = SettingsIo::of(&frames[..]);
        let load = Load::new(settings);
        let agent = Arc::new(load.enter(4).unwrap());
        let place = || load.begin(&agent, 4, false).unwrap();
        let (mut first, mut second, mut third) = (place(), place(), place());
        let mut one_frame = vec![0; frames.len() / 2];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut one_frame).await.unwrap();
        first.admitted().await;
        let mut waiting = Box::pin(second.admitted());
        assert!(poll!(&mut waiting).is_pending());
        drop(waiting);
        drop(second);
        let mut waiting = Box::pin(third.admitted());
        assert!(poll!(&mut waiting).is_pending());
        drop(first);
        assert!(poll!(&mut waiting).is_ready());
        drop(waiting);
        let mut fourth = place();
        let mut waiting = Box::pin(fourth.admitted());
        assert!(poll!(&mut waiting).is_pending());
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut one_frame).await.unwrap();
        assert!(poll!(&mut waiting).is_ready(), "the origin admits two now");
    }
}
