//! `otas-proxy events`: what is stored, and the state of its delivery.

mod follow;
mod har;
mod layout;
mod row;
pub(super) mod show;
pub(super) mod tabs;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;

use self::layout::Layout;
use super::color::ColorArgs;
use super::filter::{FilterArgs, at_least_one, event_number, tell_what_is_missing};
use super::table::Cell;
use super::{About, Done, Failure, Usage, output, say, show as show_command, signals, tree};
use crate::config::Flags;
use crate::event::Stored;
use crate::export::curl;
use crate::run_view::{self, Limits};
use crate::store::{CommandError, EventRow, Filter, Listed, Store, Viewer};
use crate::system::terminal;
use crate::visible;

pub(super) use self::row::day;

/// The width in columns of a terminal that does not report its own.
const USUAL_WIDTH: usize = 80;

/// How many events are listed by default.
const USUAL_LIMIT: usize = 50;

/// For how long one run is read. People who wait at a terminal would rather have it whole.
const TREE_TIME: Duration = Duration::from_secs(60);

/// List stored events and the state of their delivery
///
/// The newest event is the last. On a terminal it is a table that fits its width; elsewhere each event is a line of fields between
/// tabs, with nothing cut. The command only reads the store, so it may run beside a proxy.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The number of newest events to list [default: 50; with --har: all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    limit: Option<usize>,
    /// Keep printing new events until SIGINT or SIGTERM
    #[arg(long)]
    follow: bool,
    /// Print whole events, one JSON object per line
    #[arg(long)]
    json: bool,
    /// Show the runs of these events as trees: turns, calls to models and tools, sub-agents (with --json: one object per line)
    ///
    /// A run is what an agent did in one session. Each is shown whole.
    #[arg(long, conflicts_with_all = ["follow", "har", "curl", "id"])]
    tree: bool,
    /// Write whole events to a HAR file instead (`-`: stdout)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["follow", "json"])]
    har: Option<PathBuf>,
    /// With --har: overwrite an existing file
    #[arg(long, requires = "har")]
    force: bool,
    /// Print a curl command that repeats the call of this event
    #[arg(long, value_name = "ID", value_parser = event_number, conflicts_with_all = ["FilterArgs", "limit", "follow", "json", "har", "id"])]
    curl: Option<i64>,
    /// Print only this event, whole (as `events show`)
    #[arg(long, value_name = "ID", value_parser = event_number, conflicts_with_all = ["FilterArgs", "limit", "follow"])]
    id: Option<i64>,
    #[command(flatten)]
    color: ColorArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Subcommand)]
enum Command {
    Show(Box<show_command::Args>),
}

pub(super) fn run(args: &Args) -> Done {
    match &args.command {
        Some(Command::Show(args)) => show_command::run(args),
        None => match (args.id, args.curl) {
            (Some(id), _) => show_command::one(&open(&args.flags)?, id, args.json),
            (_, Some(id)) => as_curl(&args.flags, id),
            _ => list(args),
        },
    }
}

fn as_curl(flags: &Flags, id: i64) -> Done {
    let event = Stored::parse(&open(flags)?.event(id)?.json);
    say::raw(&curl::command(&event))?;
    Ok(ExitCode::SUCCESS)
}

