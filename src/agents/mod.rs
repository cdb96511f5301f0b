//! Who sent a call: the agent, and the ids by which it names its session, sub-agent, thread and turn. Agents state them in header
//! fields and in members of the request's body.
//!
//! All of it is a claim. It groups calls for people, and decides nothing: not the caller, not OTAS's session. A field whose name
//! other programs use as well is read only if the `User-Agent` or a field of its own shows the agent.
//!
//! Each family of agents has a file: a table of its fields, and a function for ids inside JSON.

mod claude;
mod codex;
mod gemini;
mod opencode;
mod qwen;

use serde_json::Value;

use crate::known_agents;

/// The members of a request's body that hold such ids, by their dotted paths, and the most bytes of each that are read.
pub const MEMBERS: [(&str, usize); 6] = [
    (claude::USER_ID, 2 << 10),
    (codex::CLIENT_METADATA, 16 << 10),
    (gemini::SESSION_ID, 512),
    (gemini::USER_PROMPT_ID, 512),
    (qwen::SESSION_ID, 512),
    (qwen::PROMPT_ID, 512),
];

/// The longest id or name, in bytes. A longer one is left out.
const TEXT_MAX_BYTES: usize = 256;
/// The longest version, in bytes.
const VERSION_MAX_BYTES: usize = 32;

/// What an id or a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The session: what one start of the agent, or its resumption, does.
    Session,
    /// The sub-agent.
    Agent,
    /// The agent that started the sub-agent.
    ParentAgent,
    /// The name that the agent gave the sub-agent.
    AgentName,
    /// What kind of agent or sub-agent it is.
    AgentType,
    /// The thread: one conversation of a session.
    Thread,
    /// The thread that started this one.
    ParentThread,
    /// Who started the thread: a user or an agent.
    ThreadSource,
    /// The turn: from a message of the user to the final answer.
    Turn,
    /// The turn of the parent thread in which this thread was started.
    ParentTurn,
    /// The user's turn that all of this belongs to.
    RootTurn,
    /// The window of a thread between two compactions.
    Window,
    /// The request.
    Request,
    /// What the request is for: a turn, a compaction, a title.
    RequestKind,
}

impl Part {
    /// Its name in `metadata.agent`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Session => "session_id",
            Self::Agent => "agent_id",
            Self::ParentAgent => "parent_agent_id",
            Self::AgentName => "agent_name",
            Self::AgentType => "agent_type",
            Self::Thread => "thread_id",
            Self::ParentThread => "parent_thread_id",
            Self::ThreadSource => "thread_source",
            Self::Turn => "turn_id",
            Self::ParentTurn => "parent_turn_id",
            Self::RootTurn => "root_turn_id",
            Self::Window => "window_id",
            Self::Request => "request_id",
            Self::RequestKind => "request_kind",
        }
    }
}

/// A family of agents that name themselves in the same way.
struct Family {
    /// Its name in [`known_agents`].
    name: &'static str,
    /// Prefixes of header fields that only these agents send.
    telling: &'static [&'static str],
    /// Header fields with one id each. Of several for one part, the first that is there counts.
    fields: &'static [(&'static str, Part)],
    /// Whether a member of the body shows that it is one of these agents.
    tells: fn(&Call<'_>) -> bool,
    /// Reads ids inside JSON. They come before those of the fields.
    read: fn(&Call<'_>, &mut Identity),
}

const FAMILIES: [&Family; 5] = [&claude::FAMILY, &codex::FAMILY, &opencode::FAMILY, &gemini::FAMILY, &qwen::FAMILY];

/// The texts of a call in which an agent may name itself.
struct Call<'a> {
    fields: Vec<(&'a str, &'a str)>,
    members: &'a [(&'static str, Value)],
}

impl<'a> Call<'a> {
    fn field(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.trim())
    }

    fn member(&self, name: &str) -> &'a Value {
        self.members.iter().find(|(known, _)| *known == name).map_or(&Value::Null, |(_, value)| value)
    }
}

/// What a call says of the agent that sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    name: &'static str,
    version: Option<String>,
    parts: Vec<(Part, String)>,
}

