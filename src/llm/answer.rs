//! An answer assembled for people: the model's text, its reasoning, and its tool calls.

use std::fmt::Write as _;

use super::hosts;
use crate::brief;

/// The most of an answer that is kept.
const ANSWER_MAX_BYTES: usize = 64 << 10;
/// The most parts of an answer.
const PARTS_MAX: usize = 256;
/// The longest name of a tool.
const NAME_MAX_BYTES: usize = 128;
/// The mark at the end of a truncated answer.
pub(super) const CUT: &str = "…[otas-proxy: the rest of the answer is not kept]";

/// The kind of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Reasoning,
    Tool,
}

/// The parts of an answer, in the order in which they began.
#[derive(Default)]
pub(super) struct Answer {
    parts: Vec<Part>,
    bytes: usize,
    cut: bool,
    tools: u64,
}

struct Part {
    kind: Kind,
    key: u64,
    name: String,
    /// More of the name may follow.
    name_open: bool,
    text: String,
    /// The text came with the beginning of the part. If pieces follow, they replace it.
    first: bool,
}

impl Answer {
    /// The hosts in URLs in the arguments of tool calls.
    pub(super) fn hosts(&self) -> Vec<String> {
        let mut found = Vec::new();
        let calls = self.parts.iter().filter(|part| part.kind == Kind::Tool);
        calls.for_each(|call| hosts::add(&call.text, &mut found));
        found
    }

    /// Appends to the part of this kind and `key`.
    pub(super) fn add(&mut self, kind: Kind, key: u64, text: &str) {
        if text.is_empty() {
            return;
        }
        let room = ANSWER_MAX_BYTES - self.bytes;
        let head = brief::head(text, room);
        self.cut |= head.len() < text.len();
        if head.is_empty() {
            return;
        }
        let Some(part) = self.part(kind, key) else { return };
        let gone = if std::mem::take(&mut part.first) { std::mem::take(&mut part.text).len() } else { 0 };
        part.text.push_str(head);
        self.bytes = self.bytes + head.len() - gone;
    }

    /// Sets the initial text of a part that has not begun. Pieces that follow replace it.
    pub(super) fn begin(&mut self, kind: Kind, key: u64, text: &str) {
        if self.has(kind, key) {
            return;
        }
        self.add(kind, key, text);
        if let Some(part) = self.part(kind, key) {
            part.first = true;
        }
    }

    /// Whether a part has any text.
    pub(super) fn has(&self, kind: Kind, key: u64) -> bool {
        self.parts.iter().any(|part| part.kind == kind && part.key == key && !part.text.is_empty())
    }

    /// The text of a part so far.
    pub(super) fn known(&self, kind: Kind, key: u64) -> &str {
        let part = self.parts.iter().rfind(|part| part.kind == kind && part.key == key);
        part.map_or("", |part| &part.text)
    }

    /// Whether any part of this kind has a key that `holds`.
    pub(super) fn any(&self, kind: Kind, holds: impl Fn(u64) -> bool) -> bool {
        self.parts.iter().any(|part| part.kind == kind && holds(part.key))
    }

    /// The name and the arguments of a tool call so far.
    pub(super) fn call(&self, key: u64) -> (&str, &str) {
        let call = self.parts.iter().find(|part| part.kind == Kind::Tool && part.key == key);
        call.map_or(("", ""), |call| (&call.name, &call.text))
    }

    /// Adds a piece of a tool's name. The name may continue, or be repeated.
    pub(super) fn tool_piece(&mut self, key: u64, piece: &str) {
        let known = self.parts.iter_mut().find(|part| part.kind == Kind::Tool && part.key == key);
        match known {
            _ if piece.is_empty() => {}
            Some(part) if !part.name.is_empty() => {
                let goes_on = part.name_open && part.text.is_empty() && part.name != piece;
                if goes_on && part.name.len() + piece.len() <= NAME_MAX_BYTES {
                    if piece.starts_with(&part.name) {
                        part.name.clear();
                    }
                    part.name.push_str(piece);
                }
            }
            _ => {
                self.tool(key, piece);
                if let Some(part) = self.part(Kind::Tool, key) {
                    part.name_open = true;
                }
            }
        }
    }

