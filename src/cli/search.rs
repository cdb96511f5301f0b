//! `otas-proxy search`: a text in the bodies of calls.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::builder::styling::Style;
use serde_json::json;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::color::{ColorArgs, DIM};
use super::events::terminal_width;
use super::filter::{FilterArgs, at_least_one};
use super::table::fitted;
use super::{About, Done, Failure, Usage, say};
use crate::admin::page::format::{count, date};
use crate::app::indexing;
use crate::config::{self, Flags};
use crate::event::Stored;
use crate::search::{NEEDLE_MAX_BYTES, Needle};
use crate::store::{Call, Condition, Fact, IndexerStep, Store, Viewer};
use crate::visible;

/// Calls that are looked up at once.
const AT_ONCE: usize = 100;
/// No further calls are opened after this time.
const LONGEST: Duration = Duration::from_secs(10);
/// Making the index is mentioned after this time.
const MENTIONED_AFTER: Duration = Duration::from_millis(700);
/// Characters before and behind the text.
const BEFORE: usize = 50;
const BEHIND: usize = 90;
/// What stands before a snippet.
const INDENT: &str = "    ";
/// The text itself.
const HIT: Style = Style::new().bold();

/// Find a text in the bodies of stored calls
///
/// The newest call is the first. A text that an agent has sent again with each later call of its session is shown once, with the
/// number of calls. Case is ignored, and any part of a word is found. Quotes and line ends are found as they stand in JSON, too. If
/// no proxy keeps the search index of the store, the command brings it up to date first. Further words are filters.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The text
    #[arg(value_name = "TEXT")]
    find: String,
    /// The most places to show
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_one)]
    limit: usize,
    /// Print a JSON object for each place
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    color: ColorArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    flags: Flags,
}

/// A place where the text is.
struct Hit {
    /// The newest call with it.
    call: Call,
    side: &'static str,
    snippet: Snippet,
    /// How many calls have it there.
    calls: u64,
    /// The oldest of them that was looked at.
    first: i64,
}

/// The text with what is around it.
struct Snippet {
    before: String,
    hit: String,
    behind: String,
}

pub(super) fn run(args: &Args) -> Done {
    let Some(needle) = Needle::new(&args.find) else {
        return Err(Usage(match args.find.trim().is_empty() {
            true => "the text to search for is empty; to list calls without one: `otas-proxy events`".to_owned(),
            false => format!("the text to search for is too long: at most {NEEDLE_MAX_BYTES} bytes"),
        })
        .into());
    };
    let settings = super::led(&args.flags, About::Store)?.loaded.config.store;
    let store = Store::open_to_read(&settings.path)?;
    bring_up_to_date(&store, &settings);
    let mut filter = args.filter.filter(&store, AT_ONCE)?;
    filter.conditions.push(Condition::Is(Fact::Body(args.find.clone())));
    let (viewer, until) = (store.viewer(), Instant::now() + LONGEST);
    let (mut hits, mut before, mut note) = (Vec::new(), None, None);
    let mut stopped = false;
    'pages: while hits.len() < args.limit {
        let calls = viewer.calls(&filter, before)?;
        note = filter.searched.note().or(note);
        if calls.is_empty() {
            break;
        }
        for listed in calls {
            if Instant::now() > until {
                stopped = true;
                break 'pages;
            }
            before = Some(listed.call.id);
            add(&viewer, listed.call, &needle, &mut hits)?;
        }
    }
    hits.truncate(args.limit);
    print(args, &hits)?;
    if hits.is_empty() && note.is_none() && !stopped {
        say::err("otas-proxy: no stored body has this text");
    }
    if stopped {
        let seconds = LONGEST.as_secs();
        note = Some(format!(
            "the search was stopped after {seconds} s: there may be more. Narrow it, for example with since:"
        ));
    }
    note.into_iter().for_each(|note| say::err(&format!("otas-proxy: {note}")));
    Ok(ExitCode::SUCCESS)
}

