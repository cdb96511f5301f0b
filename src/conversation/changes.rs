//! What differs between two calls, by meaning: marks for the cache, white space around texts, and the block that Claude Code changes
//! with each call do not count.

use std::fmt;

use serde_json::Value;

use super::{Block, Conversation, Message, Request, Tool, are_like};

/// What a call changed against an earlier one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// The number of messages with which both calls begin.
    pub kept: usize,
    /// The number of messages of the earlier call that are gone or were changed.
    pub removed: usize,
    /// The number of messages after those that were kept. They are the last ones of the later call.
    pub added: usize,
    /// The places in the later call of the blocks of the system prompt that are new or were changed.
    pub system: Vec<usize>,
    /// The number of blocks of the system prompt that are gone.
    pub system_removed: usize,
    /// The names of new tools.
    pub tools_added: Vec<String>,
    /// The names of tools that are gone.
    pub tools_removed: Vec<String>,
    /// The names of tools whose definition was changed.
    pub tools_changed: Vec<String>,
    /// Whether the same tools come in another order.
    pub tools_moved: bool,
    /// The parameters that differ.
    pub parameters: Vec<Parameter>,
}

/// A parameter that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its value in the earlier call.
    pub before: Option<Value>,
    /// Its value in the later call.
    pub after: Option<Value>,
}

/// The first part of the prompt that differs, in the order in which providers cache: model, tools, system prompt, messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The model: before and after. Each has its own cache.
    Model(String, String),
    /// A tool is new.
    ToolAdded(String),
    /// A tool is gone.
    ToolRemoved(String),
    /// A tool's definition was changed.
    ToolChanged(String),
    /// The same tools come in another order.
    ToolsMoved,
    /// A block of the system prompt, counted from 1, was changed, added or removed. With what it says now.
    System(usize, String),
    /// A parameter on which the cache of the messages depends.
    Parameter(String),
    /// A message, counted from 1, was changed or removed: its role, and what it says now.
    Message(usize, String, String),
}

/// Parameters on which the cache of the messages depends at Anthropic (its page on prompt caching).
const OF_MESSAGES: [&str; 2] = ["tool_choice", "thinking"];

/// What `after` changed against `before`.
pub fn changes(before: &Conversation, after: &Conversation) -> Changes {
    let (before, after) = (&before.request, &after.request);
    let (kept, added) = kept_and_added(before, after);
    let [system_before, system_after] = systems(before, after);
    let is_known = |block: &Block| system_before.iter().any(|(_, known)| known.is_like(block));
    let is_left = |block: &Block| system_after.iter().any(|(_, left)| left.is_like(block));
    let are_kept = keeps(before, after, |of| of.tools.is_empty());
    let names = |of: &Request, not: &Request| -> Vec<String> {
        let tools = of.tools.iter().filter(|tool| !are_kept && named(not, &tool.name).is_none());
        tools.map(|tool| tool.name.clone()).collect()
    };
    let (tools_added, tools_removed) = (names(after, before), names(before, after));
    // A tool may be listed twice.
    let is_changed = |tool: &&Tool| !are_kept && named(before, &tool.name).is_some() && !before.tools.contains(tool);
    let tools_changed: Vec<String> = after.tools.iter().filter(is_changed).map(|tool| tool.name.clone()).collect();
    let is_same_set = tools_added.is_empty() && tools_removed.is_empty() && tools_changed.is_empty();
    Changes {
        kept,
        removed: before.messages.len() - kept,
        added,
        system: system_after.iter().filter(|(_, block)| !is_known(block)).map(|(at, _)| *at).collect(),
        system_removed: system_before.iter().filter(|(_, block)| !is_left(block)).count(),
        tools_moved: !are_kept && is_same_set && before.tools != after.tools,
        tools_added,
        tools_removed,
        tools_changed,
        parameters: parameters(before, after),
    }
}

/// Whether a part that one of the requests `lacks` is the same for both: a request that goes on from an answer need not repeat what the
/// provider has.
fn keeps(before: &Request, after: &Request, lacks: impl Fn(&Request) -> bool) -> bool {
    [before, after].into_iter().any(|of| of.goes_on && lacks(of))
}

