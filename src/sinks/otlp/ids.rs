//! The ids of traces and spans, made from the ids of events: a span that is sent twice has the same ids. Never all zeros, which
//! makes backends refuse the whole batch.

use aws_lc_rs::digest::{SHA256, digest};
use uuid::Uuid;

/// Bytes of a trace's id.
const TRACE_BYTES: usize = 16;
/// Bytes of a span's id.
const SPAN_BYTES: usize = 8;

/// The trace that begins with a call.
pub(super) fn trace(event: Uuid) -> Vec<u8> {
    valid(event.as_bytes().to_vec())
}

/// The span of a call. Its bytes are the random half of the event's id.
pub(super) fn call(event: Uuid) -> Vec<u8> {
    valid(event.as_bytes().iter().skip(SPAN_BYTES).copied().collect())
}

/// The span of the turn that begins with a call.
pub(super) fn turn(event: Uuid) -> Vec<u8> {
    derived("turn", event, 0)
}

/// The span of a tool that an answer calls: the call's event, and the tool's place in the answer.
pub(super) fn tool(event: Uuid, place: usize) -> Vec<u8> {
    derived("tool", event, place)
}

fn derived(what: &str, event: Uuid, place: usize) -> Vec<u8> {
    let of = digest(&SHA256, format!("{what} {event} {place}").as_bytes());
    valid(of.as_ref().iter().take(SPAN_BYTES).copied().collect())
}

/// A trace's id from another party, as hexadecimal digits. `None`: not valid.
pub(super) fn foreign_trace(text: &str) -> Option<Vec<u8>> {
    foreign(text, TRACE_BYTES)
}

/// The same for a span's id.
pub(super) fn foreign_span(text: &str) -> Option<Vec<u8>> {
    foreign(text, SPAN_BYTES)
}

fn foreign(text: &str, length: usize) -> Option<Vec<u8>> {
    hex(text).filter(|id| id.len() == length && id.iter().any(|byte| *byte != 0))
}

/// Bytes from hexadecimal digits.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect()).flatten()
}

fn valid(mut id: Vec<u8>) -> Vec<u8> {
    if id.iter().all(|byte| *byte == 0)
        && let Some(last) = id.last_mut()
    {
        *last = 1;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_zero_or_of_another_length() {
        for event in [Uuid::nil(), Uuid::max(), Uuid::from_u128(1 << 64)] {
            for (id, length) in [(trace(event), 16), (call(event), 8), (turn(event), 8), (tool(event, 1), 8)] {
                assert!(id.len() == length && id.iter().any(|byte| *byte != 0), "{event}: {id:?}");
            }
        }
        let foreign = ["", "00", "0000000000000000", "b7ad6b716920333", "b7ad6b71692033 1", "éé"];
        assert!(foreign.iter().all(|id| foreign_span(id).is_none()));
        assert_eq!(foreign_span("b7ad6b7169203331").map(|id| id.len()), Some(8));
        assert_eq!(foreign_trace("0af7651916cd43dd8448eb211c80319c").map(|id| id.len()), Some(16));
    }
}
