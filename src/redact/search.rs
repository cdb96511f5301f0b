//! All searches of one text: our rules, the operator's patterns, our own secrets, streams, and the ends of a cut text.

use super::clean::SearchedAs;
use super::edges;
use super::escapes::{Escapes, Shadow};
use super::finding::{Ends, Finding, OutOfTime, Show};
use super::masking::Masking;
use super::part::{Carry, Limits, READINGS, Spare};
use super::readings::{self, Texts};
use super::redactor::{CUT, OWN};
use crate::deadline::Deadline;
use crate::secret::registry as own;

/// Matches of an operator's pattern between two looks at the clock.
const MATCHES_A_LOOK: usize = 16;

impl<'a> Masking<'a> {
    /// What our rules find in a text, as it stands and with its escapes undone.
    /// Also gives the work of the search.
    pub(super) fn scanned(
        &self,
        text: &str,
        ends: Ends,
        limits: Limits,
    ) -> Result<(Vec<Finding<'a>>, usize), OutOfTime> {
        let shadows = [Escapes::Json.undo(text), Escapes::Markup.undo(text)];
        let [json, markup] = shadows.each_ref().map(|shadow| shadow.as_ref().map(Shadow::view));
        let texts = Texts { plain: text, json, markup };
        let carries = [Carry::default(); READINGS];
        let [plain, json, markup] = readings::search(self.redactor, &texts, 0..text.len(), &carries, ends, limits)?;
        let (mut found, work) = (plain.found, plain.work + json.work + markup.work);
        found.extend(json.found.into_iter().chain(markup.found));
        Ok((found, work))
    }

    /// What the operator's patterns find, and our own secrets.
    pub(super) fn listed(&self, text: &str, deadline: Deadline) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let mut found = self.of_patterns(text, deadline)?;
        let own = self.own.iter().flat_map(|own| own.find_all(text.as_bytes()));
        found.extend(own.map(|range| Finding { range, rule: OWN, show: Show::Mask }));
        Ok(found)
    }

    /// What the operator's patterns find.
    pub(super) fn of_patterns(&self, text: &str, deadline: Deadline) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let mut found = Vec::new();
        for (rule, regex) in &self.redactor.patterns {
            for (nth, secret) in regex.find_iter(text).enumerate() {
                if nth % MATCHES_A_LOOK == 0 && deadline.is_over() {
                    return Err(OutOfTime);
                }
                found.push(Finding { range: secret.range(), rule, show: Show::Token });
            }
            if deadline.is_over() {
                return Err(OutOfTime);
            }
        }
        Ok(found)
    }

    /// What all rules find in a text, in no order.
    pub(super) fn findings(&self, text: &str, ends: Ends, deadline: Deadline) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let mut found = match self.redactor.long.covers(text) {
            true => self.in_windows(text, ends, deadline)?,
            false => self.at_once(text, ends, deadline)?,
        };
        if ends.cut_end {
            let cut = own::cut_off(text);
            found.extend(cut.map(|start| Finding { range: start..text.len(), rule: OWN, show: Show::Mask }));
            // A secret that was cut shows neither its last characters nor a tag: both would be wrong.
            for finding in found.iter_mut().filter(|finding| finding.range.end == text.len()) {
                finding.show = Show::Mask;
            }
        }
        if ends.cut_start {
            let cut = edges::rest_of_a_secret(text).into_iter();
            found.extend(cut.map(|range| Finding { range, rule: CUT, show: Show::Mask }));
        }
        Ok(found)
    }

    /// The same for a text that is searched as a whole, without the ends of a cut text.
    pub(super) fn at_once(&self, text: &str, ends: Ends, deadline: Deadline) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let clean = &self.redactor.clean;
        let content = clean.content(text.as_bytes(), SearchedAs::Text(ends), self.version_of_own());
        if clean.has(&content) {
            return Ok(Vec::new());
        }
        let mut spare = Spare::of(text, deadline);
        let (mut found, work) = self.scanned(text, ends, spare.limits())?;
        spare.take(work)?;
        // Another call may not have this id.
        let without_ids = found.is_empty();
        found.retain(|finding| !self.is_identity(finding.rule, &text[finding.range.clone()]));
        found.extend(self.in_streams(text, &mut spare)?);
        found.extend(self.listed(text, deadline)?);
        if without_ids && found.is_empty() {
            clean.add(content);
        }
        Ok(found)
    }
}
