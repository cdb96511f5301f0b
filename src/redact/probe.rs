//! The time of the operator's own patterns, measured once on short texts. So a slow pattern is reported at the start, before it
//! causes bodies to be withheld.

use std::fmt;
use std::time::Duration;

use regex::Regex;

use crate::deadline::worked;

/// A pattern that takes longer per MiB of text is slow. All our own rules together take about 4 ms for prose.
const SLOW: Duration = Duration::from_millis(50);
/// The length of each text that is searched, in bytes.
const PROBE_BYTES: usize = 8 << 10;
/// Number of measurements. The shortest time counts, because a busy machine only makes it longer.
const REPEATS: u32 = 3;

/// An entry of `redact.patterns` that takes long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowPattern {
    /// Its name.
    pub name: String,
    /// Processor time for each MiB of text.
    pub per_mib: Duration,
}

impl fmt::Display for SlowPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, ms) = (&self.name, self.per_mib.as_millis());
        write!(
            f,
            "redact.patterns.{name} takes {ms} ms for a MiB of text: bodies that are not searched within redact.budget_ms are \
             withheld. Begin it with fixed characters and bound its repetitions, as in `acme_[0-9a-f]{{32}}`"
        )
    }
}

/// The slow ones of these patterns.
pub fn slow_patterns(patterns: &[(String, Regex)]) -> Vec<SlowPattern> {
    let slow = |(name, regex): &(String, Regex)| {
        let per_mib = per_mib(regex);
        (per_mib > SLOW).then(|| SlowPattern { name: name.clone(), per_mib })
    };
    patterns.iter().filter_map(slow).collect()
}

/// The time for the text that takes longest.
fn per_mib(regex: &Regex) -> Duration {
    probes(regex.as_str()).iter().map(|text| per_mib_of(regex, text)).max().unwrap_or_default()
}

fn per_mib_of(regex: &Regex, text: &str) -> Duration {
    let once = || {
        let began = worked();
        let _ = regex.find_iter(text).count();
        worked().saturating_sub(began)
    };
    let whole = |part: Duration| part * (1 << 20) / u32::try_from(text.len().max(1)).unwrap_or(u32::MAX);
    let first = whole(once());
    // Repeating a very slow one would delay the start.
    if first > SLOW * 10 { first } else { (1..REPEATS).map(|_| whole(once())).fold(first, Duration::min) }
}

/// Prose, runs of one character, the characters of the pattern itself, and noise of letters and of the pattern's characters. Near
/// matches take longest, and in noise the search cannot reuse its states.
fn probes(pattern: &str) -> [String; 6] {
    const PROSE: &str = "the key of the cache holds the user id, not the name. ";
    let own: Vec<char> = pattern.chars().filter(|char| char.is_alphanumeric() || *char == '_').collect();
    let letters: Vec<char> = ('a'..='z').chain([' ', ' ', ' ']).collect();
    let own_text: String = own.iter().collect();
    let each = |part: &str| part.repeat(PROBE_BYTES / part.len().max(1));
    [each(PROSE), each(&own_text), each("a"), each("0123456789 "), noise(&letters), noise(&own)]
}

/// Characters of an alphabet in a pseudo-random order, which is the same each time.
fn noise(alphabet: &[char]) -> String {
    let mut state = 0x2545_f491_u32;
    let next = || {
        (state, _) = state.overflowing_mul(1_664_525);
        (state, _) = state.overflowing_add(1_013_904_223);
        alphabet.get((state >> 16) as usize % alphabet.len().max(1)).copied()
    };
    std::iter::repeat_with(next).take(PROBE_BYTES).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_pattern_is_named_with_its_time_and_a_plain_one_is_faster() {
        let patterns = [("plain", "acme_[0-9a-f]{32}"), ("slow", "(?:[a-z ]{0,20}[aeiou]){20}[0-9]")]
            .map(|(name, regex)| (name.to_owned(), Regex::new(regex).unwrap()));
        let slow = slow_patterns(&patterns);
        let slow = slow.iter().find(|pattern| pattern.name == "slow").unwrap();
        assert!(slow.per_mib > SLOW && slow.to_string().contains("redact.patterns.slow takes "), "{slow}");
        assert!(per_mib(&patterns[0].1) < slow.per_mib);
    }
}
