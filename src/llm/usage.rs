//! Token counts of each provider in one form: input includes tokens read from and written to a cache, output includes
//! reasoning (OpenTelemetry's conventions for generative AI). A count that the provider does not report, or that cannot
//! be computed, is `None`.

use serde_json::Value;

/// Tokens of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    /// All input tokens.
    pub(super) input: Option<u64>,
    /// All output tokens.
    pub(super) output: Option<u64>,
    /// Input tokens read from a cache.
    pub(super) cache_read: Option<u64>,
    /// Input tokens written to a cache.
    pub(super) cache_write: Option<u64>,
    /// Output tokens spent on reasoning.
    pub(super) reasoning: Option<u64>,
}

/// The first of these that is an integer. Gateways have several names for one count, and zeros in those that they do
/// not fill in, so a zero counts only if all are zero.
fn first(usage: &Value, pointers: &[&str]) -> Option<u64> {
    let counts = || pointers.iter().filter_map(|pointer| usage.pointer(pointer)?.as_u64());
    counts().find(|count| *count > 0).or_else(|| counts().next())
}

/// The sum of the counts that are present. `None` if the first is absent.
fn sum(first: Option<u64>, others: [Option<u64>; 2]) -> Option<u64> {
    others.into_iter().flatten().try_fold(first?, u64::checked_add)
}

impl Tokens {
    /// OpenAI's counts: totals that include cached and reasoning tokens. Compatible servers have other names for cached
    /// tokens. x.ai leaves reasoning out of the output, which its total shows. An unexplained larger total (Google
    /// omits thoughts silently) makes input and output uncertain.
    pub(super) fn openai(usage: &Value) -> Self {
        let input = first(usage, &["/prompt_tokens", "/input_tokens"]);
        let output = first(usage, &["/completion_tokens", "/output_tokens"]);
        let reasoning =
            first(usage, &["/completion_tokens_details/reasoning_tokens", "/output_tokens_details/reasoning_tokens"]);
        let cache_read = first(
            usage,
            &[
                "/prompt_tokens_details/cached_tokens",
                "/input_tokens_details/cached_tokens",
                "/input_token_details/cached_tokens",
                "/prompt_cache_hit_tokens",
                "/cached_tokens",
                "/cache_read_input_tokens",
            ],
        );
        let cache_write = first(
            usage,
            &[
                "/prompt_tokens_details/cache_write_tokens",
                "/input_tokens_details/cache_write_tokens",
                "/cache_creation_input_tokens",
            ],
        );
        let all = sum(input, [output, None]);
        let total = first(usage, &["/total_tokens"]);
        let (input, output) = match (total, all) {
            (Some(total), Some(all)) if total > all && reasoning == Some(total - all) => {
                (input, sum(output, [reasoning, None]))
            }
            (Some(total), Some(all)) if total > all => (None, None),
            _ => (input, output),
        };
        // A part that is larger than the whole was counted separately, or wrongly.
        let cached = sum(cache_read, [cache_write, None]).or(cache_write);
        let input = input.filter(|input| cached.is_none_or(|cached| cached <= *input));
        let output = output.filter(|output| reasoning.is_none_or(|reasoning| reasoning <= *output));
        Self { input, output, cache_read, cache_write, reasoning }
    }

    /// Anthropic's counts: input excludes cached tokens. With iterations, the sums exclude those of compaction.
    pub(super) fn anthropic(usage: &Value) -> Self {
        let sums = Self::anthropic_sums(usage);
        match usage["iterations"].as_array().map(Vec::as_slice) {
            None | Some([]) => sums,
            Some(iterations) => Self::with_iterations(sums, iterations),
        }
    }

    fn anthropic_sums(usage: &Value) -> Self {
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

    /// The totals of all iterations, if their types are known and they agree with the sums.
    fn with_iterations(sums: Self, iterations: &[Value]) -> Self {
        let add = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => one.checked_add(other),
            (one, other) => one.or(other),
        };
        let (mut all, mut messages) = (Self::default(), Self::default());
        for iteration in iterations {
            let of = Self::anthropic_sums(iteration);
            let kind = iteration["type"].as_str().unwrap_or_default();
            let known = matches!(kind, "message" | "compaction") && of.input.is_some() && of.output.is_some();
            if !known {
                return Self::default();
            }
            let totals: &mut [&mut Self] =
                if kind == "message" { &mut [&mut all, &mut messages] } else { &mut [&mut all] };
            for total in totals {
                total.input = add(total.input, of.input);
                total.output = add(total.output, of.output);
                total.cache_read = add(total.cache_read, of.cache_read);
                total.cache_write = add(total.cache_write, of.cache_write);
            }
        }
        let agree = |with: &Self| (with.input, with.output) == (sums.input, sums.output);
        if agree(&messages) || agree(&all) { Self { reasoning: sums.reasoning, ..all } } else { Self::default() }
    }