impl Identity {
    /// What a request says: `fields` are its header fields by their names in lower case, `members` those of [`MEMBERS`] that its
    /// body has. `None`: nothing shows an agent.
    pub fn of<'a>(
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
        members: &[(&'static str, Value)],
    ) -> Option<Self> {
        let fields = fields.filter_map(|(name, value)| Some((name, std::str::from_utf8(value).ok()?))).collect();
        let call = Call { fields, members };
        let user_agent = call.field("user-agent").unwrap_or_default();
        let known = known_agents::of_user_agent(user_agent);
        let family = match known {
            Some(name) => FAMILIES.into_iter().find(|family| family.name == name),
            None => FAMILIES.into_iter().find(|family| family.is_shown_by(&call)),
        };
        let name = known.or(family.map(|family| family.name))?;
        let version = known.and_then(|_| version(user_agent));
        let mut identity = Self { name, version, parts: Vec::new() };
        if let Some(family) = family {
            (family.read)(&call, &mut identity);
            for (field, part) in family.fields {
                identity.add(*part, call.field(field));
            }
        }
        Some(identity)
    }

    /// The agent's usual name, such as `claude`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The agent's version.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The id or name of this part.
    pub fn get(&self, part: Part) -> Option<&str> {
        self.parts.iter().find(|(known, _)| *known == part).map(|(_, text)| text.as_str())
    }

    /// All ids and names.
    pub fn parts(&self) -> impl Iterator<Item = (Part, &str)> {
        self.parts.iter().map(|(part, text)| (*part, text.as_str()))
    }

    /// Sets the session.
    pub fn set_session(&mut self, id: String) {
        self.parts.retain(|(part, _)| *part != Part::Session);
        self.parts.push((Part::Session, id));
    }

    /// Adds an id or a name, unless this part is known.
    fn add(&mut self, part: Part, text: Option<&str>) {
        let is_one =
            |text: &&str| !text.is_empty() && text.len() <= TEXT_MAX_BYTES && !text.chars().any(char::is_control);
        if let Some(text) = text.map(str::trim).filter(is_one)
            && self.get(part).is_none()
        {
            self.parts.push((part, text.to_owned()));
        }
    }
}

impl Family {
    fn is_shown_by(&self, call: &Call<'_>) -> bool {
        let is_telling = |(name, _): &(&str, &str)| self.telling.iter().any(|begin| name.starts_with(begin));
        call.fields.iter().any(is_telling) || (self.tells)(call)
    }
}

/// Whether the header field `name` (lower case) may say who the agent is.
pub fn is_read(name: &str) -> bool {
    let is_of = |family: &&Family| {
        family.telling.iter().any(|begin| name.starts_with(begin))
            || family.fields.iter().any(|(known, _)| *known == name)
    };
    name == "user-agent" || FAMILIES.iter().any(is_of)
}

/// The header fields that name a session, an agent or a thread. Two calls of one conversation have the same values.
pub fn fields_of_conversations() -> impl Iterator<Item = &'static str> {
    let fields = FAMILIES.into_iter().flat_map(|family| family.fields);
    fields.filter(|(_, part)| matches!(part, Part::Session | Part::Agent | Part::Thread)).map(|(name, _)| *name)
}

/// The version in a `User-Agent` such as `claude-cli/2.1.197 (external, cli)`.
fn version(user_agent: &str) -> Option<String> {
    let (_, rest) = user_agent.split_once('/')?;
    let version = rest.split(['/', ' ', '(', ';', ',']).next().unwrap_or_default();
    let is_one = version.starts_with(|first: char| first.is_ascii_digit())
        && version.len() <= VERSION_MAX_BYTES
        && version.bytes().all(|byte| byte.is_ascii_graphic());
    is_one.then(|| version.to_owned())
}

/// The sub-agent in the id of one of its prompts: `NAME#3`. `None`: it is another id, such as that of a user's prompt
/// (`SESSION########3`).
fn numbered(id: &str) -> Option<&str> {
    let (name, number) = id.rsplit_once('#')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !name.is_empty() && !name.contains('#')).then_some(name)
}

/// Whether nothing in the body shows the agent.
fn nothing(_: &Call<'_>) -> bool {
    false
}

#[cfg(test)]
mod tests;
