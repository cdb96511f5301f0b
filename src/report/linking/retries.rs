//! Retries: calls with the same caller, method, URL and body (compared as JSON if possible) that began after the earlier one had
//! failed.

use std::hash::RandomState;
use std::time::{Duration, SystemTime};

use quick_cache::unsync::Cache;
use uuid::Uuid;

use super::{Parts, REMEMBERED, ended, failed, follows, key, same, whole_body};
use crate::capture::Exchange;
use crate::event::Retry;

/// A call that begins later than this after a failure is not a retry.
const WITHIN: Duration = Duration::from_secs(600);

pub(super) struct Retries {
    seed: RandomState,
    /// Where calls failed lately. Most calls go elsewhere, so their bodies need not be hashed.
    places: Cache<u64, ()>,
    failures: Cache<[u8; 32], FailedCall>,
}

struct FailedCall {
    id: Uuid,
    first: Uuid,
    count: u32,
    ended: SystemTime,
}

impl Retries {
    pub(super) fn new() -> Self {
        Self { seed: RandomState::new(), places: Cache::new(REMEMBERED), failures: Cache::new(REMEMBERED) }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.failures.len()
    }

    /// Whether the call must be hashed: it failed, or another call to the same place failed lately.
    pub(super) fn matters(&self, exchange: &Exchange, caller: u64) -> bool {
        failed(exchange) || self.places.get(&self.place(exchange, caller)).is_some()
    }

    fn place(&self, exchange: &Exchange, caller: u64) -> u64 {
        let request = &exchange.request;
        key(&self.seed, (caller, &request.method, &exchange.origin, &request.path))
    }

    /// The retry that the exchange is, if any. `call`: its hash by [`call`].
    pub(super) fn link(&mut self, exchange: &Exchange, caller: u64, call: Option<[u8; 32]>) -> Option<Retry> {
        let (call, failed) = (call?, failed(exchange));
        let place = self.place(exchange, caller);
        let before = self.failures.remove(&call).map(|(_, before)| before);
        let retry = before.filter(|before| follows(exchange, before.ended, WITHIN)).map(|before| Retry {
            of: before.id,
            first: before.first,
            count: before.count.saturating_add(1),
        });
        if failed {
            let (first, count) = retry.map_or((exchange.id, 0), |retry| (retry.first, retry.count));
            self.places.insert(place, ());
            self.failures.insert(call, FailedCall { id: exchange.id, first, count, ended: ended(exchange) });
        }
        retry
    }
}

/// A hash that is equal for equal calls. `None`: the body is not known completely.
pub(super) fn call(exchange: &Exchange, caller: u64) -> Option<[u8; 32]> {
    let (request, body) = (&exchange.request, whole_body(exchange)?);
    let mut parts = Parts::new();
    parts.add(&caller.to_le_bytes());
    parts.add(request.method.as_str().as_bytes());
    parts.add(exchange.origin.to_string().as_bytes());
    parts.add(request.path.as_bytes());
    parts.add(request.query.as_deref().unwrap_or_default().as_bytes());
    let body = body.kept();
    same::add(&mut parts, &body, same::codings(&request.headers));
    Some(parts.digest())
}
