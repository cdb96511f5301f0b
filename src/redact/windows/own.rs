//! Our own secrets in long texts. They are remembered apart from what our rules find, so that a new token costs only this search.

use std::ops::Range;

use super::cores::{AROUND_BYTES, Cores, boundary_before};
use crate::redact::finding::{Finding, OutOfTime, Show};
use crate::redact::masking::Masking;
use crate::redact::part::Spare;
use crate::redact::redactor::OWN;
use crate::secret::registry::Searcher;

/// Behind encodings, a secret takes at most so many times its bytes: base64 in hexadecimal digits takes 2.7, escapes in escapes
/// up to 8.
pub(in crate::redact) const ENCODED_MAX: usize = 8;
/// If secrets are so long that more text than this stands around a core, in bytes, the whole text is searched at once.
const AROUND_MAX_BYTES: usize = 64 << 10;

impl<'a> Masking<'a> {
    /// Our own secrets in a long text.
    ///
    /// # Errors
    /// When nothing is left to spare.
    pub(super) fn own_in_windows(&self, cores: &Cores<'_>, spare: &mut Spare) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let Some(own) = &self.own else { return Ok(Vec::new()) };
        let around_bytes = own.longest_bytes().saturating_mul(ENCODED_MAX);
        let show = |range| Finding { range, rule: OWN, show: Show::Mask };
        if around_bytes > AROUND_MAX_BYTES {
            let (found, work) = own.find_with_work(cores.text.as_bytes());
            spare.take(work)?;
            return Ok(found.into_iter().map(show).collect());
        }
        let mut found = Vec::new();
        for nth in 0..cores.len() {
            let (here, work) = self.own_in(own, cores, nth, around_bytes);
            spare.take(work)?;
            found.extend(here.into_iter().map(show));
        }
        Ok(found)
    }

    /// Those of which a part stands in a core, and the work of the search.
    fn own_in(
        &self,
        own: &Searcher,
        cores: &Cores<'_>,
        nth: usize,
        around_bytes: usize,
    ) -> (Vec<Range<usize>>, usize) {
        let kept = &self.redactor.long.kept;
        let window = cores.window(nth, AROUND_BYTES.max(around_bytes), AROUND_BYTES.max(around_bytes));
        let name = cores.name_of_own(&window, own.version());
        let core = cores.core(nth);
        let start = boundary_before(cores.text, core.start.saturating_sub(around_bytes));
        let place = |range: Range<usize>| start + range.start..start + range.end;
        if let Some((found, work)) = kept.own(name.as_ref()) {
            return (found.into_iter().map(place).collect(), work);
        }
        let end = boundary_before(cores.text, core.end.saturating_add(around_bytes));
        let (mut found, work) = own.find_with_work(&cores.text.as_bytes()[start..end]);
        found.retain(|range| start + range.start < core.end && start + range.end > core.start);
        if let Some(name) = name {
            kept.keep_own(name, &found, work);
        }
        (found.into_iter().map(place).collect(), work)
    }
}
