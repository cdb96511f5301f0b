//! Oracles: our readers find what independent readers of the same formats find, in any input, however it is split.

mod frames;
mod sieve;
mod sse;

/// The cases of each property.
const CASES: u32 = 10_000;

/// `bytes` in pieces of these sizes, over and over.
fn pieces<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