/// The first part of the prompt that differs. `None`: `after` begins with all that was cached of `before`.
pub fn first_difference(before: &Conversation, after: &Conversation) -> Option<Difference> {
    let found = changes(before, after);
    let (before, after) = (&before.request, &after.request);
    let model = |of: &Request| of.parameters.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
    if model(before) != model(after) {
        return Some(Difference::Model(model(before), model(after)));
    }
    let first = |names: &[String]| names.first().cloned();
    let tool = (first(&found.tools_removed).map(Difference::ToolRemoved))
        .or(first(&found.tools_added).map(Difference::ToolAdded))
        .or(first(&found.tools_changed).map(Difference::ToolChanged))
        .or(found.tools_moved.then_some(Difference::ToolsMoved));
    if tool.is_some() {
        return tool;
    }
    let [system_before, system_after] = systems(before, after);
    let same =
        system_before.iter().zip(&system_after).take_while(|((_, one), (_, other))| one.is_like(other)).count();
    if same < system_before.len().max(system_after.len()) {
        let said = system_after.get(same).map(|(_, block)| excerpt(block)).unwrap_or_default();
        let at = system_after.get(same).or(system_before.get(same)).map_or(same, |(at, _)| *at);
        return Some(Difference::System(at + 1, said));
    }
    let decides = |parameter: &&Parameter| OF_MESSAGES.contains(&parameter.name.as_str());
    if let Some(parameter) = found.parameters.iter().find(decides) {
        return Some(Difference::Parameter(parameter.name.clone()));
    }
    let is_beginning = found.removed == 0 || found.added == 0;
    (!is_beginning).then(|| {
        let message = after.messages.get(found.kept);
        let role = message.map(|message| message.role.clone()).unwrap_or_default();
        let said = message.and_then(|message| message.blocks.first()).map(excerpt).unwrap_or_default();
        Difference::Message(found.kept + 1, role, said)
    })
}

/// Why the later call did not read the prompt of the earlier one from the cache, in one sentence.
pub fn cache_miss_reason(before: &Conversation, after: &Conversation) -> String {
    match first_difference(before, after) {
        Some(difference) => difference.to_string(),
        None if before.request.is_cut || after.request.is_cut => {
            "Nothing that was kept of the two requests differs; some of them was not kept.".to_owned()
        }
        None => {
            "Nothing that was sent before changed: the cache had expired, or the provider had dropped it.".to_owned()
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |said: &str| if said.is_empty() { String::new() } else { format!(": “{said}”") };
        match self {
            Self::Model(before, after) => {
                write!(f, "The model changed from {before} to {after}; each has its own cache.")
            }
            Self::ToolAdded(name) => write!(f, "The tool {name} was added."),
            Self::ToolRemoved(name) => write!(f, "The tool {name} was removed."),
            Self::ToolChanged(name) => write!(f, "The definition of the tool {name} changed."),
            Self::ToolsMoved => write!(f, "The order of the tools changed."),
            Self::System(at, said) => write!(f, "Block {at} of the system prompt changed{}.", with(said)),
            Self::Parameter(name) => {
                write!(f, "The parameter {name} changed; the cache of the messages depends on it.")
            }
            Self::Message(at, role, said) => write!(f, "Message {at} ({role}) changed{}.", with(said)),
        }
    }
}

/// The number of messages with which both begin, and of those that follow in the later one.
fn kept_and_added(before: &Request, after: &Request) -> (usize, usize) {
    if after.goes_on {
        return (before.messages.len(), after.messages.len());
    }
    let is_same =
        |(one, other): &(&Message, &Message)| one.role == other.role && are_like(&one.blocks, &other.blocks);
    let kept = before.messages.iter().zip(&after.messages).take_while(is_same).count();
    (kept, after.messages.len() - kept)
}

/// The system prompts of both, as [`system`] has them.
fn systems<'r>(before: &'r Request, after: &'r Request) -> [Vec<(usize, &'r Block)>; 2] {
    match keeps(before, after, |of| of.system.is_empty()) {
        true => [Vec::new(), Vec::new()],
        false => [system(before), system(after)],
    }
}

/// The blocks of the system prompt that count, with their places.
fn system(of: &Request) -> Vec<(usize, &Block)> {
    of.system.iter().enumerate().filter(|(_, block)| !block.is_mark_of_claude()).collect()
}

fn named<'a>(of: &'a Request, name: &str) -> Option<&'a Tool> {
    of.tools.iter().find(|tool| tool.name == name)
}

fn parameters(before: &Request, after: &Request) -> Vec<Parameter> {
    let mut names: Vec<&String> = before.parameters.keys().chain(after.parameters.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let all = names.into_iter().map(|name| Parameter {
        name: name.clone(),
        before: before.parameters.get(name).cloned(),
        after: after.parameters.get(name).cloned(),
    });
    all.filter(|parameter| parameter.before != parameter.after).collect()
}

/// The beginning of what a part says, on one line.
fn excerpt(block: &Block) -> String {
    /// In characters.
    const LENGTH: usize = 60;
    let text = match block {
        Block::Text(text) | Block::Thinking(text) => text.clone(),
        Block::ToolCall { name, arguments, .. } => format!("{name} {arguments}"),
        Block::ToolResult { content, .. } => content.first().map(excerpt).unwrap_or_default(),
        Block::Media { what, .. } => what.clone(),
        Block::Other { kind, .. } => kind.clone(),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
