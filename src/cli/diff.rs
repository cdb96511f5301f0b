//! `otas-proxy diff`: what a model call changed against an earlier one.

use std::process::ExitCode;

use serde_json::Value;

use super::color::{BAD, ColorArgs, GOOD, WARN};
use super::conversation::{Look, heading, messages, part};
use super::{About, Done, filter, say};
use crate::brief;
use crate::config::Flags;
use crate::run_view::{Compared, compare};
use crate::store::Store;
use crate::visible;

/// Print what a model call changed against an earlier one
///
/// New and changed messages, changes of the system prompt, of tools and of parameters, and why the prompt cache was missed. Marks for
/// the cache and white space around texts do not count. The command only reads the store, so it may run beside a proxy.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The event's number. With two: the earlier one first. With one: it is compared with the previous call of its conversation
    #[arg(required = true, num_args = 1..=2, value_name = "ID", value_parser = filter::event_number)]
    ids: Vec<i64>,
    /// Show long parts whole
    #[arg(long)]
    all: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    color: ColorArgs,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let store = Store::open_to_read(&super::led(&args.flags, About::Store)?.loaded.config.store.path)?;
    let viewer = store.viewer();
    let compared = match args.ids[..] {
        [before, after] => compare(&viewer, Some(before), after)?,
        [after] => compare(&viewer, None, after)?,
        _ => return Ok(ExitCode::SUCCESS),
    };
    match args.json {
        true => say::json(&format!("{:#}", compared.json()))?,
        false => {
            let look = Look { all: args.all, colours: args.color.is_wanted(), hint: "--all" };
            say::raw(&render(&compared, look))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What changed, as text.
pub(super) fn render(of: &Compared, look: Look) -> String {
    let (changes, request) = (&of.changes, &of.after.conversation.request);
    let model = |llm: &crate::llm::Llm| llm.model().map(brief::model).unwrap_or("?").to_owned();
    let mut out = String::new();
    heading(
        &mut out,
        &format!("#{} {} → #{} {}", of.before.id, model(&of.before.llm), of.after.id, model(&of.after.llm)),
        look,
    );
    let line = |out: &mut String, text: &str, style| {
        let text = visible::line(text);
        out.push_str(&if look.colours { format!("{style}{text}{style:#}\n") } else { format!("{text}\n") });
    };
    if let Some(miss) = &of.miss {
        let reason = miss.reason.as_deref().unwrap_or_default();
        let (read, expected) = (brief::tokens(miss.read), brief::tokens(miss.expected));
        line(&mut out, &format!("cache miss: {read} of {expected} tokens read. {reason}"), WARN);
    }
    for tool in &changes.tools_removed {
        line(&mut out, &format!("- tool {tool}"), BAD);
    }
    for tool in &changes.tools_added {
        line(&mut out, &format!("+ tool {tool}"), GOOD);
    }
    for tool in &changes.tools_changed {
        line(&mut out, &format!("~ tool {tool}: its definition changed"), WARN);
    }
    if changes.tools_moved {
        line(&mut out, "~ the order of the tools changed", WARN);
    }
    for parameter in &changes.parameters {
        let value = |value: &Option<Value>| value.as_ref().map_or_else(|| "(none)".to_owned(), Value::to_string);
        let text = format!("~ {}: {} → {}", parameter.name, value(&parameter.before), value(&parameter.after));
        line(&mut out, &text, WARN);
    }
    if changes.system_removed > 0 {
        line(&mut out, &format!("- {} of the system prompt's blocks", changes.system_removed), BAD);
    }
    for at in &changes.system {
        let block = request.system.get(*at..=*at).unwrap_or_default();
        part(&mut out, &format!("system, block {} is new or changed", at + 1), block, look);
    }
    let sums =
        format!("messages: {} kept, {} removed or changed, {} new", changes.kept, changes.removed, changes.added);
    heading(&mut out, &sums, look);
    let new = request.messages.len().saturating_sub(changes.added);
    messages(&mut out, request.messages.get(new..).unwrap_or_default(), look);
    out
}
