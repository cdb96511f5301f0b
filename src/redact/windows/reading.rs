//! What our rules find in one window.

use std::ops::Range;

use super::found::Read;
use super::marks;
use crate::deadline::Deadline;
use crate::redact::finding::{Ends, OutOfTime};
use crate::redact::part::{Carry, READINGS};
use crate::redact::readings::{self, Texts};
use crate::redact::redactor::Redactor;

/// Searches the core of a window. Unless the window `is_last`, the search ends when it is known that more text behind the window
/// changes what is found ([`Wants::Rest`](crate::redact::part::Wants)).
///
/// # Errors
/// When the search is not done by `deadline`.
pub(super) fn read<'a>(
    redactor: &'a Redactor,
    window: &Texts<'_>,
    core: Range<usize>,
    carries: &[Carry; READINGS],
    ends: Ends,
    is_last: bool,
    deadline: Deadline,
) -> Result<Read<'a>, OutOfTime> {
    let [plain, json, markup] = readings::search(redactor, window, core.clone(), carries, ends, is_last, deadline)?;
    Ok(Read {
        carries: [plain.carry, json.carry, markup.carry],
        wants: plain.wants.max(json.wants).max(markup.wants),
        found: [plain.found, json.found, markup.found],
        marks: marks::in_core(window.plain, core),
    })
}
