//! Health: backlog and its age, delivery rate, OTAS's answers, coverage, and what to do about problems.

use maud::{Markup, html};

use super::format::{bytes, count, duration};
use super::phases::px;
use super::session::{sums, tables};
use super::{ProxyHealth, shown};
use crate::admin::{AdminSources, Beside, age_seconds, quotas, ready};
use crate::capture::Sink as _;
use crate::clock::now_ms;
use crate::deliver::Status;
use crate::quotas::Quotas;
use crate::sinks;
use crate::stats::{Coverage, Stats};
use crate::store::{Counts, Filter, Health, Sizes, State, StoreError, Viewer};

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
    /// The quotas that the newest calls in the store state, if there is no proxy.
    quotas: Quotas,
}

/// Reads the store. `is_alone`: there is no proxy in this process.
pub(super) fn read(viewer: &Viewer, is_alone: bool) -> Result<StoreSummary, StoreError> {
    let mut stats = Stats::default();
    let stated = Quotas::default();
    // A running proxy knows them.
    if is_alone {
        quotas::recall(&stated, viewer)?;
    }
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
        quotas: stated,
    })
}

/// The page. `proxy` is the proxy in this process, if there is one; another process may say something `beside`.
pub(super) fn render(seen: &StoreSummary, proxy: Option<&ProxyHealth>, beside: Option<Beside>) -> Markup {
    let sources = proxy.map(|proxy| &*proxy.sources);
    let status = sources.map(|sources| sources.delivery.now());
    let not_ready = sources.map_or_else(Vec::new, |sources| {
        ready::reasons(sources.stopping.is_cancelled(), sources.handoff.admits(), None, sources.handoff.in_memory())
    });
    let mut troubles = sources.zip(status.as_ref()).map(|(of, status)| troubles_now(of, status)).unwrap_or_default();
    troubles.extend(troubles_stored(seen, sources));
    let is_alone = proxy.is_none() && beside.is_none();
    let beside = beside.unwrap_or_default();
    troubles.extend(beside.troubles);
    // A running proxy remembers those of calls that have left the store.
    let known = sources.map_or(&seen.quotas, |sources| &sources.quotas).now(now_ms());
    html! {
        h1 { "Health" }
        @if is_alone { p.note { "This page shows a store without a proxy. What only a running proxy knows is on its own page." } }
        @for reason in &not_ready { p.note.bad { (reason) } }
        @for (what, advice) in &troubles { p.note { (with_code(what)) " " span.dim { (with_code(advice)) } } }
        @if not_ready.is_empty() && troubles.is_empty() { p.good { "No problems." } }
        (super::quotas::render(&known, now_ms()))
        @if !beside.cards.is_empty() {
            h2 { (beside.title) }
            div.cards { @for (name, value) in &beside.cards { (card(name, &crate::visible::line(value))) } }
        }
        h2 { "Delivery" }
        (delivery(seen, status.as_ref()))
        @if let Some(proxy) = proxy {
            (sinks(&proxy.sources.sinks.now()))
            (throughput(&proxy.rates.per_second()))
        }
        @if let Some(status) = &status { (verdicts(status)) }
        (verdict_table("Why events are pending", &seen.pending))
        (verdict_table("Why events are dead", &seen.dead))
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

/// Each problem of delivery now, and what to do about it.
fn troubles_now(sources: &AdminSources, status: &Status) -> Vec<(String, &'static str)> {
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
    if let Some(why) = sources.settings.refusal() {
        troubles.push((
            format!("The new settings are invalid: {why}."),
            "Those in force stay. Correct the file; it is read again.",
        ));
    }
    let waiting = sources.settings.needs_restart();
    if !waiting.is_empty() {
        troubles.push((
            format!("Changed settings need a restart: `{}`.", waiting.join("`, `")),
            "Until then the old values apply.",
        ));
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
    if status.lost_answers > 0 {
        troubles.push((
            format!("{} posts got no answer from OTAS.", count(status.lost_answers)),
            "OTAS may have those events twice; `metadata.event.id` identifies duplicates.",
        ));
    }
    troubles
}

/// Each loss, and what to do about it. Losses of this process are known only to its proxy.
fn troubles_stored(seen: &StoreSummary, sources: Option<&AdminSources>) -> Vec<(String, &'static str)> {
    let of = &seen.stats.coverage;
    let lost = sources
        .map_or(0, |sources| sources.tally.lost() + sources.handoff.dropped() + sources.store.health().events_lost());
    let health = sources.map(|sources| sources.store.health());
    let mut troubles = Vec::new();
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
            health.map_or(0, Health::bodies_removed),
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
            health.map_or(0, Health::stores_moved_aside),
            "damaged stores were moved aside.",
            "Check the disk. The old files are next to the store: `….corrupt-<time>`.",
        ),
        (
            of.refused_certificates,
            "tunnels failed because the agent refused our certificate.",
            "Make the agent trust the CA (`otas-proxy env` prints the variables), or list the host in `tls.passthrough`.",
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
            (card("search index", &bytes(of.search_bytes)))
        }
        p.dim { (with_code("The proxy reads all of it again bit by bit and reports damage here; `otas-proxy store verify` does it at once.")) }
    }
}

fn delivery(seen: &StoreSummary, status: Option<&Status>) -> Markup {
    let age = seen.oldest_pending_ms.map_or_else(|| "–".to_owned(), |ms| duration(age_seconds(ms) * 1_000.0));
    html! {
        div.cards {
            (card("pending", &count(seen.counts.pending)))
            (card("age of oldest pending", &age))
            (card("delivered", &count(seen.counts.delivered)))
            (card("dead", &count(seen.counts.dead)))
            @if let Some(status) = status {
                (card("posts in flight / limit", &format!("{} / {}", status.in_flight, status.limit)))
                (card("who delivers", if status.delivering { "this process" } else { "another, or none" }))
            }
        }
        @if let Some(status) = status { p.dim { "Session: " (status.session) } }
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
                        td.n.bad[of.fed.refused + of.fed.rejected_spans > 0] title=[of.refusal.as_deref().map(shown::plain)] {
                            (count(of.fed.refused))
                            @if of.fed.rejected_spans > 0 { " and " (count(of.fed.rejected_spans)) " spans" }
                        }
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

/// Verdicts with their counts.
fn verdict_table(title: &str, rows: &[(String, u64)]) -> Markup {
    html! {
        @if !rows.is_empty() {
            h2 { (title) }
            table { tbody { @for (verdict, number) in rows { tr { td { (shown::line(verdict)) } td.n { (count(*number)) } } } } }
        }
    }
}

fn verdicts(status: &Status) -> Markup {
    let of = &status.verdicts;
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
    }
}

fn coverage(of: &Coverage, sources: Option<&AdminSources>, seen: &StoreSummary) -> Markup {
    let lost = sources.map(|sources| sources.tally.lost() + sources.handoff.dropped());
    let rows = [
        ("HTTPS, intercepted", Some(of.intercepted), ""),
        ("plain HTTP", Some(of.plain), ""),
        (
            "relayed without interception",
            Some(of.blind),
            "Hosts in `tls.passthrough`, hosts whose clients refuse our certificate, and protocols other than HTTP; `metadata.blind` says which.",
        ),
        (
            "certificate refused by the agent",
            Some(of.refused_certificates),
            "Make the agent trust the CA: `otas-proxy env` prints the variables.",
        ),
        (
            "other tunnels that failed",
            Some(of.failed_tunnels),
            "Their errors say why: the origin was not reached, or its certificate is invalid.",
        ),
        (
            "cut",
            Some(of.cut),
            "Raise `capture.body_max_bytes` (texts), `capture.body_head_bytes` (other bodies) or `capture.memory_bytes` to keep more.",
        ),
        ("dropped before delivery", Some(seen.dropped), "Raise `store.max_bytes`."),
        ("lost by this process", lost, "Calls ended faster than they could be stored, or the disk is full."),
        ("dead", Some(seen.counts.dead), "`otas-proxy retry --dead`, once the cause is fixed."),
    ];
    let rows = rows.into_iter().filter_map(|(name, number, advice)| Some((name, number?, advice)));
    html! {
        div.scroll { table {
            thead { tr { th { "calls" } th.n { "number" } th { "what to do" } } }
            tbody {
                @for (name, number, advice) in rows {
                    tr { td { (name) } td.n { (count(number)) } td.dim { @if number > 0 { (with_code(advice)) } } }
                }
            }
        } }
        p.dim {
            @if let Some(sources) = sources { "Captures hold " (bytes(sources.budget.used_bytes() as u64)) " of memory. " }
            "Clients that ignore the proxy variables are not seen at all."
        }
    }
}