    /// Adds a tool call. The same `key` again is the same call.
    pub(super) fn tool(&mut self, key: u64, name: &str) {
        let known = self.parts.iter().any(|part| part.kind == Kind::Tool && part.key == key && !part.name.is_empty());
        if known || name.is_empty() {
            return;
        }
        self.tools += 1;
        let mut end = name.len().min(NAME_MAX_BYTES);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        if let Some(part) = self.part(Kind::Tool, key) {
            name[..end].clone_into(&mut part.name);
            self.bytes = (self.bytes + end).min(ANSWER_MAX_BYTES);
        }
    }

    fn part(&mut self, kind: Kind, key: u64) -> Option<&mut Part> {
        let known = self.parts.iter().rposition(|part| part.kind == kind && part.key == key);
        let at = match known {
            Some(at) => at,
            None if self.parts.len() >= PARTS_MAX => {
                self.cut = true;
                return None;
            }
            None => {
                self.parts.push(Part {
                    kind,
                    key,
                    name: String::new(),
                    name_open: false,
                    text: String::new(),
                    first: false,
                });
                self.parts.len() - 1
            }
        };
        self.parts.get_mut(at)
    }

    /// Whether there is no part.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether there is any reasoning.
    pub(super) fn has_reasoning(&self) -> bool {
        self.parts.iter().any(|part| part.kind == Kind::Reasoning)
    }

    /// The names of the called tools, in order. `ended`: all names are complete.
    pub(super) fn tools(&self, ended: bool) -> impl Iterator<Item = &str> {
        let certain = move |part: &&Part| ended || !part.name_open || !part.text.is_empty();
        let tools = self.parts.iter().filter(|part| part.kind == Kind::Tool && !part.name.is_empty());
        tools.filter(certain).map(|part| &*part.name)
    }

    /// The number of tool calls.
    pub(super) fn tool_count(&self) -> u64 {
        self.tools
    }

    /// The whole answer as text.
    pub(super) fn text(&self) -> String {
        let mut out = String::with_capacity(self.bytes + 64);
        for part in &self.parts {
            if !out.is_empty() {
                out.push_str("\n\n");
            }
            // Writing to a string does not fail.
            let _ = match part.kind {
                Kind::Text => write!(out, "{}", part.text),
                Kind::Reasoning => write!(out, "[reasoning]\n{}", part.text),
                Kind::Tool => write!(out, "[tool call] {}({})", part.name, part.text),
            };
        }
        if self.cut {
            out.push_str(CUT);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_in_the_order_in_which_they_began() {
        let mut answer = Answer::default();
        answer.add(Kind::Reasoning, 0, "hm");
        answer.add(Kind::Text, 0, "Good ");
        answer.tool(0, "clock");
        answer.tool(1, "weather");
        answer.add(Kind::Tool, 1, "{\"at\":");
        answer.add(Kind::Tool, 0, "{}");
        answer.add(Kind::Text, 0, "morning");
        answer.add(Kind::Tool, 1, "1}");
        answer.tool(1, "weather");
        assert_eq!(
            answer.text(),
            "[reasoning]\nhm\n\nGood morning\n\n[tool call] clock({})\n\n[tool call] weather({\"at\":1})"
        );
        assert_eq!((answer.tools(true).collect::<Vec<_>>(), answer.tool_count()), (vec!["clock", "weather"], 2));
    }

    #[test]
    fn an_endless_answer_is_truncated_and_marked() {
        let mut answer = Answer::default();
        for at in 0..400 {
            answer.add(Kind::Text, at, &"é".repeat(1_000));
            answer.tool(at, &"n".repeat(1_000));
        }
        let text = answer.text();
        assert!(text.len() < ANSWER_MAX_BYTES + PARTS_MAX * (NAME_MAX_BYTES + 32) && text.ends_with(CUT));
        assert_eq!(answer.tool_count(), 400);
    }
}