    /// Google's counts: output excludes thoughts, and the prompt excludes tool results. Some servers include thoughts
    /// in the output, which the total shows. An unexplained total makes input and output uncertain.
    pub(super) fn gemini(usage: &Value) -> Self {
        let thoughts = first(usage, &["/thoughtsTokenCount"]);
        let candidates = first(usage, &["/candidatesTokenCount"]);
        let input = sum(first(usage, &["/promptTokenCount"]), [first(usage, &["/toolUsePromptTokenCount"]), None]);
        let beside = sum(candidates, [thoughts, None]).or(thoughts);
        let adds_up = |total: u64, output| sum(input, [output, None]) == Some(total);
        let (input, output) = match first(usage, &["/totalTokenCount"]).filter(|total| *total > 0) {
            None => (input, beside),
            Some(total) if adds_up(total, beside) => (input, beside),
            Some(total) if candidates >= thoughts && adds_up(total, candidates) => (input, candidates),
            Some(_) => (None, None),
        };
        Self {
            input,
            output,
            cache_read: first(usage, &["/cachedContentTokenCount"]),
            cache_write: None,
            reasoning: thoughts,
        }
    }

    /// Converse's counts: input excludes cached tokens. An unexplained total makes input and output uncertain.
    pub(super) fn converse(usage: &Value) -> Self {
        let cache_read = first(usage, &["/cacheReadInputTokens", "/cacheReadInputTokenCount"]);
        let cache_write = first(usage, &["/cacheWriteInputTokens", "/cacheWriteInputTokenCount"]);
        let (input, output) = (first(usage, &["/inputTokens"]), first(usage, &["/outputTokens"]));
        let all = sum(input, [cache_read, cache_write]);
        let total = first(usage, &["/totalTokens"]).filter(|total| *total > 0);
        // The total may include cached tokens or not.
        let adds_up =
            total.is_none_or(|total| [all, input].iter().any(|input| sum(*input, [output, None]) == Some(total)));
        Self {
            input: all.filter(|_| adds_up),
            output: output.filter(|_| adds_up),
            cache_read,
            cache_write,
            reasoning: None,
        }
    }

    /// Cohere's counts: billed tokens come before used ones.
    pub(super) fn cohere(usage: &Value) -> Self {
        Self {
            input: first(usage, &["/billed_units/input_tokens", "/tokens/input_tokens"]),
            output: first(usage, &["/billed_units/output_tokens", "/tokens/output_tokens"]),
            cache_read: first(usage, &["/cached_tokens"]),
            ..Self::default()
        }
    }

    /// Ollama's counts.
    pub(super) fn ollama(usage: &Value) -> Self {
        Self {
            input: first(usage, &["/prompt_eval_count"]),
            output: first(usage, &["/eval_count"]),
            ..Self::default()
        }
    }

    /// InvokeModel's counts, which are the same for every model.
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
    fn the_sums_include_cached_and_reasoning_tokens() {
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
    fn an_unexplained_total_makes_tokens_absent() {
        let usage = |total: u64| json!({"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": total});
        assert_eq!(Tokens::openai(&usage(425)), Tokens::default());
        assert_eq!(Tokens::openai(&usage(25)), tokens(20, 5));
        assert_eq!(Tokens::openai(&usage(0)), tokens(20, 5));
    }

    #[test]
    fn iterations_are_summed_if_they_are_known_and_agree() {
        let usage = |iterations: Value| json!({"input_tokens": 23, "output_tokens": 100, "iterations": iterations});
        let message = json!({"type": "message", "input_tokens": 23, "output_tokens": 100});
        let compaction = json!({"type": "compaction", "input_tokens": 180_000, "output_tokens": 3500});
        assert_eq!(Tokens::anthropic(&usage(json!([compaction, message]))), tokens(180_023, 3600));
        assert_eq!(Tokens::anthropic(&usage(json!([message]))), tokens(23, 100));
        assert_eq!(Tokens::anthropic(&usage(json!([]))), tokens(23, 100));
        let other = json!({"type": "advisor_message", "input_tokens": 5, "output_tokens": 5});
        assert_eq!(Tokens::anthropic(&usage(json!([message, other]))), Tokens::default());
        assert_eq!(Tokens::anthropic(&usage(json!([compaction]))), Tokens::default());
        let cached = json!({"input_tokens": 3, "cache_read_input_tokens": 7, "output_tokens": 9, "iterations": [
            {"type": "message", "input_tokens": 3, "cache_read_input_tokens": 7, "output_tokens": 9}]});
        assert_eq!(Tokens::anthropic(&cached), Tokens { cache_read: Some(7), ..tokens(10, 9) });
    }

    #[test]
    fn billed_tokens_count_before_used_ones() {
        let usage = json!({"billed_units": {"input_tokens": 5, "output_tokens": 7}, "tokens": {"input_tokens": 71, "output_tokens": 7}});
        assert_eq!(Tokens::cohere(&usage), tokens(5, 7));
        assert_eq!(Tokens::cohere(&json!({"tokens": {"input_tokens": 71, "output_tokens": 7}})), tokens(71, 7));
    }

    #[test]
    fn a_missing_count_is_not_zero() {
        for of in [
            Tokens::openai,
            Tokens::cohere,
            Tokens::ollama,
            Tokens::anthropic,
            Tokens::gemini,
            Tokens::converse,
            Tokens::invocation,
        ] {
            assert_eq!(of(&json!({})), Tokens::default());
            assert_eq!(of(&json!("usage")), Tokens::default());
        }
        let null = json!({"input_tokens": 3, "cache_read_input_tokens": null, "output_tokens": -1});
        assert_eq!(Tokens::anthropic(&null), Tokens { input: Some(3), ..Tokens::default() });
        assert_eq!(Tokens::anthropic(&json!({"cache_read_input_tokens": 3})).input, None);
    }
}
