//! What a run needs of a conversation. It stays small, however long the conversation is, so that thousands of calls fit into memory.

use std::borrow::Cow;

use serde_json::Value;

use crate::conversation::{Block, Conversation, Message};

/// Members of a tool's arguments that hold the task of a sub-agent.
const TASKS: [&str; 6] = ["prompt", "task", "message", "instructions", "input", "description"];
/// A shorter task may occur in any message by chance.
const TASK_MIN_BYTES: usize = 8;
/// Tasks are compared by their beginning.
const TASK_MAX_BYTES: usize = 4 << 10;
/// The most bytes that are kept of each text of the first messages, and of all of them.
const OPENING_MAX_BYTES: (usize, usize) = (16 << 10, 64 << 10);
/// The most bytes that are kept of arguments, of a result, or of what the user said.
const TEXT_MAX_BYTES: usize = 2 << 10;
/// The most bytes that are kept of the end of a longer result: agents name the sub-agent there.
const END_MAX_BYTES: usize = 512;
/// A shorter id may occur in any text by chance.
const ID_MIN_BYTES: usize = 8;
/// A call that asks for fewer tokens checks something.
const CHECK_MAX_TOKENS: u64 = 64;

/// What a run needs of a model call's conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gist {
    /// Whether the model may call tools. `None`: the request could not be read that far.
    pub(super) has_tools: Option<bool>,
    /// Whether it asks for so few tokens that it only checks something.
    pub(super) is_check: bool,
    /// What the user said last.
    pub(super) said: Excerpt,
    /// The texts of the user's messages after the last answer.
    opening: Vec<String>,
    /// The calls to tools in the answer.
    pub(super) called: Vec<Called>,
    /// The results of tools that the request brings, in order.
    pub(super) returned: Vec<Returned>,
    /// Whether the answer is there, and whole.
    pub(super) is_answered: bool,
}

/// The beginning of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// At most 2 KiB.
    pub text: String,
    /// Whether there is more.
    pub is_cut: bool,
}

/// A call to a tool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Called {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: Excerpt,
    /// The beginning of the task, if it may start a sub-agent.
    task: Option<String>,
}

/// A result of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Returned {
    pub(super) id: String,
    pub(super) result: Excerpt,
    /// The end of a result that is cut.
    end: String,
    pub(super) is_error: Option<bool>,
}

impl Gist {
    /// Takes it from a conversation.
    pub fn of(conversation: &Conversation) -> Self {
        let Conversation { request, answer } = conversation;
        let names = ["max_tokens", "max_output_tokens", "max_completion_tokens"];
        let most = names.iter().find_map(|name| request.parameters.get(*name)?.as_u64());
        let calls = answer.blocks.iter().filter_map(|block| match block {
            Block::ToolCall { id, name, arguments } => Some(Called::new(id, name, arguments)),
            _ => None,
        });
        let results = new_messages(&request.messages).flat_map(|message| &message.blocks);
        let results = results.filter_map(|block| match block {
            Block::ToolResult { id, content, is_error } => {
                let result = Excerpt::of_blocks(content);
                let end = if result.is_cut { end(content).to_owned() } else { String::new() };
                Some(Returned { id: id.clone(), result, end, is_error: *is_error })
            }
            _ => None,
        });
        Self {
            has_tools: (!request.tools.is_empty() || !request.is_cut).then_some(!request.tools.is_empty()),
            is_check: most.is_some_and(|most| most <= CHECK_MAX_TOKENS),
            said: said(&request.messages),
            opening: opening(&request.messages),
            called: calls.collect(),
            returned: results.collect(),
            is_answered: !answer.is_cut && answer.error.is_none() && !answer.blocks.is_empty(),
        }
    }

    /// About how many bytes of text it holds.
    pub fn bytes(&self) -> usize {
        let called = |of: &Called| {
            of.id.len() + of.name.len() + of.arguments.text.len() + of.task.as_ref().map_or(0, String::len)
        };
        let returned = |of: &Returned| of.id.len() + of.result.text.len() + of.end.len();
        self.said.text.len()
            + self.opening.iter().map(String::len).sum::<usize>()
            + self.called.iter().map(called).sum::<usize>()
            + self.returned.iter().map(returned).sum::<usize>()
    }

    /// Whether the request brings the result of this call to a tool.
    pub(super) fn has_returned(&self, called: &str) -> bool {
        !called.is_empty() && self.returned.iter().any(|of| of.id == called)
    }

    /// Whether the request brings the result of this call to a tool, and the result names this sub-agent or thread.
    pub(super) fn names(&self, called: &str, agent: Option<&str>) -> bool {
        let Some(agent) = agent.filter(|agent| agent.len() >= ID_MIN_BYTES && !called.is_empty()) else {
            return false;
        };
        let has = |of: &Returned| of.result.text.contains(agent) || of.end.contains(agent);
        self.returned.iter().any(|of| of.id == called && has(of))
    }

    /// Whether the conversation begins with the task of this call to a tool. Agents put reminders around it.
    pub(super) fn begins_with_task(&self, of: &Called) -> bool {
        let has = |task: &String| self.opening.iter().any(|text| text.contains(task.as_str()));
        of.task.as_ref().is_some_and(has)
    }
}

