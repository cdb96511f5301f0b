//! A long text without its escapes, for window after window. The text of a window is also that of its neighbours, but its escapes
//! are undone once.

use std::ops::Range;

use crate::redact::escapes::{Escapes, Shadow, View};
use crate::secret::buffers;

/// Behind so many bytes, the copy begins anew at the next window, so that it takes little memory.
const COPY_MAX_BYTES: usize = 768 << 10;
/// Its buffer has so many bytes, which is enough for the last window as well.
const BUFFER_BYTES: usize = 1 << 20;

/// A text without escapes of one kind, from one place to another.
pub(super) struct Undoing<'t> {
    text: &'t str,
    escapes: Escapes,
    shadow: Shadow,
    /// Where the copy begins in the text.
    from: usize,
    /// Escapes were undone up to here.
    until: usize,
    /// The copy of a window whose bounds cut an escape.
    alone: Option<Shadow>,
}

impl<'t> Undoing<'t> {
    pub(super) fn of(text: &'t str, escapes: Escapes) -> Self {
        Self { text, escapes, shadow: Shadow::default(), from: 0, until: 0, alone: None }
    }

    /// The text of a window without its escapes, as if nothing stood around it. `None` when it has none. Windows are asked in the
    /// order of their starts.
    pub(super) fn window(&mut self, window: Range<usize>) -> Option<View<'_>> {
        let is_long = !self.shadow.is_empty() && window.start >= self.from + COPY_MAX_BYTES;
        if is_long || !(self.from..=self.until).contains(&window.start) {
            self.shadow = Shadow::default();
            (self.from, self.until) = (window.start, window.start);
        }
        self.extend(window.clone());
        if self.shadow.is_empty() {
            return None;
        }
        let (start, end) = (window.start - self.from, window.end - self.from);
        if self.shadow.cuts(start) || self.shadow.cuts(end) {
            self.alone = self.escapes.undo(&self.text[window]);
            return self.alone.as_ref().map(Shadow::view);
        }
        self.shadow.part(start..end)
    }

    /// Undoes the escapes up to the end of a window.
    fn extend(&mut self, window: Range<usize>) {
        if window.end <= self.until {
            return;
        }
        let end = self.behind_backslashes(window.end);
        while self.until < end
            && let Some((stood, character)) = self.escapes.next(self.text, self.until..end)
        {
            if self.shadow.is_empty() {
                // Nothing in front of this window has escapes.
                self.from = window.start;
                self.until = window.start;
                self.shadow.text = buffers::take_text(BUFFER_BYTES.min(self.text.len() - self.from));
            }
            let before = &self.text[self.until..stood.start];
            self.until = stood.end;
            self.shadow.put(before, stood.start - self.from..stood.end - self.from, character);
        }
        if self.until < end {
            if !self.shadow.is_empty() {
                self.shadow.text.push_str(&self.text[self.until..end]);
            }
            self.until = end;
        }
    }

    /// `at`, or a place behind it that is not between backslashes and what they escape.
    fn behind_backslashes(&self, at: usize) -> usize {
        let rest = &self.text.as_bytes()[at..];
        let slashes = match self.text.as_bytes()[..at].last() {
            Some(b'\\') => rest.iter().take_while(|byte| **byte == b'\\').count(),
            _ => return at,
        };
        // The first character behind them is theirs.
        let behind = (at + slashes + 1).min(self.text.len());
        (behind..self.text.len()).find(|at| self.text.is_char_boundary(*at)).unwrap_or(self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::redact::finding::{Finding, Show};

    proptest! {
        #[test]
        fn a_window_has_the_text_that_it_has_alone(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "a", "é", "\\", "\\u0041", "u0041", "\\u00", "&", "&quot;", "amp;", "&#34;", "&am", "x y", "&lt;p&gt;",
            ]), 1..80),
            cuts in prop::collection::vec((0_usize..400, 0_usize..120), 1..12),
        ) {
            let text = pieces.concat();
            let boundary = |at: usize| (at.min(text.len())..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap();
            let mut windows: Vec<_> = cuts.iter().map(|(at, bytes)| boundary(*at)..boundary(at + bytes)).collect();
            windows.sort_by_key(|window| window.start);
            for escapes in [Escapes::Json, Escapes::Markup] {
                let mut undoing = Undoing::of(&text, escapes);
                for window in &windows {
                    let alone = escapes.undo(&text[window.clone()]);
                    let found = undoing.window(window.clone());
                    prop_assert_eq!(found.is_some(), alone.is_some());
                    let (Some(found), Some(alone)) = (found, alone) else { continue };
                    let alone = alone.view();
                    prop_assert_eq!(found.text, alone.text);
                    for at in 0..=window.len() {
                        prop_assert_eq!(found.here(at), alone.here(at));
                    }
                    for at in 0..=found.text.len() {
                        for end in at..=found.text.len().min(at + 3) {
                            let at = || [Finding { range: at..end, rule: "", show: Show::Token }];
                            let (mut of_found, mut of_alone) = (at(), at());
                            found.cast_back(&mut of_found);
                            alone.cast_back(&mut of_alone);
                            prop_assert_eq!(of_found, of_alone);
                        }
                    }
                }
            }
        }
    }
}
