//! The bounded copy of one body: its first and last bytes, in pieces as they arrived.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::budget::{Budget, Reservation};
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
    /// A text up to this size is kept whole. Of a longer one, no more than of any other body.
    pub text_bytes: usize,
}

impl Limits {
    /// How many first bytes are kept of a text.
    fn text_head_bytes(&self) -> usize {
        self.head_bytes.max(self.text_bytes.saturating_sub(self.tail_bytes))
    }

    /// Whether a text of so many bytes is kept whole.
    pub(super) fn keeps_whole(&self, bytes: u64) -> bool {
        bytes <= self.text_bytes as u64
    }

    /// Leaves of a text no more than is kept of any other body.
    pub(super) fn shorten(&self, body: &mut Captured) {
        let kept: usize = body.head.iter().chain(&body.tail).map(Bytes::len).sum();
        if kept <= self.head_bytes.saturating_add(self.tail_bytes) {
            return;
        }
        if body.omitted_bytes() == 0 {
            body.tail = last([&body.head[..], &body.tail[..]].concat(), self.tail_bytes);
        }
        body.head = first(std::mem::take(&mut body.head), self.head_bytes);
    }
}

/// The first bytes of some pieces.
fn first(mut pieces: Vec<Bytes>, mut bytes: usize) -> Vec<Bytes> {
    for piece in &mut pieces {
        piece.truncate(bytes);
        bytes -= piece.len();
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// The last bytes of some pieces.
fn last(mut pieces: Vec<Bytes>, mut bytes: usize) -> Vec<Bytes> {
    for piece in pieces.iter_mut().rev() {
        *piece = piece.slice(piece.len().saturating_sub(bytes)..);
        bytes -= piece.len();
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Sees every piece of one body and keeps its first and last bytes.
pub struct Keeper {
    limits: Limits,
    /// How many first bytes are kept.
    head_bytes: usize,
    head: Pieces,
    head_open: bool,
    /// How many blocks of the head were shown to a reader.
    shown: usize,
    tail: VecDeque<Bytes>,
    tail_bytes: usize,
    total_bytes: u64,
    reservation: Reservation,
}

/// A part of a body that is read while it passes.
pub(super) enum Passed<'a> {
    /// A block that is kept in any case: its reader needs no memory of its own.
    Kept(Bytes),
    /// Bytes that are not kept, or not for long.
    Copied(&'a [u8]),
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
            head_bytes: limits.head_bytes,
            head: Pieces::default(),
            head_open: true,
            shown: 0,
            tail: VecDeque::new(),
            tail_bytes: 0,
            total_bytes: 0,
            reservation: Reservation::none(budget),
        }
    }

    /// The same for a text.
    pub fn of_text(limits: Limits, budget: Arc<Budget>) -> Self {
        Self { head_bytes: limits.text_head_bytes(), ..Self::new(limits, budget) }
    }

    /// Records a passing piece.
    pub fn see(&mut self, piece: &Bytes) {
        let rest = self.keep_first(piece);
        if !rest.is_empty() {
            self.keep_last(rest);
        }
    }

    /// The same, for a body that is also read: `show` gets what passed, block by block and not at once.
    pub(super) fn see_and_show(&mut self, piece: &Bytes, show: &mut impl FnMut(Passed<'_>)) {
        let rest = self.keep_first(piece);
        if rest.is_empty() {
            return self.show_blocks(show);
        }
        self.head.close_block();
        self.show_blocks(show);
        show(Passed::Copied(&rest));
        self.keep_last(rest);
    }

    /// Shows what [`Keeper::see_and_show`] has not shown yet, when the body has ended.
    pub(super) fn show_the_rest(&mut self, show: &mut impl FnMut(Passed<'_>)) {
        self.head.close_block();
        self.show_blocks(show);
    }

    fn show_blocks(&mut self, show: &mut impl FnMut(Passed<'_>)) {
        let new = self.head.done.get(self.shown..).unwrap_or_default();
        new.iter().for_each(|block| show(Passed::Kept(block.clone())));
        self.shown = self.head.done.len();
    }

    /// Keeps the first bytes of a piece in the head, as far as it is open. Gives the others.
    fn keep_first(&mut self, piece: &Bytes) -> Bytes {
        self.total_bytes += piece.len() as u64;
        if !self.head_open {
            return piece.clone();
        }
        let mut rest = piece.clone();
        let first = rest.split_to(rest.len().min(self.head_bytes - self.head.bytes));
        let is_long = self.head.bytes + first.len() > self.limits.head_bytes;
        self.head_open = match is_long {
            true => self.reservation.grow_long(first.len()),
            false => self.reservation.grow(first.len()),
        };
        match self.head_open {
            true => self.head.push(&first),
            false => rest = piece.clone(),
        }
        // Once a byte went to the tail, the head is closed: later bytes must not come before it.
        self.head_open &= rest.is_empty();
        rest
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
        if !self.limits.keeps_whole(self.total_bytes) {
            self.shorten_head();
        }
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

    /// Gives the memory of a text's middle back: the text is too long to be kept whole.
    fn shorten_head(&mut self) {
        let gone = self.head.bytes.saturating_sub(self.limits.head_bytes);
        if gone > 0 {
            self.head.shorten(self.limits.head_bytes);
            self.shown = self.shown.min(self.head.done.len());
            self.reservation.shrink(gone);
        }
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

    /// Keeps only the first bytes.
    fn shorten(&mut self, bytes: usize) {
        self.close_block();
        self.done = first(std::mem::take(&mut self.done), bytes);
        self.bytes = bytes;
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
            let kept = keep(Limits { head_bytes, tail_bytes, text_bytes: 0 }, &budget, &pieces);
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
            let kept = keep(Limits { head_bytes: 2000, tail_bytes: 2000, text_bytes: 0 }, &budget, &pieces);
            prop_assert!(budget.used_bytes() <= limit);
            prop_assert!(whole.starts_with(&kept.head.concat()));
            let tail = kept.tail.concat();
            prop_assert!(tail.is_empty() || whole.ends_with(&tail) || kept.total_bytes > (kept.head.concat().len() + tail.len()) as u64);
        }
    }

    #[test]
    fn a_text_is_kept_whole_up_to_its_limit_and_a_longer_one_like_any_other_body() {
        let limits = Limits { head_bytes: 10, tail_bytes: 20, text_bytes: 100 };
        let kept = |bytes: usize| {
            let mut keeper = Keeper::of_text(limits, Budget::new(1 << 20));
            let text: Vec<u8> = (0..bytes).map(|n| n as u8).collect();
            text.chunks(7).for_each(|piece| keeper.see(&Bytes::copy_from_slice(piece)));
            let kept = keeper.finish();
            (kept.head.concat().len(), kept.tail.concat())
        };
        assert_eq!(kept(80), (80, vec![]));
        assert_eq!(kept(100), (80, (80..100).collect()));
        assert_eq!(kept(101), (10, (81..101).collect()));
        assert_eq!(kept(200), (10, (180..200).collect()));
    }

    #[test]
    fn long_texts_leave_memory_to_short_bodies() {
        let (limits, budget) = (Limits { head_bytes: 10, tail_bytes: 0, text_bytes: 1_000 }, Budget::new(400));
        let mut long = Keeper::of_text(limits, budget.clone());
        (0..100).for_each(|_| long.see(&Bytes::from_static(b"long text.")));
        assert_eq!((budget.used_bytes(), long.total_bytes()), (300, 1_000));
        let mut short = Keeper::of_text(limits, budget.clone());
        short.see(&Bytes::from_static(b"short"));
        assert_eq!(short.finish().head.concat(), b"short");
    }

    #[test]
    fn a_long_text_is_shortened_to_what_is_kept_of_other_bodies() {
        let limits = Limits { head_bytes: 10, tail_bytes: 20, text_bytes: 1_000 };
        let text: Vec<u8> = (0..200).collect();
        let mut keeper = Keeper::of_text(limits, Budget::new(1 << 20));
        text.chunks(7).for_each(|piece| keeper.see(&Bytes::copy_from_slice(piece)));
        let mut whole = keeper.so_far();
        assert_eq!(whole.omitted_bytes(), 0);
        limits.shorten(&mut whole);
        assert_eq!((whole.head.concat(), whole.tail.concat()), (text[..10].to_vec(), text[180..].to_vec()));
        limits.shorten(&mut whole);
        assert_eq!((whole.head.concat(), whole.omitted_bytes()), (text[..10].to_vec(), 170));
    }

    proptest! {
        #[test]
        fn a_reader_is_shown_each_byte_once_in_order(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6000), 0..12),
            head_bytes in 0_usize..9000,
            limit in 0_usize..40_000,
        ) {
            let limits = Limits { head_bytes, tail_bytes: 500, text_bytes: 20_000 };
            let mut keeper = Keeper::of_text(limits, Budget::new(limit));
            let mut read = Vec::new();
            let mut show = |passed: Passed<'_>| match passed {
                Passed::Kept(block) => read.extend_from_slice(&block),
                Passed::Copied(bytes) => read.extend_from_slice(bytes),
            };
            for piece in &pieces {
                keeper.see_and_show(&Bytes::copy_from_slice(piece), &mut show);
            }
            keeper.show_the_rest(&mut show);
            prop_assert_eq!(read, pieces.concat());
        }
    }
}
