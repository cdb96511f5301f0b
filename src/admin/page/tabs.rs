//! The tabs of a call, and the addresses at which they open.

use maud::{Markup, html};

use super::query::{CallQuery, ListQuery};

/// A view of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    /// The conversation of a model call.
    Conversation,
    /// What it changed against the call before.
    Changes,
    /// Request and response of any other call.
    Exchange,
    /// The request.
    Request,
    /// The response.
    Response,
    /// Times and the connection.
    Timing,
    /// The event.
    Raw,
    /// What OTAS answered.
    Delivery,
}

impl Tab {
    const fn name(self) -> &'static str {
        match self {
            Self::Conversation => "Conversation",
            Self::Changes => "Changes",
            Self::Exchange => "Call",
            Self::Request => "Request",
            Self::Response => "Response",
            Self::Timing => "Timing",
            Self::Raw => "Raw",
            Self::Delivery => "Delivery",
        }
    }

    /// Its name in addresses.
    fn key(self) -> String {
        self.name().to_ascii_lowercase()
    }
}

/// The tabs of a call.
pub(super) fn of(converses: bool, is_stored: bool) -> Vec<Tab> {
    let mut all = match (converses, is_stored) {
        (true, true) => vec![Tab::Conversation, Tab::Changes, Tab::Request, Tab::Response],
        (true, false) => vec![Tab::Conversation, Tab::Request, Tab::Response],
        (false, _) => vec![Tab::Exchange],
    };
    all.extend([Tab::Timing, Tab::Raw]);
    all.extend(is_stored.then_some(Tab::Delivery));
    all
}

/// The tab of this name, or else the first one.
pub(super) fn named(name: &str, all: &[Tab]) -> Tab {
    let found = all.iter().find(|tab| tab.key() == name).or(all.first());
    found.copied().unwrap_or(Tab::Raw)
}

/// Where a call is shown.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// On a page of its own.
    Alone,
    /// Beside this list.
    Beside(&'a ListQuery),
}

impl<'a> Place<'a> {
    /// Where a query asks for it.
    pub(super) fn of(list: &'a ListQuery, call: &CallQuery) -> Self {
        if call.is_beside() { Self::Beside(list) } else { Self::Alone }
    }

    /// The address of a stored call.
    pub(super) fn call(self, row: i64) -> String {
        match self {
            Self::Alone => path(&row.to_string(), true),
            Self::Beside(list) => format!("/{}", list.query([("open", &*row.to_string())])),
        }
    }

    /// The address of a form that changes a stored call, and of where it is sent. It has this place.
    pub(super) fn form(self, row: i64, name: &str) -> String {
        match self {
            Self::Alone => format!("/event/{row}/{name}"),
            Self::Beside(list) => format!("/event/{row}/{name}{}", list.query([("beside", "1")])),
        }
    }

    /// The address of a call with a tab. `key` is the call's row, or its id while it is in flight.
    fn href(self, key: &str, is_stored: bool, tab: &str) -> String {
        match self {
            Self::Alone => format!("{}?tab={tab}", path(key, is_stored)),
            Self::Beside(list) => format!("/{}", list.query([("open", key), ("tab", tab)])),
        }
    }

    /// The address without the call.
    pub(super) fn closed(self) -> String {
        match self {
            Self::Alone => "/".to_owned(),
            Self::Beside(list) => format!("/{}", list.query(None)),
        }
    }
}

/// The path of a call's own page.
pub(super) fn path(key: &str, is_stored: bool) -> String {
    if is_stored { format!("/event/{key}") } else { format!("/open/{key}") }
}

/// The row of tabs.
pub(super) fn bar(all: &[Tab], open: Tab, key: &str, is_stored: bool, place: Place<'_>) -> Markup {
    html! {
        nav.tabs aria-label="Views of the call" {
            @for tab in all {
                a href=(place.href(key, is_stored, &tab.key())) data-tab=(tab.key()) aria-current=[(*tab == open).then_some("true")] { (tab.name()) }
            }
        }
    }
}

/// The name of a tab in addresses.
pub(super) fn key(tab: Tab) -> String {
    tab.key()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_opens_on_its_first_tab_and_unknown_names_do_so_too() {
        let (model, other) = (of(true, true), of(false, false));
        assert_eq!((named("", &model), named("odd", &other)), (Tab::Conversation, Tab::Exchange));
        assert_eq!((named("changes", &model), named("changes", &other)), (Tab::Changes, Tab::Exchange));
        assert!(model.contains(&Tab::Delivery) && !other.contains(&Tab::Delivery));
        let list: ListQuery = serde_json::from_value(serde_json::json!({ "text": "a b" })).unwrap();
        assert_eq!(Place::Beside(&list).href("7", true, "raw"), "/?text=a+b&open=7&tab=raw");
        assert_eq!(
            (Place::Alone.href("x", false, "raw"), Place::Beside(&list).closed()),
            ("/open/x?tab=raw".into(), "/?text=a+b".into())
        );
    }
}
