//! The search of long texts, in windows: a part (a core) with the text around it. What was found in a window is remembered, so
//! that a part that comes again with its neighbours is not searched again. Agents resend the whole conversation with each call.
//!
//! ```text
//!  cores      cuts the text where its content says, and names each core and each window (crate::naming)
//!    |- super::readings    what our rules find in one window: a pure function of its text, the place of its core, and the carry
//!    |- undoing    the text of each window without its escapes
//!    |- own        our own secrets in one window
//!    |- marks      where lines of streams begin (lines); around these, regions of the text are searched as streams
//!  kept       what was found, by the name of the window
//! ```
//!
//! Windows are searched in order. The search of one ends at the end of its core, and the next goes on from there ([`Carry`]). So
//! they find what a search of the whole text finds, wherever the text is cut: no name, prefix or value is seen in halves. A
//! window is made longer while a secret reaches its end.
//!
//! A name covers everything that changes what is found, so it does not matter what is remembered and what was evicted: rules of a
//! host and ids of agents are applied afterwards, to findings from a window and from memory alike.

mod cores;
mod found;
mod kept;
mod lines;
pub(super) mod long;
mod marks;
mod own;
#[cfg(test)]
mod tests;
mod undoing;

use self::cores::{AROUND_BYTES, Cores};
use self::found::Read;
pub(super) use self::marks::regions;
pub(super) use self::own::ENCODED_MAX;
use self::undoing::Undoing;
use super::escapes::Escapes;
use super::finding::{Ends, Finding, OutOfTime};
use super::masking::Masking;
use super::merged::remove_covered;
use super::part::{Carry, Limits, READINGS, Spare, Wants};
use super::readings::{self, Texts};
use super::runs::PEM_MAX_BYTES;
use crate::deadline::Deadline;

/// So much text stands behind the core of a window that is made longer, in bytes. A private key is shorter.
const LONGER_BYTES: usize = PEM_MAX_BYTES + (8 << 10);
/// No window has more text behind its core, in bytes. A text with a secret that is longer is withheld.
const LONGEST_BYTES: usize = 2 << 20;
/// Windows in which no secret was found may be made longer until they have together so many times the bytes of the text, so that
/// the work stays in proportion to it. A text that needs more is withheld. A window for each core, as long as a private key,
/// is less.
const LONGER_A_BYTE: usize = 4;
/// Short texts may have so many bytes of such windows.
const LONGER_AT_LEAST_BYTES: usize = 256 << 10;

/// What the windows of one text have in common.
struct Progress<'t> {
    /// The text without the escapes of JSON, and without those of markup.
    without: [Undoing<'t>; 2],
    /// Windows may still be made longer by so many bytes.
    longer_bytes: usize,
    spare: Spare,
}

impl<'t> Progress<'t> {
    fn of(text: &'t str, deadline: Deadline) -> Self {
        let without = [Escapes::Json, Escapes::Markup].map(|escapes| Undoing::of(text, escapes));
        let longer_bytes = LONGER_A_BYTE * text.len() + LONGER_AT_LEAST_BYTES;
        Self { without, longer_bytes, spare: Spare::of(text, deadline) }
    }
}

