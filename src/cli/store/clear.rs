//! `store clear`: deletes events.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::super::filter::{FilterArgs, tell_what_is_missing};
use super::super::{Done, say};
use super::number_of;
use crate::clock::now_ms;
use crate::config::Flags;
use crate::store::{Clearable, Selection, Store};
use crate::visible;

/// Delete events that OTAS has, or that are not for OTAS
///
/// Without filters it deletes all of them, after a question. Events that OTAS does not have (pending and dead ones) stay, unless
/// `--undelivered` is given. Texts that other events share stay, too. A sink that has not had an event counts it as missed. It
/// works in short steps, so it may run beside a proxy; events that arrive meanwhile stay. The file keeps its size and has room for
/// new events; `otas-proxy store compact` makes it smaller.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Only events that began longer ago than this, such as 7d or 12h
    #[arg(long, value_name = "DURATION", value_parser = super::super::duration)]
    before: Option<Duration>,
    /// Also events that OTAS does not have: pending and dead ones; they are lost, and count as dropped
    #[arg(long)]
    undelivered: bool,
    /// Delete without a question
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let store = Store::open_existing(&super::path(&args.flags)?)?;
    let selection = Selection {
        only: None,
        filter: args.filter.filter(&store, usize::MAX)?,
        before_ms: args.before.map(before_ms),
        undelivered: args.undelivered,
    };
    let counted = store.clearable(&selection)?;
    if let Some(spared) = spared(&counted) {
        say::note(&spared);
    }
    tell_what_is_missing(&selection.filter, false);
    if counted.events == 0 {
        say::out("no events to delete")?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes && !is_wanted(store.path(), &counted)? {
        say::out("nothing was deleted")?;
        return Ok(ExitCode::SUCCESS);
    }
    let deleted = store.clear(&selection, &counted)?;
    say::note(&format!("{} deleted", events(deleted)));
    Ok(ExitCode::SUCCESS)
}

/// The moment so long ago, in Unix milliseconds.
fn before_ms(ago: Duration) -> i64 {
    now_ms().saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
}

/// What stays although it matches.
fn spared(counted: &Clearable) -> Option<String> {
    (counted.spared > 0)
        .then(|| format!("{} that OTAS does not have will stay (--undelivered deletes them)", events(counted.spared)))
}

/// Asks on the terminal.
///
/// # Errors
/// When there is none, or it cannot be read.
fn is_wanted(store: &Path, counted: &Clearable) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let what = what(store, counted);
    if !io::stdin().is_terminal() {
        return Err(format!("this would delete {what}: add --yes to delete without a question").into());
    }
    let mut asked = io::stderr().lock();
    write!(asked, "Delete {}? This cannot be undone. [y/N] ", visible::line(&what))?;
    asked.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(is_yes(&answer))
}

fn what(store: &Path, counted: &Clearable) -> String {
    let undelivered = match counted.undelivered {
        0 => String::new(),
        some if some == counted.events => ", which OTAS does not have".to_owned(),
        some => format!(", {some} of which OTAS does not have"),
    };
    format!("{} in {}{undelivered}", events(counted.events), store.display())
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

fn events(number: u64) -> String {
    number_of(number, "event")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_deletes() {
        for (answer, wanted) in [("y\n", true), ("YES \n", true), ("", false), ("\n", false), ("no\n", false)] {
            assert_eq!(is_yes(answer), wanted, "{answer:?}");
        }
    }

    #[test]
    fn the_question_says_what_is_lost() {
        let counted = Clearable { events: 12, undelivered: 3, spared: 1, ..Clearable::default() };
        let text = what(Path::new("events.db"), &counted);
        assert_eq!(text, "12 events in events.db, 3 of which OTAS does not have");
        let all = Clearable { events: 1, undelivered: 1, ..Clearable::default() };
        assert_eq!(what(Path::new("events.db"), &all), "1 event in events.db, which OTAS does not have");
        assert!(spared(&counted).unwrap().starts_with("1 event that OTAS does not have will stay"));
        assert!(spared(&Clearable::default()).is_none());
    }
}
