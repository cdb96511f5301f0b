//! Contents in which nothing was found, so that one that comes again is not searched again. Long texts are remembered window by
//! window instead ([`windows`](super::windows)).

use quick_cache::sync::Cache;

use super::finding::Ends;
use crate::naming::{Name, Namer};

/// For each so many bytes that may be remembered, one content is. It takes some sixty.
const BYTES_A_CONTENT: usize = 1 << 10;
/// To search a shorter content costs less than to look for its name, in bytes.
const FROM_BYTES: usize = 512;

/// What a content was searched as.
#[derive(Clone, Copy)]
pub(super) enum SearchedAs {
    Text(Ends),
    /// Bytes that are not text, and whether they were cut.
    Bytes(bool),
}

/// The names of contents in which nothing was found.
pub(super) struct CleanContents {
    namer: Namer,
    known: Cache<Name, ()>,
}

impl CleanContents {
    /// At most so many bytes are used.
    pub(super) fn new(bytes: usize) -> Self {
        Self { namer: Namer::new(), known: Cache::new(bytes / BYTES_A_CONTENT) }
    }

    /// From now on at most so many bytes are used.
    pub(super) fn remember_at_most(&self, bytes: usize) {
        self.known.set_capacity((bytes / BYTES_A_CONTENT) as u64);
    }

    /// The name of a content, of how it is searched, and of the version of our own secrets. `None`: it is too short.
    pub(super) fn name(&self, content: &[u8], searched_as: SearchedAs, version: u64) -> Option<Name> {
        if content.len() < FROM_BYTES || self.known.capacity() == 0 {
            return None;
        }
        let kind = match searched_as {
            SearchedAs::Text(ends) => u8::from(ends.cut_start) | u8::from(ends.cut_end) << 1,
            SearchedAs::Bytes(cut) => 4 | u8::from(cut) << 1,
        };
        let of_content = self.namer.name(content)?;
        self.namer.name(&[&of_content[..], &[kind], &version.to_le_bytes()].concat())
    }

    /// Whether nothing was found in the content of this name.
    pub(super) fn has(&self, name: Option<&Name>) -> bool {
        name.is_some_and(|name| self.known.get(name).is_some())
    }

    /// Remembers that nothing was found in it.
    pub(super) fn add(&self, name: Option<Name>) {
        name.into_iter().for_each(|name| self.known.insert(name, ()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::redact::testing::new_redactor;
    use crate::redact::tests::CANARIES;
    use crate::redact::{Redactor, work};
    use crate::secret::registry as own;

    /// What is shown of a content, in a call of the agent with this session.
    fn shown(redactor: &Redactor, session: &str, content: &[u8], ends: Ends) -> (Vec<u8>, u64) {
        let mut masking = redactor.masking("api.test", 443, "/");
        masking.recognise([("x-claude-code-session-id", session.as_bytes())].into_iter());
        let shown = match str::from_utf8(content) {
            Ok(text) => masking.text(text, ends).unwrap().map(String::into_bytes),
            Err(_) => masking.bytes(content, ends.cut_end),
        };
        (shown.unwrap_or_else(|| content.to_owned()), masking.total())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn a_content_that_comes_again_is_shown_as_if_it_came_for_the_first_time(
            calls in prop::collection::vec((0_usize..6, 0_usize..3, any::<[bool; 2]>()), 1..20),
        ) {
            let sessions = ["0193a3c0-7d00-7000-8000-00000000000a", "0193a3c0-7d00-7000-8000-00000000000b", "none"];
            let prose = "so many words about a token of the key ".repeat(20);
            let contents = [
                prose.clone().into_bytes(),
                format!("{prose}{}", CANARIES[1]).into_bytes(),
                format!("{prose}\"session_id\":\"{}\"", sessions[0]).into_bytes(),
                [prose.as_bytes(), b"\xFF\xFE", CANARIES[3].as_bytes(), b"\xFF"].concat(),
                [&[0xFF, 0, 1, 0xFE].repeat(300)[..], CANARIES[3].as_bytes(), b"\xFF"].concat(),
                [0xFF, 0, 1, 0xFE].repeat(300),
            ];
            let remembering = new_redactor();
            for (content, session, [cut_start, cut_end]) in calls {
                let fresh = new_redactor();
                let ends = Ends { cut_start, cut_end };
                // The ids of earlier calls are remembered elsewhere.
                remembering.ids_seen.clear();
                let of = |redactor| shown(redactor, sessions[session], &contents[content], ends);
                prop_assert_eq!(of(&remembering), of(&fresh));
            }
        }
    }

    #[test]
    fn nothing_is_searched_twice_unless_our_own_secrets_change() {
        const SECRET: &str = "0wn-s3cret-in-a-clean-text";
        let (redactor, text) = (new_redactor(), format!("the key of {SECRET} ").repeat(100));
        let steps = |content: &[u8]| {
            work::taken();
            let (shown, _) = shown(&redactor, "none", content, Ends::default());
            (shown == content, work::taken())
        };
        assert!(steps(text.as_bytes()).1 > 1_000);
        // Other tests register secrets, too, so it may be searched once more.
        assert!((0..100).any(|_| steps(text.as_bytes()) == (true, 0)));
        own::register(SECRET);
        let (same, searched) = steps(text.as_bytes());
        assert!(!same && searched > 1_000);
    }
}
