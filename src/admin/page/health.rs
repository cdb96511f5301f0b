//! Health: what waits and since when, how fast it goes, what OTAS said, how much of what passed was seen; and what to do.

use maud::{Markup, html};

use super::format::{bytes, count, duration};
use super::phases::px;
use super::rates::Rates;
use super::session::{sums, tables};
use super::shown;
use crate::admin::{Told, age_seconds, ready};
use crate::capture::Sink as _;
use crate::deliver::Status;
use crate::sinks;
use crate::stats::{Coverage, Stats};
use crate::store::{Counts, Filter, State, StoreError, Viewer};

/// Calls that are summed up: the newest.
const SUMMED: usize = 100_000;

/// What is read of the store.
pub(super) struct Seen {
    counts: Counts,
    oldest_pending_ms: Option<i64>,
    dropped: u64,
    pending: Vec<(String, u64)>,
    dead: Vec<(String, u64)>,
    stats: Stats,
}

/// Reads it.
pub(super) fn read(viewer: &Viewer) -> Result<Seen, StoreError> {
    let mut stats = Stats::default();
    viewer.each(&Filter { limit: SUMMED, ..Filter::default() }, |call| stats.add(&call))?;
    Ok(Seen {
        counts: viewer.counts()?,
        oldest_pending_ms: viewer.oldest_pending_ms()?,
        dropped: viewer.dropped()?,
        pending: viewer.verdicts(State::Pending, SUMMED)?,
        dead: viewer.verdicts(State::Dead, SUMMED)?,
        stats,
    })
}

/// The page.
pub(super) fn render(seen: &Seen, told: &Told, rates: &Rates) -> Markup {
    let status = told.delivery.now();
    let not_ready =
        ready::reasons(told.stopping.is_cancelled(), told.handoff.admits(), None, told.handoff.in_memory());
    html! {
        h1 { "Health" }
        @for reason in &not_ready { p.note.bad { (reason) } }
        @for (what, advice) in troubles(seen, &status, told) { p.note { (with_code(&what)) " " span.dim { (with_code(advice)) } } }
        @if not_ready.is_empty() && troubles(seen, &status, told).is_empty() { p.good { "All is well." } }
        h2 { "Delivery" }
        (delivery(seen, &status))
        (sinks(&told.sinks.now()))
        (throughput(&rates.per_second()))
        (verdicts(seen, &status))
        h2 { "What was seen" }
        p.dim { "Of the newest " (count(SUMMED as u64)) " events in the store, those of other processes too." }
        (coverage(&seen.stats.coverage, told, seen))
        h2 { "Calls" }
        (sums(&seen.stats))
        (tables(&seen.stats))
    }
}

/// What is not as it should be, and what to do about it.
fn troubles(seen: &Seen, status: &Status, told: &Told) -> Vec<(String, &'static str)> {
    let health = told.store.health();
    let of = &seen.stats.coverage;
    let lost = told.tally.lost() + told.handoff.dropped() + health.events_lost();
    let mut troubles = Vec::new();
    if let Some(trouble) = &status.trouble {
        troubles.push((
            format!("OTAS takes no events: {trouble}."),
            "Nothing is lost meanwhile; events wait in the store and go out when it answers.",
        ));
    }
    if let Some(warning) = &status.warning {
        troubles.push((format!("{warning}."), ""));
    }
    for sink in told.sinks.now() {
        if let Some(trouble) = &sink.trouble {
            troubles.push((
                format!("`{}` takes no events: {trouble}.", sink.name),
                "They wait in the store and go there when it takes them again.",
            ));
        }
        if sink.missed > 0 {
            troubles.push((
                format!("`{}` has missed {} events.", sink.name, count(sink.missed)),
                "The store had no room for them until it took them: raise `store.max_bytes`, or see to its destination.",
            ));
        }
    }
    for (number, what, advice) in [
        (
            seen.counts.dead,
            "events were refused by OTAS for good.",
            "Their verdicts are below. When the cause is gone, `otas-proxy retry --dead` sends them again.",
        ),
        (
            seen.dropped + lost,
            "events were dropped or lost.",
            "The store was full, damaged or too slow: raise `store.max_bytes`, free disk space, or set `store.on_full = \"refuse\"` \
             where no call may go unrecorded.",
        ),
        (
            health.bodies_removed(),
            "events lost their bodies to make room.",
            "Raise `store.max_bytes`, or keep less of each body (`capture.body_head_bytes`).",
        ),
        (
            health.stores_moved_aside(),
            "damaged stores were moved aside.",
            "Look at the disk; the old files are beside the store, as `….corrupt-<time>`.",
        ),
        (
            of.refused_certificates,
            "tunnels failed because the agent refused our certificate.",
            "Make the agent trust the CA (`otas-proxy env` prints the variables), or list the host in `tls.passthrough`.",
        ),
        (
            status.lost_answers,
            "answers of OTAS were lost on the way.",
            "OTAS may have those events twice; `metadata.event.id` tells them apart.",
        ),
    ] {
        if number > 0 {
            troubles.push((format!("{} {what}", count(number)), advice));
        }
    }
    troubles
}

fn delivery(seen: &Seen, status: &Status) -> Markup {
    let card = |name: &str, value: String| html! { div.card { b { (value) } span { (name) } } };
    let age = seen.oldest_pending_ms.map_or_else(|| "–".to_owned(), |ms| duration(age_seconds(ms) * 1_000.0));
    html! {
        div.cards {
            (card("pending", count(seen.counts.pending)))
            (card("the oldest has waited", age))
            (card("delivered", count(seen.counts.delivered)))
            (card("dead", count(seen.counts.dead)))
            (card("posts under way / at most", format!("{} / {}", status.in_flight, status.limit)))
            (card("who delivers", if status.delivering { "this process".to_owned() } else { "another, or none".to_owned() }))
        }
        p.dim { "Session: " (status.session) }
    }
}