fn list(args: &Args) -> Done {
    no_number(&args.filter.query)?;
    let store = open(&args.flags)?;
    let usual = if args.har.is_some() { usize::MAX } else { USUAL_LIMIT };
    let filter = args.filter.filter(&store, args.limit.unwrap_or(usual))?;
    if let Some(file) = &args.har {
        output::keep(file, args.force)?;
        let written = har::write(&store, &store.ids(&filter)?, file)?;
        tell_what_is_missing(&filter, written == 0);
        say::err(&format!(
            "otas-proxy: {written} {} in {}",
            if written == 1 { "event" } else { "events" },
            file.display()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    if args.follow {
        return follow(&store, filter, args);
    }
    if args.tree {
        return trees(&store.viewer(), &filter, args);
    }
    let events = store.ids(&filter)?;
    Printer::new(args, &store, &events)?.print(&store, &events)?;
    tell_what_is_missing(&filter, events.is_empty());
    Ok(ExitCode::SUCCESS)
}

/// Prints the runs of the events that match, the one with the newest call last.
fn trees(viewer: &Viewer, filter: &Filter, args: &Args) -> Done {
    let limits = Limits { time: TREE_TIME, ..Limits::default() };
    let runs = run_view::list(viewer, filter)?;
    tell_what_is_missing(filter, runs.is_empty());
    for listed in runs.iter().rev() {
        let Some(run) = run_view::read(viewer, &listed.id, &limits)? else { continue };
        match args.json {
            true => say::json(&run.json().to_string())?,
            false => say::raw(&tree::render(&run, terminal_width(), args.color.is_wanted()))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whoever names a number wants that event.
fn no_number(query: &[String]) -> Result<(), Usage> {
    match query {
        [only] if only.parse::<u64>().is_ok() => Err(Usage(format!(
            "`{only}` is a number: to print one event: otas-proxy events show {only}; to search for the text: --text {only}"
        ))),
        _ => Ok(()),
    }
}

fn follow(store: &Store, filter: Filter, args: &Args) -> Done {
    let runtime = super::runtime()?;
    let stop = runtime.block_on(async { signals::termination() })?;
    let mut news = follow::News::of(filter);
    let events = news.next(store)?;
    let newest = events.get(events.len().saturating_sub(args.limit.unwrap_or(USUAL_LIMIT))..).unwrap_or_default();
    let printer = Printer::new(args, store, newest)?;
    printer.print(store, newest)?;
    while !runtime.block_on(follow::stopped(&stop)) {
        printer.print(store, &news.next(store)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// These events, oldest first, as a table of at most `width` columns.
pub(super) fn table(store: &Store, events: &[i64], width: Option<usize>, colours: bool) -> Result<String, Failure> {
    let rows = rows(&store.viewer(), events)?;
    let layout = Layout::of(&rows, width, false);
    Ok(rows.iter().fold(layout.head(), |table, row| table + &layout.line(row, colours)))
}

/// The rows of these events, oldest first.
fn rows(viewer: &Viewer, events: &[i64]) -> Result<Vec<Vec<Cell>>, Failure> {
    let mut rows = Vec::with_capacity(events.len());
    each(viewer, events, |call| {
        rows.push(row::cells(call));
        Ok(())
    })?;
    Ok(rows)
}

/// How events are printed.
enum Printer {
    Json,
    Tabs(Viewer),
    Table { viewer: Viewer, layout: Layout, colours: bool },
}

impl Printer {
    /// A table is laid out for `events` and the width of the terminal. Its heading is printed now.
    fn new(args: &Args, store: &Store, events: &[i64]) -> Result<Self, Failure> {
        if args.json {
            return Ok(Self::Json);
        }
        let (viewer, colours, width) = (store.viewer(), args.color.is_wanted(), terminal_width());
        // Who wants colours in a pipe reads them, as with `less -R`.
        if width.is_none() && !colours {
            say::raw(tabs::HEAD)?;
            return Ok(Self::Tabs(viewer));
        }
        let layout = Layout::of(&rows(&viewer, events)?, width, args.follow);
        say::raw(&layout.head())?;
        Ok(Self::Table { viewer, layout, colours })
    }

    fn print(&self, store: &Store, events: &[i64]) -> Result<(), Failure> {
        let mut out = say::stdout();
        match self {
            Self::Json => {
                for id in events {
                    let Some(event) = if_still_there(store.event(*id))? else { continue };
                    writeln!(out, "{}", visible::json(&show::whole(&event).to_string()))?;
                }
            }
            Self::Tabs(viewer) => each(viewer, events, |call| Ok(out.write_all(tabs::line(call).as_bytes())?))?,
            Self::Table { viewer, layout, colours } => {
                each(viewer, events, |call| Ok(out.write_all(layout.line(&row::cells(call), *colours).as_bytes())?))?
            }
        }
        Ok(out.flush()?)
    }
}

/// Calls `see` with each of these events, oldest first.
fn each(viewer: &Viewer, events: &[i64], mut see: impl FnMut(&Listed) -> Result<(), Failure>) -> Result<(), Failure> {
    for some in events.chunks(AT_ONCE) {
        // They come newest first.
        viewer.calls_with(some)?.iter().rev().try_for_each(&mut see)?;
    }
    Ok(())
}

/// Rows that are read at once.
const AT_ONCE: usize = 500;

/// Old events may be removed while they are listed.
fn if_still_there(event: Result<EventRow, CommandError>) -> Result<Option<EventRow>, CommandError> {
    match event {
        Err(CommandError::NoEvent(_)) => Ok(None),
        event => event.map(Some),
    }
}

fn open(flags: &Flags) -> Result<Store, Failure> {
    Ok(Store::open_to_read(&super::led(flags, About::Store)?.loaded.config.store.path)?)
}

/// Characters in a line of the terminal; `None` when stdout is none.
pub(super) fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    stdout.is_terminal().then(|| terminal::columns(&stdout).map_or(USUAL_WIDTH, usize::from))
}
