//! Splits a query into its words.

use super::error::QueryError;
use super::keys;
use super::word::Word;
use crate::store::Relation;

/// What stands between a key and its value. Longer ones come first.
const OPERATORS: [(&str, Option<Relation>); 6] = [
    (":", None),
    (">=", Some(Relation::AtLeast)),
    ("<=", Some(Relation::AtMost)),
    (">", Some(Relation::Above)),
    ("<", Some(Relation::Below)),
    ("=", Some(Relation::Equal)),
];

/// The words of a query, without empty ones.
///
/// # Errors
/// When a quote is not closed, or a value is missing.
pub(super) fn split(text: &str) -> Result<Vec<Word>, QueryError> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = next(rest)?;
        words.extend(word);
        rest = after.trim_start();
    }
    Ok(words)
}

/// The first word, and what follows it. An empty pair of quotes is no word.
fn next(text: &str) -> Result<(Option<Word>, &str), QueryError> {
    let negated = text.starts_with('-') && text.chars().nth(1).is_some_and(|after| !after.is_whitespace());
    let body = if negated { &text[1..] } else { text };
    let (key, relation, rest) = key(body).unwrap_or(("", None, body));
    let (value, after) = value(rest, text)?;
    let written = text[..text.len() - after.len()].to_owned();
    if value.is_empty() {
        return if key.is_empty() { Ok((None, after)) } else { Err(QueryError::no_value(&written)) };
    }
    Ok((Some(Word { text: written, negated, key: key.to_ascii_lowercase(), relation, value }), after))
}

/// The key, the relation and the rest of a word that has a key. A `=` counts only behind a figure: texts have it often.
pub(super) fn key(text: &str) -> Option<(&str, Option<Relation>, &str)> {
    let (key, rest) = text.split_at(text.find(|c: char| !c.is_ascii_alphabetic())?);
    let (sign, relation) = OPERATORS.into_iter().find(|(sign, _)| rest.starts_with(sign))?;
    let counts = !key.is_empty() && (relation != Some(Relation::Equal) || keys::is_figure(key));
    counts.then(|| (key, relation, &rest[sign.len()..]))
}

/// A value, in quotes or up to the next white space, and what follows it. `word` is the whole, for the error.
fn value<'a>(text: &'a str, word: &str) -> Result<(String, &'a str), QueryError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return Ok((value, &quoted[at + 1..])),
            c => {
                // A backslash before any other character is itself.
                if escaped && !matches!(c, '"' | '\\') {
                    value.push('\\');
                }
                value.push(c);
                escaped = false;
            }
        }
    }
    Err(QueryError::open_quote(word))
}
