//! What our rules find in one window. The text is read as it stands, without the escapes of JSON, and without those of markup.

use std::ops::Range;

use super::found::{READINGS, Read};
use super::marks;
use crate::deadline::Deadline;
use crate::redact::escapes::Shadow;
use crate::redact::finding::{Ends, OutOfTime};
use crate::redact::part::{Carry, Searched, Wants};
use crate::redact::redactor::Redactor;

/// Searches the core of a window, whose text is `text`.
///
/// # Errors
/// When the search is not done by `deadline`.
pub(super) fn read<'a>(
    redactor: &'a Redactor,
    text: &str,
    core: Range<usize>,
    carries: &[Carry; READINGS],
    ends: Ends,
    deadline: Deadline,
) -> Result<Read<'a>, OutOfTime> {
    let find = |text: &str, part: Range<usize>, carry: Carry| {
        redactor.scanner.find_in(&redactor.names, text, part, carry, ends, deadline)
    };
    let [of_text, of_json, of_markup] = *carries;
    let plain = find(text, core.clone(), of_text)?;
    let without = |shadow: Option<Shadow>, carry: Carry| match shadow {
        Some(shadow) => {
            let part = shadow.here(core.start)..shadow.here(core.end);
            let mut searched = find(&shadow.text, part, carry)?;
            searched.found = searched.found.into_iter().map(|finding| shadow.cast_back(finding)).collect();
            Ok(searched)
        }
        // Without escapes it is the same text, and a search that began alike finds the same.
        None if carry == of_text => Ok(Searched { found: Vec::new(), carry: plain.carry, wants: Wants::Nothing }),
        None => find(text, core.clone(), carry),
    };
    let json = without(Shadow::of(text), of_json)?;
    let markup = without(Shadow::of_markup(text), of_markup)?;
    Ok(Read {
        carries: [plain.carry, json.carry, markup.carry],
        wants: plain.wants.max(json.wants).max(markup.wants),
        found: [plain.found, json.found, markup.found],
        marks: marks::in_core(text, core),
    })
}
