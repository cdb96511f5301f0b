//! Sessions: the list, and one session with its timeline and totals.

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::format::{bytes, count, date, duration};
use super::list::name;
use super::phases::px;
use super::shown;
use crate::brief::costs;
use crate::event::Llm;
use crate::stats::{Stats, Totals};
use crate::store::{Call, Filter, SessionInfo, SessionRow, StoreError, Viewer};

/// Calls in a timeline: the newest.
const DRAWN: usize = 400;
/// Calls in the totals: the newest.
const SUMMED: usize = 200_000;
/// Lines of a timeline. Beyond this many overlapping calls, lines are shared.
const LANES: usize = 40;
/// Rows of the tables by host and by model.
const NAMES: usize = 50;

/// What the page of a session shows.
pub(super) struct Session {
    info: SessionInfo,
    stats: Stats,
    /// The newest calls, newest first.
    calls: Vec<Call>,
}

/// Reads a session. `None` if it does not exist.
pub(super) fn read(viewer: &Viewer, row: SessionRow) -> Result<Option<Session>, StoreError> {
    let Some(info) = viewer.session(row)? else { return Ok(None) };
    let (mut stats, mut calls) = (Stats::default(), Vec::new());
    viewer.each(&Filter { session: Some(row), limit: SUMMED, ..Filter::default() }, |call| {
        stats.add(&call);
        if calls.len() < DRAWN {
            calls.push(call);
        }
    })?;
    Ok(Some(Session { info, stats, calls }))
}

/// The page of one session.
pub(super) fn render(session: &Session) -> Markup {
    let Session { info, stats, calls } = session;
    let meta: Map<String, Value> = serde_json::from_str(&info.meta).unwrap_or_default();
    html! {
        h1 { "Session " (shown::line(&name(info))) }
        dl.facts {
            dt { "Began" } dd { (date(info.opened_at_ms)) }
            dt { "Run" } dd { code { (shown::line(&info.run_id)) } }
            @if let Some(id) = &info.otas_session_id { dt { "In OTAS" } dd { code { (shown::line(id)) } } }
            dt { "Agent key" } dd { code { (info.key_id) } @if let Some(agent) = &info.agent_id { ", agent " code { (shown::line(agent)) } } }
            @for (key, value) in &meta {
                dt { (shown::line(key)) } dd { (shown::line(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))) }
            }
            dt { "Events" }
            dd {
                (count(info.counts.delivered)) " delivered, " (count(info.counts.pending)) " pending, " (count(info.counts.dead)) " dead"
                @if info.counts.kept > 0 { ", " (count(info.counts.kept)) " not for OTAS" }
                @if info.dropped > 0 { ", " span.bad { (count(info.dropped)) " dropped" } }
            }
        }
        div.bar {
            a.button href={ "/?session=" (info.row.id()) } { "Its calls" }
            a.button href={ "/sessions?text=session%3A" (info.row.id()) } { "Its runs" }
        }
        (sums(stats))
        h2 { "Timeline" }
        @if calls.len() == DRAWN { p.dim { "The newest " (DRAWN) " calls." } }
        (timeline(calls))
        (tables(stats))
    }
}

/// Totals, as cards.
pub(super) fn sums(stats: &Stats) -> Markup {
    let all = &stats.all;
    let card = |name: &str, value: String| html! { div.card { b { (value) } span { (name) } } };
    let latency = |share| all.latency_ms(share).map_or_else(|| "–".to_owned(), duration);
    html! {
        div.cards {
            (card("calls", count(all.calls)))
            (card("errors", count(all.errors)))
            (card("p50", latency(0.5)))
            (card("p99", latency(0.99)))
            (card("bytes up", bytes(all.request_bytes)))
            (card("bytes down", bytes(all.response_bytes)))
            @if all.llm_calls > 0 {
                (card("model calls", count(all.llm_calls)))
                (card("tokens in", known(all.input_tokens)))
                (card("tokens out", known(all.output_tokens)))
                (card("cost", if all.costs.is_empty() { "unknown".to_owned() } else { costs(&all.costs) }))
            }
        }
    }
}

fn known(tokens: Option<u64>) -> String {
    tokens.map_or_else(|| "unknown".to_owned(), count)
}

/// Totals by host and by model.
pub(super) fn tables(stats: &Stats) -> Markup {
    let table = |title: &str, names: &[(&str, &Totals)]| {
        html! {
            section {
                h2 { (title) }
                div.scroll {
                    table {
                        thead { tr {
                            th { "name" } th.n { "calls" } th.n { "errors" } th.n { "p50" } th.n { "p99" } th.n { "down" }
                            th.n { "tokens in → out" } th.n { "cost" }
                        } }
                        tbody {
                            @for (name, of) in names.iter().take(NAMES) {
                                tr {
                                    td { (shown::line(name)) }
                                    td.n { (count(of.calls)) }
                                    td.n.bad[of.errors > 0] { (count(of.errors)) }
                                    td.n { (of.latency_ms(0.5).map(duration).unwrap_or_default()) }
                                    td.n { (of.latency_ms(0.99).map(duration).unwrap_or_default()) }
                                    td.n { (bytes(of.response_bytes)) }
                                    td.n { @if of.llm_calls > 0 { (known(of.input_tokens)) " → " (known(of.output_tokens)) } }
                                    td.n { (shown::line(&costs(&of.costs))) }
                                }
                            }
                        }
                    }
                }
                @if names.len() > NAMES { p.dim { "and " (names.len() - NAMES) " more" } }
            }
        }
    };
    let (hosts, models) = (stats.hosts(), stats.models());
    html! {
        @if !hosts.is_empty() { (table("By host", &hosts)) }
        @if !models.is_empty() { (table("By model", &models)) }
    }
}

