//! How far the examination of a hit looks. A part of a text that was examined gives the same in a copy of the text, if no escape that
//! was undone in the copy stands within what was looked at ([`trail`](super::trail)).
//!
//! Each function that reads a text says what it has read, or more, unless others have said so: a name with a byte on both sides has
//! always been looked at. It is noted for the thread, because nearly all functions of an examination read the text, and none needs
//! the result.

use std::cell::Cell;
use std::ops::Range;

thread_local! {
    static REACH: Reach = const { Reach { is_noted: Cell::new(false), start: Cell::new(usize::MAX), end: Cell::new(0) } };
}

struct Reach {
    /// Nothing is noted for searches that nobody follows: that would cost them a tenth of their time.
    is_noted: Cell<bool>,
    start: Cell<usize>,
    end: Cell<usize>,
}

/// Notes from now on what is looked at, or not.
pub(super) fn note(is_noted: bool) {
    REACH.with(|reach| reach.is_noted.set(is_noted));
    taken();
}

/// Says that the result may depend on this part of the text. It may end behind the text.
#[inline(always)]
pub(super) fn looked(range: Range<usize>) {
    if REACH.with(|reach| reach.is_noted.get()) {
        put(range);
    }
}

/// Most searches are followed by nobody, and their code is faster without this in it.
#[inline(never)]
fn put(range: Range<usize>) {
    REACH.with(|reach| {
        reach.start.set(reach.start.get().min(range.start));
        reach.end.set(reach.end.get().max(range.end));
    });
}

/// What was looked at since the last call: `usize::MAX..0` if nothing was.
pub(super) fn taken() -> Range<usize> {
    REACH.with(|reach| reach.start.replace(usize::MAX)..reach.end.replace(0))
}
