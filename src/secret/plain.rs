//! Finds secrets that stand in a text as they are. They are searched for by their ends, which are short, so that a new secret
//! costs little; what stands in front of an end is then compared.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use super::needles::Needles;
use super::undone::Undone;

/// At most so many bytes at the end of a secret are searched for.
const END_MAX_BYTES: usize = 32;
/// At most so many bytes in front of the end can be lost in an escape (see [`Origin`]).
const LOST_MAX_BYTES: usize = 4;

/// Finds secrets as they are.
pub(super) struct Plain {
    ends: Needles,
    secrets: Vec<Box<[u8]>>,
    /// Of each end, the secrets with this end, or with the first part of it as their end. The longest secret is the first.
    of_ends: Vec<Vec<usize>>,
}

/// The text of which escapes were undone to get the searched one.
///
/// The bytes in front of a secret can make an escape of its beginning: `%0` and `abc` are a line end and `bc`. Then the beginning
/// is found here.
#[derive(Clone, Copy)]
pub(super) struct Origin<'t> {
    pub(super) text: &'t [u8],
    pub(super) undone: &'t Undone,
}

/// Where the end of a secret begins in it.
fn end_of(secret: &[u8]) -> usize {
    secret.len() - END_MAX_BYTES.min(secret.len() - LOST_MAX_BYTES.min(secret.len() / 4))
}

impl Plain {
    /// `None` when there are too many secrets to search for at once.
    pub(super) fn new<S: AsRef<[u8]>>(secrets: &[S]) -> Option<Self> {
        let secrets: Vec<Box<[u8]>> = secrets.iter().map(|secret| secret.as_ref().into()).collect();
        let mut by_end: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (at, secret) in secrets.iter().enumerate() {
            by_end.entry(&secret[end_of(secret)..]).or_default().push(at);
        }
        let (ends, of_ends): (Vec<&[u8]>, Vec<Vec<usize>>) = by_end
            .keys()
            .map(|end| {
                let begun = (1..=end.len()).filter_map(|length| by_end.get(&end[..length]));
                let mut all: Vec<usize> = begun.flatten().copied().collect();
                all.sort_by_key(|at| Reverse(secrets[*at].len()));
                (*end, all)
            })
            .unzip();
        let ends = Needles::new(&ends)?;
        Some(Self { ends, secrets, of_ends })
    }

    /// The ranges of the secrets in a text, in no order.
    pub(super) fn find(&self, text: &[u8], origin: Option<Origin<'_>>, found: &mut dyn FnMut(Range<usize>)) {
        let mut at = 0;
        while let Some((end, range)) = self.ends.next(text, at) {
            let secrets = self.of_ends[end].iter().map(|at| &*self.secrets[*at]);
            match secrets.into_iter().find_map(|secret| whole(text, secret, range.start, origin)) {
                Some(secret) => {
                    at = secret.end;
                    found(secret);
                }
                None => at = range.start + 1,
            }
        }
    }
}

/// The range of a secret whose end stands at `end`, if its beginning stands in front of it.
fn whole(text: &[u8], secret: &[u8], end: usize, origin: Option<Origin<'_>>) -> Option<Range<usize>> {
    let (head, tail) = secret.split_at(end_of(secret));
    let start = if text[..end].ends_with(head) { end - head.len() } else { origin?.start(text, head, end)? };
    Some(start..end + tail.len())
}

impl Origin<'_> {
    /// Where the escape stands that took the first bytes of `head`, the rest of which ends at `end`.
    fn start(self, text: &[u8], head: &[u8], end: usize) -> Option<usize> {
        (1..=head.len().min(LOST_MAX_BYTES)).find_map(|lost| {
            let (lost, rest) = head.split_at(lost);
            let escape = text[..end].strip_suffix(rest)?.len().checked_sub(1)?;
            let stood = self.undone.place(escape);
            (stood.len() > lost.len() && self.text[stood].ends_with(lost)).then_some(escape)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_of_a_secret_is_found(secrets in prop::collection::vec("[ab]{4,50}", 1..40), text in "[abc]{0,200}") {
            let mut found = vec![false; text.len()];
            Plain::new(&secrets).unwrap().find(text.as_bytes(), None, &mut |range| found[range].fill(true));
            let expected = secrets.iter().find_map(|secret| Some((text.find(secret.as_str())?, secret)));
            if let Some((start, secret)) = expected {
                prop_assert!(found[start..start + secret.len()].iter().any(|found| *found), "{secret} {text}");
            }
            for range in found.chunk_by(|a, b| a == b).filter(|run| run[0]) {
                prop_assert!(secrets.iter().any(|secret| secret.len() <= range.len()));
            }
        }
    }

    #[test]
    fn the_longest_secret_with_an_end_is_found() {
        let secrets = ["bcdefghijk", "abcdefghijk", "xyzdefghi"];
        let of = |text: &str| {
            let mut found = Vec::new();
            Plain::new(&secrets)
                .unwrap()
                .find(text.as_bytes(), None, &mut |range| found.push(text[range].to_owned()));
            found
        };
        assert_eq!(of("- abcdefghijk -"), ["abcdefghijk"]);
        assert_eq!(of("- bcdefghijk -"), ["bcdefghijk"]);
        assert_eq!(of("xyzdefghijk"), ["xyzdefghi"]);
        assert_eq!(of("cdefghijk"), [""; 0]);
    }
}
