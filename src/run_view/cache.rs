//! Which calls missed the prompt cache, by their token counts (pure).

use crate::llm::Llm;

/// Of what the previous call left in the cache, a call may read so many tokens less: providers cache in steps.
const STEP_TOKENS: u64 = 1_024;

/// What a call could have read from the cache, and what it read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Short {
    pub(super) expected: u64,
    pub(super) read: u64,
}

/// Whether a call read less than the previous call of its conversation left in the cache. `None`: it did not, or nothing is known.
pub(super) fn short(previous: &Llm, call: &Llm) -> Option<Short> {
    let written = previous.cache_write_tokens().unwrap_or(0);
    let expected = previous.cache_read_tokens().unwrap_or(0).saturating_add(written);
    // Without any figure of its own, the call does not say what it read.
    call.input_tokens()?;
    let read = call.cache_read_tokens().unwrap_or(0);
    let is_short = read.saturating_add(STEP_TOKENS.min(expected / 2)) < expected || (read == 0 && expected > 0);
    is_short.then_some(Short { expected, read })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::names;

    fn call(read: Option<u64>, write: Option<u64>) -> Llm {
        let facts = json!({
            names::INPUT_TOKENS: 50_000, names::CACHE_READ_TOKENS: read, names::CACHE_WRITE_TOKENS: write,
        });
        Llm::of(facts.as_object().unwrap()).unwrap()
    }

    #[test]
    fn a_miss_is_what_the_previous_call_left_and_this_one_did_not_read() {
        for (previous, this, expected) in [
            ((None, None), (None, None), None),
            ((Some(0), Some(9_000)), (Some(9_000), Some(500)), None),
            ((Some(9_000), Some(500)), (Some(9_500), None), None),
            ((Some(9_000), Some(500)), (Some(0), Some(9_900)), Some((9_500, 0))),
            ((Some(9_000), Some(500)), (None, None), Some((9_500, 0))),
            ((Some(20_000), None), (Some(19_328), None), None),
            ((Some(20_000), None), (Some(12_000), None), Some((20_000, 12_000))),
            ((Some(1_024), None), (Some(0), None), Some((1_024, 0))),
        ] {
            let found = short(&call(previous.0, previous.1), &call(this.0, this.1));
            assert_eq!(found.map(|it| (it.expected, it.read)), expected, "{previous:?} {this:?}");
        }
    }
}
