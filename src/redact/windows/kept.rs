//! What was found in windows, by their names. Only places, ids of rules and numbers are kept: no text.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Weighter};

use super::found::Read;
use crate::naming::Name;
use crate::redact::finding::{Finding, Show};
use crate::redact::part::{Carry, READINGS, Wants};

/// What an entry takes at least, with its place in the cache, in bytes.
const ENTRY_BYTES: usize = 192;

/// No text that people write has more secrets: so many in a window, and one for so many bytes. To remember them costs more than to
/// search again.
const FOUND_AT_LEAST: usize = 16;
const BYTES_A_FOUND: usize = 64;

/// What was found in windows. The oldest unused entries are evicted.
pub(super) struct Kept {
    cache: Mutex<Cache<Name, Arc<Entry>, Bytes>>,
    /// The ids of all rules on texts, sorted.
    rules: Vec<Box<str>>,
}

enum Entry {
    /// By our rules.
    Rules {
        found: Box<[Place]>,
        carries: Option<Box<[Carry; READINGS]>>,
        wants: Wants,
        work: usize,
        marks: Box<[u32]>,
    },
    /// Our own secrets, and the work of the search.
    Own(Box<[Range<u32>]>, usize),
    /// No secret was found in streams; so much work was done.
    WithoutStreams(usize),
}

/// A finding without the id of its rule, of which it has the number.
struct Place {
    range: Range<u32>,
    rule: u16,
    reading: u8,
    show: Show,
}

/// Weighs entries in bytes.
#[derive(Clone)]
struct Bytes;

impl Weighter<Name, Arc<Entry>> for Bytes {
    fn weight(&self, _: &Name, entry: &Arc<Entry>) -> u64 {
        let more = match &**entry {
            Entry::Rules { found, carries, marks, .. } => {
                let carries = carries.as_deref().map_or(0, size_of_val);
                size_of_val(&**found) + size_of_val(&**marks) + carries
            }
            Entry::Own(found, _) => size_of_val(&**found),
            Entry::WithoutStreams(_) => 0,
        };
        (ENTRY_BYTES + more) as u64
    }
}

impl Kept {
    /// At most so many bytes are kept.
    pub(super) fn new<'r>(bytes: usize, rules: impl Iterator<Item = &'r str>) -> Self {
        let mut rules: Vec<Box<str>> = rules.map(Box::from).collect();
        rules.sort_unstable();
        rules.dedup();
        let items = bytes / (ENTRY_BYTES * 2);
        let (hashes, life) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { cache: Mutex::new(Cache::with(items, bytes as u64, Bytes, hashes, life)), rules }
    }

    /// From now on at most so many bytes are kept.
    pub(super) fn set_capacity(&self, bytes: usize) {
        self.cache.lock().set_capacity(bytes as u64);
    }

    /// `name`: `None` for what has no name, of which nothing is kept.
    fn get(&self, name: Option<&Name>) -> Option<Arc<Entry>> {
        self.cache.lock().get(name?).cloned()
    }

    fn keep(&self, name: Name, entry: Entry) {
        self.cache.lock().insert(name, Arc::new(entry));
    }

    pub(super) fn rules(&self, name: Option<&Name>) -> Option<Read<'_>> {
        let entry = self.get(name)?;
        let Entry::Rules { found: places, carries, wants, work, marks } = &*entry else { return None };
        let mut found: [Vec<Finding<'_>>; READINGS] = Default::default();
        for Place { range, rule, reading, show } in places {
            let range = range.start as usize..range.end as usize;
            let rule = self.rules.get(usize::from(*rule))?;
            found.get_mut(usize::from(*reading))?.push(Finding { range, rule, show: show.clone() });
        }
        let carries = carries.as_deref().copied().unwrap_or_default();
        let marks = marks.iter().map(|mark| *mark as usize).collect();
        Some(Read { found, carries, wants: *wants, work: *work, marks })
    }

    /// `core_bytes`: the length of the core of the window.
    pub(super) fn keep_rules(&self, name: Name, read: &Read<'_>, core_bytes: usize) {
        let found: usize = read.found.iter().map(Vec::len).sum();
        if found > FOUND_AT_LEAST + core_bytes / BYTES_A_FOUND {
            return;
        }
        let Some(found) = self.places(read) else { return };
        let Some(marks) = read.marks.iter().map(|mark| u32::try_from(*mark).ok()).collect() else { return };
        let carries = (read.carries != [Carry::default(); READINGS]).then(|| Box::new(read.carries));
        self.keep(name, Entry::Rules { found, carries, wants: read.wants, work: read.work, marks });
    }

    /// `None`: a finding has no known rule, or stands too far into the text.
    fn places(&self, read: &Read<'_>) -> Option<Box<[Place]>> {
        let mut places = Vec::with_capacity(read.found.iter().map(Vec::len).sum());
        // Neighbouring findings mostly have the same rule.
        let mut last = ("", 0);
        for (reading, found) in read.found.iter().enumerate() {
            for Finding { range, rule, show } in found {
                if last.0 != *rule {
                    let number = self.rules.binary_search_by(|known| (**known).cmp(rule)).ok()?;
                    last = (*rule, u16::try_from(number).ok()?);
                }
                let reading = u8::try_from(reading).ok()?;
                places.push(Place { range: short(range)?, rule: last.1, reading, show: show.clone() });
            }
        }
        Some(places.into())
    }

    /// How many windows are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.cache.lock().len()
    }

    pub(super) fn own(&self, name: Option<&Name>) -> Option<(Vec<Range<usize>>, usize)> {
        let entry = self.get(name)?;
        let Entry::Own(found, work) = &*entry else { return None };
        Some((found.iter().map(|range| range.start as usize..range.end as usize).collect(), *work))
    }

    pub(super) fn keep_own(&self, name: Name, found: &[Range<usize>], work: usize) {
        let Some(found) = found.iter().map(short).collect() else { return };
        self.keep(name, Entry::Own(found, work));
    }

    /// The bytes that were searched in the streams of a region, if no secret was found there.
    pub(super) fn without_streams(&self, name: Option<&Name>) -> Option<usize> {
        match *self.get(name)? {
            Entry::WithoutStreams(work) => Some(work),
            _ => None,
        }
    }

    pub(super) fn keep_without_streams(&self, name: Name, work: usize) {
        self.keep(name, Entry::WithoutStreams(work));
    }
}

fn short(range: &Range<usize>) -> Option<Range<u32>> {
    Some(u32::try_from(range.start).ok()?..u32::try_from(range.end).ok()?)
}
