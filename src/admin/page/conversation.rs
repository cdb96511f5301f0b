//! The conversation of a model call: system prompt, messages and answer as blocks. Long ones are folded, and the result of a tool
//! stands under its call.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use maud::{Markup, html};

use super::format::{bytes, count};
use super::{bodies, shown};
use crate::brief;
use crate::conversation::{Block, Conversation, Message, Request};

/// Bytes of text that a page shows. The rest is in the request and the response.
const ROOM_BYTES: usize = 2 << 20;
/// A text is folded from this length, in bytes, or from so many lines.
const FOLDED_BYTES: usize = 1_200;
const FOLDED_LINES: usize = 16;
/// The answer and the newest text of the user are what people look for: they are folded later.
const NEWEST_FOLDED_BYTES: usize = 8_000;
/// Characters of a summary.
const SUMMARY_CHARS: usize = 120;

/// The results of tools by the ids of their calls.
type Results<'a> = HashMap<&'a str, (&'a [Block], Option<bool>)>;

/// What rendering needs to know of the whole.
pub(super) struct Scene<'a> {
    results: Results<'a>,
    room: Cell<usize>,
}

/// The whole conversation. `failed`: the error is shown already.
pub(super) fn tab(conversation: &Conversation, failed: bool) -> Markup {
    let Conversation { request, answer } = conversation;
    let scene = Scene::of(request);
    let newest = start_of_newest(&request.messages);
    let (earlier, now) = request.messages.split_at(newest);
    html! {
        @if request.is_cut { p.note { "Not all of the request was kept or could be read: some of the conversation is missing." } }
        (prompt(request, &scene))
        @if !earlier.is_empty() {
            details.earlier {
                summary { "Earlier messages (" (count(earlier.len() as u64)) ")" }
                @for message in earlier { (self::message(message, &scene, FOLDED_BYTES)) }
            }
        }
        @for message in now { (self::message(message, &scene, NEWEST_FOLDED_BYTES)) }
        section.message.assistant.answer {
            h3 { "answer" @if let Some(stop) = &answer.stop_reason { " " span.dim { (shown::line(stop)) } } }
            @for block in &answer.blocks { (self::block(block, &scene, NEWEST_FOLDED_BYTES)) }
            @if let Some(error) = answer.error.as_ref().filter(|_| !failed) { p.note.bad { (shown::line(error)) } }
            @if answer.blocks.is_empty() && failed { p.dim { "The call failed: see above." } }
            @else if answer.blocks.is_empty() && answer.error.is_none() { p.dim { "No answer" @if answer.is_cut { " that could be read" } "." } }
            @else if answer.is_cut { p.dim { "The answer is not complete." } }
        }
        @if scene.room.get() == 0 { p.note { "The conversation is longer than what is shown here; the request has all of it." } }
    }
}

/// Messages that stand alone, such as those that a call added.
pub(super) fn messages(request: &Request, from: usize) -> Markup {
    let scene = Scene::of(request);
    html! { @for message in request.messages.iter().skip(from) { (self::message(message, &scene, NEWEST_FOLDED_BYTES)) } }
}

/// Blocks that stand alone.
pub(super) fn blocks<'a>(blocks: impl Iterator<Item = &'a Block>) -> Markup {
    let scene = Scene { results: Results::new(), room: Cell::new(ROOM_BYTES) };
    html! { @for block in blocks { (self::block(block, &scene, FOLDED_BYTES)) } }
}

impl<'a> Scene<'a> {
    fn of(request: &'a Request) -> Self {
        let (mut results, mut calls) = (Results::new(), HashSet::new());
        for block in request.messages.iter().flat_map(|message| &message.blocks) {
            match block {
                Block::ToolCall { id, .. } if !id.is_empty() => {
                    calls.insert(id.as_str());
                }
                Block::ToolResult { id, content, is_error } if calls.contains(id.as_str()) => {
                    results.insert(id, (content, *is_error));
                }
                _ => {}
            }
        }
        Self { results, room: Cell::new(ROOM_BYTES) }
    }

