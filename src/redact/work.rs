//! The work of a search, counted in examined bytes. Tests and fuzzing compare it with the length of the text, which is exact, unlike
//! time. Elsewhere nothing is counted.

#[cfg(any(test, fuzzing))]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts examined bytes.
#[cfg(any(test, fuzzing))]
pub(super) fn steps(bytes: usize) {
    STEPS.set(STEPS.get() + bytes as u64 + 1);
}

/// Counts examined bytes.
#[cfg(not(any(test, fuzzing)))]
#[inline(always)]
pub(super) fn steps(_bytes: usize) {}

/// The work of this thread since the last call.
#[cfg(any(test, fuzzing))]
pub(super) fn taken() -> u64 {
    STEPS.take()
}
