//! `otas-proxy show`, which is `events show` as well: one event, whole, or its conversation with a model.

use std::process::ExitCode;

use super::color::ColorArgs;
use super::conversation::{Look, render};
use super::events::show::{history, whole};
use super::{About, Done, filter, say};
use crate::config::Flags;
use crate::run_view;
use crate::store::Store;

/// Print one event, whole, or its conversation with a model
///
/// With --conversation the system prompt, the messages and the answer are shown as text, each under a heading. The command only reads
/// the store, so it may run beside a proxy.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Print it as JSON in one line
    #[arg(long)]
    json: bool,
    /// Print what was said between the agent and the model
    #[arg(long)]
    conversation: bool,
    /// With --conversation: show long parts whole
    #[arg(long, requires = "conversation")]
    all: bool,
    /// The event's number in the list
    #[arg(value_parser = filter::event_number)]
    id: i64,
    #[command(flatten)]
    color: ColorArgs,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let store = Store::open_to_read(&super::led(&args.flags, About::Store)?.loaded.config.store.path)?;
    if !args.conversation {
        return one(&store, args.id, args.json);
    }
    let event = run_view::event(&store.viewer(), args.id)?;
    match args.json {
        true => say::json(&event.json().to_string())?,
        false => {
            let look = Look { all: args.all, colours: args.color.is_wanted(), hint: "--all" };
            say::raw(&render(&event, look))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints one event, whole.
pub(super) fn one(store: &Store, id: i64, json: bool) -> Done {
    let mut event = whole(&store.event(id)?);
    event["history"] = history(&store.viewer().history(id)?);
    let text = if json { serde_json::to_string(&event) } else { serde_json::to_string_pretty(&event) }?;
    say::json(&text)?;
    Ok(ExitCode::SUCCESS)
}
