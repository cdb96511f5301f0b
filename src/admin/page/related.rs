//! The calls that belong to a call: its retry, what it repeats, what redirected to it, and the call before it in its conversation.

use maud::{Markup, html};

use crate::event::{Llm, Stored};
use crate::store::{Call, Condition, EventRow, Fact, Filter, StoreError, Viewer};

/// Rows of related calls.
#[derive(Default)]
pub(super) struct Related {
    retry_of: Option<i64>,
    retried_by: Option<i64>,
    redirect_of: Option<i64>,
    continues: Option<i64>,
    /// For a call of a tool: the model call that probably asked for it.
    asked_by: Option<i64>,
}

/// Earlier model calls that are looked at.
const LIKELY: usize = 50;

/// Finds them.
pub(super) fn read(
    viewer: &Viewer,
    row: &EventRow,
    event: &Stored,
    llm: Option<&Llm>,
) -> Result<Related, StoreError> {
    let find = |name: &str| match event.link(name) {
        Some(id) => viewer.row_before(id, before(row)),
        None => Ok(None),
    };
    Ok(Related {
        retry_of: find("retry_of")?,
        // Only what failed is tried again.
        retried_by: if row.id != 0 && !row.error.is_empty() {
            viewer.retried_by(row.id, row.event_id)?
        } else {
            None
        },
        redirect_of: find("redirect_of")?,
        continues: find("continues")?,
        asked_by: match llm.and_then(Llm::tool) {
            Some(tool) => asked_by(viewer, row, tool)?,
            None => None,
        },
    })
}

/// The newest earlier call of the session whose answer called this tool. Agents put the server's name before that of its tool.
fn asked_by(viewer: &Viewer, row: &EventRow, tool: &str) -> Result<Option<i64>, StoreError> {
    let Some(session) = viewer.session_named(&row.session.to_string())? else { return Ok(None) };
    let filter = Filter {
        session: Some(session),
        conditions: vec![Condition::Is(Fact::Llm)],
        limit: LIKELY,
        ..Filter::default()
    };
    let is_this = |name: &str| name.trim() == tool || name.trim().ends_with(&format!("__{tool}"));
    let calls = viewer.calls(&filter, Some(before(row)))?;
    let asks = |call: &Call| Llm::parse(&call.llm)?.tool_calls().map(|names| names.split(',').any(is_this));
    Ok(calls.iter().map(|listed| &listed.call).find(|call| asks(call) == Some(true)).map(|call| call.id))
}

/// The links.
pub(super) fn links(related: &Related) -> Markup {
    let Related { retry_of, retried_by, redirect_of, continues, asked_by } = related;
    let all = [
        (*retried_by, "Retried by the call"),
        (*retry_of, "Retry of the call"),
        (*redirect_of, "Redirected from the call"),
        (*continues, "Continues the call"),
        (*asked_by, "Probably asked for by the call"),
    ];
    html! {
        @if all.iter().any(|(row, _)| row.is_some()) {
            p.links { @for (row, words) in all { @if let Some(row) = row { a.other href={ "/event/" (row) } data-open=(row) { (words) " " (row) } " " } } }
        }
    }
}

/// A call in flight has no row yet: it comes after all.
fn before(row: &EventRow) -> i64 {
    if row.id == 0 { i64::MAX } else { row.id }
}
