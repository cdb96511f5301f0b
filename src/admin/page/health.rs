//! Health: backlog and its age, delivery rate, OTAS's answers, coverage, and what to do about problems.

use maud::{Markup, html};

use super::format::{bytes, count, duration};
use super::phases::px;
use super::rates::Rates;
use super::session::{sums, tables};
use super::shown;
use crate::admin::{AdminSources, age_seconds, ready};
use crate::capture::Sink as _;
use crate::deliver::Status;
use crate::sinks;
use crate::stats::{Coverage, Stats};
use crate::store::{Counts, Filter, Sizes, State, StoreError, Viewer};

/// How many of the newest calls are summed up.
const SUMMED: usize = 100_000;

/// What is read from the store.
pub(super) struct StoreSummary {
    counts: Counts,
    oldest_pending_ms: Option<i64>,
    dropped: u64,
    pending: Vec<(String, u64)>,
    dead: Vec<(String, u64)>,
    stats: Stats,
    sizes: Sizes,
    damaged_chunks: u64,
}

/// Reads the store.
pub(super) fn read(viewer: &Viewer) -> Result<StoreSummary, StoreError> {
    let mut stats = Stats::default();
    viewer.each(&Filter { limit: SUMMED, ..Filter::default() }, |call| stats.add(&call))?;
    Ok(StoreSummary {
        counts: viewer.counts()?,
        oldest_pending_ms: viewer.oldest_pending_ms()?,
        dropped: viewer.dropped()?,
        pending: viewer.verdicts(State::Pending, SUMMED)?,
        dead: viewer.verdicts(State::Dead, SUMMED)?,
        stats,
        sizes: viewer.sizes()?,
        damaged_chunks: viewer.damaged_chunks()?,
    })
}

/// The page.
pub(super) fn render(seen: &StoreSummary, sources: &AdminSources, rates: &Rates) -> Markup {
    let status = sources.delivery.now();
    let not_ready =
        ready::reasons(sources.stopping.is_cancelled(), sources.handoff.admits(), None, sources.handoff.in_memory());
    html! {
        h1 { "Health" }
        @for reason in &not_ready { p.note.bad { (reason) } }
        @for (what, advice) in troubles(seen, &status, sources) { p.note { (with_code(&what)) " " span.dim { (with_code(advice)) } } }
        @if not_ready.is_empty() && troubles(seen, &status, sources).is_empty() { p.good { "No problems." } }
        h2 { "Delivery" }
        (delivery(seen, &status))
        (sinks(&sources.sinks.now()))
        (throughput(&rates.per_second()))
        (verdicts(seen, &status))
        h2 { "Store" }
        (store(&seen.sizes))
        h2 { "Coverage" }
        p.dim { "The newest " (count(SUMMED as u64)) " events in the store, of all processes." }
        (coverage(&seen.stats.coverage, sources, seen))
        h2 { "Calls" }
        (sums(&seen.stats))
        (tables(&seen.stats))
    }
}

/// Each problem, and what to do about it.
fn troubles(seen: &StoreSummary, status: &Status, sources: &AdminSources) -> Vec<(String, &'static str)> {
    let health = sources.store.health();
    let of = &seen.stats.coverage;
    let lost = sources.tally.lost() + sources.handoff.dropped() + health.events_lost();
    let mut troubles = Vec::new();
    if let Some(trouble) = &status.trouble {
        troubles.push((
            format!("OTAS accepts no events: {trouble}."),
            "Nothing is lost: events stay in the store and are sent when OTAS answers.",
        ));
    }
    if let Some(warning) = &status.warning {
        troubles.push((format!("{warning}."), ""));
    }
    for sink in sources.sinks.now() {
        if let Some(trouble) = &sink.trouble {
            troubles.push((
                format!("`{}` accepts no events: {trouble}.", sink.name),
                "Events stay in the store and are sent when it accepts them again.",
            ));
        }
        if sink.missed > 0 {
            troubles.push((
                format!("`{}` has missed {} events.", sink.name, count(sink.missed)),
                "The store was full before the sink accepted them: raise `store.max_bytes`, or repair the sink's destination.",
            ));
        }
    }
    for (number, what, advice) in [
        (
            seen.counts.dead,
            "events were refused by OTAS for good.",
            "The verdicts below say why. When the cause is fixed, `otas-proxy retry --dead` sends them again.",
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
            "Raise `store.max_bytes`, or keep less of each body (`capture.body_max_bytes`).",
        ),
        (
            seen.damaged_chunks,
            "parts of bodies are damaged in the event store.",
            "Check the disk. `otas-proxy store verify` names the events; a mark stands in their bodies, and all other events are intact. \
             A part is repaired when an agent sends the same text again.",
        ),
        (
            health.stores_moved_aside(),
            "damaged stores were moved aside.",
            "Check the disk. The old files are next to the store: `….corrupt-<time>`.",
        ),
        (
            of.refused_certificates,
            "tunnels failed because the agent refused our certificate.",
            "Make the agent trust the CA (`otas-proxy env` prints the variables), or list the host in `tls.passthrough`.",
        ),
        (
            status.lost_answers,
            "posts got no answer from OTAS.",
            "OTAS may have those events twice; `metadata.event.id` identifies duplicates.",
        ),
    ] {
        if number > 0 {
            troubles.push((format!("{} {what}", count(number)), advice));
        }
    }
    troubles
}

fn card(name: &str, value: &str) -> Markup {
    html! { div.card { b { (value) } span { (name) } } }
}

