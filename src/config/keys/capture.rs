//! `[capture]`

use super::super::shown::capture_rules;
use super::key::{Key, Kind, number, put};
use super::part::part;

/// The most that can be kept of one end of a body: 1 GiB.
const BODY_BYTES: i64 = 1 << 30;
/// The most memory that bodies can be given: 1 TiB.
const MEMORY_BYTES: i64 = 1 << 40;

pub(super) const KEYS: &[Key] = &[
    number!(
        capture.body_max_bytes,
        0..=BODY_BYTES,
        "Bodies up to this size are kept whole, if their `Content-Type` means text: JSON, event streams, XML, `text/*`. A longer text \
         is kept like other bodies: its beginning and its end. What agents and origins receive is never cut."
    ).live(),
    number!(
        capture.body_head_bytes,
        0..=BODY_BYTES,
        "How much of the beginning of other bodies (images, archives, forms, bodies without a type, longer texts) is kept."
    ).live(),
    number!(capture.body_tail_bytes, 0..=BODY_BYTES, "How much of the end of a longer body is kept.").live(),
    number!(
        capture.memory_bytes,
        0..=MEMORY_BYTES,
        "How much memory the captured bodies of all calls in flight may take together. A quarter of it is reserved for bodies up to \
         `capture.body_head_bytes`. Beyond it, less of each body is kept, and its event says so."
    ).live(),
    Key::new(
        "capture.rules",
        Kind::Plain,
        "How much of calls to some hosts is recorded: `{ hosts = [\"*.bank.example\", \"10.0.0.0/8\"], capture = \"metadata\" }`. \
         The first entry that has the host (a list as for `tls.passthrough`) applies. `\"full\"`: everything. `\"headers\"`: no \
         bodies. `\"metadata\"`: no header fields and no query either. `\"none\"`: no path either. Each call is one event with its \
         true sizes, times and outcome at any level. A list, or one section `[[capture.rules]]` for each.",
        |c, g| put(&mut c.capture.rules, g.capture_rules()),
        |c| Some(capture_rules(&c.capture.rules)),
        part!(capture.rules),
    ).live(),
];
