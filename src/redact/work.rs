//! The work of a search, counted in bytes that were looked at. Tests and fuzzing hold it against the length of the text, which is
//! exact where time is not. Elsewhere nothing is counted.

#[cfg(any(test, fuzzing))]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// So many bytes were looked at.
#[cfg(any(test, fuzzing))]
pub(super) fn steps(bytes: usize) {
    STEPS.set(STEPS.get() + bytes as u64 + 1);
}

/// So many bytes were looked at.
#[cfg(not(any(test, fuzzing)))]
#[inline(always)]
pub(super) fn steps(_bytes: usize) {}

/// The work of this thread since it was asked last.
#[cfg(any(test, fuzzing))]
pub(super) fn taken() -> u64 {
    STEPS.take()
}
