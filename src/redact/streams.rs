//! Secrets in streams of events, which tell a text in pieces. A stream may be the text of a JSON string, of a page, or of
//! another stream, and so may that one.

use super::deltas;
use super::escapes::Shadow;
use super::scan::{Ends, Finding, OutOfTime, Show};
use super::{MASK, Masking, OWN};
use crate::deadline::Deadline;

/// Streams in strings in streams that are followed.
const DEPTH_MAX: usize = 6;

impl<'a> Masking<'a> {
    /// What the streams of a text tell.
    pub(super) fn in_streams(&self, text: &str, deadline: Deadline) -> Result<Vec<Finding<'a>>, OutOfTime> {
        self.in_streams_below(text, DEPTH_MAX, deadline)
    }

    fn in_streams_below(&self, text: &str, depth: usize, deadline: Deadline) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let mut found = Vec::new();
        if depth == 0 {
            return Ok(found);
        }
        if deadline.is_over() {
            return Err(OutOfTime);
        }
        for joined in deltas::joined(text) {
            let mut inside = self.told(&joined.text, deadline)?;
            inside.extend(self.in_streams_below(&joined.text, depth - 1, deadline)?);
            for finding in inside {
                let shown = self.shown(&joined.text[finding.range.clone()], &finding.show);
                found.extend(joined.pieces_of(&finding, shown));
            }
        }
        if deltas::may_be_in_strings(text) {
            let shadow = Shadow::of_strings(text);
            let inside = self.in_streams_below(&shadow.text, depth - 1, deadline)?;
            found.extend(inside.into_iter().map(|finding| shadow.cast_back(in_a_string(finding))));
        }
        let of_page = text.contains("data:") || text.contains("candidates&");
        if let Some(shadow) = of_page.then(|| Shadow::of_markup(text)).flatten() {
            let inside = self.in_streams_below(&shadow.text, depth - 1, deadline)?;
            found.extend(inside.into_iter().map(|finding| shadow.cast_back(finding)));
        }
        Ok(found)
    }

    /// What stands in a text that was told in pieces.
    fn told(&self, text: &str, deadline: Deadline) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let mut found = self.scanned(text, Ends::default(), deadline)?;
        let own = self.own.iter().flat_map(|own| own.find_all(text.as_bytes()));
        found.extend(own.map(|range| Finding { range, rule: OWN, show: Show::Text(MASK.to_owned()) }));
        for (rule, regex) in &self.redactor.patterns {
            let secrets = regex.find_iter(text).map(|secret| secret.range());
            found.extend(secrets.map(|range| Finding { range, rule: rule.as_str(), show: Show::Token }));
        }
        Ok(found)
    }
}

/// What is shown instead of it may have quotes, which are escaped in a string.
fn in_a_string(mut finding: Finding<'_>) -> Finding<'_> {
    if let Show::Text(shown) = &mut finding.show
        && shown.contains(['"', '\\'])
    {
        *shown = shown.replace('\\', "\\\\").replace('"', "\\\"");
    }
    finding
}
