//! A text in three readings: as it stands, without the escapes of JSON, and without those of markup.

use std::ops::Range;

use super::escapes::View;
use super::finding::{Ends, OutOfTime};
use super::part::{Carry, Limits, Part, READINGS, Searched, Wants};
use super::redactor::Redactor;
use super::trail::{Beside, Follower, Known, Steps};

/// If there are fewer bytes between two escapes, most steps look at one, and following others costs more than it saves.
const GAP_MIN_BYTES: usize = 24;

/// A text as it stands, and without escapes of JSON and of markup, if it has any.
pub(super) struct Texts<'w> {
    pub(super) plain: &'w str,
    pub(super) json: Option<View<'w>>,
    pub(super) markup: Option<View<'w>>,
}

/// What our rules find in a part of a text, in each reading. What a reading found before is mostly left out. All places are those in
/// the text as it stands.
///
/// # Errors
/// When the search is not done within `limits`, which are those of all readings together.
pub(super) fn search<'a>(
    redactor: &'a Redactor,
    texts: &Texts<'_>,
    part: Range<usize>,
    carries: &[Carry; READINGS],
    ends: Ends,
    limits: Limits,
) -> Result<[Searched<'a>; READINGS], OutOfTime> {
    let Redactor { scanner, names, .. } = redactor;
    let [of_text, of_json, of_markup] = *carries;
    let of = |range, carry| Part { range, carry };
    let follows = |view: &View<'_>| view.gap_bytes() >= GAP_MIN_BYTES;
    let mut steps = Steps::default();
    let note = texts.json.iter().chain(&texts.markup).any(follows).then_some(&mut steps);
    let plain = scanner.find_in(names, texts.plain, of(part.clone(), of_text), ends, limits, Beside::of(note))?;
    let nothing = || Searched { found: Vec::new(), carry: Carry::default(), wants: Wants::Nothing, work: 0 };
    let ends_here = |searched: &Searched<'_>| limits.enough.is_some_and(|enough| searched.wants >= enough);
    if ends_here(&plain) {
        return Ok([plain, nothing(), nothing()]);
    }
    let without = |view: Option<&View<'_>>, carry: Carry, limits: Limits| match view {
        Some(view) => {
            let part = view.here(part.start)..view.here(part.end);
            let mut follower = follows(view).then(|| Follower::of(&steps, view));
            let beside = Beside::Follow(follower.as_mut(), Some(Known::of(&plain.found, view)));
            let mut searched = scanner.find_in(names, view.text, of(part, carry), ends, limits, beside)?;
            view.cast_back(&mut searched.found);
            Ok(searched)
        }
        // Without escapes it is the same text, and a search that began alike finds the same.
        None if carry == of_text => Ok(Searched { carry: plain.carry, ..nothing() }),
        None => scanner.find_in(names, texts.plain, of(part.clone(), carry), ends, limits, Beside::Nothing),
    };
    let mut left = Limits { work: limits.work.saturating_sub(plain.work), ..limits };
    let json = without(texts.json.as_ref(), of_json, left)?;
    if ends_here(&json) {
        return Ok([plain, json, nothing()]);
    }
    left.work = left.work.saturating_sub(json.work);
    let markup = without(texts.markup.as_ref(), of_markup, left)?;
    Ok([plain, json, markup])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::deadline::Deadline;
    use crate::redact::escapes::Escapes;
    use crate::redact::testing::redactor;
    use crate::redact::tests::hostile::{HOSTILE, HOSTILE_TO_FORMATS, HOSTILE_TO_GRAMMARS, SIDE_BY_SIDE};

    /// What is known of the places that a search has not passed.
    fn ahead(carry: &Carry) -> Carry {
        let commands = if carry.command > carry.at { carry.commands } else { 0 };
        Carry { commands, ..carry.each(|_, place| if place > carry.at { place } else { 0 }) }
    }

    fn find<'t>(text: &'t str, part: Range<usize>, ends: Ends, beside: Beside<'_, 't, 'static>) -> Searched<'static> {
        let limits = Limits::of(Deadline::after(std::time::Duration::from_secs(60)));
        let (redactor, part) = (redactor(), Part { range: part, carry: Carry::default() });
        redactor.scanner.find_in(&redactor.names, text, part, ends, limits, beside).unwrap()
    }

    /// Searches a text without its escapes, with the steps of the search of the text and without. Returns how many steps were skipped.
    fn compare(text: &str, escapes: Escapes, part: Range<usize>, ends: Ends) -> usize {
        let Some(shadow) = escapes.undo(text) else { return 0 };
        let view = shadow.view();
        let mut steps = Steps::default();
        let plain = find(text, part.clone(), ends, Beside::Note(&mut steps));
        let here = view.here(part.start)..view.here(part.end);
        let mut follower = Follower::of(&steps, &view);
        let mut with = find(
            view.text,
            here.clone(),
            ends,
            Beside::Follow(Some(&mut follower), Some(Known::of(&plain.found, &view))),
        );
        let skipped = follower.skipped;
        let mut without = find(view.text, here, ends, Beside::Nothing);
        view.cast_back(&mut with.found);
        view.cast_back(&mut without.found);
        for finding in &without.found {
            assert!(
                plain.found.contains(finding) || with.found.contains(finding),
                "{finding:?} is missing in {text:?}"
            );
        }
        for finding in &with.found {
            assert!(without.found.contains(finding), "{finding:?} is too much in {text:?}");
        }
        assert_eq!(ahead(&with.carry), ahead(&without.carry), "{text:?}");
        assert_eq!(plain.wants.max(with.wants), plain.wants.max(without.wants), "{text:?}");
        skipped
    }

    #[test]
    fn only_steps_beside_escapes_are_taken_again() {
        let text = "the key: a, the token b, password=c and ".repeat(20);
        assert!(
            compare(&format!("{text}&quot;{text}\\u0074oken=d"), Escapes::Markup, 0..2 * text.len(), Ends::default())
                > 100
        );
    }

    #[test]
    fn steps_that_look_at_nothing_are_not_taken_again() {
        // Several words in one name, which is examined once; and a word without a value behind `login`.
        let names = "apiKeyApiKeySecretKey=x apiKeySecretKeyApiKeyToken ";
        let text = format!("{names}&quot; ").repeat(100);
        let hits = text.matches("Key").count();
        let skipped = compare(&text, Escapes::Markup, 0..text.len(), Ends::default());
        assert!(skipped * 2 > hits, "{skipped} of {hits}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn a_search_without_the_steps_that_were_taken_finds_the_same(
            pieces in prop::collection::vec(prop_oneof![
                6 => prop::sample::select([HOSTILE, HOSTILE_TO_FORMATS, HOSTILE_TO_GRAMMARS, SIDE_BY_SIDE].concat()),
                2 => prop::sample::select(vec!["&quot;", "\\u0074", "&amp;", "\\u0020", "&#34;", "aB3dE6gH9", " login ada ", "\n", " "]),
            ], 1..60),
            cuts in (0_usize..2000, 0_usize..2000),
            cut_end in any::<bool>(),
        ) {
            let text = pieces.concat();
            let boundary = |at: usize| (at % (text.len() + 1)..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap();
            let (one, other) = (boundary(cuts.0), boundary(cuts.1));
            let ends = Ends { cut_start: false, cut_end };
            for escapes in [Escapes::Json, Escapes::Markup] {
                compare(&text, escapes, 0..text.len(), ends);
                compare(&text, escapes, one.min(other)..one.max(other), ends);
            }
        }
    }
}
