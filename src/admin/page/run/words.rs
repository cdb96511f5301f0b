//! Facts of runs in a few characters.

use std::collections::BTreeMap;

use crate::brief;

/// The beginning of a text on one line, of at most so many characters.
pub(super) fn beginning(text: &str, characters: usize) -> String {
    // Enough for the beginning: texts may be long.
    let mut end = text.len().min(characters * 8);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let line = text[..end].split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(characters) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None if end < text.len() => format!("{line}…"),
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

/// Tokens in and out: `12.3k → 512`. Nothing if neither is known.
pub(super) fn tokens(input: Option<u64>, output: Option<u64>) -> String {
    let known = |tokens: Option<u64>| tokens.map_or_else(|| "?".to_owned(), brief::tokens);
    if input.or(output).is_none() { String::new() } else { format!("{} → {}", known(input), known(output)) }
}

/// A share in percent.
pub(super) fn share(part: Option<u64>, of: Option<u64>) -> Option<String> {
    let (part, of) = (part?, of.filter(|of| *of > 0)?);
    Some(format!("{} %", part.min(of) * 100 / of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_in_whole_characters() {
        assert_eq!((beginning(" a\n b ", 9), beginning("äöü", 2)), ("a b".into(), "äö…".into()));
        assert_eq!(beginning(&format!("a{}b", " ".repeat(999)), 4), "a…");
    }

    #[test]
    fn what_is_not_known_is_absent() {
        assert_eq!((tokens(None, None), tokens(Some(12_345), None)), (String::new(), "12.3k → ?".into()));
        assert_eq!((share(Some(1), None), share(Some(3), Some(4))), (None, Some("75 %".into())));
    }
}
