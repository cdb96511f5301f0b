//! The sums over the calls of a filter, below the list.

use maud::{Markup, html};

use super::format::{count, duration};
use super::shown;
use crate::brief;
use crate::store::{SURVEYED, Sums};

/// Calls, errors, tokens, cost and time.
pub(super) fn render(sums: &Sums) -> Markup {
    let cached = brief::percent(sums.cached_tokens, sums.input_tokens);
    let costs = brief::costs(&sums.costs);
    html! {
        span { b { (count(sums.calls)) } (if sums.calls == 1 { " call" } else { " calls" }) }
        span.bad[sums.errors > 0] { b { (count(sums.errors)) } (if sums.errors == 1 { " error" } else { " errors" }) }
        @if let Some(tokens) = brief::in_and_out(sums.input_tokens, sums.output_tokens) {
            span title="Tokens in and out" { b { (tokens) } " tokens" }
        }
        @if let Some(percent) = cached {
            span title="Input tokens that were read from the provider's cache" { b { (percent) " %" } " cached" }
        }
        @if !costs.is_empty() { span title="Of the calls whose cost is known" { b { (shown::line(&costs)) } } }
        span title="The latencies of all calls together" { b { (duration(sums.latency_ms)) } " in all" }
        @if !sums.is_whole { span.dim { "the newest " (count(SURVEYED as u64)) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_figures_are_not_shown_and_a_limit_is_named() {
        let mut sums = Sums { calls: 1, latency_ms: 20.0, is_whole: true, ..Sums::default() };
        let text = render(&sums).into_string();
        assert!(text.contains("<b>1</b> call<") && text.contains("<b>0</b> errors"), "{text}");
        assert!(!text.contains("tokens") && !text.contains("cached") && !text.contains("newest"), "{text}");
        (sums.input_tokens, sums.cached_tokens, sums.is_whole) = (Some(1_000), Some(900), false);
        sums.costs.insert("USD".to_owned(), 0.25);
        let text = render(&sums).into_string();
        assert!(text.contains("1.0k→?") && text.contains("90 %") && text.contains("$0.25"), "{text}");
        assert!(text.contains("the newest 100,000"), "{text}");
    }
}
