//! The arguments of the tools.

use serde::Deserialize;

/// The bytes of a piece, if the caller does not say.
pub(super) const PIECE_BYTES: usize = 20_000;
/// The bytes of each body in a summary, if the caller does not say.
pub(super) const BODY_BYTES: usize = 2_000;
/// The rows of a list, if the caller does not say.
pub(super) const ROWS: usize = 20;
/// The most calls or runs of one answer.
pub(super) const MOST_ROWS: usize = 200;

/// Arguments of `search_calls`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Search {
    pub(super) query: String,
    pub(super) limit: usize,
    pub(super) before: Option<i64>,
}

/// Arguments of `read_call`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadCall {
    pub(super) id: i64,
    #[serde(default)]
    pub(super) part: Part,
    #[serde(default)]
    pub(super) offset: usize,
    pub(super) limit: Option<usize>,
}

/// What of a call is read.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    #[default]
    Summary,
    RequestBody,
    ResponseBody,
}

/// Arguments of `read_conversation`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadConversation {
    pub(super) id: i64,
    #[serde(default)]
    pub(super) whole: bool,
    #[serde(default)]
    pub(super) offset: usize,
    #[serde(default = "usual_limit")]
    pub(super) limit: usize,
}

/// Arguments of `diff_calls`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Diff {
    pub(super) id: i64,
    pub(super) before: Option<i64>,
    #[serde(default)]
    pub(super) whole: bool,
    #[serde(default)]
    pub(super) offset: usize,
    #[serde(default = "usual_limit")]
    pub(super) limit: usize,
}

/// Arguments of `list_runs`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListRuns {
    pub(super) query: String,
    pub(super) limit: usize,
}

/// Arguments of `read_run`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadRun {
    pub(super) run: String,
    #[serde(default)]
    pub(super) offset: usize,
    #[serde(default = "usual_limit")]
    pub(super) limit: usize,
}

/// Arguments of `statistics`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Statistics {
    pub(super) query: String,
    pub(super) by: Option<String>,
}

impl Default for Search {
    fn default() -> Self {
        Self { query: String::new(), limit: ROWS, before: None }
    }
}

impl Default for ListRuns {
    fn default() -> Self {
        Self { query: String::new(), limit: ROWS }
    }
}

fn usual_limit() -> usize {
    PIECE_BYTES
}
