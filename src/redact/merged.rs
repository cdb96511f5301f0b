//! Findings of several searches as masks that do not overlap.

use std::cmp::Ordering;
use std::ops::Range;

use super::finding::{Ends, Finding, Masked, Quote, Show};
use super::masking::Masking;
use super::redactor::OWN;
use crate::deadline::Deadline;
use crate::secret::MASK;

impl<'a> Masking<'a> {
    /// The masks of a text, in order: where each is, which rule found the secret, and what is shown.
    ///
    /// `None` when the text is not searched in time: it would be withheld.
    pub fn explain(&self, text: &str) -> Option<Vec<Masked<'a>>> {
        let found = self.findings(text, Ends::default(), Deadline::of(text, self.redactor.budget)).ok()?;
        let mut masks = Vec::new();
        self.merged(text, found, |range, rule, shown| masks.push(Masked { range, rule, shown: shown.to_owned() }));
        Some(masks)
    }

    /// Sorts findings and joins those that overlap. Each mask is given with its place, its rule and what is shown.
    pub(super) fn merged(
        &self,
        text: &str,
        mut found: Vec<Finding<'a>>,
        mut mask: impl FnMut(Range<usize>, &'a str, &str),
    ) {
        self.without_covered(&mut found);
        self.masks.searched(text.len());
        let mut found = found.into_iter().peekable();
        while let Some(Finding { range, rule, show }) = found.next() {
            // Findings that overlap become one mask, which is that of the first.
            let mut end = range.end;
            while let Some(next) = found.next_if(|next| next.range.start < end) {
                end = end.max(next.range.end);
            }
            self.shown(&text[range.clone()], &show, |shown| mask(range.start..end, rule, shown));
        }
    }

    /// Sorts findings. Those that another one covers are removed: they would become a part of its mask.
    pub(super) fn without_covered(&self, found: &mut Vec<Finding<'a>>) {
        found.retain(|finding| !self.is_lifted(finding.rule) && !finding.range.is_empty());
        found.sort_by(order);
        let mut end = 0;
        found.retain(|finding| {
            let covered = finding.range.end <= end;
            end = end.max(finding.range.end);
            !covered
        });
    }

    /// Gives what is shown for a secret.
    pub(super) fn shown<T>(&self, secret: &str, show: &Show, with: impl FnOnce(&str) -> T) -> T {
        let fingerprint = &self.redactor.fingerprint;
        match show {
            Show::Token => self.masks.mask(0, secret, || fingerprint.token(secret), with),
            Show::Password => self.masks.mask(1, secret, || fingerprint.password(secret), with),
            Show::Credentials => self.masks.mask(2, secret, || fingerprint.credentials(secret), with),
            Show::Quoted(level, quote) => {
                let quote = "\\".repeat(usize::from(*level)) + if *quote == Quote::Double { "\"" } else { "'" };
                let quoted = |mask: &str| with(&format!("{quote}{mask}{quote}"));
                self.masks.mask(1, secret, || fingerprint.password(secret), quoted)
            }
            Show::Mask => with(MASK),
            Show::Nothing => with(""),
            Show::Text(text) => with(&text.0),
        }
    }
}

/// Of two findings with the same start the longer one comes first, and of two equal ones our own secret.
fn order(one: &Finding<'_>, other: &Finding<'_>) -> Ordering {
    let starts = one.range.start.cmp(&other.range.start);
    let ends = || other.range.end.cmp(&one.range.end);
    starts.then_with(ends).then_with(|| (one.rule != OWN).cmp(&(other.rule != OWN)))
}

/// Removes findings that are covered by one of these others, which come first. Both are sorted.
pub(super) fn remove_covered(found: &mut Vec<Finding<'_>>, others: &[Finding<'_>]) {
    let (mut others, mut end) = (others.iter().peekable(), 0);
    found.retain(|finding| {
        while let Some(other) = others.next_if(|other| order(other, finding).is_le()) {
            end = end.max(other.range.end);
        }
        finding.range.end > end
    });
}