/// Calls on a common clock, each on the first line that is free when it starts.
fn timeline(calls: &[Call]) -> Markup {
    const WIDE: f64 = 1_200.0;
    const LINE: f64 = 14.0;
    let mut calls: Vec<&Call> = calls.iter().collect();
    calls.sort_by_key(|call| call.started_at_ms);
    let from = calls.first().map_or(0, |call| call.started_at_ms);
    let since = |call: &Call| (call.started_at_ms - from) as f64;
    let end = calls.iter().map(|call| since(call) + call.latency_ms).fold(1.0, f64::max);
    let scale = WIDE / end;
    let mut lanes: Vec<f64> = Vec::new();
    let placed: Vec<(usize, &Call)> =
        calls.iter().map(|call| (lane(&mut lanes, since(call), call.latency_ms), *call)).collect();
    let height = LINE * lanes.len() as f64 + 18.0;
    html! {
        div.scroll {
            svg viewBox=(format!("0 0 {WIDE} {height}")) width=(WIDE) height=(height) role="group" aria-label="The session's calls over time" {
                @for quarter in 0..=4u8 {
                    @let x = WIDE * f64::from(quarter) / 4.0;
                    line.grid x1=(px(x)) x2=(px(x)) y1="0" y2=(height - 16.0) {}
                    text.dim x=(px(x)) y=(height - 4.0) text-anchor=(match quarter { 0 => "start", 4 => "end", _ => "middle" }) {
                        (if quarter == 0 { "0".to_owned() } else { format!("+{}", duration(end * f64::from(quarter) / 4.0)) })
                    }
                }
                @for (lane, call) in &placed {
                    @let label = shown::plain(&format!("{} {}{}, {}, {}", call.method, call.host, call.path, call.status_code, duration(call.latency_ms)));
                    a href={ "/event/" (call.id) } aria-label=(label) {
                        title { (label) }
                        rect.call.error[!call.error.is_empty()].llm[Llm::parse(&call.llm).is_some_and(|llm| llm.is_model_call())]
                            x=(px(since(call) * scale)) y=(LINE * *lane as f64 + 2.0) width=(px((call.latency_ms * scale).max(2.0))) height=(LINE - 4.0) rx="2" {}
                    }
                }
            }
        }
    }
}

/// The first line that is free at `at`; it is taken until the call ends. When all are taken, the one that becomes free first.
fn lane(lanes: &mut Vec<f64>, at: f64, ms: f64) -> usize {
    let free = lanes.iter().position(|until| *until <= at);
    let lane = match free {
        Some(lane) => lane,
        None if lanes.len() < LANES => {
            lanes.push(0.0);
            lanes.len() - 1
        }
        None => {
            let first = lanes.iter().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b));
            first.map_or(0, |(lane, _)| lane)
        }
    };
    if let Some(until) = lanes.get_mut(lane) {
        *until = until.max(at + ms);
    }
    lane
}

/// The list of sessions.
pub(super) fn render_list(sessions: &[SessionInfo]) -> Markup {
    html! {
        h1 { "Sessions" }
        div.scroll {
            table {
                thead { tr { th { "began" } th { "session" } th { "agent key" } th.n { "calls" } th.n { "delivered" } th.n { "pending" } th.n { "dead" } th.n { "dropped" } } }
                tbody {
                    @for info in sessions {
                        tr {
                            td { (date(info.opened_at_ms)) }
                            td { a href={ "/session/" (info.row.id()) } { (shown::line(&name(info))) } }
                            td.mono { (info.key_id) }
                            td.n { a href={ "/?session=" (info.row.id()) } { (count(info.counts.total)) } }
                            td.n { (count(info.counts.delivered)) }
                            td.n { (count(info.counts.pending)) }
                            td.n.bad[info.counts.dead > 0] { (count(info.counts.dead)) }
                            td.n.bad[info.dropped > 0] { (count(info.dropped)) }
                        }
                    }
                }
            }
        }
        @if sessions.is_empty() { p.dim { "No sessions yet." } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_calls_get_separate_lines_and_lines_are_reused() {
        let mut lanes = Vec::new();
        let calls = [(0.0, 10.0), (5.0, 10.0), (10.0, 1.0), (16.0, 1.0)];
        assert_eq!(calls.map(|(at, ms)| lane(&mut lanes, at, ms)), [0, 1, 0, 0]);
        for at in 0..100 {
            lane(&mut lanes, 20.0 + f64::from(at) / 100.0, 1_000.0);
        }
        assert_eq!(lanes.len(), LANES);
    }
}
