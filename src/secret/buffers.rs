//! Buffers for copies of texts, which each thread uses again: a search makes many copies one after another, and getting fresh
//! memory from the system costs as much as filling it.

use std::cell::RefCell;

/// So many buffers are kept for a thread.
const KEPT: usize = 4;
/// A larger buffer is not kept, in bytes.
const KEPT_MAX_BYTES: usize = 1 << 20;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer for so many bytes.
pub(crate) fn take(bytes: usize) -> Vec<u8> {
    let kept = FREE.with_borrow_mut(|free| {
        let fits = free.iter().position(|buffer| buffer.capacity() >= bytes)?;
        Some(free.swap_remove(fits))
    });
    kept.unwrap_or_else(|| Vec::with_capacity(bytes))
}

/// Keeps a buffer that is not needed any more. The smallest goes if there are too many.
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > KEPT_MAX_BYTES {
        return;
    }
    buffer.clear();
    FREE.with_borrow_mut(|free| {
        free.push(buffer);
        if free.len() > KEPT
            && let Some((smallest, _)) = free.iter().enumerate().min_by_key(|(_, buffer)| buffer.capacity())
        {
            free.swap_remove(smallest);
        }
    });
}

/// The same for text.
pub(crate) fn take_text(bytes: usize) -> String {
    String::from_utf8(take(bytes)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_and_is_empty() {
        give_back(b"a secret of ours".repeat(100));
        let buffer = take(1000);
        assert!(buffer.is_empty() && buffer.capacity() >= 1600);
        (1..20).for_each(|size| give_back(vec![0; size * 100]));
        give_back(vec![0; KEPT_MAX_BYTES + 1]);
        assert!(FREE.with_borrow(|free| free.len() == KEPT && free.iter().all(|buffer| buffer.capacity() >= 1600)));
    }
}
