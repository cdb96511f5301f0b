//! What the prompt cache did: tokens that were read, written and neither, for each turn, and why calls missed it.

use maud::{Markup, html};

use super::tree::Place;
use super::words::{beginning, share};
use crate::admin::page::format::count;
use crate::admin::page::phases::px;
use crate::admin::page::shown;
use crate::brief;
use crate::run_view::{ModelCall, Run, Thread, Totals, Turn};

/// The newest turns that are shown. Of the others, those with a miss are.
const TURNS_MAX: usize = 200;
/// The width of the bars.
const WIDE: f64 = 400.0;

/// The panel. Nothing if no call says anything of a cache.
pub(super) fn render(run: &Run, place: Place) -> Markup {
    let all: Vec<(&Thread, usize, &Turn)> = run
        .threads
        .iter()
        .flat_map(|thread| thread.turns.iter().enumerate().map(move |(number, turn)| (thread, number, turn)))
        .filter(|(_, _, turn)| turn.totals.input.is_some())
        .collect();
    if run.totals.cache_read.or(run.totals.cache_write).is_none() {
        return html! {};
    }
    let most = all.iter().filter_map(|(_, _, turn)| turn.totals.input).max().unwrap_or(1).max(1);
    let newest = all.len().saturating_sub(TURNS_MAX);
    let has_miss = |turn: &Turn| turn.model_calls().any(|call| call.miss.is_some());
    let shown: Vec<_> = all
        .iter()
        .enumerate()
        .filter(|(at, (_, _, turn))| *at >= newest || has_miss(turn))
        .map(|(_, of)| of)
        .collect();
    let misses = run.cache_misses();
    html! {
        section.cache #cache {
            h2 { "Prompt cache" }
            p {
                (share(run.totals.cache_read, run.totals.input).unwrap_or_else(|| "An unknown share".to_owned())) " of the input came from the cache. "
                @if misses == 0 { "No call missed it." } @else { b { (count(misses)) (if misses == 1 { " call" } else { " calls" }) " missed it." } }
            }
            p.legend { span.read { "read" } span.written { "written" } span.uncached { "uncached" } }
            div.by-turn role="table" aria-label="Tokens of each turn" {
                @for (thread, number, turn) in &shown { (of_turn(thread, *number, turn, most, place)) }
            }
            @if shown.len() < all.len() { p.dim { "The newest turns, and earlier ones with a miss: " (count(shown.len() as u64)) " of " (count(all.len() as u64)) "." } }
        }
    }
}

fn of_turn(thread: &Thread, number: usize, turn: &Turn, most: u64, place: Place) -> Markup {
    let totals = &turn.totals;
    let of = if thread.parent.is_some() {
        thread.name.as_deref().or(thread.id.as_deref()).unwrap_or("sub-agent")
    } else {
        ""
    };
    html! {
        div.of-turn role="row" {
            span.label role="cell" {
                @if !of.is_empty() { span.dim { (shown::line(&beginning(of, 30))) ", " } }
                "turn " (number + 1) " " span.dim { (shown::line(&beginning(&turn.said.text, 60))) }
            }
            span.bar role="cell" { (bar(totals, most)) }
            span.n role="cell" { (figures(totals)) }
        }
        @for call in turn.model_calls().filter(|call| call.miss.is_some()) { (miss(call, place)) }
    }
}

/// Why a call missed the cache.
fn miss(of: &ModelCall, place: Place) -> Markup {
    let Some(miss) = &of.miss else { return html! {} };
    html! {
        p.miss id={ "m" (of.call.id) } {
            @match place {
                Place::Page => a href={ "/event/" (of.call.id) "?tab=changes" } { "Call " (of.call.id) },
                Place::File => { "Call " (of.call.id) }
            }
            " read " (brief::tokens(miss.read)) " of " (brief::tokens(miss.expected)) " tokens that the call before it had left in the cache. "
            b { (shown::line(miss.reason.as_deref().unwrap_or("The reason is not known."))) }
        }
    }
}

fn bar(totals: &Totals, most: u64) -> Markup {
    let scale = WIDE / most as f64;
    let parts = [("read", totals.cache_read), ("written", totals.cache_write), ("uncached", totals.uncached)];
    let mut x = 0.0;
    let parts = parts.map(|(class, tokens)| {
        let wide = tokens.unwrap_or(0) as f64 * scale;
        let from = x;
        x += wide;
        (class, from, wide)
    });
    html! {
        svg viewBox=(format!("0 0 {WIDE} 10")) preserveAspectRatio="none" role="img" aria-label=(figures(totals)) {
            @for (class, from, wide) in parts { @if wide > 0.0 { rect class=(class) x=(px(from)) y="0" width=(px(wide)) height="10" {} } }
        }
    }
}

/// `9.5k read, 0 written, 120 uncached`. What is not reported is left out.
fn figures(totals: &Totals) -> String {
    let parts = [(totals.cache_read, "read"), (totals.cache_write, "written"), (totals.uncached, "uncached")];
    let known = parts.into_iter().filter_map(|(tokens, name)| Some(format!("{} {name}", brief::tokens(tokens?))));
    known.collect::<Vec<_>>().join(", ")
}
