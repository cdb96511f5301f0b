//! The columns of the list, and the links by which they sort.

use maud::{Markup, html};

use super::query::{ListQuery, name_of};
use crate::store::{Column, Sort};

/// A column.
pub(super) struct Head {
    /// Its class in the style sheet.
    pub(super) class: &'static str,
    name: &'static str,
    /// What it sorts by. Without one it does not sort.
    sort: Option<Column>,
    /// Its figures stand at the right, and sorting begins with the largest.
    is_figure: bool,
}

/// All columns, in their order.
pub(super) const COLUMNS: [Head; 9] = [
    Head { class: "c-at", name: "at", sort: Some(Column::Started), is_figure: false },
    Head { class: "c-code", name: "status", sort: Some(Column::Status), is_figure: true },
    Head { class: "c-what", name: "what happened", sort: Some(Column::Target), is_figure: false },
    Head { class: "c-model", name: "model", sort: Some(Column::Model), is_figure: false },
    Head { class: "c-tokens", name: "tokens", sort: Some(Column::Tokens), is_figure: true },
    Head { class: "c-cached", name: "cached", sort: Some(Column::Cached), is_figure: true },
    Head { class: "c-cost", name: "cost", sort: Some(Column::Cost), is_figure: true },
    Head { class: "c-ms", name: "took", sort: Some(Column::Latency), is_figure: true },
    Head { class: "c-session", name: "session", sort: None, is_figure: false },
];

/// The heading of a column: a link that sorts, or that turns the order round.
pub(super) fn heading(head: &Head, asked: &ListQuery) -> Markup {
    let Some(column) = head.sort else {
        return html! { th scope="col" class=(head.class) { (head.name) } };
    };
    let name = name_of(column);
    let now = asked.sort().unwrap_or(Sort { by: Column::Started, descending: true });
    let is_this = now.by == column;
    // The newest stand first from the start, so the first click on the time turns them round.
    let descending = if is_this { !now.descending } else { head.is_figure };
    let to = if descending { format!("-{name}") } else { name.to_owned() };
    let to = if to == "-at" { String::new() } else { to };
    let order = is_this.then_some(if now.descending { "descending" } else { "ascending" });
    html! {
        th scope="col" class={ (head.class) @if head.is_figure { " n" } } aria-sort=[order] {
            a href=(asked.sorted_by(&to)) title={ "Sort by " (head.name) } {
                (head.name)
                @if is_this { span.arrow aria-hidden="true" { (if now.descending { " ↓" } else { " ↑" }) } }
            }
        }
    }
}
