//! Facts of runs in a few characters.

use std::collections::BTreeMap;

use crate::brief;

/// The beginning of a text on one line, of at most so many characters.
pub(super) fn beginning(text: &str, characters: usize) -> String {
    // Enough for the beginning: texts may be long.
    let head = brief::head(text, characters * 8);
    let line = head.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(characters) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None if head.len() < text.len() => format!("{line}…"),
        None => line,
    }
}

/// The model with the most calls, and how many others there are.
pub(super) fn models(calls: &BTreeMap<String, u64>) -> String {
    match (calls.iter().max_by_key(|(_, calls)| **calls), calls.len()) {
        (None, _) => String::new(),
        (Some((most, _)), 1) => brief::model(most).to_owned(),
        (Some((most, _)), several) => format!("{} +{}", brief::model(most), several - 1),
    }
}

/// A share in percent.
pub(super) fn share(part: Option<u64>, of: Option<u64>) -> Option<String> {
    brief::percent(part, of).map(|percent| format!("{percent} %"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_in_whole_characters() {
        assert_eq!((beginning(" a\n b ", 9), beginning("äöü", 2)), ("a b".into(), "äö…".into()));
        assert_eq!(beginning(&format!("a{}b", " ".repeat(999)), 4), "a…");
    }
}
