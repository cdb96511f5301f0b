//! What is wrong with a query.

use super::keys;
use super::word::Word;

/// A query that cannot be read. The message names the word and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryError(String);

/// How alike an unknown key must be to a known one to be taken for it: 1 is equal.
const ALIKE: f64 = 0.7;

impl QueryError {
    pub(super) fn too_long(of: &str, count: usize, most: usize) -> Self {
        Self(format!("the filter has {count} {of}; at most {most} are read"))
    }

    pub(super) fn unknown_key(word: &Word) -> Self {
        let likeness = |known: &str| strsim::jaro_winkler(known, &word.key);
        let best = keys::all().into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let hint = best.filter(|known| likeness(known) > ALIKE).map(|known| format!(" (did you mean `{known}`?)"));
        Self(format!(
            "unknown key `{}` in `{}`{}; the keys are {}. To search for the text, put it in quotes",
            word.key,
            word.text,
            hint.unwrap_or_default(),
            keys::all().join(", ")
        ))
    }

    pub(super) fn bad_value(word: &Word, expected: &str) -> Self {
        Self(format!("`{}`: {expected}", word.text))
    }

    pub(super) fn no_value(text: &str) -> Self {
        Self(format!("`{text}`: expected a value"))
    }

    pub(super) fn open_quote(text: &str) -> Self {
        Self(format!("`{text}`: the quote is not closed"))
    }

    pub(super) fn twice(word: &Word) -> Self {
        Self(format!("`{}`: another {} was given before", word.text, word.key))
    }

    pub(super) fn not_negatable(word: &Word) -> Self {
        Self(format!("`{}`: this cannot be negated", word.text))
    }
}