impl<'a> Masking<'a> {
    /// What all rules find in a long text, without the ends of a cut text.
    ///
    /// # Errors
    /// When the search is not done by `deadline`, or a secret is too long.
    pub(super) fn in_windows(
        &self,
        text: &str,
        ends: Ends,
        deadline: Deadline,
    ) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let long = &self.redactor.long;
        let cores = Cores::of(text, long.sizes.cores, &long.known);
        let mut progress = Progress::of(text, deadline);
        let (mut found, marks) = self.scanned_in_windows(&cores, ends, &mut progress)?;
        found.extend(self.in_regions(text, &marks, &mut progress.spare)?);
        found.extend(self.of_patterns(text, deadline)?);
        found.extend(self.own_in_windows(&cores, &mut progress.spare)?);
        Ok(found)
    }

    /// What our rules find, and where lines of streams begin.
    fn scanned_in_windows(
        &self,
        cores: &Cores<'_>,
        ends: Ends,
        progress: &mut Progress<'_>,
    ) -> Result<(Vec<Finding<'a>>, Vec<usize>), OutOfTime> {
        let mut found: [Vec<Finding<'a>>; READINGS] = Default::default();
        let mut carries = [Carry::default(); READINGS];
        let mut marks = Vec::new();
        for nth in 0..cores.len() {
            // What is found when the time is over is not remembered.
            progress.spare.take(0)?;
            let (start, read) = self.rules_in(cores, nth, progress, &carries, ends)?;
            // Fewer findings take less memory until the whole text was searched.
            let [mut plain, mut json, mut markup] = read.found.map(|mut here| {
                for Finding { range, .. } in &mut here {
                    *range = start + range.start..start + range.end;
                }
                here.retain(|Finding { range, rule, .. }| !self.is_identity(rule, &cores.text[range.clone()]));
                self.without_covered(&mut here);
                here
            });
            remove_covered(&mut json, &plain);
            remove_covered(&mut markup, &plain);
            remove_covered(&mut markup, &json);
            remove_covered(&mut json, &markup);
            remove_covered(&mut plain, &json);
            remove_covered(&mut plain, &markup);
            for (all, mut here) in found.iter_mut().zip([plain, json, markup]) {
                if all.is_empty() {
                    *all = here;
                } else {
                    all.append(&mut here);
                }
            }
            marks.extend(read.marks.iter().map(|mark| start + mark));
            carries = read.carries;
        }
        let [mut all, mut of_json, mut of_markup] = found;
        all.append(&mut of_json);
        all.append(&mut of_markup);
        Ok((all, marks))
    }

    /// What our rules find in a core; and where the text of its window begins.
    fn rules_in(
        &self,
        cores: &Cores<'_>,
        nth: usize,
        progress: &mut Progress<'_>,
        carries: &[Carry; READINGS],
        ends: Ends,
    ) -> Result<(usize, Read<'a>), OutOfTime> {
        let kept = &self.redactor.long.kept;
        let mut behind = AROUND_BYTES;
        loop {
            let window = cores.window(nth, AROUND_BYTES, behind);
            let is_last = window.text.end == cores.text.len();
            let ends = Ends { cut_start: false, cut_end: ends.cut_end && is_last };
            // The last window is whole: no text behind it changes what is found. Another one is made longer if a run of characters
            // reaches its end, or is as long as it can be.
            let enough = match behind {
                _ if is_last => None,
                LONGEST_BYTES => Some(Wants::Rest),
                _ => Some(Wants::More),
            };
            let name = cores.name_of_rules(&window, carries, ends, enough);
            let read = match kept.rules(name.as_ref()) {
                Some(read) => read,
                None => {
                    let core = cores.core(nth);
                    let core_bytes = core.len();
                    let core = core.start - window.text.start..core.end - window.text.start;
                    let without = progress.without.each_mut();
                    let [json, markup] = without.map(|undoing| undoing.window(window.text.clone()));
                    let texts = Texts { plain: &cores.text[window.text.clone()], json, markup };
                    let limits = Limits { enough, ..progress.spare.limits() };
                    let found = readings::search(self.redactor, &texts, core.clone(), carries, ends, limits)?;
                    let read = Read::of(found, marks::in_core(texts.plain, core));
                    if let Some(name) = name {
                        kept.keep_rules(name, &read, core_bytes);
                    }
                    read
                }
            };
            progress.spare.take(read.work)?;
            let longer = (behind * 4).clamp(LONGER_BYTES, LONGEST_BYTES);
            behind = match read.wants {
                Wants::Rest if !is_last && behind == LONGEST_BYTES => return Err(OutOfTime),
                Wants::Rest if !is_last => longer,
                Wants::More if !is_last && behind < LONGEST_BYTES => {
                    progress.longer_bytes = progress.longer_bytes.checked_sub(longer).ok_or(OutOfTime)?;
                    longer
                }
                _ => return Ok((window.text.start, read)),
            };
        }
    }

    /// The secrets in the streams of a long text.
    fn in_regions(&self, text: &str, marks: &[usize], spare: &mut Spare) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let (kept, namer) = (&self.redactor.long.kept, self.redactor.long.namer());
        let version = self.version_of_own();
        let mut found = Vec::new();
        for region in regions(text, marks) {
            let start = region.start;
            let region = &text[region];
            let name = cores::name_of_region(region, version, namer);
            // Where secrets were found, their masks are made anew.
            if let Some(work) = kept.without_streams(name.as_ref()) {
                spare.take(work)?;
                continue;
            }
            let before = spare.limits().work;
            let here = self.in_streams(region, spare)?;
            if let (true, Some(name)) = (here.is_empty(), name) {
                kept.keep_without_streams(name, before - spare.limits().work);
            }
            found.extend(
                here.into_iter().map(|finding| Finding {
                    range: start + finding.range.start..start + finding.range.end,
                    ..finding
                }),
            );
        }
        Ok(found)
    }
}
