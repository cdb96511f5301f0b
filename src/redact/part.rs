//! The search of a part of a text: where it begins, and what the search of the next part has to know.

use std::ops::Range;

use super::finding::{Finding, OutOfTime};
use crate::deadline::Deadline;

/// A text is read in so many ways: as it stands, without the escapes of JSON, and without those of markup.
pub(super) const READINGS: usize = 3;

/// A part of a text that is searched.
pub(super) struct Part {
    pub(super) range: Range<usize>,
    /// What the search of the part in front of it has left.
    pub(super) carry: Carry,
}

/// When a search ends before the end of its part.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) deadline: Deadline,
    /// It ends when it is known that so much is wanted: a longer text is searched in its place, and what was found does not matter.
    pub(super) enough: Option<Wants>,
    /// It fails if it takes more work than this ([`Searched::work`]).
    pub(super) work: usize,
}

impl Limits {
    /// The deadline alone.
    pub(super) fn of(deadline: Deadline) -> Self {
        Self { deadline, enough: None, work: usize::MAX }
    }
}

/// The search of a text may take so much work for each of its bytes, in all readings and streams together. Prose takes 10. A text
/// that needs more is withheld.
const WORK_A_BYTE: usize = 48;
/// Short texts may take so much work.
const WORK_AT_LEAST: usize = 512 << 10;

/// How much work may still be done for one text.
pub(super) struct Spare {
    work: usize,
    deadline: Deadline,
}

impl Spare {
    /// For a text.
    pub(super) fn of(text: &str, deadline: Deadline) -> Self {
        Self { work: WORK_A_BYTE * text.len() + WORK_AT_LEAST, deadline }
    }

    /// For tests that may do any amount of work.
    #[cfg(test)]
    pub(super) fn unlimited(deadline: Deadline) -> Self {
        Self { work: usize::MAX, deadline }
    }

    /// The limits of the next search.
    pub(super) fn limits(&self) -> Limits {
        Limits { work: self.work, ..Limits::of(self.deadline) }
    }

    /// Takes so much.
    ///
    /// # Errors
    /// When less is left, or the time is over.
    pub(super) fn take(&mut self, work: usize) -> Result<(), OutOfTime> {
        self.work = self.work.checked_sub(work).ok_or(OutOfTime)?;
        if self.deadline.is_over() { Err(OutOfTime) } else { Ok(()) }
    }
}

/// What was found in a part of a text.
#[derive(Debug)]
pub(super) struct Searched<'a> {
    /// The secrets whose name or prefix stands in the part.
    pub(super) found: Vec<Finding<'a>>,
    /// What the search of the next part has to know.
    pub(super) carry: Carry,
    /// Whether more text behind this one would change what was found.
    pub(super) wants: Wants,
    /// The work of the search: prose takes about 10 for each byte.
    pub(super) work: usize,
}

/// Whether more text behind a text would change what was found in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wants {
    /// It would not.
    Nothing,
    /// A run of characters reaches the end of the text. It may be a secret if it goes on.
    More,
    /// A secret reaches the end of the text, and may go on.
    Rest,
}

/// How far a search has come beyond the end of a part: each in bytes behind that end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Carry {
    /// Where the search continues.
    pub(super) at: usize,
    /// The values in objects and arrays were collected up to here.
    pub(super) container: usize,
    /// Where the last value without quotes ended.
    pub(super) bare: usize,
    /// Up to here, values without quotes were judged not to be secrets.
    pub(super) dull: usize,
    /// Names were examined up to here.
    pub(super) name: usize,
    /// Commands were read up to here.
    pub(super) command: usize,
    /// Of these kinds, as bits.
    pub(super) commands: u32,
    /// Names of services were examined up to here.
    pub(super) service: usize,
}

impl Carry {
    /// All its numbers.
    pub(super) fn numbers(&self) -> [usize; 8] {
        let Self { at, container, bare, dull, name, command, commands, service } = *self;
        [at, container, bare, dull, name, command, commands as usize, service]
    }

    /// The same behind the end of a later part, which is so many bytes further on.
    pub(super) fn further(&self, bytes: usize) -> Self {
        // Without `each`, because this is done for each hit.
        let Self { at, container, bare, dull, name, command, commands, service } = *self;
        let behind = |place: usize| place.saturating_sub(bytes);
        Self {
            at: behind(at),
            container: behind(container),
            bare: behind(bare),
            dull: behind(dull),
            name: behind(name),
            command: behind(command),
            // None is known where none was read.
            commands: if command > bytes { commands } else { 0 },
            service: behind(service),
        }
    }

    /// One of its numbers.
    pub(super) fn get(&self, field: Fields) -> usize {
        match field {
            Fields::CONTAINER => self.container,
            Fields::BARE => self.bare,
            Fields::DULL => self.dull,
            Fields::NAME => self.name,
            Fields::COMMAND => self.command,
            _ => self.service,
        }
    }

    /// The same with each of these places changed.
    pub(super) fn each(&self, change: impl Fn(Fields, usize) -> usize) -> Self {
        let [container, bare, dull, name, command, service] = Fields::ALL.map(|field| change(field, self.get(field)));
        Self { at: self.at, container, bare, dull, name, command, commands: self.commands, service }
    }
}

/// Some numbers of a [`Carry`], without the place of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields(u8);

impl Fields {
    pub(super) const NONE: Self = Self(0);
    pub(super) const CONTAINER: Self = Self(1);
    pub(super) const BARE: Self = Self(1 << 1);
    pub(super) const DULL: Self = Self(1 << 2);
    pub(super) const NAME: Self = Self(1 << 3);
    pub(super) const COMMAND: Self = Self(1 << 4);
    pub(super) const SERVICE: Self = Self(1 << 5);

    const ALL: [Self; 6] = [Self::CONTAINER, Self::BARE, Self::DULL, Self::NAME, Self::COMMAND, Self::SERVICE];

    /// These and others.
    pub(super) fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These without others.
    pub(super) fn but(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub(super) fn has(self, field: Self) -> bool {
        self.0 & field.0 != 0
    }

    /// Whether something is true of each.
    pub(super) fn all(self, mut is: impl FnMut(Self) -> bool) -> bool {
        self == Self::NONE || Self::ALL.iter().all(|field| !self.has(*field) || is(*field))
    }
}
