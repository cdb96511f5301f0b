//! A conversation with a model as text: each part under a heading, long ones folded.

use clap::builder::styling::{AnsiColor, Style};

use super::color::{BAD, DIM};
use crate::brief;
use crate::conversation::{Block, Message};
use crate::run_view::ModelEvent;
use crate::visible;

/// The most lines and bytes of a part that are shown folded.
const FOLDED: (usize, usize) = (12, 1_200);

/// What begins a part.
const HEADING: Style = AnsiColor::Cyan.on_default();

/// How parts are shown.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// Show long parts whole.
    pub(super) all: bool,
    pub(super) colours: bool,
    /// What to do to see a folded part whole.
    pub(super) hint: &'static str,
}

/// The whole call: system prompt, tools, messages and the answer.
pub(super) fn render(of: &ModelEvent, look: Look) -> String {
    let (request, answer) = (&of.conversation.request, &of.conversation.answer);
    let mut out = String::new();
    part(&mut out, "system", &request.system, look);
    if !request.tools.is_empty() {
        let names: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
        heading(&mut out, &format!("{} tool{}", names.len(), if names.len() == 1 { "" } else { "s" }), look);
        text(&mut out, &names.join(", "), Style::new(), look);
    }
    if request.goes_on {
        heading(&mut out, "goes on from messages that the provider has stored", look);
    }
    messages(&mut out, &request.messages, look);
    if request.is_cut {
        heading(&mut out, "a part of the request is missing", look);
    }
    let model = of.llm.model().map(brief::model).unwrap_or("model");
    let stop = answer.stop_reason.as_deref().map(|stop| format!(", {stop}")).unwrap_or_default();
    let cut = if answer.is_cut { ", a part is missing" } else { "" };
    heading(&mut out, &format!("answer of {model}{stop}{cut}"), look);
    blocks(&mut out, &answer.blocks, look);
    if let Some(error) = &answer.error {
        text(&mut out, error, BAD, look);
    }
    out
}

/// Messages, each under its role.
pub(super) fn messages(out: &mut String, of: &[Message], look: Look) {
    for message in of {
        part(out, &message.role, &message.blocks, look);
    }
}

/// Blocks under a heading.
pub(super) fn part(out: &mut String, name: &str, of: &[Block], look: Look) {
    if !of.is_empty() {
        heading(out, name, look);
        blocks(out, of, look);
    }
}

/// A line that begins a part.
pub(super) fn heading(out: &mut String, name: &str, look: Look) {
    styled(out, &format!("── {} ──", visible::line(name)), HEADING, look);
}

fn blocks(out: &mut String, of: &[Block], look: Look) {
    for block in of {
        match block {
            Block::Text(said) => text(out, said, Style::new(), look),
            Block::Thinking(thought) => {
                styled(out, "thinking:", DIM, look);
                text(out, thought, DIM, look);
            }
            Block::ToolCall { id, name, arguments } => {
                styled(out, &format!("→ {} {}", visible::line(name), visible::line(id)), HEADING, look);
                text(out, arguments, Style::new(), look);
            }
            Block::ToolResult { id, content, is_error } => {
                let failed = if *is_error == Some(true) { " failed" } else { "" };
                let style = if *is_error == Some(true) { BAD } else { HEADING };
                styled(out, &format!("← result {}{failed}", visible::line(id)), style, look);
                blocks(out, content, look);
            }
            Block::Media { what, .. } => styled(out, &format!("[{}]", visible::line(what)), DIM, look),
            Block::Other { kind, json } => {
                styled(out, &format!("[{}]", visible::line(kind)), DIM, look);
                text(out, json, DIM, look);
            }
        }
    }
}

fn text(out: &mut String, of: &str, style: Style, look: Look) {
    let kept = if look.all { of } else { folded(of) };
    styled(out, visible::lines(kept.trim_end_matches('\n')).as_ref(), style, look);
    if kept.len() < of.len() {
        let rest = &of[kept.len()..];
        let lines = rest.lines().filter(|line| !line.is_empty()).count();
        styled(out, &format!("… {} more bytes in {lines} lines ({})", rest.len(), look.hint), DIM, look);
    }
}

/// The beginning of a text that is shown when it is folded: whole lines if possible.
fn folded(of: &str) -> &str {
    let (lines, bytes) = FOLDED;
    let mut end = of.match_indices('\n').nth(lines - 1).map_or(of.len(), |(at, _)| at + 1);
    if end > bytes {
        end = brief::head(of, bytes).len();
    }
    // A fold that hides next to nothing helps nobody.
    if of.len() - end < bytes / 10 { of } else { &of[..end] }
}

fn styled(out: &mut String, text: &str, style: Style, look: Look) {
    for line in text.split('\n') {
        match look.colours && style != Style::new() {
            true => out.push_str(&format!("{style}{line}{style:#}\n")),
            false => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = Look { all: false, colours: false, hint: "--all" };

    fn shown(blocks: &[Block], look: Look) -> String {
        let mut out = String::new();
        part(&mut out, "user", blocks, look);
        out
    }

    #[test]
    fn each_part_has_a_heading_and_captured_text_controls_nothing() {
        let failed = Block::ToolResult {
            id: "t\u{202e}1".to_owned(),
            content: vec![Block::Text("no \u{1b}[2Jfile".to_owned())],
            is_error: Some(true),
        };
        let called = Block::ToolCall { id: "t2".into(), name: "Bash".into(), arguments: "{}".into() };
        let said = shown(&[Block::Text("a\tb\nc".into()), Block::Thinking("hm".into()), called, failed], LOOK);
        assert_eq!(
            said,
            "── user ──\na\tb\nc\nthinking:\nhm\n→ Bash t2\n{}\n← result t\\u{202e}1 failed\nno \\u{1b}[2Jfile\n"
        );
    }

    #[test]
    fn long_parts_are_folded_with_a_mark_unless_all_is_wanted() {
        for long in ["a line\n".repeat(100), "é".repeat(10_000)] {
            let folded = shown(&[Block::Text(long.clone())], LOOK);
            let mark = folded.lines().last().unwrap();
            assert!(folded.len() < 1_400 && mark.starts_with("… ") && mark.ends_with("(--all)"), "{mark}");
            let whole = shown(&[Block::Text(long.clone())], Look { all: true, ..LOOK });
            assert!(whole.len() >= long.len() && !whole.contains('…'));
        }
        assert!(!shown(&[Block::Text("x\n".repeat(13))], LOOK).contains('…'), "a short rest is shown");
    }
}
