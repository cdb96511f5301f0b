//! The bounded copy of one body: its first and last bytes, in pieces as they arrived.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

use super::{BodyEnd, Captured};

/// Kept bytes are copied. A shared piece would keep its whole read buffer alive, which is many times larger, is in no
/// budget, and would have to be replaced for the next read. Copies are made in blocks of this size.
const BLOCK_BYTES: usize = 32 << 10;

/// The last bytes change with every piece, so a piece of at least this size is shared until the body ends, not copied.
const SHARE_FROM_BYTES: usize = 4096;

/// The limits of each captured body.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The number of first bytes kept.
    pub head_bytes: usize,
    /// The number of last bytes kept.
    pub tail_bytes: usize,
}

/// The memory that all captures of the process share. Beyond its limit, bodies are truncated and marked.
pub struct Budget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
}

impl Budget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes, used_bytes: AtomicUsize::new(0) })
    }

    /// Bytes in use now.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let within = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit_bytes);
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
        let granted = self.budget.take(bytes);
        if granted {
            self.bytes += bytes;
        }
        granted
    }

    fn shrink(&mut self, bytes: usize) {
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

/// Sees every piece of one body and keeps its first and last bytes.
pub struct Keeper {
    limits: Limits,
    head: Pieces,
    head_open: bool,
    tail: VecDeque<Bytes>,
    tail_bytes: usize,
    total_bytes: u64,
    reservation: Reservation,
}

/// The result of a [`Keeper`].
pub struct Kept {
    /// The first bytes.
    pub head: Vec<Bytes>,
    /// The last bytes that are not in `head`.
    pub tail: Vec<Bytes>,
    /// All bytes that passed.
    pub total_bytes: u64,
    /// The memory that they hold.
    pub reservation: Reservation,
}

impl Keeper {
    /// A keeper within `limits`, as far as `budget` allows.
    pub fn new(limits: Limits, budget: Arc<Budget>) -> Self {
        Self {
            limits,
            head: Pieces::default(),
            head_open: true,
            tail: VecDeque::new(),
            tail_bytes: 0,
            total_bytes: 0,
            reservation: Reservation::none(budget),
        }
    }

    /// Records a passing piece.
    pub fn see(&mut self, piece: &Bytes) {
        self.total_bytes += piece.len() as u64;
        let mut rest = piece.clone();
        if self.head_open {
            let first = rest.split_to(rest.len().min(self.limits.head_bytes - self.head.bytes));
            self.head_open = self.reservation.grow(first.len());
            match self.head_open {
                true => self.head.push(&first),
                false => rest = piece.clone(),
            }
            // Once a byte went to the tail, the head is closed: later bytes must not come before it.
            self.head_open &= rest.is_empty();
        }
        if !rest.is_empty() {
            self.keep_last(rest);
        }
    }

    /// Bytes that have passed.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// What is kept so far of a body that has not ended.
    pub fn so_far(&self) -> Captured {
        Captured {
            head: self.head.so_far(),
            tail: Pieces::copied(&self.tail).into_vec(),
            total_bytes: self.total_bytes,
            end: BodyEnd::ShutDown,
        }
    }

    /// Ends the copy.
    pub fn finish(self) -> Kept {
        Kept {
            head: self.head.into_vec(),
            tail: Pieces::copied(&self.tail).into_vec(),
            total_bytes: self.total_bytes,
            reservation: self.reservation,
        }
    }

    fn keep_last(&mut self, piece: Bytes) {
        let limit = self.limits.tail_bytes;
        if limit == 0 {
            return;
        }
        let piece = if piece.len() > limit { piece.slice(piece.len() - limit..) } else { piece };
        let piece = if piece.len() < SHARE_FROM_BYTES { Bytes::copy_from_slice(&piece) } else { piece };
        if !self.reservation.grow(piece.len()) {
            // No memory for this piece. The tail must stay contiguous with the end, so all of it is dropped.
            self.drop_first(0);
            return;
        }
        self.tail_bytes += piece.len();
        self.tail.push_back(piece);
        self.drop_first(limit);
    }

    fn drop_first(&mut self, limit: usize) {
        while self.tail_bytes > limit {
            let over = self.tail_bytes - limit;
            let Some(first) = self.tail.front_mut() else { break };
            let gone = over.min(first.len());
            if gone == first.len() {
                self.tail.pop_front();
            } else {
                *first = first.slice(gone..);
            }
            self.tail_bytes -= gone;
            self.reservation.shrink(gone);
        }
    }
}

/// Bytes copied into blocks.
#[derive(Default)]
struct Pieces {
    done: Vec<Bytes>,
    block: BytesMut,
    bytes: usize,
}

impl Pieces {
    fn copied<'a>(pieces: impl IntoIterator<Item = &'a Bytes>) -> Self {
        let mut copy = Self::default();
        pieces.into_iter().for_each(|piece| copy.push(piece));
        copy
    }

    fn push(&mut self, mut piece: &[u8]) {
        self.bytes += piece.len();
        while !piece.is_empty() {
            if self.block.len() == self.block.capacity() {
                self.close_block();
                // The bytes so far predict those to come: a short body gets a short block.
                self.block = BytesMut::with_capacity(self.bytes.min(BLOCK_BYTES));
            }
            let (now, rest) = piece.split_at(piece.len().min(self.block.capacity() - self.block.len()));
            self.block.extend_from_slice(now);
            piece = rest;
        }
    }

    fn so_far(&self) -> Vec<Bytes> {
        let block = Some(Bytes::copy_from_slice(&self.block)).filter(|block| !block.is_empty());
        self.done.iter().cloned().chain(block).collect()
    }

    fn close_block(&mut self) {
        if !self.block.is_empty() {
            self.done.push(std::mem::take(&mut self.block).freeze());
        }
    }

    fn into_vec(mut self) -> Vec<Bytes> {
        self.close_block();
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keep(limits: Limits, budget: &Arc<Budget>, pieces: &[Vec<u8>]) -> Kept {
        let mut keeper = Keeper::new(limits, budget.clone());
        for piece in pieces {
            keeper.see(&Bytes::copy_from_slice(piece));
        }
        keeper.finish()
    }

    proptest! {
        #[test]
        fn any_split_of_a_body_keeps_its_first_and_last_bytes(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6000), 0..12),
            head_bytes in 0usize..9000,
            tail_bytes in 0usize..9000,
        ) {
            let budget = Budget::new(1 << 30);
            let whole: Vec<u8> = pieces.concat();
            let kept = keep(Limits { head_bytes, tail_bytes }, &budget, &pieces);
            let head: Vec<u8> = kept.head.concat();
            let tail: Vec<u8> = kept.tail.concat();
            prop_assert_eq!(kept.total_bytes, whole.len() as u64);
            prop_assert_eq!(&head[..], &whole[..whole.len().min(head_bytes)]);
            let rest = &whole[head.len()..];
            prop_assert_eq!(&tail[..], &rest[rest.len() - rest.len().min(tail_bytes)..]);
            prop_assert_eq!(budget.used_bytes(), head.len() + tail.len());
            drop(kept);
            prop_assert_eq!(budget.used_bytes(), 0);
        }

        #[test]
        fn the_budget_is_never_exceeded_and_a_prefix_and_a_suffix_are_kept(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..500), 0..30),
            limit in 0usize..3000,
        ) {
            let budget = Budget::new(limit);
            let whole: Vec<u8> = pieces.concat();
            let kept = keep(Limits { head_bytes: 2000, tail_bytes: 2000 }, &budget, &pieces);
            prop_assert!(budget.used_bytes() <= limit);
            prop_assert!(whole.starts_with(&kept.head.concat()));
            let tail = kept.tail.concat();
            prop_assert!(tail.is_empty() || whole.ends_with(&tail) || kept.total_bytes > (kept.head.concat().len() + tail.len()) as u64);
        }
    }
}
