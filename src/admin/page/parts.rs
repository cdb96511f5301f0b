//! Small parts that several pages have.

use maud::{Markup, html};

use super::shown;

/// A fact in a strip of facts. Nothing if it is not known.
pub(super) fn fact(name: &str, value: Option<String>) -> Markup {
    html! { @if let Some(value) = value.filter(|value| !value.is_empty()) { div { dt { (name) } dd { (shown::line(&value)) } } } }
}

/// The header fields of a message, folded unless `open`.
pub(super) fn fields(fields: &[(String, String)], open: bool) -> Markup {
    html! {
        details open[open] { summary { "Header fields (" (fields.len()) ")" }
            table.fields { tbody { @for (name, value) in fields { tr { td { (shown::line(name)) } td.mono { (shown::line(value)) } } } } }
        }
    }
}
