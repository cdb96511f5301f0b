//! The steps of a search, for the search of the same text without its escapes. Where no escape stands within what a step looked at, the
//! step finds the same there, so it is not taken again.

use std::ops::Range;

use super::escapes::{Gap, Places, View};
use super::finding::Finding;
use super::part::{Carry, Fields};

/// What a search did from one place to the next: the state behind each hit that was examined.
#[derive(Default)]
pub(super) struct Steps {
    /// The state before the first, with places in the text.
    first: Carry,
    steps: Vec<Step>,
}

struct Step {
    /// The part of the text that it depends on.
    looked: Range<usize>,
    /// The parts of the state that it depends on, or has changed.
    touched: Fields,
    /// The state behind it, with places in the text.
    state: Carry,
}

impl Steps {
    /// Begins with this state, which has places in the text.
    pub(super) fn begin(&mut self, state: Carry) {
        self.first = state;
        self.steps.clear();
    }

    /// Notes the next step, and the state behind it.
    pub(super) fn put(&mut self, looked: Range<usize>, touched: Fields, state: Carry) {
        self.steps.push(Step { looked, touched, state });
    }

    /// The state in front of a step.
    fn before(&self, nth: usize) -> &Carry {
        nth.checked_sub(1).and_then(|last| self.steps.get(last)).map_or(&self.first, |step| &step.state)
    }
}

/// What goes on beside a search.
pub(super) enum Beside<'s, 'f, 'a> {
    Nothing,
    /// The steps are noted.
    Note(&'s mut Steps),
    /// Steps that were noted are not taken again, and findings that are known are mostly left out.
    Follow(Option<&'s mut Follower<'f>>, Option<Known<'f, 'a>>),
}

impl<'s> Beside<'s, '_, '_> {
    /// The steps are noted, if they are wanted.
    pub(super) fn of(steps: Option<&'s mut Steps>) -> Self {
        steps.map_or(Self::Nothing, Self::Note)
    }
}

/// Follows the search of a text in a copy without its escapes.
pub(super) struct Follower<'f> {
    steps: &'f Steps,
    places: Places<'f>,
    /// The step that may be next.
    next: usize,
    /// So many steps were not taken again.
    #[cfg(test)]
    pub(super) skipped: usize,
}

impl<'f> Follower<'f> {
    pub(super) fn of(steps: &'f Steps, view: &View<'f>) -> Self {
        Self {
            steps,
            places: view.places(),
            next: 0,
            #[cfg(test)]
            skipped: 0,
        }
    }

    /// The state behind all steps that need not be taken from `here` on, if there are some. Both states have places in the copy.
    pub(super) fn skip(&mut self, here: &Carry) -> Option<Carry> {
        let gap = self.places.gap(here.at)?;
        let stood = gap.stood(here.at);
        while self.next < self.steps.steps.len() && self.steps.before(self.next).at < stood {
            self.next += 1;
        }
        if self.steps.before(self.next).at != stood {
            return None;
        }
        let (first, mut same) = (self.next, Fields::NONE);
        while let Some(step) = self.steps.steps.get(self.next)
            && gap.begin <= step.looked.start
            && step.looked.end <= gap.end
        {
            let before = self.steps.before(self.next);
            let alike = |field| {
                self.is_alike(&gap, before.at, before.get(field), here.get(field))
                    && (field != Fields::COMMAND || before.command <= before.at || before.commands == here.commands)
            };
            if !step.touched.but(same).all(alike) {
                break;
            }
            same = same.and(step.touched);
            self.next += 1;
        }
        #[cfg(test)]
        {
            self.skipped += self.next - first;
        }
        let behind = self.steps.before(self.next);
        (self.next > first).then(|| {
            let taken = |field, own| if same.has(field) { self.cast(&gap, behind.get(field)) } else { own };
            let commands = if same.has(Fields::COMMAND) { behind.commands } else { here.commands };
            Carry { at: gap.here(behind.at), commands, ..here.each(taken) }
        })
    }

    /// Whether a place of the state is the same in the text and in the copy, or the search has passed it in both.
    fn is_alike(&self, gap: &Gap, at: usize, stood: usize, here: usize) -> bool {
        (stood <= at && here <= gap.here(at)) || (stood > at && self.cast(gap, stood) == here)
    }

    /// A place in the text as one in the copy.
    fn cast(&self, gap: &Gap, stood: usize) -> usize {
        match stood {
            // The search has passed it.
            stood if stood < gap.begin => 0,
            stood if stood <= gap.end => gap.here(stood),
            stood => self.places.here(stood),
        }
    }
}

/// What was found in a text, for a search of its copy without escapes.
pub(super) struct Known<'k, 'a> {
    found: &'k [Finding<'a>],
    places: Places<'k>,
    /// Findings up to here are not asked for any more.
    at: usize,
}

impl<'k, 'a> Known<'k, 'a> {
    pub(super) fn of(found: &'k [Finding<'a>], view: &View<'k>) -> Self {
        Self { found, places: view.places(), at: 0 }
    }

    /// Whether a finding of the copy is known. They are mostly asked for in the order in which they were found; others may be missed.
    pub(super) fn has(&mut self, finding: &Finding<'_>) -> bool {
        /// So many findings are looked at.
        const AHEAD: usize = 4;
        let range = self.places.back(&finding.range);
        let passed = |known: &&Finding<'_>| known.range.end <= range.start;
        self.at += self.found[self.at..].iter().take_while(passed).count();
        let is =
            |known: &Finding<'_>| known.range == range && known.rule == finding.rule && known.show == finding.show;
        let known = self.found[self.at..].iter().take(AHEAD).position(is);
        self.at += known.map_or(0, |known| known + 1);
        known.is_some()
    }
}
