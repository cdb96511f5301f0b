//! The memory that all captures share, and the parts of it that are in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Of the budget, the share in quarters that the middles of long texts may take. The rest is left to short bodies, so that a few long
/// ones do not cut all others.
const LONG_QUARTERS: usize = 3;

/// The memory that all captures of the process share. Beyond its limit, bodies are truncated and marked.
pub struct Budget {
    limit_bytes: AtomicUsize,
    used_bytes: AtomicUsize,
}

impl Budget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes: AtomicUsize::new(limit_bytes), used_bytes: AtomicUsize::new(0) })
    }

    /// Changes the limit. What is in use stays, also beyond a lower one.
    pub fn limit_to(&self, limit_bytes: usize) {
        self.limit_bytes.store(limit_bytes, Ordering::Relaxed);
    }

    fn limit_bytes(&self) -> usize {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// Bytes in use now.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize, limit_bytes: usize) -> bool {
        let within = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit_bytes);
        self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }
}

/// A part of the [`Budget`]. It is released on drop.
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Reservation {
    /// An empty part of `budget`.
    pub fn none(budget: Arc<Budget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Takes this many more bytes. False: the budget is exhausted, and nothing was taken.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        self.grow_within(bytes, self.budget.limit_bytes())
    }

    /// The same for the middle of a long text.
    pub(super) fn grow_long(&mut self, bytes: usize) -> bool {
        self.grow_within(bytes, self.budget.limit_bytes() / 4 * LONG_QUARTERS)
    }

    fn grow_within(&mut self, bytes: usize, limit_bytes: usize) -> bool {
        let granted = self.budget.take(bytes, limit_bytes);
        if granted {
            self.bytes += bytes;
        }
        granted
    }

    /// Gives this many bytes back.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.budget.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes over the bytes of `other`.
    pub fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