/// What the store takes on the disk, and what storing bodies once saves: as `otas-proxy store info`.
fn store(of: &Sizes) -> Markup {
    html! {
        div.cards {
            (card("file and log", &bytes(of.file_bytes + of.log_bytes)))
            (card("of it unused", &bytes(of.free_bytes)))
            (card("bodies in events", &bytes(of.logical_bytes)))
            (card("saved: stored once", &bytes(of.shared_bytes)))
            (card("in compressed chunks", &bytes(of.stored_bytes)))
        }
        p.dim { (with_code("The proxy reads all of it again bit by bit and reports damage here; `otas-proxy store verify` does it at once.")) }
    }
}

fn delivery(seen: &StoreSummary, status: &Status) -> Markup {
    let age = seen.oldest_pending_ms.map_or_else(|| "–".to_owned(), |ms| duration(age_seconds(ms) * 1_000.0));
    html! {
        div.cards {
            (card("pending", &count(seen.counts.pending)))
            (card("age of oldest pending", &age))
            (card("delivered", &count(seen.counts.delivered)))
            (card("dead", &count(seen.counts.dead)))
            (card("posts in flight / limit", &format!("{} / {}", status.in_flight, status.limit)))
            (card("who delivers", if status.delivering { "this process" } else { "another, or none" }))
        }
        p.dim { "Session: " (status.session) }
    }
}

/// The sinks.
fn sinks(all: &[sinks::Status]) -> Markup {
    html! {
        @if !all.is_empty() {
            h2 { "Sinks" }
            div.scroll { table {
                thead { tr { th { "sink" } th.n { "sent by this process" } th.n { "waiting" } th.n { "refused" } th.n { "missed" } th { "sent by" } } }
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

/// Events per second over the last minutes, as a curve.
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
        p { "OTAS accepts " b { (format!("{now:.1}")) } " events per second now; the maximum of the last ten minutes was " (format!("{most:.1}")) "." }
        @if rates.len() > 1 {
            svg viewBox=(format!("0 0 {WIDE} {}", HIGH + 4.0)) width=(WIDE) height=(HIGH + 4.0) role="img" aria-label="Events delivered per second" {
                line.grid x1="0" x2=(WIDE) y1=(HIGH + 2.0) y2=(HIGH + 2.0) {}
                polyline.curve points=(points.join(" ")) {}
            }
        }
    }
}

/// Text with the parts between backticks as code.
fn with_code(words: &str) -> Markup {
    html! {
        @for (at, part) in words.split('`').enumerate() {
            @if at % 2 == 1 { code { (shown::line(part)) } } @else { (shown::line(part)) }
        }
    }
}

fn verdicts(seen: &StoreSummary, status: &Status) -> Markup {
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
        h2 { "OTAS's answers to this process" }
        div.scroll { table {
            thead { tr { th { "verdict" } th.n { "posts" } th { "meaning" } } }
            tbody {
                @for (name, number, means) in [
                    ("delivered", of.delivered, "OTAS has it."),
                    ("retry", of.retry, "The event is not at fault; it is sent again."),
                    ("check key", of.check_key, "The key was refused. OTAS also does this under load, so the key is verified before delivery stops."),
                    ("renew session", of.renew_session, "The session token is no longer valid; a new one is requested."),
                    ("pause", of.pause, "An operator must fix something: see above."),
                    ("refused", of.refused, "The event may be at fault: it is sent once more without its bodies, then it is dead."),
                    ("dead", of.dead, "No more retries; `otas-proxy retry` sends it again."),
                ] { tr { td { (name) } td.n { (count(number)) } td.dim { (with_code(means)) } } }
            }
        } }
        (table("Why events are pending", &seen.pending))
        (table("Why events are dead", &seen.dead))
    }
}

fn coverage(of: &Coverage, sources: &AdminSources, seen: &StoreSummary) -> Markup {
    let lost = sources.tally.lost() + sources.handoff.dropped();
    html! {
        div.scroll { table {
            thead { tr { th { "calls" } th.n { "number" } th { "what to do" } } }
            tbody {
                @for (name, number, advice) in [
                    ("HTTPS, intercepted", of.intercepted, ""),
                    ("plain HTTP", of.plain, ""),
                    ("relayed without interception", of.blind, "Hosts in `tls.passthrough`, hosts whose clients refuse our certificate, and protocols other than HTTP; `metadata.blind` says which."),
                    ("certificate refused by the agent", of.refused_certificates, "Make the agent trust the CA: `otas-proxy env` prints the variables."),
                    ("other tunnels that failed", of.failed_tunnels, "Their errors say why: the origin was not reached, or its certificate is invalid."),
                    ("cut", of.cut, "Raise `capture.body_max_bytes` (texts), `capture.body_head_bytes` (other bodies) or `capture.memory_bytes` to keep more."),
                    ("dropped before delivery", seen.dropped, "Raise `store.max_bytes`."),
                    ("lost by this process", lost, "Calls ended faster than they could be stored, or the disk is full."),
                    ("dead", seen.counts.dead, "`otas-proxy retry --dead`, once the cause is fixed."),
                ] { tr { td { (name) } td.n { (count(number)) } td.dim { @if number > 0 { (with_code(advice)) } } } }
            }
        } }
        p.dim { "Captures hold " (bytes(sources.budget.used_bytes() as u64)) " of memory. Clients that ignore the proxy variables are not seen at all." }
    }
}
