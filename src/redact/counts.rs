//! How often each rule found something.

use std::collections::HashMap;

/// So many rules are found by comparing each.
const COMPARED: usize = 16;

/// The rules that found something, in the order in which they first did, and how often each did.
#[derive(Clone, Default)]
pub(crate) struct Counts<'a> {
    rules: Vec<(&'a str, u32)>,
    /// Where each rule is, if there are more than [`COMPARED`].
    places: HashMap<&'a str, usize>,
    /// Where the last rule is: often it finds the next secret as well.
    last: usize,
}

impl<'a> Counts<'a> {
    /// Counts one more.
    pub(super) fn add(&mut self, rule: &'a str) {
        let is = |known: &&(&str, u32)| known.0 == rule;
        if self.rules.get(self.last).is_none_or(|known| !is(&known)) {
            self.last = self.place(rule);
        }
        match self.rules.get_mut(self.last) {
            Some((_, count)) => *count += 1,
            None => self.rules.push((rule, 1)),
        }
    }

    /// Where the rule is, or will be.
    fn place(&mut self, rule: &'a str) -> usize {
        let new = self.rules.len();
        if new < COMPARED {
            return self.rules.iter().position(|(known, _)| *known == rule).unwrap_or(new);
        }
        if self.places.is_empty() {
            self.places.extend(self.rules.iter().enumerate().map(|(at, (known, _))| (*known, at)));
        }
        *self.places.entry(rule).or_insert(new)
    }

    /// The rules with their counts.
    pub(super) fn all(&self) -> &[(&'a str, u32)] {
        &self.rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_counted_even_if_there_are_many() {
        let rules: Vec<String> = (0..100).map(|n| format!("rule.{n}")).collect();
        let mut counts = Counts::default();
        (0..3).for_each(|_| rules.iter().for_each(|rule| counts.add(rule)));
        counts.add(&rules[7]);
        counts.add(&rules[7]);
        let expected: Vec<_> =
            rules.iter().map(|rule| (rule.as_str(), if *rule == rules[7] { 5 } else { 3 })).collect();
        assert_eq!(counts.all(), expected);
    }
}