/// Makes the index, unless a proxy does or the settings say no. Without it the search takes longer, so errors are only mentioned.
fn bring_up_to_date(store: &Store, settings: &config::Store) {
    if !settings.search {
        return;
    }
    let (mut indexer, began, mut is_mentioned) = (store.indexer(indexing::bounds(settings)), Instant::now(), false);
    loop {
        match indexer.step() {
            Ok(IndexerStep::Worked) => {}
            Ok(_) => return,
            Err(error) => return say::err(&format!("otas-proxy: {error}; the search may take longer")),
        }
        if !is_mentioned && began.elapsed() > MENTIONED_AFTER {
            say::err("otas-proxy: bringing the search index up to date");
            is_mentioned = true;
        }
    }
}

/// Adds the places in a call.
fn add(viewer: &Viewer, call: Call, needle: &Needle, hits: &mut Vec<Hit>) -> Result<(), Failure> {
    // It may have been removed meanwhile.
    let Some(event) = viewer.event(call.id)? else { return Ok(()) };
    let event = Stored::parse(&event.json);
    let answer = event.metadata()["llm"]["text"].as_str().unwrap_or_default();
    let bodies = [("request", event.text("request_body")), ("response", event.text("response_body"))];
    let mut is_in_response = false;
    for (side, text) in bodies.into_iter().chain([("answer", answer)]) {
        let Some(place) = needle.place_in(text) else { continue };
        // The events of a stream may split what the answer says.
        if side == "answer" && is_in_response {
            continue;
        }
        is_in_response = side == "response";
        let snippet = Snippet::of(text, place);
        let same =
            |hit: &&mut Hit| hit.side == side && hit.call.session == call.session && hit.snippet.may_go_on(&snippet);
        match hits.iter_mut().find(same) {
            Some(hit) => (hit.calls, hit.first) = (hit.calls + 1, call.id),
            None => hits.push(Hit { first: call.id, call: call.clone(), side, snippet, calls: 1 }),
        }
    }
    Ok(())
}

impl Snippet {
    fn of(text: &str, place: std::ops::Range<usize>) -> Self {
        let part = |from, to| text.get(from..to).unwrap_or_default();
        let (before, behind) = (part(0, place.start), part(place.end, text.len()));
        let from = before.char_indices().rev().nth(BEFORE - 1).map_or(0, |(at, _)| at);
        let to = behind.char_indices().nth(BEHIND).map_or(behind.len(), |(at, _)| at);
        let mark = |is_cut| if is_cut { "…" } else { "" };
        Self {
            before: format!("{}{}", mark(from > 0), line(&before[from..])),
            hit: line(part(place.start, place.end)),
            behind: format!("{}{}", line(&behind[..to]), mark(to < behind.len())),
        }
    }

    /// Whether it may be the same place, in a text that has become longer.
    fn may_go_on(&self, older: &Self) -> bool {
        (&self.before, &self.hit) == (&older.before, &older.hit)
            && self.behind.starts_with(older.behind.trim_end_matches('…'))
    }

    /// In at most so many columns of a terminal, if the text itself leaves room for it.
    fn within(&self, columns: usize) -> Self {
        let hit = fitted(&self.hit, columns).into_owned();
        let room = columns.saturating_sub(hit.width());
        if room < 4 {
            return Self { before: String::new(), hit, behind: String::new() };
        }
        let before = end(&self.before, room.saturating_sub(self.behind.width()).max(room / 3));
        let behind = fitted(&self.behind, room.saturating_sub(before.width())).into_owned();
        Self { before, hit, behind }
    }

    fn plain(&self) -> String {
        format!("{}{}{}", self.before, self.hit, self.behind)
    }
}

/// The end of a text, as much of it as fits into so many columns of a terminal.
fn end(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut room = columns.saturating_sub(1);
    let fits = |c: &char| {
        let left = room.checked_sub(c.width().unwrap_or(0));
        room = left.unwrap_or_default();
        left.is_some()
    };
    let kept: Vec<char> = text.chars().rev().take_while(fits).collect();
    std::iter::once('…').chain(kept.into_iter().rev()).collect()
}

