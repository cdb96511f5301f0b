//! The limits that several settings share.

/// The longest any wait can be set to: a day.
pub(super) const LONGEST_MS: i64 = 86_400_000;
/// More connections than one address has ports for.
pub(super) const CONNECTIONS: i64 = 1_000_000;
/// The most that a store can be given: 1 PiB.
pub(super) const STORE_BYTES: i64 = 1 << 50;
