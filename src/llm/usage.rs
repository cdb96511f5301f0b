//! Tokens as each provider counts them, in one form: input has those read from and written to a cache in it, output has those of
//! reasoning (OpenTelemetry's conventions for generative AI). What a provider does not say is `None`; what cannot be added up is.

use serde_json::Value;

/// Tokens of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    /// All that went in.
    pub(super) input: Option<u64>,
    /// All that came out.
    pub(super) output: Option<u64>,
    /// Of the input, read from a cache.
    pub(super) cache_read: Option<u64>,
    /// Of the input, written to a cache.
    pub(super) cache_write: Option<u64>,
    /// Of the output, spent on reasoning.
    pub(super) reasoning: Option<u64>,
}

/// The first of these that is a whole number.
fn first(usage: &Value, pointers: &[&str]) -> Option<u64> {
    pointers.iter().find_map(|pointer| usage.pointer(pointer)?.as_u64())
}

/// The sum of what is there, if the first is.
fn sum(first: Option<u64>, others: [Option<u64>; 2]) -> Option<u64> {
    others.into_iter().flatten().try_fold(first?, u64::checked_add)
}

impl Tokens {
    /// OpenAI's: totals, of which some were cached or spent on reasoning. Several who speak the same have names of their own
    /// for cached ones, and x.ai leaves reasoning out of the output, which its total gives away.
    pub(super) fn openai(usage: &Value) -> Self {
        let input = first(usage, &["/prompt_tokens", "/input_tokens"]);
        let output = first(usage, &["/completion_tokens", "/output_tokens"]);
        let reasoning =
            first(usage, &["/completion_tokens_details/reasoning_tokens", "/output_tokens_details/reasoning_tokens"]);
        let all = sum(input, [output, None]);
        let with_reasoning = sum(all, [reasoning, None]);
        let left_out =
            first(usage, &["/total_tokens"]).is_some_and(|total| Some(total) == with_reasoning && Some(total) != all);
        Self {
            input,
            output: if left_out { sum(output, [reasoning, None]) } else { output },
            cache_read: first(
                usage,
                &[
                    "/prompt_tokens_details/cached_tokens",
                    "/input_tokens_details/cached_tokens",
                    "/prompt_cache_hit_tokens",
                ],
            ),
            cache_write: first(
                usage,
                &["/prompt_tokens_details/cache_write_tokens", "/input_tokens_details/cache_write_tokens"],
            ),
            reasoning,
        }
    }

    /// Anthropic's: input without what was cached.
    pub(super) fn anthropic(usage: &Value) -> Self {
        let cache_read = first(usage, &["/cache_read_input_tokens"]);
        let cache_write = first(usage, &["/cache_creation_input_tokens"]);
        Self {
            input: sum(first(usage, &["/input_tokens"]), [cache_read, cache_write]),
            output: first(usage, &["/output_tokens"]),
            cache_read,
            cache_write,
            reasoning: first(
                usage,
                &["/output_tokens_details/thinking_tokens", "/output_tokens_details/reasoning_tokens"],
            ),
        }
    }

    /// Google's: thoughts beside the output, and what tools put into the prompt beside the prompt.
    pub(super) fn gemini(usage: &Value) -> Self {
        let thoughts = first(usage, &["/thoughtsTokenCount"]);
        let candidates = first(usage, &["/candidatesTokenCount"]);
        Self {
            input: sum(first(usage, &["/promptTokenCount"]), [first(usage, &["/toolUsePromptTokenCount"]), None]),
            output: match candidates {
                Some(_) => sum(candidates, [thoughts, None]),
                None => thoughts,
            },
            cache_read: first(usage, &["/cachedContentTokenCount"]),
            cache_write: None,
            reasoning: thoughts,
        }
    }

    /// Converse's: input without what was cached.
    pub(super) fn converse(usage: &Value) -> Self {
        let cache_read = first(usage, &["/cacheReadInputTokens", "/cacheReadInputTokenCount"]);
        let cache_write = first(usage, &["/cacheWriteInputTokens", "/cacheWriteInputTokenCount"]);
        Self {
            input: sum(first(usage, &["/inputTokens"]), [cache_read, cache_write]),
            output: first(usage, &["/outputTokens"]),
            cache_read,
            cache_write,
            reasoning: None,
        }
    }

    /// What InvokeModel tells of any model, in fields of its own.
    pub(super) fn invocation(metrics: &Value) -> Self {
        let cache_read = first(metrics, &["/cacheReadInputTokenCount"]);
        let cache_write = first(metrics, &["/cacheWriteInputTokenCount"]);
        Self {
            input: sum(first(metrics, &["/inputTokenCount"]), [cache_read, cache_write]),
            output: first(metrics, &["/outputTokenCount"]),
            cache_read,
            cache_write,
            reasoning: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens(input: u64, output: u64) -> Tokens {
        Tokens { input: Some(input), output: Some(output), ..Tokens::default() }
    }

    #[test]
    fn cached_and_reasoning_tokens_are_in_the_sums_however_they_are_told() {
        let openai = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}});
        let expected = Tokens { cache_read: Some(4), reasoning: Some(2), ..tokens(10, 5) };
        assert_eq!(Tokens::openai(&openai), expected);
        let beside = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 17,
            "completion_tokens_details": {"reasoning_tokens": 2}});
        assert_eq!(Tokens::openai(&beside).output, Some(7));
        let anthropic = json!({"input_tokens": 3, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 9});
        let expected = Tokens { cache_read: Some(100), cache_write: Some(20), ..tokens(123, 9) };
        assert_eq!(Tokens::anthropic(&anthropic), expected);
        let gemini = json!({"promptTokenCount": 8, "candidatesTokenCount": 5, "thoughtsTokenCount": 30, "cachedContentTokenCount": 2});
        let expected = Tokens { cache_read: Some(2), reasoning: Some(30), ..tokens(8, 35) };
        assert_eq!(Tokens::gemini(&gemini), expected);
        let converse =
            json!({"inputTokens": 3, "outputTokens": 9, "cacheReadInputTokens": 7, "cacheWriteInputTokens": 0});
        let expected = Tokens { cache_read: Some(7), cache_write: Some(0), ..tokens(10, 9) };
        assert_eq!(Tokens::converse(&converse), expected);
    }

    #[test]
    fn what_is_not_told_is_not_nought() {
        for of in [Tokens::openai, Tokens::anthropic, Tokens::gemini, Tokens::converse, Tokens::invocation] {
            assert_eq!(of(&json!({})), Tokens::default());
            assert_eq!(of(&json!("usage")), Tokens::default());
        }
        let null = json!({"input_tokens": 3, "cache_read_input_tokens": null, "output_tokens": -1});
        assert_eq!(Tokens::anthropic(&null), Tokens { input: Some(3), ..Tokens::default() });
        assert_eq!(Tokens::anthropic(&json!({"cache_read_input_tokens": 3})).input, None);
    }
}