/// In one line, with nothing that controls a terminal.
fn line(text: &str) -> String {
    visible::line(&text.replace(['\n', '\r', '\t'], " ")).into_owned()
}

fn print(args: &Args, hits: &[Hit]) -> io::Result<()> {
    let width = terminal_width();
    let is_for_people = width.is_some() || args.color.is_wanted();
    for hit in hits {
        match (args.json, is_for_people) {
            (true, _) => say::json(&in_json(hit).to_string())?,
            (false, true) => say::raw(&shown(hit, width, args.color.is_wanted()))?,
            (false, false) => say::raw(&fields(hit))?,
        }
    }
    Ok(())
}

fn what(call: &Call) -> String {
    visible::line(&format!("{} {}{}", call.method, call.host, call.path)).into_owned()
}

fn in_json(hit: &Hit) -> serde_json::Value {
    let Hit { call, side, snippet, calls, first } = hit;
    json!({
        "id": call.id,
        "started_at_ms": call.started_at_ms,
        "session": call.session,
        "method": call.method,
        "host": call.host,
        "path": call.path,
        "status_code": call.status_code,
        "side": side,
        "before": snippet.before,
        "text": snippet.hit,
        "after": snippet.behind,
        "calls": calls,
        "first_id": first,
    })
}

/// Fields between tabs.
fn fields(hit: &Hit) -> String {
    let Hit { call, side, snippet, calls, .. } = hit;
    format!("{}\t{}\t{}\t{side}\t{calls}\t{}\n", call.id, date(call.started_at_ms), what(call), snippet.plain())
}

/// Two lines, of at most `width` columns.
fn shown(hit: &Hit, width: Option<usize>, colours: bool) -> String {
    let Hit { call, side, snippet, calls, first } = hit;
    let styled = |style: Style, text: &str| if colours { format!("{style}{text}{style:#}") } else { text.to_owned() };
    let others = match calls {
        1 => String::new(),
        calls => format!(", in {} calls since {first}", count(*calls)),
    };
    let place = format!("{}  {}  {side}{others}", date(call.started_at_ms), what(call));
    let room = |taken: usize| width.map_or(usize::MAX, |width| width.saturating_sub(taken));
    let id = call.id.to_string();
    let Snippet { before, hit, behind } = snippet.within(room(INDENT.len()));
    let place = fitted(&place, room(id.len() + 2));
    format!("{id}  {}\n{INDENT}{before}{}{behind}\n", styled(DIM, &place), styled(HIT, &hit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippet_is_one_harmless_line_around_the_text() {
        let text = format!("{}needle\u{202e}\n{}", "é".repeat(80), "x".repeat(200));
        let place = Needle::new("NEEDLE").unwrap().place_in(&text).unwrap();
        let snippet = Snippet::of(&text, place);
        assert_eq!((&*snippet.before, &*snippet.hit), (&*format!("…{}", "é".repeat(50)), "needle"));
        assert!(snippet.behind.starts_with("\\u{202e} xxx") && snippet.behind.ends_with("x…"), "{}", snippet.behind);
        let (short, longer) = (Snippet::of("a needle", 2..8), Snippet::of("a needle and more", 2..8));
        assert_eq!(short.plain(), "a needle");
        assert!(longer.may_go_on(&short) && !short.may_go_on(&longer) && !snippet.may_go_on(&short));
    }

    #[test]
    fn a_snippet_fits_the_terminal_and_shows_the_text() {
        let text = format!("{}needle{}", "模é ".repeat(40), " and more".repeat(20));
        let snippet = Snippet::of(&text, Needle::new("needle").unwrap().place_in(&text).unwrap());
        for columns in [6, 7, 8, 20, 36, 76, 120] {
            let shown = snippet.within(columns);
            assert!(shown.plain().width() <= columns && shown.hit == "needle", "{columns}: {}", shown.plain());
        }
        assert_eq!(snippet.within(30).plain(), "…é 模é needle and more and mo…");
        assert_eq!(snippet.within(usize::MAX).plain(), snippet.plain());
        assert_eq!(snippet.within(4).plain(), "nee…");
    }
}