impl Called {
    fn new(id: &str, name: &str, arguments: &str) -> Self {
        let task = || {
            let arguments: Value = serde_json::from_str(arguments).ok()?;
            let task = TASKS.iter().find_map(|name| arguments[*name].as_str())?.trim();
            (task.len() >= TASK_MIN_BYTES).then(|| beginning(task, TASK_MAX_BYTES).to_owned())
        };
        Self { id: id.to_owned(), name: name.to_owned(), arguments: Excerpt::of(arguments), task: task() }
    }

    /// Whether it may start a sub-agent.
    pub(super) fn is_task(&self) -> bool {
        self.task.is_some()
    }
}

impl Excerpt {
    fn of(text: &str) -> Self {
        let kept = beginning(text, TEXT_MAX_BYTES);
        Self { text: kept.to_owned(), is_cut: kept.len() < text.len() }
    }

    /// Of the texts of these parts. What is no text is named.
    fn of_blocks(blocks: &[Block]) -> Self {
        let mut all = Self::default();
        for block in blocks {
            let part = match block {
                Block::Text(text) | Block::Thinking(text) => Self::of(text),
                Block::Media { what, .. } => Self::of(&format!("[{what}]")),
                Block::Other { kind, .. } => Self::of(&format!("[{kind}]")),
                Block::ToolCall { name, .. } => Self::of(&format!("[{name}]")),
                Block::ToolResult { content, .. } => Self::of_blocks(content),
            };
            all.is_cut |= part.is_cut || all.text.len() + part.text.len() > TEXT_MAX_BYTES;
            if !all.text.is_empty() && !part.text.is_empty() {
                all.text.push('\n');
            }
            let room = TEXT_MAX_BYTES.saturating_sub(all.text.len());
            all.text.push_str(beginning(&part.text, room));
        }
        all
    }
}

/// At most so many bytes of a text, in whole characters.
fn beginning(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The end of the last text, in whole characters.
fn end(blocks: &[Block]) -> &str {
    let text = blocks.iter().rev().find_map(Block::text).unwrap_or_default();
    let mut start = text.len().saturating_sub(END_MAX_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// The messages after the last answer.
fn new_messages(messages: &[Message]) -> impl Iterator<Item = &Message> {
    let after = messages.iter().rposition(|message| message.role == "assistant").map_or(0, |at| at + 1);
    messages.iter().skip(after)
}

/// What the user said last.
fn said(messages: &[Message]) -> Excerpt {
    // Agents put reminders before what the user said.
    let text = |message: &Message| message.blocks.iter().rev().find_map(Block::text).map(Excerpt::of);
    messages.iter().rev().filter(|message| message.role == "user").find_map(text).unwrap_or_default()
}

/// The texts of the user's messages after the last answer. There a sub-agent gets its task, also one that inherits a conversation.
fn opening(messages: &[Message]) -> Vec<String> {
    let (each, mut room) = OPENING_MAX_BYTES;
    let of_user = new_messages(messages).filter(|message| message.role == "user");
    let texts = of_user.flat_map(|message| message.blocks.iter().rev());
    let fits = |text: Cow<'_, str>| {
        let kept = beginning(&text, each.min(room));
        room -= kept.len();
        kept.to_owned()
    };
    texts.filter_map(task_text).map(fits).collect()
}

/// The text of a part that may hold a task. Codex hands tasks over encrypted, as the tool's arguments have them.
fn task_text(block: &Block) -> Option<Cow<'_, str>> {
    match block {
        Block::Other { kind, json } if kind == "encrypted_content" => {
            let part: Value = serde_json::from_str(json).ok()?;
            part["encrypted_content"].as_str().map(|text| Cow::Owned(text.to_owned()))
        }
        block => block.text().map(Cow::Borrowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::{Answer, Request};

    #[test]
    fn a_gist_is_small_and_says_what_is_cut() {
        let long = "é".repeat(500_000);
        let result = Block::ToolResult {
            id: "t".to_owned(),
            content: vec![Block::Text("short".to_owned()), Block::Text(long.clone())],
            is_error: None,
        };
        let called = Block::ToolCall { id: "u".to_owned(), name: "Write".to_owned(), arguments: long.clone() };
        let message = |blocks: Vec<Block>| Message { role: "user".to_owned(), blocks };
        let messages = vec![message(vec![Block::Text(long)]), message(vec![result])];
        let gist = Gist::of(&Conversation {
            request: Request { messages, ..Request::default() },
            answer: Answer { blocks: vec![called], ..Answer::default() },
        });
        let texts = [&gist.said, &gist.called[0].arguments, &gist.returned[0].result];
        assert!(texts.iter().all(|text| text.is_cut && text.text.len() > 2_000 && text.text.len() <= TEXT_MAX_BYTES));
        assert!(gist.opening.iter().map(String::len).sum::<usize>() <= OPENING_MAX_BYTES.1);
        assert_eq!((gist.has_tools, gist.is_answered), (Some(false), true));
    }
}
