//! What our rules find in one window. The text is read as it stands, without the escapes of JSON, and without those of markup.

use std::ops::Range;

use super::found::{READINGS, Read};
use super::marks;
use crate::deadline::Deadline;
use crate::redact::escapes::View;
use crate::redact::finding::{Ends, Finding, OutOfTime};
use crate::redact::part::{Carry, Searched, Wants};
use crate::redact::redactor::Redactor;

/// The text of a window: as it stands, and without escapes of JSON and of markup, if it has any.
pub(super) struct Texts<'w> {
    pub(super) plain: &'w str,
    pub(super) json: Option<View<'w>>,
    pub(super) markup: Option<View<'w>>,
}

/// Searches the core of a window.
///
/// # Errors
/// When the search is not done by `deadline`.
pub(super) fn read<'a>(
    redactor: &'a Redactor,
    window: &Texts<'_>,
    core: Range<usize>,
    carries: &[Carry; READINGS],
    ends: Ends,
    deadline: Deadline,
) -> Result<Read<'a>, OutOfTime> {
    let find = |text: &str, part: Range<usize>, carry: Carry| {
        redactor.scanner.find_in(&redactor.names, text, part, carry, ends, deadline)
    };
    let [of_text, of_json, of_markup] = *carries;
    let plain = find(window.plain, core.clone(), of_text)?;
    let without = |view: Option<View<'_>>, carry: Carry| match view {
        Some(view) => {
            let part = view.here(core.start)..view.here(core.end);
            let mut searched = find(view.text, part, carry)?;
            view.cast_back(&mut searched.found);
            keep_others(&mut searched.found, &plain.found);
            Ok(searched)
        }
        // Without escapes it is the same text, and a search that began alike finds the same.
        None if carry == of_text => Ok(Searched { found: Vec::new(), carry: plain.carry, wants: Wants::Nothing }),
        None => find(window.plain, core.clone(), carry),
    };
    let json = without(window.json, of_json)?;
    let markup = without(window.markup, of_markup)?;
    Ok(Read {
        carries: [plain.carry, json.carry, markup.carry],
        wants: plain.wants.max(json.wants).max(markup.wants),
        found: [plain.found, json.found, markup.found],
        marks: marks::in_core(window.plain, core),
    })
}

/// Removes what is also in `known`. Both were found in the same order.
fn keep_others(found: &mut Vec<Finding<'_>>, known: &[Finding<'_>]) {
    /// Findings of `known` that are looked at for each one.
    const AHEAD: usize = 4;
    let mut at = 0;
    found.retain(|finding| {
        let same = known[at..].iter().take(AHEAD).position(|known| known == finding);
        at += same.map_or(0, |same| same + 1);
        same.is_none()
    });
}