/// What else is told of each event.
fn sinks(all: &[sinks::Status]) -> Markup {
    html! {
        @if !all.is_empty() {
            h2 { "Sinks" }
            div.scroll { table {
                thead { tr { th { "sink" } th.n { "sent by this process" } th.n { "waiting" } th.n { "refused" } th.n { "missed" } th { "who feeds it" } } }
                tbody {
                    @for of in all { tr {
                        td.mono { (shown::line(&of.name)) }
                        td.n { (count(of.fed.sent)) }
                        td.n { (count(of.waiting)) }
                        td.n.bad[of.fed.refused > 0] title=[of.refusal.as_deref().map(shown::plain)] { (count(of.fed.refused)) }
                        td.n.bad[of.missed > 0] { (count(of.missed)) }
                        td.dim { (if of.feeding { "this process" } else { "another, or none" }) }
                    } }
                }
            } }
        }
    }
}

/// Events a second over the last minutes, as a curve.
fn throughput(rates: &[f64]) -> Markup {
    const WIDE: f64 = 600.0;
    const HIGH: f64 = 60.0;
    let most = rates.iter().copied().fold(0.0, f64::max);
    let step = WIDE / (rates.len().max(2) - 1) as f64;
    let points: Vec<String> = rates
        .iter()
        .enumerate()
        .map(|(at, rate)| format!("{},{}", px(at as f64 * step), px(HIGH - rate / most.max(1.0) * HIGH + 2.0)))
        .collect();
    let now = rates.last().copied().unwrap_or_default();
    html! {
        p { "OTAS takes " b { (format!("{now:.1}")) } " events a second now, " (format!("{most:.1}")) " at most in the last ten minutes." }
        @if rates.len() > 1 {
            svg viewBox=(format!("0 0 {WIDE} {}", HIGH + 4.0)) width=(WIDE) height=(HIGH + 4.0) role="img" aria-label="Events delivered a second" {
                line.grid x1="0" x2=(WIDE) y1=(HIGH + 2.0) y2=(HIGH + 2.0) {}
                polyline.curve points=(points.join(" ")) {}
            }
        }
    }
}

/// Words with what stands between backticks as code.
fn with_code(words: &str) -> Markup {
    html! {
        @for (at, part) in words.split('`').enumerate() {
            @if at % 2 == 1 { code { (shown::line(part)) } } @else { (shown::line(part)) }
        }
    }
}

fn verdicts(seen: &Seen, status: &Status) -> Markup {
    let of = &status.verdicts;
    let table = |title: &str, rows: &[(String, u64)]| {
        html! {
            @if !rows.is_empty() {
                h2 { (title) }
                table { tbody { @for (verdict, number) in rows { tr { td { (shown::line(verdict)) } td.n { (count(*number)) } } } } }
            }
        }
    };
    html! {
        h2 { "What OTAS said to this process" }
        div.scroll { table {
            thead { tr { th { "verdict" } th.n { "posts" } th { "what it means" } } }
            tbody {
                @for (name, number, means) in [
                    ("delivered", of.delivered, "OTAS has it."),
                    ("retry", of.retry, "Not the event's fault; it is sent again."),
                    ("check key", of.check_key, "The key was refused. OTAS says so under load, too: it is asked about the key before anything is given up."),
                    ("renew session", of.renew_session, "The session's token is no longer good; a new one is got."),
                    ("pause", of.pause, "A person must put something right: see above."),
                    ("refused", of.refused, "The event may be at fault: once more without its bodies, then it is dead."),
                    ("dead", of.dead, "Given up; `otas-proxy retry` sends it again."),
                ] { tr { td { (name) } td.n { (count(number)) } td.dim { (with_code(means)) } } }
            }
        } }
        (table("Why events wait", &seen.pending))
        (table("Why events are dead", &seen.dead))
    }
}

fn coverage(of: &Coverage, told: &Told, seen: &Seen) -> Markup {
    let lost = told.tally.lost() + told.handoff.dropped();
    html! {
        div.scroll { table {
            thead { tr { th { "calls" } th.n { "number" } th { "what to do" } } }
            tbody {
                @for (name, number, advice) in [
                    ("HTTPS, intercepted and read", of.intercepted, ""),
                    ("plain HTTP", of.plain, ""),
                    ("relayed unread", of.blind, "Hosts in `tls.passthrough`, those learnt to be, and protocols that are not HTTP; `metadata.blind` says which."),
                    ("refused certificates", of.refused_certificates, "Make the agent trust the CA: `otas-proxy env` prints the variables."),
                    ("other tunnels that failed", of.failed_tunnels, "Their errors say why: the origin was not reached, or its certificate is not good."),
                    ("cut", of.cut, "More of each body is kept with `capture.body_head_bytes` and `capture.body_tail_bytes`."),
                    ("dropped before delivery", seen.dropped, "Raise `store.max_bytes`."),
                    ("lost by this process", lost, "Calls ended faster than they could be stored, or the disk takes nothing."),
                    ("dead", seen.counts.dead, "`otas-proxy retry --dead` when the cause is gone."),
                ] { tr { td { (name) } td.n { (count(number)) } td.dim { @if number > 0 { (with_code(advice)) } } } }
            }
        } }
        p.dim { "Captures hold " (bytes(told.budget.used_bytes() as u64)) " of memory. Clients that read no proxy variable are not seen at all." }
    }
}
