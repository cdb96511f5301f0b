//! What the first agent's user and model say, and what its tools return.

use serde_json::{Value, json};

/// The model of the agent and its sub-agent.
pub(in crate::cli::demo) const MODEL: &str = "claude-sonnet-5-5";
/// The model that writes titles.
pub(in crate::cli::demo) const SMALL_MODEL: &str = "claude-haiku-5-5";

/// What the user says, a turn each.
pub(super) const ASKED: [&str; 2] = [
    "Fix the failing test of the parser. Issue 42 in the tracker has the details.",
    "Thanks. What did you change, in one sentence?",
];

/// The task of the sub-agent.
pub(super) const TASK: &str =
    "Find every caller of `split_fields`, and say which of them rely on the empty last field. Only read.";

/// The system prompt of the agent.
pub(super) const SYSTEM: &str = "You are a coding agent in a terminal. You help the user with tasks in the project of the working \
folder.\n\n# How to work\n- Read code before you change it. Make the smallest change that solves the problem.\n- Run the tests after \
each change, and say what failed in the words of the test.\n- Hand a search over many files to a sub-agent.\n- Never commit and never \
push unless the user asks for it.\n\n# Style\n- Short answers, without headings. Name files with their line.\n\n# Environment\nWorking \
folder: /home/dev/csv-tools (a git repository, branch main)\nPlatform: linux";

/// The system prompt of the sub-agent.
pub(super) const SYSTEM_OF_SUB_AGENT: &str = "You are a sub-agent that searches code. You read files and change nothing. Answer with what you found, file and line first.";

/// The system prompt for titles.
pub(super) const SYSTEM_OF_TITLES: &str = "Write a title of at most six words for the conversation that begins with this message. Answer with the title alone.";

/// An answer of the model.
pub(in crate::cli::demo) struct Answer {
    /// Its content blocks.
    pub(in crate::cli::demo) content: Vec<Value>,
    /// Input that no cache had, input read from the cache, input written to it, and output. In tokens.
    pub(in crate::cli::demo) tokens: [u64; 4],
}

/// The answer number `nth` to the agent, counted from 0. From the fourth on, the cache was missed: a tool is new.
pub(in crate::cli::demo) fn answer(nth: usize) -> Answer {
    let (content, tokens) = match nth {
        0 => (
            vec![
                thinking("The test first: its message says what is expected."),
                said("I run the tests of the parser."),
                uses(
                    "toolu_01",
                    "Bash",
                    json!({ "command": "cargo test parser", "description": "Run the parser's tests" }),
                ),
            ],
            [4, 0, 11_412, 131],
        ),
        1 => (
            vec![
                said(
                    "`keeps_empty_fields` fails: the last field is lost. I look at the issue, and a sub-agent looks for callers.",
                ),
                uses(
                    "toolu_02",
                    "Agent",
                    json!({ "description": "Find callers", "prompt": TASK, "subagent_type": "Explore" }),
                ),
                uses("toolu_03", "mcp__tracker__get_issue", json!({ "number": 42 })),
            ],
            [6, 11_412, 538, 204],
        ),
        2 => (
            vec![
                said("No caller relies on the loss. I keep the last field."),
                uses(
                    "toolu_04",
                    "Edit",
                    json!({
                        "file_path": "/home/dev/csv-tools/src/parser.rs",
                        "old_string": "line.split_terminator(',')", "new_string": "line.split(',')",
                    }),
                ),
            ],
            [5, 11_950, 702, 168],
        ),
        3 => (
            vec![uses(
                "toolu_05",
                "Bash",
                json!({ "command": "cargo test parser", "description": "Run the tests again" }),
            )],
            [4, 0, 13_037, 74],
        ),
        4 => (
            vec![said(
                "The test passes now. `split_fields` (src/parser.rs:88) keeps the empty last field, as issue 42 asks.",
            )],
            [4, 13_037, 196, 58],
        ),
        _ => (
            vec![said(
                "`split_fields` splits with `split` instead of `split_terminator`, so that an empty last field stays.",
            )],
            [3, 13_233, 92, 41],
        ),
    };
    Answer { content, tokens }
}

/// The answer number `nth` to the sub-agent.
pub(in crate::cli::demo) fn answer_to_sub_agent(nth: usize) -> Answer {
    match nth {
        0 => Answer {
            content: vec![uses("toolu_11", "Read", json!({ "file_path": "/home/dev/csv-tools/src/import.rs" }))],
            tokens: [3, 0, 4_210, 66],
        },
        _ => Answer {
            content: vec![said(
                "src/import.rs:17 is the only caller. It counts columns, and does not rely on the empty last field.",
            )],
            tokens: [5, 4_210, 318, 72],
        },
    }
}

/// The title of the conversation.
pub(in crate::cli::demo) fn title() -> Answer {
    Answer { content: vec![said("Fix the parser's failing test")], tokens: [142, 0, 0, 9] }
}

/// What a tool returns, and whether it is an error.
pub(super) fn result(tool: &str) -> (&'static str, bool) {
    match tool {
        "toolu_01" => (
            "Exit code 101\nrunning 12 tests\ntest parser::tests::keeps_empty_fields ... FAILED\n\nassertion `left == right` failed: \
             \"a,b,\" has three fields\n  left: 2\n right: 3\n\ntest result: FAILED. 11 passed; 1 failed",
            true,
        ),
        "toolu_04" => ("The file /home/dev/csv-tools/src/parser.rs has been updated.", false),
        "toolu_05" => ("running 12 tests\ntest result: ok. 12 passed; 0 failed", false),
        _ => (
            "15  // TRACKER_TOKEN=tr-8f31c09e77d54ab2 is for the tests only\n16  fn columns(line: &str) -> usize {\n\
             17      split_fields(line).count()\n18  }",
            false,
        ),
    }
}

/// The tools of the agent. The tracker's second tool came later.
pub(super) fn tools(nth: usize) -> Vec<Value> {
    let mut tools = vec![
        tool("Agent", "Start a sub-agent with a task of its own.", &["description", "prompt", "subagent_type"]),
        tool("Bash", "Run a command in the user's shell.", &["command", "description"]),
        tool("Edit", "Replace a text in a file.", &["file_path", "old_string", "new_string"]),
        tool("Read", "Read a file.", &["file_path"]),
        tool("mcp__tracker__get_issue", "Read an issue of the tracker.", &["number"]),
    ];
    if nth >= 3 {
        tools.push(tool("mcp__tracker__add_comment", "Comment on an issue of the tracker.", &["number", "text"]));
    }
    tools
}

/// The tools of the sub-agent.
pub(super) fn tools_of_sub_agent() -> Vec<Value> {
    vec![tool("Read", "Read a file.", &["file_path"])]
}

fn tool(name: &str, description: &str, members: &[&str]) -> Value {
    let properties: serde_json::Map<String, Value> =
        members.iter().map(|name| ((*name).to_owned(), json!({ "type": "string" }))).collect();
    json!({
        "name": name, "description": description,
        "input_schema": { "type": "object", "properties": properties, "required": members },
    })
}

fn said(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn thinking(text: &str) -> Value {
    json!({ "type": "thinking", "thinking": text, "signature": "ZGVtbw==" })
}

fn uses(id: &str, name: &str, input: Value) -> Value {
    json!({ "type": "tool_use", "id": id, "name": name, "input": input })
}
