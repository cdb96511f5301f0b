//! Contents in which nothing was found, so that one that comes again is not searched again. Long texts are remembered window by
//! window instead ([`windows`](super::windows)).

use std::sync::atomic::{AtomicBool, Ordering};

use quick_cache::sync::Cache;

use super::finding::Ends;
use crate::naming::{Name, Namer};

/// For each so many bytes that may be remembered, one content is. It takes some sixty.
const BYTES_A_CONTENT: usize = 1 << 10;
/// For each so many bytes that may be remembered, one short text is. It takes as much as it is long, and some hundred bytes.
const BYTES_A_SHORT_TEXT: usize = 1 << 12;
/// A shorter text is remembered as it is: to make its name would cost as much as to search it. In bytes.
const NAMED_FROM_BYTES: usize = 512;

/// What a content was searched as.
#[derive(Clone, Copy)]
pub(super) enum SearchedAs {
    Text(Ends),
    /// Bytes that are not text, and whether they were cut.
    Bytes(bool),
}

/// A content that may be remembered.
pub(super) enum Content<'t> {
    Named(Name),
    /// A short text, such as a header field, and the version of our own secrets.
    Short(&'t [u8], u64),
    /// One that is never remembered.
    Other,
}

/// The contents in which nothing was found.
pub(super) struct CleanContents {
    namer: Namer,
    named: Cache<Name, ()>,
    /// With the version of our own secrets that they were searched for.
    short: Cache<Box<[u8]>, u64>,
    /// Whether any are remembered. The caches would add up their parts to answer that.
    remembers: AtomicBool,
}

impl CleanContents {
    /// At most so many bytes are used.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            namer: Namer::new(),
            named: Cache::new(bytes / BYTES_A_CONTENT),
            short: Cache::new(bytes / BYTES_A_SHORT_TEXT),
            remembers: AtomicBool::new(bytes >= BYTES_A_CONTENT),
        }
    }

    /// From now on at most so many bytes are used.
    pub(super) fn remember_at_most(&self, bytes: usize) {
        self.named.set_capacity((bytes / BYTES_A_CONTENT) as u64);
        self.short.set_capacity((bytes / BYTES_A_SHORT_TEXT) as u64);
        self.remembers.store(bytes >= BYTES_A_CONTENT, Ordering::Relaxed);
    }

    /// A content, with how it is searched and the version of our own secrets.
    pub(super) fn content<'t>(&self, content: &'t [u8], searched_as: SearchedAs, version: u64) -> Content<'t> {
        let kind = match searched_as {
            _ if !self.remembers.load(Ordering::Relaxed) => return Content::Other,
            SearchedAs::Text(Ends { cut_start: false, cut_end: false }) if content.len() < NAMED_FROM_BYTES => {
                return Content::Short(content, version);
            }
            _ if content.len() < NAMED_FROM_BYTES => return Content::Other,
            SearchedAs::Text(ends) => u8::from(ends.cut_start) | u8::from(ends.cut_end) << 1,
            SearchedAs::Bytes(cut) => 4 | u8::from(cut) << 1,
        };
        let name = self.namer.name(content);
        let name = name.and_then(|of| self.namer.name(&[&of[..], &[kind], &version.to_le_bytes()].concat()));
        name.map_or(Content::Other, Content::Named)
    }

    /// Whether nothing was found in it.
    pub(super) fn has(&self, content: &Content<'_>) -> bool {
        match content {
            Content::Named(name) => self.named.get(name).is_some(),
            Content::Short(text, version) => {
                self.short.get(*text).is_some_and(|searched_for| searched_for == *version)
            }
            Content::Other => false,
        }
    }

    /// Remembers that nothing was found in it.
    pub(super) fn add(&self, content: Content<'_>) {
        match content {
            Content::Named(name) => self.named.insert(name, ()),
            Content::Short(text, version) => self.short.insert(text.into(), version),
            Content::Other => {}
        }
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
            calls in prop::collection::vec((0_usize..9, 0_usize..3, any::<[bool; 2]>()), 1..20),
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
                b"a few words about a token".to_vec(),
                CANARIES[1].as_bytes().to_vec(),
                format!("\"session_id\":\"{}\"", sessions[0]).into_bytes(),
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
        let redactor = new_redactor();
        let steps = |content: &[u8]| {
            work::taken();
            let (shown, _) = shown(&redactor, "none", content, Ends::default());
            (shown == content, work::taken())
        };
        for (times, secret, least) in
            [(1, "0wn-s3cret-in-a-short-text", 0), (100, "0wn-s3cret-in-a-clean-text", 1_000)]
        {
            let text = format!("the key of {secret} ").repeat(times);
            assert!(steps(text.as_bytes()).1 > least);
            // Other tests register secrets, too, so it may be searched once more.
            assert!((0..100).any(|_| steps(text.as_bytes()) == (true, 0)));
            own::register(secret);
            let (same, searched) = steps(text.as_bytes());
            assert!(!same && searched > least);
        }
    }
}
