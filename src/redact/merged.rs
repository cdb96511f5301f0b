//! Findings of several searches as masks that do not overlap.

use std::cmp::Reverse;

use super::finding::{Ends, Finding, Masked, Show};
use super::masking::Masking;
use super::redactor::OWN;
use crate::deadline::Deadline;

impl<'a> Masking<'a> {
    /// The masks of a text, in order: where each is, which rule found the secret, and what is shown.
    ///
    /// `None` when the text is not searched in time: it would be withheld.
    pub fn explain(&self, text: &str) -> Option<Vec<Masked<'a>>> {
        let found = self.findings(text, Ends::default(), Deadline::of(text, self.redactor.budget)).ok()?;
        Some(self.merged(text, found))
    }

    /// Sorts findings and joins those that overlap.
    pub(super) fn merged(&self, text: &str, mut found: Vec<Finding<'a>>) -> Vec<Masked<'a>> {
        found.retain(|finding| !self.is_lifted(finding.rule) && !finding.range.is_empty());
        // Of two findings with the same start the longer one comes first, and of two equal ones our own secret.
        found.sort_by_key(|finding| (finding.range.start, Reverse(finding.range.end), finding.rule != OWN));
        self.masks.searched(text.len());
        let mut masks: Vec<Masked<'a>> = Vec::with_capacity(found.len());
        for Finding { range, rule, show } in found {
            match masks.last_mut() {
                Some(last) if range.end <= last.range.end => {}
                // Findings that overlap become one mask, which is that of the first.
                Some(last) if range.start < last.range.end => last.range.end = range.end,
                _ => {
                    let shown = self.shown(&text[range.clone()], &show);
                    masks.push(Masked { range, rule, shown });
                }
            }
        }
        masks
    }

    pub(super) fn shown(&self, secret: &str, show: &Show) -> String {
        let fingerprint = &self.redactor.fingerprint;
        match show {
            Show::Token => self.masks.mask(0, secret, || fingerprint.token(secret)),
            Show::Password => self.masks.mask(1, secret, || fingerprint.password(secret)),
            Show::Credentials => fingerprint.credentials(secret),
            Show::Quoted(quote) => format!("{quote}{}{quote}", fingerprint.password(secret)),
            Show::Text(text) => text.clone(),
        }
    }
}
