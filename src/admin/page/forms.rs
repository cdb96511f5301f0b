//! The forms by which the page changes the store. Only a form of this page may do so: its token is new with each process, and the
//! gate refuses requests of other sites.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use maud::{Markup, html};

use crate::report::LiveFacts;
use crate::secret::Secret;
use crate::store::Store;

/// What changes need.
pub(super) struct Writes {
    pub(super) store: Store,
    /// With the rules of redaction.
    pub(super) facts: LiveFacts,
    token: Secret,
}

impl Writes {
    /// `None`: the system gives no random bytes, so nothing can be changed.
    pub(super) fn of(store: Store, facts: LiveFacts) -> Option<Self> {
        Secret::random().ok().map(|token| Self { store, facts, token })
    }

    /// The hidden field by which a form is known as one of this page.
    pub(super) fn field(&self) -> Markup {
        html! { input type="hidden" name="token" value=(self.token.expose()); }
    }

    /// Whether a form is one of this page.
    pub(super) fn is_ours(&self, form: &str) -> bool {
        let given = value(form, "token");
        given.is_some_and(|given| verify_slices_are_equal(given.as_bytes(), self.token.expose().as_bytes()).is_ok())
    }
}

/// The value of a field.
pub(super) fn value(form: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(form.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
