//! What a model call changed against the call before it in its conversation.

use maud::{Markup, html};
use serde_json::Value;

use super::conversation::{blocks, messages};
use super::format::count;
use super::shown;
use crate::brief;
use crate::conversation::{Changes, Conversation};
use crate::run_view::Compared;

/// Characters of a parameter's value.
const VALUE_CHARS: usize = 400;

/// The tab. `compared` is the call beside the one before it, if that is known.
pub(super) fn tab(compared: Option<&Compared>) -> Markup {
    let Some(Compared { before, after, changes: found, miss }) = compared else {
        return html! { p.dim { "This call begins a conversation, or the call before it is not known or no longer stored." } };
    };
    let now = &after.conversation;
    let Changes { kept, removed, added, .. } = found;
    html! {
        p { "Against " a.other href={ "/event/" (before.id) } data-open=(before.id) { "the call before" } ": "
            (counted(*kept, "message")) " kept, " b { (count(*added as u64)) } " added"
            @if *removed > 0 { ", " b.warn { (count(*removed as u64)) } " changed or gone" } "." }
        @if let Some(miss) = miss {
            p.note { "Of " (count(miss.expected)) " cached tokens " (count(miss.read)) " were read. " (shown::line(miss.reason.as_deref().unwrap_or_default())) }
        }
        @if *added > 0 { h3 { "New messages" } (messages(&now.request, *kept)) }
        @else if *removed == 0 { p.dim { "The messages are the same." } }
        (system(found, now))
        (tools(found))
        (parameters(found))
    }
}

fn system(found: &Changes, now: &Conversation) -> Markup {
    let changed = found.system.iter().filter_map(|at| now.request.system.get(*at));
    html! {
        @if !found.system.is_empty() || found.system_removed > 0 {
            h3 { "System prompt" }
            @if found.system_removed > 0 { p { (counted(found.system_removed, "block")) " gone or changed." } }
            section.message.system { (blocks(changed)) }
        }
    }
}

fn tools(found: &Changes) -> Markup {
    let rows = [("added", &found.tools_added), ("removed", &found.tools_removed), ("changed", &found.tools_changed)];
    html! {
        @if rows.iter().any(|(_, names)| !names.is_empty()) || found.tools_moved {
            h3 { "Tools" }
            @for (what, names) in rows {
                @if !names.is_empty() { p { (what) ": " @for name in names { span.tool { (shown::line(name)) } " " } } }
            }
            @if found.tools_moved { p { "The same tools come in another order." } }
        }
    }
}

fn parameters(found: &Changes) -> Markup {
    let value = |value: &Option<Value>| value.as_ref().map(|value| brief::excerpt(&value.to_string(), VALUE_CHARS));
    html! {
        @if !found.parameters.is_empty() {
            h3 { "Parameters" }
            table.fields {
                thead { tr { th { "name" } th { "before" } th { "now" } } }
                tbody {
                    @for parameter in &found.parameters {
                        tr {
                            td { (shown::line(&parameter.name)) }
                            @for side in [&parameter.before, &parameter.after] {
                                td.mono { @match value(side) { Some(text) => (shown::line(&text)), None => span.dim { "–" } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{} {what}{}", count(number as u64), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::conversation::{Block, Message, changes};
    use crate::event::{Llm, Stored};
    use crate::run_view::{Miss, ModelEvent};

    fn compared(before: &Conversation, now: &Conversation, miss: Option<Miss>) -> Compared {
        let event = |id: i64, conversation: &Conversation| ModelEvent {
            id,
            stored: Stored::parse(b"{}"),
            llm: Llm::default(),
            conversation: conversation.clone(),
        };
        Compared { before: event(7, before), after: event(8, now), changes: changes(before, now), miss }
    }

    #[test]
    fn new_messages_and_what_else_differs_are_shown() {
        let said = |text: &str| Message { role: "user".to_owned(), blocks: vec![Block::Text(text.to_owned())] };
        let mut before = Conversation::default();
        before.request.messages = vec![said("one")];
        before.request.system = vec![Block::Text("Be brief.".to_owned())];
        before.request.parameters.insert("max_tokens".to_owned(), json!(9));
        let mut now = before.clone();
        now.request.messages.push(said("two"));
        let text = tab(Some(&compared(&before, &now, None))).into_string();
        assert!(
            text.contains("1 message kept, <b>1</b> added") && text.contains("two") && text.contains("/event/7"),
            "{text}"
        );
        assert!(!text.contains("one<") && !text.contains("System prompt") && !text.contains("Parameters"), "{text}");
        now.request.system = vec![Block::Text("Be long.".to_owned())];
        now.request.parameters.insert("max_tokens".to_owned(), json!(10));
        let miss = Miss { previous: 7, expected: 9_000, read: 0, reason: Some("It changed.".to_owned()) };
        let text = tab(Some(&compared(&before, &now, Some(miss)))).into_string();
        assert!(
            text.contains("Be long.")
                && text.contains("max_tokens")
                && text.contains("Of 9,000 cached tokens 0 were read. "),
            "{text}"
        );
        assert!(tab(None).into_string().contains("begins a conversation"));
    }
}
