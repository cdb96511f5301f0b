//! The heads of interim responses as the origin sent them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// The heads of interim responses to one request, as the origin sent them. Each waits here until hyper reports it. An extension of
/// the request.
#[derive(Clone, Default)]
pub(super) struct InterimHeads(Arc<Mutex<VecDeque<Bytes>>>);

impl InterimHeads {
    /// Adds a head that came.
    pub(super) fn push(&self, head: &[u8]) {
        self.0.lock().push_back(Bytes::copy_from_slice(head));
    }

    /// Takes the oldest head, which is the one that hyper reports now.
    pub(super) fn pop(&self) -> Option<Bytes> {
        self.0.lock().pop_front()
    }
}