    /// The part of a text that there is room for.
    fn take<'t>(&self, text: &'t str) -> &'t str {
        let shown = brief::head(text, self.room.get());
        self.room.set(if shown.len() < text.len() { 0 } else { self.room.get() - shown.len() });
        shown
    }

    /// Whether a block is shown in its own place. A result stands under its call.
    fn shows(&self, block: &Block) -> bool {
        !matches!(block, Block::ToolResult { id, .. } if self.results.contains_key(id.as_str()))
    }
}

/// Where the newest part begins: at the last message with a text of the user.
fn start_of_newest(messages: &[Message]) -> usize {
    let is_text = |block: &Block| matches!(block, Block::Text(text) if !brief::is_reminder(text));
    messages
        .iter()
        .rposition(|message| message.role == "user" && message.blocks.iter().any(is_text))
        .unwrap_or_default()
}

fn prompt(request: &Request, scene: &Scene<'_>) -> Markup {
    let size: usize = request.system.iter().filter_map(Block::text).map(str::len).sum();
    html! {
        @if !request.system.is_empty() {
            details.message.system {
                summary { b.role { "system" } " " span.dim { (bytes(size as u64)) } " " (summary_of(request.system.iter())) }
                @for block in &request.system { (self::block(block, scene, usize::MAX)) }
            }
        }
        @if !request.tools.is_empty() {
            details.message.system {
                summary { b.role { "tools" } " " span.dim { (count(request.tools.len() as u64)) } " "
                    (shown::line(&brief::excerpt(&request.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", "), SUMMARY_CHARS))) }
                @for tool in &request.tools {
                    details { summary { span.tool { (shown::line(&tool.name)) } } (bodies::words(scene.take(&tool.definition.to_string()))) }
                }
            }
        }
    }
}

fn message(message: &Message, scene: &Scene<'_>, folded_bytes: usize) -> Markup {
    let blocks: Vec<&Block> = message.blocks.iter().filter(|block| scene.shows(block)).collect();
    let role = match message.role.as_str() {
        role @ ("user" | "assistant" | "tool" | "system" | "developer") => role,
        _ => "other",
    };
    html! {
        @if !blocks.is_empty() {
            section class={ "message " (role) } {
                h3 { (shown::line(&message.role)) }
                @for block in blocks { (self::block(block, scene, folded_bytes)) }
            }
        }
    }
}

fn block(block: &Block, scene: &Scene<'_>, folded_bytes: usize) -> Markup {
    match block {
        Block::Text(text) => words(scene.take(text), folded_bytes),
        Block::Thinking(text) => html! {
            details.thinking { summary { b.role { "thinking" } " " (excerpt(text)) } (plain(scene.take(text))) }
        },
        Block::ToolCall { id, name, arguments } => tool_call(id, name, arguments, scene),
        Block::ToolResult { content, is_error, .. } => result(content, *is_error, scene),
        Block::Media { what, .. } => {
            html! { p.media { "Media: " (shown::line(what)) span.dim { " (its data is in the request)" } } }
        }
        Block::Other { kind, json } => html! {
            details { summary { b.role { (shown::line(kind)) } " " (excerpt(json)) } (bodies::words(scene.take(json))) }
        },
    }
}

fn tool_call(id: &str, name: &str, arguments: &str, scene: &Scene<'_>) -> Markup {
    let parsed = serde_json::from_str(arguments).ok();
    let argument = parsed.as_ref().and_then(brief::argument).unwrap_or_else(|| arguments.to_owned());
    let found = scene.results.get(id);
    html! {
        div.tool-call {
            details {
                summary { span.tool { (shown::line(name)) } " " span.mono { (excerpt(&argument)) } }
                (bodies::words(scene.take(arguments)))
            }
            @if let Some((content, is_error)) = found { (result(content, *is_error, scene)) }
        }
    }
}

