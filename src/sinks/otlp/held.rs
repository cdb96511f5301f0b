//! What is held of a model call while its turn is open. Pure, and bounded in memory.

use uuid::Uuid;

use super::call::Call;
use super::shorten;
use crate::conversation::{Block, Conversation};
use crate::llm::Llm;
use crate::runs::{Gist, Step, ToolUse};

/// Longer texts are cut.
pub(super) const TEXT_MAX_BYTES: usize = 64 << 10;

/// A call of a turn, as far as it is needed.
pub(super) struct Held {
    pub(super) id: Uuid,
    pub(super) started_ms: i64,
    pub(super) ended_ms: i64,
    pub(super) started: u64,
    pub(super) ended: u64,
    continues: Option<Uuid>,
    parent_thread: Option<String>,
    llm: Llm,
    failed: bool,
    gist: Gist,
    /// The tools that its answer calls, in order.
    pub(super) tools: Vec<HeldTool>,
    /// Bytes of its texts.
    pub(super) bytes: usize,
    /// The first call of its turn.
    pub(super) turn: Option<Uuid>,
}

/// A tool that an answer calls.
pub(super) struct HeldTool {
    pub(super) id: String,
    pub(super) arguments: String,
    /// Its span was made.
    pub(super) is_over: bool,
}

/// The results of tools that a request brings, in order.
#[derive(Default)]
pub(super) struct Results<'c> {
    /// The call.
    by: Uuid,
    left: Vec<(&'c str, &'c [Block])>,
}

impl<'c> Results<'c> {
    pub(super) fn of(by: Uuid, conversation: &'c Conversation) -> Self {
        let messages = &conversation.request.messages;
        let from = messages.iter().rposition(|message| message.role == "assistant").map_or(0, |at| at + 1);
        let blocks = messages.iter().skip(from).flat_map(|message| &message.blocks);
        let result = |block: &'c Block| match block {
            Block::ToolResult { id, content, .. } => Some((id.as_str(), content.as_slice())),
            _ => None,
        };
        Self { by, left: blocks.filter_map(result).collect() }
    }

    /// Takes the next one of this tool.
    pub(super) fn next(&mut self, tool: &ToolUse) -> Option<&'c [Block]> {
        tool.result.as_ref().filter(|result| result.to == self.by)?;
        let at = self.left.iter().position(|(id, _)| *id == tool.id)?;
        Some(self.left.remove(at).1)
    }
}

impl Held {
    pub(super) fn of(call: &Call<'_>, conversation: &Conversation, facts: Llm) -> Self {
        let metadata = call.event.metadata();
        let (started, ended) = (call.started(), call.ended());
        let tools = conversation.answer.blocks.iter().filter_map(|block| match block {
            Block::ToolCall { id, arguments, .. } => {
                let arguments = shorten::text(arguments, TEXT_MAX_BYTES).0;
                Some(HeldTool { id: id.clone(), arguments, is_over: false })
            }
            _ => None,
        });
        let tools: Vec<HeldTool> = tools.collect();
        let gist = Gist::of(conversation);
        let bytes = gist.bytes() + tools.iter().map(|tool| tool.id.len() + tool.arguments.len()).sum::<usize>();
        Self {
            id: call.row.event_id,
            started_ms: ms(started),
            ended_ms: ms(ended),
            started,
            ended,
            continues: call.event.link("continues"),
            parent_thread: metadata["agent"]["parent_thread_id"].as_str().map(str::to_owned),
            llm: facts,
            failed: !call.row.error.is_empty(),
            gist,
            tools,
            bytes,
            turn: None,
        }
    }

    /// Whether the agent says that a sub-agent made it.
    pub(super) fn is_of_sub_agent(&self) -> bool {
        self.llm.agent_id().is_some() || self.parent_thread.is_some()
    }

    /// The agent's own session, and its agent.
    pub(super) fn session(&self) -> (Option<&str>, Option<&str>) {
        (self.llm.session(), self.llm.agent())
    }

    pub(super) fn step(&self) -> Step<'_> {
        Step {
            id: self.id,
            started_ms: self.started_ms,
            ended_ms: self.ended_ms,
            failed: self.failed,
            continues: self.continues,
            parent_thread: self.parent_thread.as_deref(),
            llm: &self.llm,
            gist: &self.gist,
        }
    }
}

/// Milliseconds of these nanoseconds.
pub(super) fn ms(nanos: u64) -> i64 {
    i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX)
}
