//! Assigns pieces of a streamed answer to tool calls. Providers that speak OpenAI's API number and name calls
//! differently: indexes repeat or are missing, and ids come once, with each piece, or never.

use super::answer::Answer;

/// The most calls that are distinguished in one answer.
const CALLS_MAX: usize = 256;

/// The tool calls of one answer.
#[derive(Default)]
pub(super) struct Calls {
    known: Vec<Known>,
}

struct Known {
    choice: u64,
    index: Option<u64>,
    id: String,
    key: u64,
}

/// A piece of a tool call. A missing text is empty.
pub(super) struct Mention<'a> {
    /// The choice that it belongs to.
    pub(super) choice: u64,
    pub(super) index: Option<u64>,
    pub(super) id: &'a str,
    pub(super) name: &'a str,
}

impl Calls {
    /// The key of the call that this piece belongs to.
    pub(super) fn key(&mut self, of: &Mention<'_>, answer: &Answer) -> u64 {
        let first = self.known.len() as u64;
        let mut known = self.known.iter_mut().rev().filter(|known| known.choice == of.choice);
        let found = match of.id {
            "" => None,
            id => known.find(|known| known.id == id).map(|known| known.key),
        };
        if let Some(key) = found {
            return key;
        }
        let at_place = |known: &&mut Known| of.index.is_none() || known.index.is_none() || known.index == of.index;
        let mut known = self.known.iter_mut().rev().filter(|known| known.choice == of.choice);
        if let Some(known) = known.find(at_place)
            && goes_on(known, of, answer)
        {
            if known.id.is_empty() {
                of.id.clone_into(&mut known.id);
            }
            return known.key;
        }
        let key = of.choice << 16 | first;
        if self.known.len() < CALLS_MAX {
            self.known.push(Known { choice: of.choice, index: of.index, id: of.id.to_owned(), key });
        }
        key
    }
}

/// Whether a piece with the index of a known call continues it. Otherwise it begins another.
fn goes_on(known: &Known, of: &Mention<'_>, answer: &Answer) -> bool {
    if of.name.is_empty() {
        return true;
    }
    if !of.id.is_empty() && !known.id.is_empty() {
        return false;
    }
    let (name, arguments) = answer.call(known.key);
    let repeated = name == of.name && serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_err();
    name.is_empty() || arguments.is_empty() || repeated
}

#[cfg(test)]
mod tests {
    use super::super::answer::Kind;
    use super::*;

    /// The calls that these pieces make. Each piece: index, id, name, arguments.
    fn calls(pieces: &[(Option<u64>, &str, &str, &str)]) -> String {
        let (mut calls, mut answer) = (Calls::default(), Answer::default());
        for (index, id, name, arguments) in pieces {
            let key = calls.key(&Mention { choice: 0, index: *index, id, name }, &answer);
            answer.tool_piece(key, name);
            answer.add(Kind::Tool, key, arguments);
        }
        answer.text().replace("[tool call] ", "").replace("\n\n", " ")
    }

    #[test]
    fn calls_are_distinguished_however_they_are_numbered() {
        for (what, pieces, expected) in [
            ("repeated index", vec![(Some(0), "a", "f", "{}"), (Some(0), "b", "g", "[1]")], "f({}) g([1])"),
            ("no index", vec![(None, "a", "f", "{"), (None, "", "", "}"), (None, "b", "g", "1")], "f({}) g(1)"),
            ("neither index nor id", vec![(None, "", "f", "{}"), (None, "", "f", "{}")], "f({}) f({})"),
            ("no id", vec![(Some(0), "", "f", "{}"), (Some(0), "", "g", "{}")], "f({}) g({})"),
            (
                "pieces by turns",
                vec![
                    (Some(0), "a", "f", ""),
                    (Some(1), "b", "g", ""),
                    (Some(0), "", "", "1"),
                    (Some(1), "", "", "2"),
                ],
                "f(1) g(2)",
            ),
            (
                "the id with each piece",
                vec![(None, "a", "f", "{"), (None, "b", "g", "2"), (None, "a", "", "}")],
                "f({}) g(2)",
            ),
            ("an id of its own for each piece", vec![(Some(0), "a", "f", "{"), (Some(0), "b", "", "}")], "f({})"),
            ("the name in pieces", vec![(Some(0), "a", "get_", ""), (Some(0), "", "time", "{}")], "get_time({})"),
            ("the name with each piece", vec![(Some(0), "a", "f", "{"), (Some(0), "a", "f", "}")], "f({})"),
            ("the name at the end", vec![(Some(0), "a", "", "{}"), (Some(0), "", "f", "")], "f({})"),
            ("the id at the end", vec![(Some(0), "", "f", "{"), (Some(0), "a", "", "}")], "f({})"),
        ] {
            assert_eq!(calls(&pieces), expected, "{what}");
        }
    }

    #[test]
    fn remembered_calls_are_bounded() {
        let (mut calls, answer) = (Calls::default(), Answer::default());
        for n in 0..1000 {
            calls.key(&Mention { choice: 0, index: Some(n), id: "", name: "f" }, &answer);
        }
        assert_eq!(calls.known.len(), CALLS_MAX);
    }
}