fn result(content: &[Block], is_error: Option<bool>, scene: &Scene<'_>) -> Markup {
    let failed = is_error == Some(true);
    let size: usize = content.iter().filter_map(Block::text).map(str::len).sum();
    html! {
        details.result.failed[failed] {
            summary {
                b.role { (if failed { "failed" } else { "result" }) } " "
                (summary_of(content.iter())) @if size > SUMMARY_CHARS { " " span.dim { (bytes(size as u64)) } }
            }
            @for block in content {
                @match block {
                    Block::Text(text) => { (plain(scene.take(text))) }
                    other => { (self::block(other, scene, usize::MAX)) }
                }
            }
        }
    }
}

/// A text that people read. A long one shows how it begins.
fn words(text: &str, folded_bytes: usize) -> Markup {
    let is_long = text.len() > folded_bytes
        || (text.len() > FOLDED_BYTES && text.lines().count() > FOLDED_LINES && folded_bytes <= FOLDED_BYTES);
    html! {
        @if is_long {
            details.folded { summary { (excerpt(text)) " " span.dim { (bytes(text.len() as u64)) } } div.text { (shown::lines(text)) } }
        } @else { div.text { (shown::lines(text)) } }
    }
}

/// A text that machines made.
fn plain(text: &str) -> Markup {
    if text.trim_start().starts_with(['{', '[']) {
        bodies::words(text)
    } else {
        html! { pre tabindex="0" { (shown::lines(text)) } }
    }
}

fn excerpt(text: &str) -> Markup {
    shown::line(&brief::excerpt(text, SUMMARY_CHARS))
}

fn summary_of<'a>(mut blocks: impl Iterator<Item = &'a Block>) -> Markup {
    let first = blocks.find_map(|block| match block {
        Block::Media { what, .. } => Some(what.as_str()),
        other => other.text(),
    });
    html! { span.dim { (excerpt(first.unwrap_or_default())) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(role: &str, blocks: Vec<Block>) -> Message {
        Message { role: role.to_owned(), blocks }
    }

    fn call(id: &str) -> Block {
        Block::ToolCall { id: id.to_owned(), name: "Bash".to_owned(), arguments: r#"{"command":"ls"}"#.to_owned() }
    }

    fn result(id: &str, text: &str, failed: bool) -> Block {
        Block::ToolResult { id: id.to_owned(), content: vec![Block::Text(text.to_owned())], is_error: Some(failed) }
    }

    #[test]
    fn results_stand_under_their_calls_and_the_newest_part_is_open() {
        let mut conversation = Conversation::default();
        conversation.request.messages = vec![
            said("user", vec![Block::Text("an old question".to_owned())]),
            said("assistant", vec![Block::Text("an old answer".to_owned())]),
            said("user", vec![Block::Text("list <the> files".to_owned())]),
            said("assistant", vec![call("1"), call("2")]),
            said("user", vec![result("2", "second", true), result("1", "first", false)]),
            said("user", vec![result("9", "of a call that is gone", false)]),
        ];
        conversation.answer.blocks = vec![Block::Thinking("hm".to_owned()), Block::Text("Two files.".to_owned())];
        let text = tab(&conversation, false).into_string();
        let order = [
            "Earlier messages (2)",
            "an old question",
            "list &lt;the&gt; files",
            "first",
            "second",
            "of a call",
            "Two files.",
        ];
        let places: Vec<usize> =
            order.iter().map(|words| text.find(words).unwrap_or_else(|| panic!("{words}: {text}"))).collect();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!((text.matches(">failed<").count(), text.matches(">result<").count()), (1, 2), "{text}");
        assert_eq!(
            text.matches("<section class=\"message user\"").count(),
            3,
            "a message of results only is not shown twice"
        );
    }

    #[test]
    fn long_texts_are_folded_and_room_is_bounded() {
        assert!(words(&"x".repeat(9_000), NEWEST_FOLDED_BYTES).into_string().contains("<details"));
        assert!(!words(&"x ".repeat(2_000), NEWEST_FOLDED_BYTES).into_string().contains("<details"));
        let mut conversation = Conversation::default();
        conversation.request.messages =
            (0..30).map(|_| said("user", vec![Block::Text("é".repeat(100_000))])).collect();
        let text = tab(&conversation, false).into_string();
        assert!(text.len() < ROOM_BYTES * 2 && text.contains("longer than what is shown"), "{}", text.len());
    }
}
